//! Which accelerator runs the guests: found out by trial, not by looking for `/dev/kvm`.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::MachineError;
use super::accelerator::Accelerator;
use super::command_line::CommandLine;
use super::console::Console;
use super::health::Health;
use super::process::Process;
use super::qemu::{QEMU, pair};
use super::spec::MachineSpec;
use crate::blocking::blocking;
use crate::guest::{GuestImage, Qemu};
use crate::host;

const KVM: &str = "/dev/kvm";

/// A kernel that runs under KVM reaches its initial process within a second or two.
const KVM_PATIENCE: Duration = Duration::from_secs(8);

/// The accelerator and why it was chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// What the machines will use.
    pub accelerator: Accelerator,
    /// The evidence, for people and for the results.
    pub reason: String,
}

/// Tries KVM with this guest's kernel. The verdict is kept in `cache` until anything changes that it
/// depends on: the host's boot, kernel, processor or `/dev/kvm`, QEMU, the guest. That a trial failed is not kept: its
/// QEMU may have been killed, or the host have been too busy.
pub async fn choose(
    image: &Arc<GuestImage>,
    cache: &Path,
    qemu_version: &str,
) -> Result<Verdict, MachineError> {
    let key = trial_key(qemu_version, image, Path::new(KVM));
    let path = cache.join("accelerator.json");
    if let Some(verdict) = remembered(&path, &key, Path::new(KVM)) {
        return Ok(verdict);
    }
    let verdict = match try_kvm(image).await {
        Ok(reason) => Verdict { accelerator: Accelerator::Kvm, reason },
        Err(reason) => Verdict { accelerator: Accelerator::Tcg, reason },
    };
    if is_lasting(&verdict, Path::new(KVM))
        && let Ok(text) = serde_json::to_string(&(key, &verdict))
    {
        // Only a trial is lost with it.
        let _ = std::fs::write(&path, text);
    }
    Ok(verdict)
}

/// The accelerator that somebody insists on: KVM is tried all the same, now, and must run.
///
/// # Errors
/// No KVM that runs this guest, or no QEMU.
pub(crate) async fn insist(
    accelerator: Accelerator,
    image: &Arc<GuestImage>,
) -> Result<Verdict, MachineError> {
    let reason = match accelerator {
        Accelerator::Tcg => "it was asked for".to_owned(),
        Accelerator::Kvm => try_kvm(image).await.map_err(|reason| MachineError::Host {
            machine: "host".into(),
            action: "use KVM, which was asked for".into(),
            source: std::io::Error::other(reason),
        })?,
    };
    Ok(Verdict { accelerator, reason })
}

/// All that a trial's outcome depends on. `kvm` is the device: it may come, go, be another or become
/// readable while the host runs.
fn trial_key(qemu_version: &str, image: &GuestImage, kvm: &Path) -> String {
    let device = std::fs::metadata(kvm).map(|it| {
        let file = (it.dev(), it.ino(), it.rdev(), it.mode(), it.uid(), it.gid());
        (file, open(kvm).map(drop).map_err(|error| error.kind()))
    });
    let device = format!("{:?}", device.map_err(|error| error.kind()));
    let parts = [&host::boot_id(), &host::platform(), qemu_version, &image.manifest.nar_hash];
    [parts.as_slice(), &[device.as_str()]].concat().join("\n")
}

/// The verdict of a trial under these conditions.
fn remembered(path: &Path, key: &str, kvm: &Path) -> Option<Verdict> {
    let text = std::fs::read_to_string(path).ok()?;
    let (known, verdict): (String, Verdict) = serde_json::from_str(&text).ok()?;
    (known == key && is_lasting(&verdict, kvm)).then_some(verdict)
}

/// Whether another trial would not find something else: KVM runs, or its device cannot be opened.
fn is_lasting(verdict: &Verdict, kvm: &Path) -> bool {
    (verdict.accelerator == Accelerator::Kvm) == open(kvm).is_ok()
}

fn open(kvm: &Path) -> std::io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open(kvm)
}

async fn try_kvm(image: &Arc<GuestImage>) -> Result<String, String> {
    if let Err(error) = open(Path::new(KVM)) {
        return Err(format!("/dev/kvm: {error}"));
    }
    let spec = MachineSpec {
        name: "trial".into(),
        image: image.clone(),
        memory_mib: 256,
        cpus: 1,
        cards: 0,
    };
    let (console, console_end) = pair().map_err(|e| e.to_string())?;
    let mut line = CommandLine::trial(&spec, console_end);
    let health = Health::new();
    let start = Instant::now();
    let inherited = std::mem::take(&mut line.inherited);
    let process = Process::start(QEMU, &line.arguments, &inherited, health.clone())
        .await
        .map_err(|e| format!("cannot start {QEMU}: {e}"))?;
    drop(inherited);
    let console = Console::follow(console, health.clone());
    let result = tokio::select! {
        () = console.shows("meshbench: kernel is up") => {
            Ok(format!("a trial guest ran under KVM after {} ms", start.elapsed().as_millis()))
        }
        loss = health.lost() => Err(format!("a trial guest under KVM failed: {loss}")),
        () = tokio::time::sleep(KVM_PATIENCE) => Err(format!(
            "/dev/kvm is there, but a trial guest under KVM hung: {} s without reaching its first process",
            KVM_PATIENCE.as_secs()
        )),
    };
    process.end().await;
    result
}

/// QEMU's version line.
pub async fn qemu_version() -> Result<String, MachineError> {
    let asked = blocking(|| Qemu::new(vec![QEMU.to_owned()])).await;
    asked.map(|qemu| qemu.version().to_owned()).map_err(|error| MachineError::Host {
        machine: "host".into(),
        action: format!("run {QEMU} --version"),
        source: io::Error::other(error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::guest;

    #[test]
    fn a_verdict_is_not_kept_over_a_change_of_what_it_depends_on() {
        let dir = tempfile::tempdir().unwrap();
        let (image, kvm) = (guest::sample(dir.path()), dir.path().join("kvm"));
        let key = |version: &str| trial_key(version, &image, &kvm);
        let absent = key("9.2");
        std::fs::write(&kvm, "").unwrap();
        let there = key("9.2");
        std::fs::set_permissions(&kvm, std::fs::Permissions::from_mode(0o444)).unwrap();
        let keys = [absent, there, key("9.2"), key("10.0")];
        let distinct: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(distinct.len(), 4, "{keys:?}");
        assert_eq!(key("9.2"), keys[2]);
        let verdicts = dir.path().join("accelerator.json");
        let none = dir.path().join("none");
        let known = |accelerator, reason: &str, key: &String, kvm: &Path| {
            let verdict = Verdict { accelerator, reason: reason.into() };
            let text = serde_json::to_string(&(&keys[0], &verdict)).unwrap();
            std::fs::write(&verdicts, text).unwrap();
            remembered(&verdicts, key, kvm).is_some()
        };
        let refused = "/dev/kvm: No such file or directory";
        assert!(known(Accelerator::Tcg, refused, &keys[0], &none));
        assert!(!known(Accelerator::Tcg, refused, &keys[1], &none));
        // Chance; and somebody's hand, or a cache that was carried here.
        let killed = "a trial guest under KVM failed: QEMU ended (signal: 9 (SIGKILL))";
        assert!(!known(Accelerator::Tcg, killed, &keys[0], &kvm));
        assert!(known(Accelerator::Kvm, "ran", &keys[0], &kvm));
        assert!(!known(Accelerator::Kvm, "ran", &keys[0], &none));
    }
}
