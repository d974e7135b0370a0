//! The QEMU command line of a machine.
//!
//! Templates and forks must have the same devices in the same places, so this is the one place that
//! names them.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::accelerator::Accelerator;
use super::qemu::{MachineSpec, Origin};

/// What names the devices of a machine, so that templates of a harness with others are not used.
pub(crate) const SOURCE: &str = include_str!("command_line.rs");

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
        self.add("-device", &format!("virtserialport,chardev=agent,name={}", ::agent::PORT_NAME));
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
