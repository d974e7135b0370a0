//! The QEMU command line of a sealed machine: the same words give the same machine, on every host.

use std::path::PathBuf;

use meshbench_protocol::sealed;

use super::SealedSpec;

/// Executes instructions one processor after the other and counts them; `-icount` needs that.
const ACCELERATOR: &str = "tcg,thread=single,tb-size=256";

/// The counted clock: 1 ns an instruction, and an idle machine goes on to its next timer at once.
///
/// Recording, though the record is thrown away, is what makes it repeat: without it QEMU's main loop, which
/// moves the clock of an idle processor (`icount_start_warp_timer`), may do so between the moment when the
/// processor halts and the moment when its last instructions are accounted. In recording mode both hold
/// the replay mutex.
const CLOCK: &str = "shift=0,sleep=off,rr=record,rrfile=/dev/null";

/// As [`CLOCK`], with the race: only for showing that it is there.
const RACING_CLOCK: &str = "shift=0,sleep=off";

/// A model that all QEMU versions know, without what TCG lacks (it would warn) and without what makes
/// emulation slow, as in machines of real time.
const PROCESSOR: &str = "Haswell-noTSX,pcid=off,tsc-deadline=off,invpcid=off,erms=off,smap=off";

/// The date on which every sealed machine boots: later than the begin of certificates that are made with a guest, or by who
/// evaluates a clan, for some months to come, and before the end of those that last a year.
const DATE: &str = "base=2027-07-01T00:00:00,clock=vm";

/// The board; its memory comes from a file.
const BOARD: &str = "q35,hpet=off,vmport=off,usb=off,dump-guest-core=off,memory-backend=ram";

/// Kernel options in addition to the image's.
const KERNEL: &str = "quiet norandmaps mitigations=off random.trust_cpu=on meshbench.sealed";

/// Mapped layers begin and end on such a boundary, or the kernel refuses the device.
pub(super) const LAYER_UNIT: u64 = 2 << 20;

const MIB: u64 = 1 << 20;

/// A read-only root layer that the guest sees as memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    /// Its file.
    pub(super) path: PathBuf,
    /// Its size in bytes, a multiple of [`LAYER_UNIT`].
    pub(super) size: u64,
}

/// Files that QEMU opens, by the paths under which it finds them, and the monitor's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) ram: String,
    pub(super) task: String,
    pub(super) output: String,
    pub(super) console: String,
    pub(super) monitor: i32,
}

/// What the machine is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To boot and to be saved.
    Template,
    /// To go on from a template, whose memory it copies when it writes.
    Fork,
    /// To boot and go on.
    Boot,
}

/// All arguments.
pub(super) fn arguments(
    spec: &SealedSpec,
    layers: &[Layer],
    files: &Files,
    purpose: Purpose,
    seed: u64,
) -> Vec<String> {
    let mut line = Line::default();
    line.board(spec, seed);
    line.memory(spec, layers, files, purpose);
    for (index, layer) in layers.iter().enumerate() {
        line.layer(index, layer);
    }
    line.ports(files);
    match purpose {
        Purpose::Fork => {
            line.add("-incoming", "defer");
            // The state is saved by another way than it is loaded, which has no such section.
            line.add("-global", "migration.send-configuration=off");
        }
        Purpose::Template | Purpose::Boot => line.boot(spec, layers.len()),
    }
    line.0
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn board(&mut self, spec: &SealedSpec, seed: u64) {
        for flag in ["-no-user-config", "-nodefaults", "-no-reboot"] {
            self.0.push(flag.to_owned());
        }
        self.add("-display", "none");
        self.add(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        self.add("-accel", ACCELERATOR);
        self.add("-cpu", PROCESSOR);
        self.add("-smp", "1");
        self.add("-icount", if spec.racing { RACING_CLOCK } else { CLOCK });
        self.add("-seed", &seed.to_string());
        self.add("-rtc", DATE);
        // By which the guest stops itself at an instruction of its own.
        self.add("-device", "pvpanic");
        self.add("-action", "panic=pause");
    }

    fn memory(&mut self, spec: &SealedSpec, layers: &[Layer], files: &Files, purpose: Purpose) {
        let memory = u64::from(spec.memory_mib);
        let persistent = if layers.is_empty() { "" } else { ",nvdimm=on" };
        self.add("-machine", &format!("{BOARD}{persistent}"));
        let most = memory + layers.iter().map(|layer| layer.size.div_ceil(MIB)).sum::<u64>();
        match layers.len() {
            0 => self.add("-m", &format!("{memory}M")),
            count => {
                // Each may need as much again for its alignment.
                let most = (most + 2 * 1024).next_multiple_of(1024);
                self.add("-m", &format!("{memory}M,slots={count},maxmem={most}M"));
            }
        }
        let share = if purpose == Purpose::Fork { "off" } else { "on" };
        let path = &files.ram;
        self.add(
            "-object",
            &format!("memory-backend-file,id=ram,size={memory}M,mem-path={path},share={share}"),
        );
    }

    /// No block device: its answers come when a thread of the host is done. Memory answers at once.
    fn layer(&mut self, index: usize, layer: &Layer) {
        let (path, size) = (layer.path.display(), layer.size);
        let file = format!("mem-path={path},size={size},share=on,readonly=on");
        self.add("-object", &format!("memory-backend-file,id=layer{index},{file}"));
        self.add("-device", &format!("nvdimm,id=nv{index},memdev=layer{index},unarmed=on"));
    }

    /// What the guest writes goes into files, which take everything at once.
    fn ports(&mut self, files: &Files) {
        self.add("-chardev", &format!("file,id=console,path={}", files.console));
        self.add("-serial", "chardev:console");
        self.add("-chardev", &format!("file,id=output,path={}", files.output));
        let port = format!("isa-debugcon,iobase={:#x},chardev=output", sealed::OUTPUT_PORT);
        self.add("-device", &port);
        self.add("-fw_cfg", &format!("name={},file={}", sealed::TASK_FILE, files.task));
        self.add("-chardev", &format!("socket,id=monitor,fd={}", files.monitor));
        self.add("-mon", "chardev=monitor,mode=control");
    }

    fn boot(&mut self, spec: &SealedSpec, layers: usize) {
        let image = &spec.image;
        self.add("-kernel", &image.kernel().to_string_lossy());
        self.add("-initrd", &image.initrd().to_string_lossy());
        let options = format!("{} meshbench.layers={layers} {KERNEL}", image.manifest.cmdline);
        self.add("-append", &options);
    }

    fn add(&mut self, flag: &str, value: &str) {
        self.0.push(flag.to_owned());
        self.0.push(value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::guest::{FORMAT, GuestImage, Manifest, Provider, Qemu};

    fn spec() -> SealedSpec {
        let manifest = Manifest {
            format: FORMAT,
            provider: Provider::Debian,
            system: "x86_64-linux".into(),
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            cmdline: "panic=1 console=ttyS0".into(),
            layers: vec!["base.erofs".into()],
            nar_hash: String::new(),
            packages: Vec::new(),
        };
        let image = Arc::new(GuestImage { dir: "/image".into(), manifest });
        let command = ["sh", "-c", "echo QEMU emulator version 10", "--"].map(str::to_owned);
        let qemu = Qemu::new(command.to_vec()).unwrap();
        SealedSpec::new(qemu, image, 1024)
    }

    fn shown(purpose: Purpose, layers: &[Layer]) -> String {
        let files = Files {
            ram: "RAM".into(),
            task: "TASK".into(),
            output: "OUTPUT".into(),
            console: "CONSOLE".into(),
            monitor: 9,
        };
        let arguments = arguments(&spec(), layers, &files, purpose, 7);
        arguments.join("\n").replace("\n-", "\u{0}-").replace('\n', " ").replace('\0', "\n")
    }

    #[test]
    fn the_words_of_a_template_and_of_its_forks() {
        let layers = [Layer { path: "/image/base.erofs".into(), size: 42 * LAYER_UNIT }];
        insta::assert_snapshot!("template", shown(Purpose::Template, &layers));
        insta::assert_snapshot!("fork", shown(Purpose::Fork, &layers));
    }

    #[test]
    fn a_guest_without_layers_needs_no_board_for_them() {
        let line = shown(Purpose::Boot, &[]);
        assert!(!line.contains("nvdimm") && line.contains("-m 1024M\n"), "{line}");
    }

    #[test]
    fn templates_and_forks_have_the_same_devices() {
        let layers = [Layer { path: "/image/base.erofs".into(), size: LAYER_UNIT }];
        let [template, fork] = [Purpose::Template, Purpose::Fork].map(|purpose| {
            let line = shown(purpose, &layers);
            let devices = line.lines().filter(|line| line.starts_with("-device"));
            devices.map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(template, fork);
    }
}
