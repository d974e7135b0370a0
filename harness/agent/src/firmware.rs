//! What a sealed machine has instead of ports that somebody listens to: I/O ports of its board, each of which
//! does what it does at the instruction that asks for it.

use std::io;

use meshbench_protocol::sealed::{OUTPUT_PORT, Said};

/// A machine's board, which this thread may address.
pub(crate) struct Board(());

/// Of QEMU's fw_cfg: <https://www.qemu.org/docs/master/specs/fw_cfg.html>.
const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DIRECTORY: u16 = 0x19;
/// Size, selector and a reserved field, then the name, all of which is big-endian.
const ENTRY: usize = 64;

/// Of QEMU's pvpanic: <https://www.qemu.org/docs/master/specs/pvpanic.html>.
const PANIC: u16 = 0x505;
const PANICKED: u8 = 1;

impl Board {
    /// Asks the kernel for it.
    pub(crate) fn open() -> io::Result<Self> {
        // SAFETY: changes what this thread may do and no memory.
        match unsafe { libc::iopl(3) } {
            0 => Ok(Self(())),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The content of a file of the firmware's configuration.
    pub(crate) fn file(&self, name: &str) -> io::Result<Vec<u8>> {
        let (selector, size) =
            self.entry(name).ok_or_else(|| io::Error::other(format!("there is no {name}")))?;
        let mut content = vec![0; size];
        self.select(selector, &mut content);
        Ok(content)
    }

    /// Selector and size of a file. In each fork they may be others.
    fn entry(&self, name: &str) -> Option<(u16, usize)> {
        let mut count = [0; 4];
        self.select(DIRECTORY, &mut count);
        let count = u32::from_be_bytes(count) as usize;
        let mut directory = vec![0; 4 + count * ENTRY];
        self.select(DIRECTORY, &mut directory);
        directory[4..].chunks(ENTRY).find_map(|entry| find(entry, name))
    }

    fn select(&self, selector: u16, into: &mut [u8]) {
        port::write_16(SELECTOR, selector);
        port::read_bytes(DATA, into);
    }

    /// Says something to whoever reads the machine's output, which takes it at once.
    pub(crate) fn say(&self, said: &Said) -> io::Result<()> {
        port::write_bytes(OUTPUT_PORT, &said.encode()?);
        Ok(())
    }

    /// Says that the machine is ready, and stops it until it goes on in a fork.
    pub(crate) fn stop(&self) -> io::Result<()> {
        let frame = Said::Ready(0).encode()?;
        let (head, counter) = frame.split_at(frame.len() - size_of::<u64>());
        let mut counter = counter.to_vec();
        port::write_bytes(OUTPUT_PORT, head);
        port::stamp_and_write(OUTPUT_PORT, &mut counter, PANIC, PANICKED);
        Ok(())
    }
}

fn find(entry: &[u8], name: &str) -> Option<(u16, usize)> {
    let (head, own) = entry.split_at_checked(8)?;
    let own = own.split(|&byte| byte == 0).next()?;
    let size = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    (own == name.as_bytes()).then(|| (u16::from_be_bytes([head[4], head[5]]), size))
}

/// Random bytes of the processor, which a sealed machine's seed decides.
pub(crate) fn random() -> io::Result<Vec<u8>> {
    let words: Option<Vec<u64>> = (0..6).map(|_| port::random()).collect();
    let words = words.ok_or_else(|| io::Error::other("the processor has no random numbers"))?;
    Ok(words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// The instructions. Callers hold a [`Board`], without which they end the program.
#[cfg(target_arch = "x86_64")]
mod port {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, _rdtsc};

    /// Bit of CPUID's first leaf: the processor has `rdrand`.
    const RDRAND: u32 = 1 << 30;

    pub(super) fn write_8(port: u16, value: u8) {
        // SAFETY: the board's ports that are used here touch no memory.
        unsafe {
            asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags));
        }
    }

    pub(super) fn write_16(port: u16, value: u16) {
        // SAFETY: as above.
        unsafe {
            asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags));
        }
    }

    pub(super) fn read_bytes(port: u16, into: &mut [u8]) {
        // SAFETY: writes as many bytes as the slice has.
        unsafe {
            asm!("rep insb", in("dx") port, inout("rdi") into.as_mut_ptr() => _,
                inout("rcx") into.len() => _, options(nostack, preserves_flags));
        }
    }

    pub(super) fn write_bytes(port: u16, bytes: &[u8]) {
        // SAFETY: reads as many bytes as the slice has.
        unsafe {
            asm!("rep outsb", in("dx") port, inout("rsi") bytes.as_ptr() => _,
                inout("rcx") bytes.len() => _, options(nostack, preserves_flags, readonly));
        }
    }

    /// Writes the time-stamp counter by way of `buffer`, and then at once `value` to another port.
    pub(super) fn stamp_and_write(port: u16, buffer: &mut [u8], other: u16, value: u8) {
        // SAFETY: reads a register.
        let counter = unsafe { _rdtsc() }.to_le_bytes();
        buffer.copy_from_slice(&counter);
        write_bytes(port, buffer);
        write_8(other, value);
    }

    pub(super) fn random() -> Option<u64> {
        if __cpuid(1).ecx & RDRAND == 0 {
            return None;
        }
        let (value, valid): (u64, u8);
        // SAFETY: the processor has it.
        unsafe {
            asm!("rdrand {}", "setc {}", out(reg) value, out(reg_byte) valid, options(nomem, nostack));
        }
        (valid == 1).then_some(value)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod port {
    pub(super) fn write_16(_: u16, _: u16) {}
    pub(super) fn read_bytes(_: u16, _: &mut [u8]) {}
    pub(super) fn write_bytes(_: u16, _: &[u8]) {}
    pub(super) fn stamp_and_write(_: u16, _: &mut [u8], _: u16, _: u8) {}
    pub(super) fn random() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_its_whole_name() {
        let mut entry = vec![0, 0, 1, 2, 0, 0x2a, 0, 0];
        entry.extend(b"opt/job\0\0");
        entry.resize(ENTRY, 0);
        assert_eq!(find(&entry, "opt/job"), Some((0x2a, 0x102)));
        assert_eq!(find(&entry, "opt/jo"), None);
    }
}
