use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Clock, Direction, Impairment, check_blocks, check_format, check_name, check_number, time,
};

/// `run.json`: what is needed to judge and to repeat a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// Version of the format, [`FORMAT`](super::FORMAT).
    pub format: u32,
    /// Identity of the run, usable as a file name.
    pub id: String,
    /// When it started: RFC 3339, UTC, whole seconds (`2026-11-22T07:12:18Z`).
    pub started: String,
    /// The command line, program first.
    pub command: Vec<String>,
    /// Seed of all that is random in the run. Below 2^53, so that every JSON reader keeps it whole.
    pub seed: u64,
    /// Blocks asked for.
    pub blocks: u32,
    /// Names of the workloads asked for, which a run that is resumed goes on with.
    pub workloads: Vec<String>,
    /// Those of them that are the user's own, with all that they are made of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_workloads: Vec<OwnWorkload>,
    /// Whether `--quick` cut it short.
    pub quick: bool,
    /// Whose time its seconds are.
    #[serde(default, skip_serializing_if = "Clock::is_real")]
    pub clock: Clock,
    /// Where it ran.
    pub environment: Environment,
    /// The guest images used.
    pub guests: Vec<GuestRecord>,
    /// The scenarios measured, as configured.
    pub scenarios: Vec<ScenarioRecord>,
    /// The modules measured.
    pub modules: Vec<ModuleRecord>,
}

/// A workload that does not come with the harness: the files of its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnWorkload {
    /// The folder's name.
    pub name: String,
    /// `workload.toml`.
    pub description: String,
    /// Runs on the answering member; says `ready` on a line of its own.
    pub serve: String,
    /// Runs on the initiator, and prints its figures.
    pub measure: String,
}

/// The machine a run was made on, and the programs that made it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// What executed the guests' instructions.
    pub accelerator: Accelerator,
    /// Why that one.
    pub accelerator_reason: String,
    /// How its machines were started; absent where that was not yet recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// As QEMU tells it.
    pub qemu_version: String,
    /// Kernel release of the host.
    pub host_kernel: String,
    /// CPU model of the host.
    pub host_cpu: String,
    /// Logical cores of the host.
    pub host_cores: u32,
    /// Memory of the host in bytes.
    pub host_memory_bytes: u64,
    /// Clock source of the guests, as their kernel tells it.
    pub clock_source: Option<String>,
    /// Load averages of the host before the run, over 1, 5 and 15 minutes.
    pub load_average: [f64; 3],
    /// Version of the harness.
    pub harness_version: String,
    /// Git revision of the harness, where known.
    pub harness_revision: Option<String>,
    /// In virtual time: SHA-256 of the program inside the machines, which does the measuring, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_sha256: Option<String>,
    /// By which compiler that program says it was made: another one makes another program of the same sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_compiler: Option<String>,
    /// The archive that Debian guests are of: the address of a public one, or that it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub debian_mirror: Option<String>,
}

/// How the machines of a run were started. Without KVM a fork translates anew what a booted machine has
/// translated at its boot, so that a daemon's start takes longer in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Forked from templates.
    Forked,
    /// Each booted.
    Booted,
}

/// What executes the instructions of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Accelerator {
    /// The host's CPU.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Start {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Forked => "forked",
            Self::Booted => "booted",
        }
    }
}

impl Accelerator {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }
}

/// A guest image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestRecord {
    /// The module it was made for.
    pub module: String,
    /// Who made it: `debian` or `nixos`.
    pub provider: String,
    /// Hash of its NAR (`sha256-…`).
    pub nar_hash: String,
    /// What is in it.
    pub packages: Vec<PackageRecord>,
}

/// A package in a guest image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageRecord {
    /// Name of the package.
    pub name: String,
    /// Its version, in the words of its packager.
    pub version: String,
}

/// A scenario as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScenarioRecord {
    /// Name of its file.
    pub name: String,
    /// Shown to people.
    pub title: String,
    /// Its impaired links; one that is not listed is not impaired.
    pub links: Vec<LinkSetting>,
    /// Its NATs.
    pub nats: Vec<NatRecord>,
    /// Names of the workloads asked for on it; empty: all of the run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<String>,
    /// SHA-256 of what the file says, in hexadecimal: a run is of one network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One direction of a site's uplink, as configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSetting {
    /// Name of the site.
    pub site: String,
    /// Seen from the site.
    pub direction: Direction,
    /// What is done to packets.
    pub configured: Impairment,
}

/// A NAT in front of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatRecord {
    /// Name of the site.
    pub site: String,
    /// Name of the NAT kind.
    pub kind: String,
    /// Mapping behaviour in the words of RFC 4787.
    pub mapping: String,
    /// Filtering behaviour in the words of RFC 4787.
    pub filtering: String,
}

/// A module as measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleRecord {
    /// Name of its folder.
    pub name: String,
    /// Shown to people.
    pub title: String,
    /// As its own program tells it; absent until a guest has been asked.
    pub version: Option<String>,
    /// What was chosen in its configuration.
    pub choices: Vec<String>,
    /// Programs that the user put in place of packaged ones (`--binary`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<BinaryRecord>,
    /// SHA-256 of the module's files, in hexadecimal: a run is of one module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// A program given by the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BinaryRecord {
    /// Name of the program that it replaces.
    pub name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

impl ScenarioRecord {
    fn check(&self) -> Result<(), String> {
        let sites = self.links.iter().map(|link| &link.site);
        sites.chain(self.nats.iter().map(|nat| &nat.site)).try_for_each(|site| check_name(site))?;
        let mut links = self.links.iter();
        links.try_for_each(|link| {
            let wrong = |why| format!("{}: the link of {}: {why}", self.name, link.site);
            link.configured.check_setting().map_err(wrong)
        })
    }
}

impl RunRecord {
    /// Whether the run was asked for this workload on this scenario.
    pub fn asks_for(&self, scenario: &str, workload: &str) -> bool {
        let own = |all: &[String]| all.iter().any(|name| name == workload);
        let mut scenarios = self.scenarios.iter();
        let found = scenarios.find(|found| found.name == scenario);
        found.is_some_and(|found| found.workloads.is_empty() || own(&found.workloads))
            && own(&self.workloads)
    }

    /// Checks what the types cannot say. The error says what is wrong.
    pub fn check(&self) -> Result<(), String> {
        check_format(self.format)?;
        check_name(&self.id)?;
        time::check(&self.started)?;
        check_blocks(self.blocks)?;
        if self.seed >= 1 << 53 {
            return Err(format!("the seed {} is not below 2^53", self.seed));
        }
        let load = self.environment.load_average.iter();
        load.copied()
            .try_for_each(check_number)
            .map_err(|why| format!("the load average: {why}"))?;
        let names = |names: Vec<&str>, what: &str| {
            names.iter().try_for_each(|name| check_name(name))?;
            let twice = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name));
            twice.map_or(Ok(()), |(_, name)| Err(format!("{what} {name} is there twice")))
        };
        names(self.workloads.iter().map(String::as_str).collect(), "workload")?;
        names(self.scenarios.iter().map(|s| s.name.as_str()).collect(), "scenario")?;
        for scenario in &self.scenarios {
            scenario.check()?;
            let stranger = scenario.workloads.iter().find(|name| !self.workloads.contains(name));
            if let Some(name) = stranger {
                return Err(format!("{} asks for {name}, the run does not", scenario.name));
            }
        }
        names(self.modules.iter().map(|m| m.name.as_str()).collect(), "module")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;

    #[test]
    fn a_seed_that_javascript_would_round_is_refused() {
        let mut run = sample::run();
        run.seed = (1 << 53) - 1;
        assert_eq!(run.check(), Ok(()));
        run.seed += 1;
        assert!(run.check().is_err());
    }

    #[test]
    fn blocks_that_nobody_could_ask_for_are_refused() {
        let mut run = sample::run();
        for (blocks, fits) in [(0, false), (1, true), (1000, true), (1001, false)] {
            run.blocks = blocks;
            assert_eq!(run.check().is_ok(), fits, "{blocks}");
        }
    }

    #[test]
    fn a_load_that_no_host_can_have_is_refused() {
        let mut run = sample::run();
        for load in [f64::NAN, f64::INFINITY, 1e300] {
            run.environment.load_average[1] = load;
            assert!(run.check().unwrap_err().starts_with("the load average: "));
        }
    }

    #[test]
    fn a_scenario_asks_for_nothing_that_the_run_does_not() {
        let mut run = sample::run();
        run.scenarios[0].workloads = vec!["ping".into()];
        assert_eq!(run.check(), Ok(()));
        run.scenarios[0].workloads = vec!["ping".into(), "pnig".into()];
        assert_eq!(run.check(), Err("lan asks for pnig, the run does not".into()));
    }

    #[test]
    fn a_link_that_no_scenario_can_have_is_refused() {
        let mut run = sample::run();
        run.scenarios[1].links[0].configured.rate_bits_per_second = Some(1e300);
        assert!(run.check().unwrap_err().starts_with("home-dsl: the link of alice: 1"));
        run.scenarios[1].links[0].configured.rate_bits_per_second = None;
        assert_eq!(run.check(), Ok(()));
        run.scenarios[1].links[0].site = "\u{1b}[2J".into();
        assert!(run.check().is_err());
    }

    #[test]
    fn a_module_listed_twice_is_refused() {
        let mut run = sample::run();
        run.modules.push(run.modules[0].clone());
        assert_eq!(run.check(), Err("module internal is there twice".into()));
    }
}
