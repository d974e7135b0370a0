//! What figures may stand beside each other: those of one clock, one way to execute, one machine.

use meshbench::results::{Accelerator, Clock, RunRecord};

/// Whose time seconds are, and what executed the guests. The order is that of the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Counted instructions.
    Virtual,
    /// The host's time and its processor.
    Kvm,
    /// The host's time, instructions translated.
    Emulated,
}

/// Where a run was made, as far as its figures depend on it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Testbed {
    /// First of all.
    pub class: Class,
    /// Whether workloads were cut short.
    pub quick: bool,
    /// QEMU's version, and in real time the processor.
    pub detail: String,
}

impl Testbed {
    /// That of a run.
    pub fn of(run: &RunRecord) -> Self {
        let environment = &run.environment;
        let qemu = format!("QEMU {}", short(&environment.qemu_version));
        let class = match (run.clock, environment.accelerator) {
            (Clock::Virtual, _) => Class::Virtual,
            (Clock::Real, Accelerator::Kvm) => Class::Kvm,
            (Clock::Real, _) => Class::Emulated,
        };
        let detail = match class {
            Class::Virtual => qemu,
            Class::Kvm | Class::Emulated => format!("{qemu} on {}", environment.host_cpu),
        };
        Self { class, quick: run.quick, detail }
    }
}

/// The number in what QEMU says of itself: `QEMU emulator version 10.0.3 (Debian …)`.
fn short(version: &str) -> &str {
    let rest = version.strip_prefix("QEMU emulator version ").unwrap_or(version);
    rest.split_once(" (").map_or(rest, |(number, _)| number)
}

impl Class {
    /// In addresses.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Kvm => "kvm",
            Self::Emulated => "emulated",
        }
    }

    /// Whose time that is.
    pub fn clock(self) -> Clock {
        match self {
            Self::Virtual => Clock::Virtual,
            Self::Kvm | Self::Emulated => Clock::Real,
        }
    }

    /// Shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Virtual => "Virtual time",
            Self::Kvm => "KVM",
            Self::Emulated => "Emulation",
        }
    }

    /// What its figures mean.
    pub fn about(self) -> &'static str {
        match self {
            Self::Virtual => {
                "Time is counted in instructions, so every figure repeats to its last digit on any machine. Where a \
                 link limits, figures are as on real hardware; where the processor limits, they count instructions."
            }
            Self::Kvm => {
                "Real time on a real processor: what hardware does, with the noise of one machine in it."
            }
            Self::Emulated => {
                "Real time, but instructions are translated: a first impression, and never a comparison of speed."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_its_number() {
        assert_eq!(
            short("QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)"),
            "10.0.13"
        );
        assert_eq!(short("10.0.3"), "10.0.3");
    }
}
