//! The QEMU command line of a machine.
//!
//! Templates and forks must have the same devices in the same places, so this is the one place that
//! names them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::accelerator::Accelerator;
use super::spec::{MachineSpec, Origin};

/// First PCI slot of the network cards; eight cards share a slot as functions of one device.
const CARD_SLOT: usize = 0x10;

/// An x86 processor has about 200 interrupt vectors, and a card takes three: with more cards than this
/// the queues of each share one.
const MANY_CARDS: usize = 32;

const MACHINE: &str = if cfg!(target_arch = "aarch64") {
    "virt,usb=off,dump-guest-core=off"
} else {
    "q35,hpet=off,vmport=off,usb=off,dump-guest-core=off"
};

/// What makes emulation cheaper and changes nothing that a VPN could notice. Programs lie at the same
/// addresses in every process: translated code is kept by its virtual address, and translating the C
/// library anew for every process takes twenty milliseconds. An emulator does not speculate, so that
/// the kernel needs no detours (retpolines) around what a processor would guess.
const EMULATED: &str = " norandmaps mitigations=off";

/// Kernel options that depend on the host.
pub(crate) fn kernel_options(accelerator: Accelerator) -> String {
    match accelerator {
        Accelerator::Kvm => String::new(),
        Accelerator::Tcg => EMULATED.to_owned() + &super::tsc::kernel_options(),
    }
}

/// What a machine is that boots again. What its disk says may never have been written there, and then is
/// the template's (machine-id(5): this goes before it).
fn known_as(origin: &Origin<'_>) -> String {
    match origin {
        Origin::Cold { machine_id: Some(id) } => format!(" systemd.machine_id={id}"),
        _ => String::new(),
    }
}

/// The command line of a template of such machines, as far as it shapes its devices and its memory: without
/// the machine's name, where its image lies, and which descriptors happened to be free.
pub(super) fn shape(spec: &MachineSpec, accelerator: Accelerator) -> io::Result<Vec<String>> {
    let mut image = (*spec.image).clone();
    image.dir = PathBuf::new();
    let spec = MachineSpec { name: "template".into(), image: Arc::new(image), ..spec.clone() };
    let nothing = || Ok::<_, io::Error>(OwnedFd::from(File::open("/dev/null")?));
    let ports = Ports { console: nothing()?, agent: nothing()?, monitor: nothing()? };
    let cards = (0..spec.cards).map(|_| nothing()).collect::<io::Result<Vec<_>>>()?;
    let memory = nothing()?;
    let origin = Origin::Template(&memory);
    Ok(CommandLine::of(&spec, accelerator, &origin, ports, &nothing()?, &cards)?.anonymous())
}

/// Arguments, and the descriptors that QEMU inherits under the same numbers.
#[derive(Debug, Default)]
pub(crate) struct CommandLine {
    pub(crate) arguments: Vec<String>,
    pub(crate) inherited: Vec<OwnedFd>,
}

/// QEMU's ends of the sockets to the harness.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) console: OwnedFd,
    pub(crate) agent: OwnedFd,
    pub(crate) monitor: OwnedFd,
}

impl CommandLine {
    /// The whole command line of a machine.
    pub(crate) fn of(
        spec: &MachineSpec,
        accelerator: Accelerator,
        origin: &Origin<'_>,
        ports: Ports,
        disk: &OwnedFd,
        cards: &[OwnedFd],
    ) -> io::Result<Self> {
        let mut line = Self::default();
        line.board(spec, accelerator);
        // A fork boots nothing: what it read at boot is 11 MiB that each would hold again. Elsewhere the
        // board is another one without a kernel.
        if !(cfg!(target_arch = "x86_64") && matches!(origin, Origin::Fork(_))) {
            line.boot(spec, &(kernel_options(accelerator) + &known_as(origin)));
        }
        line.memory(spec, origin)?;
        line.ports(ports);
        line.disks(spec, disk)?;
        let vectors = if cards.len() > MANY_CARDS { ",vectors=2" } else { "" };
        for (index, card) in cards.iter().enumerate() {
            line.card(index, card.try_clone()?, vectors);
        }
        Ok(line)
    }

    /// The arguments with the descriptors numbered as they come.
    fn anonymous(&self) -> Vec<String> {
        let mut arguments = self.arguments.clone();
        for (index, fd) in self.inherited.iter().enumerate() {
            let number = fd.as_raw_fd();
            for prefix in ["=/proc/self/fd/", ",fd=", "local.str="] {
                let (old, new) = (format!("{prefix}{number}"), format!("{prefix}#{index}"));
                let same = |argument: &String| {
                    let rest = argument.split_once(&old).map(|(_, rest)| rest);
                    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
                };
                for argument in arguments.iter_mut().filter(|argument| same(argument)) {
                    *argument = argument.replacen(&old, &new, 1);
                }
            }
        }
        arguments
    }

    /// A guest that shows on its console that its kernel runs, and does no more.
    pub(crate) fn trial(spec: &MachineSpec, console: OwnedFd) -> Self {
        let mut line = Self::default();
        line.board(spec, Accelerator::Kvm);
        line.add("-machine", MACHINE);
        line.boot(spec, " meshbench.trial");
        line.console(console);
        line
    }

    /// What every QEMU gets: no default devices, no files of the user, no new processes.
    fn board(&mut self, spec: &MachineSpec, accelerator: Accelerator) {
        self.flag("-no-user-config");
        self.flag("-nodefaults");
        self.flag("-no-reboot");
        self.add("-display", "none");
        self.add(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        );
        self.add("-name", &spec.name);
        self.add("-accel", accelerator.option());
        self.add("-cpu", accelerator.cpu());
        self.add("-smp", &spec.cpus.to_string());
        self.add("-m", &format!("{}M", spec.memory_mib));
        if cfg!(target_arch = "x86_64") {
            self.add("-device", "vmgenid,guid=auto");
        }
    }

    /// Kernel, initrd and kernel command line.
    fn boot(&mut self, spec: &MachineSpec, more: &str) {
        let image = &spec.image;
        let layers = image.layers().len();
        self.add("-kernel", &image.kernel().to_string_lossy());
        self.add("-initrd", &image.initrd().to_string_lossy());
        self.add("-append", &format!("{} meshbench.layers={layers}{more}", image.manifest.cmdline));
    }

    fn memory(&mut self, spec: &MachineSpec, origin: &Origin<'_>) -> io::Result<()> {
        self.add("-machine", &format!("{MACHINE},memory-backend=ram"));
        let size = format!("size={}M", spec.memory_mib);
        match origin {
            Origin::Cold { .. } => {
                self.add("-object", &format!("memory-backend-ram,id=ram,{size}"))
            }
            Origin::Template(file) | Origin::Fork(file) => {
                let fork = matches!(origin, Origin::Fork(_));
                let fd = self.pass(file.try_clone()?);
                let path = format!("mem-path=/proc/self/fd/{fd}");
                let share = if fork { "share=off" } else { "share=on" };
                self.add("-object", &format!("memory-backend-file,id=ram,{size},{path},{share}"));
                if fork {
                    self.add("-incoming", "defer");
                }
            }
        }
        Ok(())
    }

    fn console(&mut self, socket: OwnedFd) {
        let console = self.pass(socket);
        self.add("-chardev", &format!("socket,id=console,fd={console}"));
        self.add("-serial", "chardev:console");
    }

    fn ports(&mut self, ports: Ports) {
        self.console(ports.console);
        let monitor = self.pass(ports.monitor);
        self.add("-chardev", &format!("socket,id=monitor,fd={monitor}"));
        self.add("-mon", "chardev=monitor,mode=control");
        let agent = self.pass(ports.agent);
        self.add("-chardev", &format!("socket,id=agent,fd={agent}"));
        self.add("-device", "virtio-serial-pci,id=serial,addr=0x3");
        self.add(
            "-device",
            &format!("virtserialport,chardev=agent,name={}", meshbench_protocol::PORT_NAME),
        );
    }

    fn disks(&mut self, spec: &MachineSpec, state: &OwnedFd) -> io::Result<()> {
        for (index, layer) in spec.image.layers().iter().enumerate() {
            let id = format!("layer{index}");
            let file = layer.display();
            self.disk(&id, &format!("file={file},readonly=on,file.locking=off"), 0x4 + index);
        }
        let fd = self.pass(state.try_clone()?);
        // The host's page cache outlives the guest, which is all that a loss of guest power needs.
        // By default a full host stops the machine, and nobody learns why: its kernel can tell.
        let file = format!("file=/proc/self/fd/{fd},cache=unsafe,file.locking=off,werror=report");
        self.disk("state", &file, 0xf);
        Ok(())
    }

    fn disk(&mut self, id: &str, file: &str, slot: usize) {
        self.add("-drive", &format!("if=none,id={id},format=raw,{file}"));
        self.add("-device", &format!("virtio-blk-pci,drive={id},serial={id},addr={slot:#x}"));
    }

    fn card(&mut self, index: usize, wire: OwnedFd, vectors: &str) {
        let fd = self.pass(wire);
        self.add("-netdev", &format!("dgram,id=net{index},local.type=fd,local.str={fd}"));
        let (slot, function) = (CARD_SLOT + index / 8, index % 8);
        let place = format!("addr={slot:#x}.{function:#x},multifunction=on");
        let mac = format!("mac=52:54:00:00:00:{index:02x}");
        let card = format!("virtio-net-pci,netdev=net{index},{mac},{place},romfile={vectors}");
        self.add("-device", &card);
    }

    fn pass(&mut self, fd: OwnedFd) -> RawFd {
        let number = fd.as_raw_fd();
        self.inherited.push(fd);
        number
    }

    fn flag(&mut self, flag: &str) {
        self.arguments.push(flag.to_owned());
    }

    fn add(&mut self, flag: &str, value: &str) {
        self.flag(flag);
        self.flag(value);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::guest;

    fn spec(cards: usize) -> MachineSpec {
        let image = Arc::new(guest::sample(Path::new("/image")));
        MachineSpec { name: "alice".into(), image, memory_mib: 512, cpus: 1, cards }
    }

    fn nothing() -> OwnedFd {
        File::open("/dev/null").expect("it is everywhere").into()
    }

    /// An argument and its value a line.
    fn shown(accelerator: Accelerator, origin: &Origin<'_>, cards: usize) -> String {
        let ports = Ports { console: nothing(), agent: nothing(), monitor: nothing() };
        let wires: Vec<OwnedFd> = (0..cards).map(|_| nothing()).collect();
        let line = CommandLine::of(&spec(cards), accelerator, origin, ports, &nothing(), &wires)
            .expect("descriptors can be cloned");
        let text = line.anonymous().join("\n").replace("\n-", "\u{0}-");
        let host = super::super::tsc::kernel_options();
        text.replace('\n', " ").replace('\u{0}', "\n").replace(&host, " (the host's TSC)")
    }

    #[test]
    fn the_command_line_of_a_cold_boot() {
        let origin = Origin::Cold { machine_id: Some("0123456789abcdef0123456789abcdef") };
        insta::assert_snapshot!(shown(Accelerator::Tcg, &origin, 1));
    }

    #[test]
    fn the_command_line_of_a_template() {
        insta::assert_snapshot!(shown(Accelerator::Kvm, &Origin::Template(&nothing()), 2));
    }

    #[test]
    fn the_command_line_of_a_fork() {
        insta::assert_snapshot!(shown(Accelerator::Kvm, &Origin::Fork(&nothing()), 2));
    }

    #[test]
    fn a_template_is_known_by_its_devices_not_by_names_and_places() {
        let shape_of = |spec: &MachineSpec| shape(spec, Accelerator::Kvm).unwrap();
        let own = shape_of(&spec(2));
        let mut other = spec(2);
        other.name = "bob".into();
        other.image = Arc::new(guest::sample(Path::new("/elsewhere")));
        let _occupied = [nothing(), nothing()];
        assert_eq!(own, shape_of(&other));
        assert_ne!(own, shape_of(&spec(3)));
        assert_ne!(own, shape_of(&MachineSpec { memory_mib: 513, ..spec(2) }));
        assert_ne!(own, shape(&spec(2), Accelerator::Tcg).unwrap());
    }
}
