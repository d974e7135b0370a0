use crate::results::{Accelerator, RunRecord, Start};

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
    differs("accelerator", accelerator(here.accelerator), accelerator(there.accelerator));
    if let (Some(here), Some(there)) = (here.start, there.start) {
        differs("machines", start(here), start(there));
    }
    differs("CPU", &here.host_cpu, &there.host_cpu);
    differs("cores", &here.host_cores.to_string(), &there.host_cores.to_string());
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
        if let Some(other) = b.scenarios.iter().find(same)
            && (other.links != scenario.links || other.nats != scenario.nats)
        {
            found.push(format!(
                "scenario {}: its links or NATs are configured otherwise",
                other.name
            ));
        }
    }
    found
}

fn accelerator(accelerator: Accelerator) -> &'static str {
    match accelerator {
        Accelerator::Kvm => "KVM",
        Accelerator::Tcg => "TCG",
    }
}

fn start(start: Start) -> &'static str {
    match start {
        Start::Forked => "forked",
        Start::Booted => "booted",
    }
}

fn length(run: &RunRecord) -> &'static str {
    if run.quick { "quick" } else { "full" }
}
