//! Which accelerator runs the guests: found out by trial, not by looking for `/dev/kvm`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::MachineError;
use super::command_line::CommandLine;
use super::console::Console;
use super::health::Health;
use super::process::Process;
use super::qemu::{MachineSpec, QEMU, pair};
use crate::guest::GuestImage;

/// A kernel that runs under KVM reaches its initial process within a second or two.
const KVM_PATIENCE: Duration = Duration::from_secs(8);

/// What executes the guests' instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor's own virtualisation.
    Kvm,
    /// Emulation: every instruction is translated.
    Tcg,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl Accelerator {
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // A translation cache of 64 MiB holds a guest's hot code and bounds a machine's memory.
            Self::Tcg => "tcg,thread=multi,tb-size=64",
        }
    }

    pub(crate) fn cpu(self) -> &'static str {
        match self {
            Self::Kvm => "host",
            // Five-level page tables only make emulated page walks longer. QEMU 7.2's cmpxchg16b
            // leaves stale flags, which one Debian kernel boot in six does not survive. `erms` tells programs
            // to copy by `rep movsb`, which is emulated byte by byte; `smap` brackets each of the kernel's
            // accesses to a program's memory with instructions that end a translated block.
            Self::Tcg if cfg!(target_arch = "x86_64") => "max,la57=off,cx16=off,erms=off,smap=off",
            Self::Tcg => "max",
        }
    }
}

/// The accelerator and why it was chosen.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// What the machines will use.
    pub accelerator: Accelerator,
    /// The evidence, for people and for the results.
    pub reason: String,
}

/// Tries KVM with this guest's kernel. The verdict is kept in `cache` until the host reboots, or QEMU
/// or the kernel change.
pub async fn choose(image: &Arc<GuestImage>, cache: &Path) -> Result<Verdict, MachineError> {
    let key = format!(
        "{} {} {}",
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim(),
        qemu_version().await?,
        image.manifest.nar_hash
    );
    let path = cache.join("accelerator.json");
    if let Some(verdict) = remembered(&path, &key) {
        return Ok(verdict);
    }
    let verdict = match try_kvm(image).await {
        Ok(reason) => Verdict { accelerator: Accelerator::Kvm, reason },
        Err(reason) => Verdict { accelerator: Accelerator::Tcg, reason },
    };
    if let Ok(text) = serde_json::to_string(&(key, &verdict)) {
        // Only a trial is lost with it.
        let _ = std::fs::write(&path, text);
    }
    Ok(verdict)
}

fn remembered(path: &Path, key: &str) -> Option<Verdict> {
    let text = std::fs::read_to_string(path).ok()?;
    let (known, verdict): (String, Verdict) = serde_json::from_str(&text).ok()?;
    (known == key).then_some(verdict)
}

async fn try_kvm(image: &Arc<GuestImage>) -> Result<String, String> {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
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
    let output = Command::new(QEMU).arg("--version").kill_on_drop(true).output().await.map_err(
        |source| MachineError::Host {
            machine: "host".into(),
            action: format!("run {QEMU}"),
            source,
        },
    )?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
