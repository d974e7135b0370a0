//! What a module is in a member: where its files lie, the unit that runs its daemon, the verbs of its script.

use std::collections::BTreeMap;

use meshbench_protocol::Exec;
use strum::IntoStaticStr;

use crate::cluster::member_preparation;
use crate::machine::Preparation;

/// The unit that runs the VPN's daemon, accounted alike for all modules.
pub const UNIT: &str = "vpn.service";

/// Where a module's lifecycle lies in a member.
pub(crate) const LIFECYCLE: &str = "/var/lib/meshbench/lifecycle";

/// The module's working directory in a member.
pub(crate) const STATE: &str = "/var/lib/meshbench/state";

/// What the daemon prints.
pub const LOG: &str = "/var/log/vpn.log";

/// Where the unit tells how its daemon ended, if anybody listens.
pub(super) const ENDED: &str = "/run/meshbench-vpn-ended";

/// Exit status by which a lifecycle says that it does not support a verb (EX_USAGE of sysexits.h).
pub(super) const UNSUPPORTED: i32 = 64;

/// What a lifecycle is asked to do. `run` is the unit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(super) enum Verb {
    Identity,
    Configure,
    Admit,
    Ready,
    Address,
    Path,
    Version,
    Stop,
}

impl Verb {
    /// Whether what it prints is read.
    pub(super) fn is_heard(self) -> bool {
        match self {
            Self::Identity | Self::Admit | Self::Address | Self::Path | Self::Version => true,
            Self::Configure | Self::Ready | Self::Stop => false,
        }
    }

    /// The command that asks for it.
    pub(super) fn exec(self, argument: Option<&str>) -> Exec {
        let words = [LIFECYCLE, self.into()].into_iter().chain(argument);
        let env = BTreeMap::from([("STATE".to_owned(), STATE.to_owned())]);
        let argv = words.map(str::to_owned).collect();
        Exec { argv, env, cwd: STATE.to_owned(), ..Exec::default() }
    }
}

/// The unit's text. How the daemon ended goes to a pipe, which is opened so that nobody has to listen.
fn unit() -> String {
    format!(
        "[Unit]
Description=The VPN under test
StartLimitIntervalSec=0

[Service]
Type=exec
Environment=STATE={STATE}
WorkingDirectory={STATE}
ExecStart={LIFECYCLE} run
ExecStopPost=-/bin/sh -c 'test ! -p {ENDED} || echo \"$SERVICE_RESULT, $EXIT_CODE $EXIT_STATUS\" 1<>{ENDED}'
CPUAccounting=yes
MemoryAccounting=yes
IPAccounting=no
Restart=no
StandardOutput=append:{LOG}
StandardError=append:{LOG}
LimitNOFILE=65536
"
    )
}

/// What a member that can run a module is prepared with.
pub fn preparation(kernel_modules: &[String]) -> Preparation {
    let mut preparation = member_preparation(kernel_modules);
    preparation.files.push((format!("/etc/systemd/system/{UNIT}"), 0o644, unit()));
    preparation.script = format!(
        "mkdir -p {STATE}\nsystemctl daemon-reload\nsystemctl is-active {UNIT} >/dev/null || true\n{}",
        preparation.script
    );
    preparation
}
