//! A saved device state: what of it is the host's is taken out, so that two templates of one machine are alike.

use std::io;

/// How much the clock of a template goes on while it stops: more than the instructions from reading its
/// time-stamp counter to stopping, so that it never goes back.
const STOPPING_NS: i64 = 100_000;

/// A section's header after its name: instance and version.
const HEADER: usize = 8;

/// What is saved of `replay` behind its header: of the record, which is thrown away (replay/replay-snapshot.c).
const REPLAY: usize = 2 * 8 + 8 + 4 + 4 + 4 + 1 + 3 * 8;

/// Sets the clock to what the guest read before it stopped, and forgets the clocks of the host.
///
/// Stopping is the one thing whose moment QEMU takes from the host: the clock of one template in three went on by
/// a few milliseconds meanwhile, although its memory and the count of its instructions were the same.
///
/// # Errors
/// A state that is not laid out as QEMU 10.0 does (system/cpu-timers.c).
pub(super) fn normalise(state: &mut [u8], counter: u64) -> io::Result<()> {
    let timer = behind(state, b"\x05timer")? + HEADER;
    // cpu_ticks_offset; 8 bytes unused; cpu_clock_offset: of clocks that this machine does not have.
    put(state, timer, 0)?;
    put(state, timer + 16, 0)?;
    // A subsection has a version only. Then follow qemu_icount_bias and qemu_icount.
    let counted = behind(state, b"\x05\x0ctimer/icount")? + 4;
    let instructions = get(state, counted + 8)?;
    let counter = i64::try_from(counter).map_err(io::Error::other)?;
    put(state, counted, counter + STOPPING_NS - instructions)
}

/// The state without what differs between two templates of one machine and does not reach the guest.
pub(super) fn essence(state: &[u8]) -> io::Result<Vec<u8>> {
    let mut state = state.to_vec();
    let Ok(replay) = behind(&state, b"\x06replay") else {
        // Of a machine that does not record.
        return Ok(state);
    };
    let replay = replay + HEADER;
    state.get_mut(replay..replay + REPLAY).ok_or_else(unknown)?.fill(0);
    Ok(state)
}

/// The place behind a name, with the length before it.
fn behind(state: &[u8], name: &[u8]) -> io::Result<usize> {
    let start = state.windows(name.len()).position(|window| window == name);
    Ok(start.ok_or_else(unknown)? + name.len())
}

fn get(state: &[u8], at: usize) -> io::Result<i64> {
    let bytes = state.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    Ok(i64::from_be_bytes(bytes.ok_or_else(unknown)?))
}

fn put(state: &mut [u8], at: usize, value: i64) -> io::Result<()> {
    state.get_mut(at..at + 8).ok_or_else(unknown)?.copy_from_slice(&value.to_be_bytes());
    Ok(())
}

fn unknown() -> io::Error {
    io::Error::other("the saved state is not laid out as that of QEMU 10.0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a state that QEMU 10.0.13 saved.
    const SAVED: &str = "5145564d00000003040000000005\
        74696d65720000000000000002000000187d775de6000000000000000000000009cbc9dd3c050c74696d65722f69636f756e74\
        000000010000000000000000000000004eb3ec687e00000000040000000106";

    fn saved() -> Vec<u8> {
        let digits: Vec<u8> = SAVED.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn the_clock_becomes_what_the_guest_saw_whatever_it_went_on_by_while_stopping() {
        let (mut one, mut late) = (saved(), saved());
        let bias = late.len() - 26;
        put(&mut late, bias - 1, 3_000_000).unwrap();
        put(&mut late, 27, 42).unwrap();
        assert_ne!(one, late);
        normalise(&mut one, 0x4eb3_0000).unwrap();
        normalise(&mut late, 0x4eb3_0000).unwrap();
        assert_eq!(one, late);
        let icount = behind(&one, b"timer/icount").unwrap() + 4;
        let now = get(&one, icount).unwrap() + get(&one, icount + 8).unwrap();
        assert_eq!(now, 0x4eb3_0000 + STOPPING_NS);
    }

    #[test]
    fn a_state_of_another_layout_is_refused() {
        assert!(normalise(&mut b"QEVM nothing known".to_vec(), 1).is_err());
        assert!(essence(b"\x06replay and no more").is_err());
        assert_eq!(essence(&saved()[..40]).unwrap(), &saved()[..40]);
    }
}
