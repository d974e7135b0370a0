//! `bench doctor`.

use std::path::Path;

use crate::exit;
use meshbench::guest::tools;
use meshbench::host;
use meshbench::report::Sign;
use serde::Serialize;

use crate::error::Outcome;
use crate::workspace::Workspace;

/// Room that guests, templates and results take, in MiB.
const NEEDED_DISK: u64 = 4096;

/// Memory for a cluster of four machines, in MiB.
const NEEDED_MEMORY: u64 = 2048;

#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// Whether measurements can run all the same.
    optional: bool,
    found: String,
    fix: String,
}

/// Looks at the host, one line a check; exit code 96 when something is missing.
pub async fn doctor(workspace: &Workspace, as_json: bool) -> Outcome {
    let mut checks: Vec<Check> = tools::MACHINES.iter().chain(tools::DEBIAN).map(tool).collect();
    checks.extend([kvm(), memory(), disk(&workspace.cache), load(), modules(workspace)]);
    if as_json {
        crate::output::print_json(&checks)?;
    } else {
        crate::output::print(&checks.iter().map(line).collect::<String>())?;
    }
    let broken = checks.iter().any(|check| !check.ok && !check.optional);
    Ok(if broken { exit::SETUP } else { exit::OK })
}

fn line(check: &Check) -> String {
    let mark = match check {
        Check { ok: true, .. } => Sign::Yes,
        Check { optional: true, .. } => Sign::Doubtful,
        _ => Sign::No,
    };
    let fix =
        if check.ok || check.fix.is_empty() { String::new() } else { format!("; {}", check.fix) };
    format!("{mark} {}: {}{fix}\n", check.name, check.found)
}

fn tool(tool: &tools::Tool) -> Check {
    let ok = tools::missing(&[*tool]).is_empty();
    Check {
        name: tool.program.into(),
        ok,
        optional: false,
        found: format!("{}, {}", if ok { "there" } else { "missing" }, tool.purpose),
        fix: tools::install_command(&[*tool]),
    }
}

fn kvm() -> Check {
    let opened = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm");
    Check {
        name: "/dev/kvm".into(),
        ok: opened.is_ok(),
        optional: true,
        found: match opened {
            Ok(_) => {
                "can be opened; whether it runs guests is found out by trial before a run".into()
            }
            Err(error) => format!("{error}: machines will be emulated (TCG), which is slower"),
        },
        fix: "switch virtualisation on in the firmware, and join the group kvm".into(),
    }
}

fn memory() -> Check {
    let mib = host::free_memory_mib();
    Check {
        name: "memory".into(),
        ok: mib >= NEEDED_MEMORY,
        optional: false,
        found: format!("{mib} MiB available, {NEEDED_MEMORY} are needed"),
        fix: "end other programs".into(),
    }
}

fn disk(cache: &Path) -> Check {
    let existing = cache.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let free = host::free_mib(existing).unwrap_or(0);
    Check {
        name: "disk".into(),
        ok: free >= NEEDED_DISK,
        optional: false,
        found: format!("{free} MiB free for {}, {NEEDED_DISK} are needed", cache.display()),
        fix: "free some, or name another place with --cache DIR".into(),
    }
}

fn load() -> Check {
    let ([load, ..], cores) = (host::load(), host::cores());
    Check {
        name: "load".into(),
        ok: load < cores as f64 / 2.0,
        optional: true,
        found: format!("{load} on {cores} cores"),
        fix: "measure on an idle host: other programs are in every number".into(),
    }
}

fn modules(workspace: &Workspace) -> Check {
    let modules = workspace.modules();
    Check {
        name: "modules".into(),
        ok: modules.is_ok(),
        optional: false,
        found: modules
            .as_ref()
            .map_or_else(ToString::to_string, |m| format!("{} can be read", m.len())),
        fix: String::new(),
    }
}
