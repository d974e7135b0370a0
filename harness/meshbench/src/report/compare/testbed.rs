use crate::report::comparable::differ;
use crate::results::{Environment, INTERNAL, ModuleRecord, RunRecord};

/// What Debian's packages decide about the wire: its version is that of its guest's kernel.
const OF_PACKAGES: [&str; 2] = [VERSION, GUEST];
const VERSION: &str = "its version";
const GUEST: &str = "its guest";

/// What differs between the testbeds of two runs, so that their figures cannot be laid side by side:
/// one sentence each, none if they can.
pub fn differences(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |what: &str, a: &str, b: &str| {
        if a != b {
            found.push(format!("{what}: {a} in A, {b} in B"));
        }
    };
    let (here, there) = (&a.environment, &b.environment);
    differs("accelerator", here.accelerator.word(), there.accelerator.word());
    if let (Some(here), Some(there)) = (here.start, there.start) {
        differs("machines", here.word(), there.word());
    }
    // Nothing of the host reaches what is measured in virtual time.
    if a.clock.is_real() && b.clock.is_real() {
        differs("CPU", &here.host_cpu, &there.host_cpu);
        differs("cores", &here.host_cores.to_string(), &there.host_cores.to_string());
    }
    differs("QEMU", &here.qemu_version, &there.qemu_version);
    differs("length of the workloads", length(a), length(b));
    for module in &a.modules {
        let provider = |run: &RunRecord| {
            let guest = run.guests.iter().find(|guest| guest.module == module.name);
            guest.map(|guest| guest.provider.clone())
        };
        if let (Some(here), Some(there)) = (provider(a), provider(b)) {
            differs(&format!("guests of {}", module.name), &here, &there);
        }
    }
    for scenario in &a.scenarios {
        let same = |other: &&crate::results::ScenarioRecord| other.name == scenario.name;
        let Some(other) = b.scenarios.iter().find(same) else { continue };
        if other.links != scenario.links || other.nats != scenario.nats {
            let name = &other.name;
            found.push(format!("scenario {name}: its links or NATs are configured otherwise"));
        } else if differ(scenario.sha256.as_ref(), other.sha256.as_ref()) {
            found.push(format!("scenario {}: its file says something else", other.name));
        }
    }
    for own in &a.own_workloads {
        let other = b.own_workloads.iter().find(|it| it.name == own.name);
        if other.is_some_and(|other| other != own) {
            found.push(format!("your own workload {}: its files say something else", own.name));
        }
    }
    // The wire is the yardstick: what it is made of is no subject of a comparison. Its guest's packages move on with
    // Debian's, and each run has a wire of its own beside its VPNs: that is told, in `contents`.
    let wire = made_otherwise(a, b, INTERNAL).into_iter().filter(|it| !OF_PACKAGES.contains(it));
    found.extend(wire.map(|what| format!("the wire: {what}")));
    found
}

/// What B's modules are made of otherwise than A's, by content, and what else differs that the figures may
/// show although they compare; nothing if both are of one thing.
pub fn contents(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let modules = a.modules.iter().filter(|module| module.name != INTERNAL);
    let mut found: Vec<String> = modules
        .flat_map(|it| {
            let made = made_otherwise(a, b, &it.name);
            made.into_iter().map(move |what| format!("{}: {what}", it.name))
        })
        .collect();
    if made_otherwise(a, b, INTERNAL).iter().any(|it| OF_PACKAGES.contains(it)) {
        let told = "the wire: packages of its guest, which are in all figures: its own lines say what they do";
        found.push(told.into());
    }
    let (here, there) = (&a.environment, &b.environment);
    if here.harness_version != there.harness_version || another_harness(here, there) {
        found.push("the harness, which measured".into());
    }
    if here.host_kernel != there.host_kernel && a.clock.is_real() {
        found.push(format!("the host's kernel: {} and {}", here.host_kernel, there.host_kernel));
    }
    found
}

/// In virtual time, where it is known, the program inside the machines is what measured.
fn another_harness(here: &Environment, there: &Environment) -> bool {
    match (&here.runner_sha256, &there.runner_sha256) {
        (Some(here), Some(there)) => here != there,
        _ => differ(here.harness_revision.as_ref(), there.harness_revision.as_ref()),
    }
}

fn made_otherwise(a: &RunRecord, b: &RunRecord, name: &str) -> Vec<&'static str> {
    let module = |run: &RunRecord| run.modules.iter().find(|it| it.name == name).cloned();
    let (Some(here), Some(there)) = (module(a), module(b)) else { return Vec::new() };
    let guest = |run: &RunRecord| {
        run.guests.iter().find(|guest| guest.module == name).map(|guest| guest.nar_hash.clone())
    };
    let of = |is: bool, what| is.then_some(what);
    let own = |module: &ModuleRecord| module.binaries.clone();
    [
        of(differ(here.version.as_ref(), there.version.as_ref()), VERSION),
        of(own(&here) != own(&there), "its own programs (--binary)"),
        of(differ(here.sha256.as_ref(), there.sha256.as_ref()), "the files of its module"),
        of(differ(guest(a).as_ref(), guest(b).as_ref()), GUEST),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn length(run: &RunRecord) -> &'static str {
    if run.quick { "quick" } else { "full" }
}
