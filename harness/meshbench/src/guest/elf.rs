//! Whether a program that was built elsewhere can run in a guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::GuestError;

/// Processors by their number in ELF, see elf(5); 32-bit ones among them.
const MACHINES: [(u16, &str); 6] =
    [(3, "x86"), (8, "mips"), (40, "arm"), (62, "x86_64"), (183, "aarch64"), (243, "riscv")];
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
const OBJECT: u16 = 1;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
const NEEDED: u64 = 1;
const STRING_TABLE: u64 = 5;
const STRING_TABLE_SIZE: u64 = 10;

/// What the guest offers to programs.
#[derive(Debug)]
pub(crate) struct Libraries {
    /// Version of its C library, such as `[2, 41]`.
    pub(crate) glibc: Vec<u32>,
    /// File names of its shared libraries and loaders.
    pub(crate) names: BTreeSet<String>,
}

/// Refuses a program that cannot run with these libraries. Scripts and static programs need none.
pub(crate) fn check(path: &Path, libraries: &Libraries) -> Result<(), GuestError> {
    let bytes = fs::read(path).map_err(GuestError::file("read", path))?;
    let refuse = |reason: String| GuestError::Program { path: path.to_owned(), reason };
    match parse(&bytes).map_err(refuse)? {
        None => Ok(()),
        Some(program) => match objection(&program, libraries) {
            None => Ok(()),
            Some(reason) => Err(GuestError::Program { path: path.to_owned(), reason }),
        },
    }
}

/// Refuses what is no program for guests of this host, whatever libraries they have; says why.
///
/// # Errors
/// Neither a script nor an ELF program, one for another processor, or a damaged one.
pub fn check_program(bytes: &[u8]) -> Result<(), String> {
    parse(bytes).map(drop)
}

/// `None` for a script, which asks for nothing that could be looked up.
fn parse(bytes: &[u8]) -> Result<Option<Program>, String> {
    if bytes.starts_with(b"#!") {
        return Ok(None);
    }
    if bytes.is_empty() {
        return Err("the file is empty".into());
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err("it is neither an ELF program nor a script that begins with #!".into());
    }
    let machine = u16_at(bytes, 18);
    if bytes.get(4..6) != Some(&[2, 1]) || machine != Some(MACHINE) {
        let known = MACHINES.iter().find(|(number, _)| Some(*number) == machine);
        let theirs = known.map_or("another processor", |(_, name)| name);
        let ours = std::env::consts::ARCH;
        return Err(format!(
            "it is a program for {theirs}, the guest is {ours}; build it for that"
        ));
    }
    if u16_at(bytes, 16) == Some(OBJECT) {
        return Err("it is an object file that was not linked to a program".into());
    }
    let program = Program::parse(bytes);
    program.map(Some).ok_or_else(|| "its ELF headers are damaged: was it copied whole?".into())
}

fn objection(program: &Program, libraries: &Libraries) -> Option<String> {
    let remedy = "link it statically, or build it on Debian stable";
    if let Some(loader) = &program.interpreter {
        let name = loader.rsplit('/').next().unwrap_or(loader);
        if loader.starts_with("/nix/") || !libraries.names.contains(name) {
            return Some(format!("it wants the loader {loader}; {remedy}, or use a NixOS guest"));
        }
    }
    let absent: Vec<&str> = program
        .needed
        .iter()
        .map(String::as_str)
        .filter(|&name| !libraries.names.contains(name))
        .collect();
    if !absent.is_empty() {
        return Some(format!("the guest lacks {}; {remedy}", absent.join(", ")));
    }
    let newest = program.glibc.iter().max()?;
    let shown = |version: &[u32]| version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    (*newest > libraries.glibc).then(|| {
        let (wanted, offered) = (shown(newest), shown(&libraries.glibc));
        format!("it wants glibc {wanted}, the guest has {offered}; {remedy}")
    })
}

/// What an ELF program asks for, see elf(5).
#[derive(Debug, Default, PartialEq)]
struct Program {
    interpreter: Option<String>,
    needed: Vec<String>,
    /// Versions of the C library whose symbols it uses.
    glibc: Vec<Vec<u32>>,
}

impl Program {
    /// Reads a little-endian 64-bit ELF; none if it is torn.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (table, size, count) = (u64_at(bytes, 32)?, u16_at(bytes, 54)?, u16_at(bytes, 56)?);
        let mut segments = Vec::new();
        for index in 0..u64::from(count) {
            let start = table.checked_add(index * u64::from(size))?;
            segments.push(Segment::parse(bytes, usize::try_from(start).ok()?)?);
        }
        let mut program = Self::default();
        if let Some(segment) = segments.iter().find(|segment| segment.kind == INTERPRETER) {
            program.interpreter = Some(string_at(bytes, segment.offset)?);
        }
        if let Some(dynamic) = segments.iter().find(|segment| segment.kind == DYNAMIC) {
            program.read_dynamic(bytes, dynamic, &segments)?;
        }
        Some(program)
    }

    fn read_dynamic(&mut self, bytes: &[u8], dynamic: &Segment, all: &[Segment]) -> Option<()> {
        let mut entries = Vec::new();
        for start in (dynamic.offset..dynamic.offset.checked_add(dynamic.size)?).step_by(16) {
            entries.push((u64_at(bytes, start)?, u64_at(bytes, start + 8)?));
        }
        let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let (Some(address), Some(size)) = (value(STRING_TABLE), value(STRING_TABLE_SIZE)) else {
            return Some(());
        };
        let table = all.iter().find_map(|segment| segment.file_offset(address))?;
        for (_, name) in entries.iter().filter(|entry| entry.0 == NEEDED) {
            self.needed.push(string_at(bytes, table.checked_add(usize::try_from(*name).ok()?)?)?);
        }
        let strings = bytes.get(table..table.checked_add(usize::try_from(size).ok()?)?)?;
        self.glibc = strings.split(|byte| *byte == 0).filter_map(glibc_version).collect();
        Some(())
    }
}

/// `[2, 34]` for `GLIBC_2.34`.
fn glibc_version(string: &[u8]) -> Option<Vec<u32>> {
    let version = std::str::from_utf8(string).ok()?.strip_prefix("GLIBC_")?;
    parse_version(version)
}

/// `[2, 41]` for `2.41`.
pub(crate) fn parse_version(version: &str) -> Option<Vec<u32>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

/// A program header.
struct Segment {
    kind: u32,
    offset: usize,
    address: u64,
    size: usize,
}

impl Segment {
    fn parse(bytes: &[u8], start: usize) -> Option<Self> {
        Some(Self {
            kind: u32_at(bytes, start)?,
            offset: usize::try_from(u64_at(bytes, start.checked_add(8)?)?).ok()?,
            address: u64_at(bytes, start.checked_add(16)?)?,
            size: usize::try_from(u64_at(bytes, start.checked_add(32)?)?).ok()?,
        })
    }

    /// Where an address of the running program is in the file.
    fn file_offset(&self, address: u64) -> Option<usize> {
        let within = usize::try_from(address.checked_sub(self.address)?).ok()?;
        (self.kind == LOAD && within < self.size).then(|| self.offset.checked_add(within))?
    }
}

fn array_at<const N: usize>(bytes: &[u8], start: usize) -> Option<[u8; N]> {
    bytes.get(start..start.checked_add(N)?)?.try_into().ok()
}

fn u16_at(bytes: &[u8], start: usize) -> Option<u16> {
    array_at(bytes, start).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], start: usize) -> Option<u32> {
    array_at(bytes, start).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], start: usize) -> Option<u64> {
    array_at(bytes, start).map(u64::from_le_bytes)
}

fn string_at(bytes: &[u8], start: usize) -> Option<String> {
    let rest = bytes.get(start..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libraries(glibc: &str, names: &[&str]) -> Libraries {
        Libraries {
            glibc: parse_version(glibc).unwrap(),
            names: names.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// This test itself, as the toolchain linked it.
    fn this_program() -> Program {
        Program::parse(&fs::read(std::env::current_exe().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn a_dynamic_program_tells_loader_libraries_and_versions() {
        let program = this_program();
        assert!(program.interpreter.as_ref().unwrap().contains("ld-"), "{program:?}");
        assert!(program.needed.iter().any(|name| name == "libc.so.6"), "{program:?}");
        assert!(program.glibc.iter().any(|version| version[0] == 2), "{program:?}");
    }

    #[test]
    fn what_the_guest_lacks_is_named() {
        let program = Program {
            interpreter: Some("/lib64/ld-linux-x86-64.so.2".to_owned()),
            needed: vec!["libc.so.6".to_owned(), "libssl.so.3".to_owned()],
            glibc: vec![vec![2, 2, 5], vec![2, 39]],
        };
        let (loader, c, ssl) = ("ld-linux-x86-64.so.2", "libc.so.6", "libssl.so.3");
        let complaint = |glibc, names: &[&str]| objection(&program, &libraries(glibc, names));
        assert_eq!(complaint("2.41", &[loader, c, ssl]), None);
        assert!(complaint("2.41", &[loader, c]).unwrap().contains("lacks libssl.so.3"));
        assert!(complaint("2.36", &[loader, c, ssl]).unwrap().contains("wants glibc 2.39"));
        assert!(complaint("2.41", &[c, ssl]).unwrap().contains("loader /lib64/ld-linux"));
    }

    #[test]
    fn scripts_pass_and_other_files_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let offered = libraries("2.41", &[]);
        let file = dir.path().join("program");
        fs::write(&file, "#!/bin/sh\n").unwrap();
        check(&file, &offered).unwrap();
        fs::write(&file, "MZ").unwrap();
        let message = check(&file, &offered).unwrap_err().to_string();
        assert!(message.contains("neither an ELF program"), "{message}");
    }

    #[test]
    fn what_is_no_program_of_this_machine_is_told_for_what_it_is() {
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            check_program(&bytes).unwrap_err()
        };
        check_program(&whole).unwrap();
        assert!(check_program(b"").unwrap_err().contains("empty"));
        assert!(with(18, 40).contains("a program for arm, the guest is"));
        assert!(with(18, 243).contains("riscv"));
        assert!(with(18, 200).contains("another processor"));
        assert!(with(16, 1).contains("object file"));
        assert!(check_program(&whole[..100]).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_torn_program_is_refused_without_panic() {
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [5, 40, 64, 100, 600, 2000] {
            let torn = Program::parse(&whole[..length]);
            assert!(torn.is_none() || length > 600, "{length} bytes: {torn:?}");
        }
    }
}
