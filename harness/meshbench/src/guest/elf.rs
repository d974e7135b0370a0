//! Whether a program that was built elsewhere can run in a guest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{DynamicTable, FileHeader, ProgramHeader, SectionHeader, SectionTable};
use object::{Endianness, ReadRef};

use super::GuestError;

type Header = FileHeader64<Endianness>;

/// Those that people are likely to build for, 32-bit ones among them.
const MACHINES: [(elf::Machine, &str); 6] = [
    (elf::EM_386, "x86"),
    (elf::EM_MIPS, "mips"),
    (elf::EM_ARM, "arm"),
    (elf::EM_X86_64, "x86_64"),
    (elf::EM_AARCH64, "aarch64"),
    (elf::EM_RISCV, "riscv"),
];
const MACHINE: elf::Machine =
    if cfg!(target_arch = "aarch64") { elf::EM_AARCH64 } else { elf::EM_X86_64 };

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

/// The Rust compiler that a program says it was made by, such as `rustc 1.95.0 (59807616e 2026-04-14)`: it stands in the
/// section `.comment`, which stripping leaves. Absent where that is not there.
pub fn compiler(program: &[u8]) -> Option<String> {
    let header = Header::parse(program).ok()?;
    let endian = header.endian().ok()?;
    let sections = header.sections(endian, program).ok()?;
    let (_, section) = sections.section_by_name(endian, b".comment")?;
    let mut comments = section.data(endian, program).ok()?.split(|byte| *byte == 0);
    let version = comments.find_map(|it| it.strip_prefix(b"rustc version "))?;
    Some(format!("rustc {}", String::from_utf8_lossy(version)))
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
    check_machine(bytes)?;
    let damaged = |error| format!("its ELF headers are damaged ({error}): was it copied whole?");
    Program::parse(bytes).map(Some).map_err(damaged)
}

fn check_machine(bytes: &[u8]) -> Result<(), String> {
    // Up to the machine, the header is the same whatever the width of an address.
    let header = bytes.read_at::<FileHeader32<Endianness>>(0);
    let header = header.map_err(|()| "its ELF header is damaged: was it copied whole?")?;
    let endian = header.endian().unwrap_or_default();
    let machine = header.e_machine(endian);
    let fits = header.is_class_64() && header.is_little_endian();
    if !fits || machine != MACHINE {
        let known = MACHINES.iter().find(|(number, _)| *number == machine);
        let theirs = known.map_or("another processor", |(_, name)| name);
        let ours = std::env::consts::ARCH;
        return Err(format!(
            "it is a program for {theirs}, the guest is {ours}; build it for that"
        ));
    }
    if header.e_type(endian) == elf::ET_REL {
        return Err("it is an object file that was not linked to a program".into());
    }
    Ok(())
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

/// What an ELF program asks for. One without section headers is judged by its loader alone.
#[derive(Debug, Default, PartialEq)]
struct Program {
    interpreter: Option<String>,
    needed: Vec<String>,
    /// Versions of the C library whose symbols it uses.
    glibc: Vec<Vec<u32>>,
}

impl Program {
    fn parse(bytes: &[u8]) -> object::Result<Self> {
        let header = Header::parse(bytes)?;
        let endian = header.endian()?;
        let sections = header.sections(endian, bytes)?;
        let dynamic = sections.dynamic_table(endian, bytes)?;
        let mut program = Self {
            needed: needed(&dynamic)?,
            glibc: glibc(endian, bytes, &sections)?,
            ..Self::default()
        };
        for segment in header.program_headers(endian, bytes)? {
            if let Some(loader) = segment.interpreter(endian, bytes)? {
                program.interpreter = Some(text(loader));
            }
        }
        Ok(program)
    }
}

fn needed(dynamic: &DynamicTable<'_, Header>) -> object::Result<Vec<String>> {
    let entries = dynamic.iter().filter(|entry| entry.tag == elf::DT_NEEDED);
    entries.map(|entry| dynamic.string(entry).map(text)).collect()
}

fn glibc(
    endian: Endianness,
    bytes: &[u8],
    sections: &SectionTable<'_, Header>,
) -> object::Result<Vec<Vec<u32>>> {
    let Some((needs, strings)) = sections.gnu_verneed(endian, bytes)? else {
        return Ok(Vec::new());
    };
    let strings = sections.strings(endian, bytes, strings)?;
    let mut versions = Vec::new();
    for need in needs {
        for version in need?.1 {
            versions.extend(glibc_version(version?.name(endian, strings)?));
        }
    }
    Ok(versions)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
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
    fn a_rust_program_tells_its_compiler_and_other_files_do_not() {
        let program = fs::read(std::env::current_exe().unwrap()).unwrap();
        let told = compiler(&program).unwrap();
        assert!(told.starts_with("rustc 1.") && told.ends_with(')'), "{told}");
        assert_eq!(compiler(b"#!/bin/sh"), None);
        assert_eq!(compiler(&program[..program.len() / 2]), None);
    }

    #[test]
    fn a_torn_program_is_refused_without_panic() {
        let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
        for length in [5, 40, 64, 100, 600, 2000] {
            let torn = check_program(&whole[..length]).unwrap_err();
            assert!(torn.contains("damaged"), "{length} bytes: {torn}");
        }
    }
}
