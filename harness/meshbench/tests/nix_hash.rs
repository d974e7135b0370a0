//! The crates that stand for Nix's formats, against the real `nix` and `nix-store` (Debian: nix-bin).

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use data_encoding::HEXLOWER;
use meshbench::guest::{self, FORMAT, host_system};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A tree with all that an archive can hold, and names on which sorting and padding can go wrong.
fn tree() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("nested/deeper/empty")).unwrap();
    for (name, length) in [("0", 0), ("7", 7), ("8", 8), ("9.txt", 9), ("A", 70_000), ("a", 1)] {
        fs::write(path(name), vec![name.as_bytes()[0]; length]).unwrap();
    }
    fs::write(path("nested/ümlaut"), "ü").unwrap();
    fs::write(path("nested/program"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(path("nested/program"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("../8", path("nested/link")).unwrap();
    symlink("/nowhere", path("dangling")).unwrap();
    dir
}

fn nar_hash(path: &Path) -> [u8; 32] {
    let mut archive = Vec::new();
    nix_nar::Encoder::new(path).unwrap().read_to_end(&mut archive).unwrap();
    Sha256::digest(&archive).into()
}

/// Output of a program of Nix; nothing where it is absent, and a line that can be counted.
fn nix(program: &str, arguments: &[&str], store: &Path) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).env("NIX_REMOTE", store).env("HOME", store);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "skipped: {program}: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

#[test]
fn archives_hash_as_nix_hashes_them() {
    let (tree, store) = (tree(), tempfile::tempdir().unwrap());
    let words = ["--extra-experimental-features", "nix-command", "hash", "path", "--base32"];
    for part in ["", "9.txt", "nested/program", "nested/link", "nested/deeper/empty"] {
        let path = tree.path().join(part);
        let path = if part.is_empty() { tree.path().to_owned() } else { path };
        let arguments = [&words[..], &[path.to_str().unwrap()]].concat();
        let Some(real) = nix("nix", &arguments, store.path()) else { return };
        let ours = nix_base32::to_nix_base32(&nar_hash(&path));
        assert_eq!(real.trim_start_matches("sha256:"), ours, "{part}");
    }
}

#[test]
fn base32_is_that_of_nix() {
    let store = tempfile::tempdir().unwrap();
    for length in [1_u8, 7, 19, 20, 32] {
        let bytes: [u8; 32] = Sha256::digest([length]).into();
        let words = ["--type", "sha256", "--to-base32", &HEXLOWER.encode(&bytes)];
        let Some(real) = nix("nix-hash", &words, store.path()) else { return };
        assert_eq!(nix_base32::to_nix_base32(&bytes), real);
        assert_eq!(nix_base32::from_nix_base32(&real).unwrap(), bytes);
    }
}

#[test]
fn store_paths_come_from_name_and_hash_as_in_nix() {
    let (tree, store) = (tree(), tempfile::tempdir().unwrap());
    let source = tree.path().join("nested");
    let Some(real) = nix("nix-store", &["--add", source.to_str().unwrap()], store.path()) else {
        return;
    };
    // Store paths: the digest of this text, folded to 160 bits, before the name.
    let text = format!("source:sha256:{}:/nix/store:nested", HEXLOWER.encode(&nar_hash(&source)));
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    let mut folded = [0_u8; 20];
    for (index, byte) in digest.iter().enumerate() {
        folded[index % 20] ^= byte;
    }
    assert_eq!(real, format!("/nix/store/{}-nested", nix_base32::to_nix_base32(&folded)));

    let (hash, name) = real.strip_prefix("/nix/store/").unwrap().split_once('-').unwrap();
    assert_eq!((hash.len(), name), (32, "nested"));
    assert_eq!(nix_base32::from_nix_base32(hash).unwrap(), folded);
}

#[test]
fn the_hash_of_an_image_is_that_of_its_files_in_a_directory() {
    let (dir, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (image, files) = (dir.path().join("image"), dir.path().join("files"));
    for folder in [&image, &files] {
        fs::create_dir(folder).unwrap();
        for (name, length) in [("kernel", 5), ("initrd", 70_000), ("0.erofs", 4096), ("1.erofs", 0)]
        {
            fs::write(folder.join(name), vec![name.as_bytes()[0]; length]).unwrap();
        }
    }
    let manifest = serde_json::json!({
        "format": FORMAT, "provider": "nixos", "system": host_system(), "cmdline": "console=ttyS0",
        "kernel": "kernel", "initrd": "initrd", "layers": ["0.erofs", "1.erofs"],
        "nar_hash": format!("sha256-{}=", "A".repeat(43)), "packages": [],
    });
    fs::write(image.join("guest.json"), manifest.to_string()).unwrap();
    let ours = guest::load(&image).unwrap().nar_hash().unwrap();
    let words = ["--extra-experimental-features", "nix-command", "hash", "path"];
    let arguments = [&words[..], &[files.to_str().unwrap()]].concat();
    let Some(real) = nix("nix", &arguments, store.path()) else { return };
    assert_eq!(ours, real);
}
