//! What executes the guests' instructions, in QEMU's words.

pub use crate::results::Accelerator;

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
