use std::fs;
use std::path::{Path, PathBuf};

use super::base::{self, Base};
use super::{CargoCrate, GoProgram, ModuleSoftware, apt, build, read, tree};
use crate::guest::cache::{Cache, Key, Want, remove};
use crate::guest::elf::{self, Libraries};
use crate::guest::{GuestError, Package, Preparing};

/// Where a program lies that no package of its module has.
const LOCAL: &str = "usr/local/bin";

const APT_SPACE_MIB: u64 = 200;
const COMPILE_SPACE_MIB: u64 = 2000;

/// A root layer with what it installs.
#[derive(Debug)]
pub(crate) struct Layer {
    /// File name in the image.
    pub(crate) name: String,
    pub(crate) id: Key,
    pub(crate) image: PathBuf,
    pub(crate) packages: Vec<Package>,
}

/// Builds the layers of modules over a base.
pub(crate) struct Builder<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) base: &'a Base,
}

impl Builder<'_> {
    /// The layers of a module, lowest first; none for a module that installs nothing.
    pub(crate) fn layers(
        &self,
        module: &ModuleSoftware,
        refresh: bool,
        tell: &dyn Fn(&Preparing),
    ) -> Result<Vec<Layer>, GuestError> {
        let mut layers = Vec::new();
        let compiled = wanted_crates(module).next().is_some() || wanted_go(module).next().is_some();
        if compiled || !module.apt.is_empty() {
            layers.push(self.packaged(module, refresh, tell)?);
        }
        if !module.binaries.is_empty() {
            let below = layers.first().map(|layer: &Layer| layer.image.with_file_name(""));
            layers.push(self.replaced(module, below.as_deref(), tell)?);
        }
        Ok(layers)
    }

    /// The layer with a module's packages and compiled programs.
    fn packaged(
        &self,
        module: &ModuleSoftware,
        refresh: bool,
        tell: &dyn Fn(&Preparing),
    ) -> Result<Layer, GuestError> {
        let programs = self.compiled(module, tell)?;
        let ids = programs.iter().map(|program| program.id.as_ref());
        let apt = module.apt.iter().map(String::as_bytes);
        let head = [self.base.id.as_ref(), module.name.as_bytes()];
        let key = Key::of(head.into_iter().chain(apt).chain(ids));
        let refresh = refresh && !module.apt.is_empty();
        let name = packaged_name(&module.name);
        let words = format!("the layer with the packages of {}", module.name);
        let want = Want { refresh, ..Want::once(&name, &words, &key, APT_SPACE_MIB) };
        let dir = self.cache.get(&want, tell, |dir| {
            let (root, scratch) = (dir.join("root"), dir.join("apt"));
            fs::create_dir(&root).map_err(GuestError::file("create", &root))?;
            let mut packages = Vec::new();
            if !module.apt.is_empty() {
                packages = apt::install(self.base, &module.apt, &scratch, &root)?;
                remove(&scratch)?;
                tree::tidy(&root)?;
            }
            for program in &programs {
                tree::place(&program.path, &root, &Path::new(LOCAL).join(&program.name))?;
                packages.push(program.package.clone());
            }
            finish(dir, &root, &name, &packages, &self.offered(&tree::libraries(&root)?))
        })?;
        open(dir, &name, &key)
    }

    /// The layer with local programs in place of a module's own. `below` is the directory of its layer.
    fn replaced(
        &self,
        module: &ModuleSoftware,
        below: Option<&Path>,
        tell: &dyn Fn(&Preparing),
    ) -> Result<Layer, GuestError> {
        let name = local_name(&module.name);
        let (mut inputs, mut targets) = (vec![self.base.id.as_ref().to_vec()], Vec::new());
        let packaged = match below {
            Some(dir) => read(&dir.join("programs"))?,
            None => String::new(),
        };
        for (program, path) in &module.binaries {
            let content = fs::read(path).map_err(GuestError::file("read", path))?;
            let target =
                packaged_at(&packaged, program).unwrap_or_else(|| Path::new(LOCAL).join(program));
            inputs.push(target.to_string_lossy().into_owned().into_bytes());
            inputs.push(content);
            targets.push((path, target));
        }
        let key = Key::of(&inputs);
        let words = format!("the layer with your own program for {}", module.name);
        let want = Want::once(&name, &words, &key, APT_SPACE_MIB);
        let mut names = self.base.libraries.names.clone();
        if let Some(dir) = below {
            names.extend(read(&dir.join("libraries"))?.lines().map(str::to_owned));
        }
        let offered = Libraries { glibc: self.base.libraries.glibc.clone(), names };
        let dir = self.cache.get(&want, tell, |dir| {
            let root = dir.join("root");
            for (path, target) in &targets {
                elf::check(path, &offered)?;
                tree::place(path, &root, target)?;
            }
            let local: Vec<Package> =
                module.binaries.keys().map(|name| Package::new(name, "local")).collect();
            finish(dir, &root, &name, &local, &offered)
        })?;
        open(dir, &name, &key)
    }

    fn offered(&self, more: &std::collections::BTreeSet<String>) -> Libraries {
        let names = self.base.libraries.names.union(more).cloned().collect();
        Libraries { glibc: self.base.libraries.glibc.clone(), names }
    }

    fn compiled(
        &self,
        module: &ModuleSoftware,
        tell: &dyn Fn(&Preparing),
    ) -> Result<Vec<Program>, GuestError> {
        let mut programs = Vec::new();
        for software in wanted_crates(module) {
            programs.extend(self.cargo(software, tell)?);
        }
        for software in wanted_go(module) {
            programs.push(self.go(software, tell)?);
        }
        Ok(programs)
    }

    fn cargo(
        &self,
        software: &CargoCrate,
        tell: &dyn Fn(&Preparing),
    ) -> Result<Vec<Program>, GuestError> {
        let scratch = self.cache.scratch("build")?;
        let words = ["cargo", &software.name, &software.version];
        let key = Key::of(words.into_iter().chain(software.bins.iter().map(String::as_str)));
        let name = format!("cargo-{}", software.name);
        let words = format!("{}, a Rust program, from source (minutes)", software.name);
        let want = Want::once(&name, &words, &key, COMPILE_SPACE_MIB);
        let dir = self
            .cache
            .get(&want, tell, |dir| build::cargo(software, &scratch, dir, tell).map(drop))?;
        let program = |bin: &String| Program {
            name: bin.clone(),
            path: dir.join("bin").join(bin),
            id: key.clone(),
            package: Package::new(&software.name, &software.version),
        };
        Ok(software.bins.iter().map(program).collect())
    }

    fn go(&self, software: &GoProgram, tell: &dyn Fn(&Preparing)) -> Result<Program, GuestError> {
        let scratch = self.cache.scratch("build")?;
        let flags = software.ldflags.as_deref().unwrap_or_default();
        let words = ["go", &software.package, &software.version, &software.bin, flags];
        let cgo = software.cgo.then_some("cgo");
        let more = cgo.into_iter().chain(software.tags.iter().map(String::as_str));
        let key = Key::of(words.into_iter().chain(more));
        let name = format!("go-{}", software.bin);
        let words = format!("{}, a Go program, from source (minutes)", software.bin);
        let want = Want::once(&name, &words, &key, COMPILE_SPACE_MIB);
        let dir =
            self.cache.get(&want, tell, |dir| build::go(software, &scratch, dir).map(drop))?;
        Ok(Program {
            name: software.bin.clone(),
            path: dir.join(&software.bin),
            id: key,
            package: Package::new(&software.package, &software.version),
        })
    }
}

/// The name of the layer with a module's packages: one that no other layer has, whatever the module's.
fn packaged_name(module: &str) -> String {
    format!("module-{module}")
}

/// The name of the layer with local programs for a module.
fn local_name(module: &str) -> String {
    format!("local-{module}")
}

/// Crates of which at least one program is not replaced by a local one.
fn wanted_crates(module: &ModuleSoftware) -> impl Iterator<Item = &CargoCrate> {
    let packaged = |bin: &String| !module.binaries.contains_key(bin);
    module.cargo.iter().filter(move |software| software.bins.iter().any(packaged))
}

/// Go programs that are not replaced by local ones.
fn wanted_go(module: &ModuleSoftware) -> impl Iterator<Item = &GoProgram> {
    module.go.iter().filter(|software| !module.binaries.contains_key(&software.bin))
}

/// A compiled program in the cache.
struct Program {
    name: String,
    path: PathBuf,
    id: Key,
    package: Package,
}

/// Checks and packs the tree of a layer, and notes beside it what later layers need to know.
fn finish(
    dir: &Path,
    root: &Path,
    name: &str,
    packages: &[Package],
    offered: &Libraries,
) -> Result<(), GuestError> {
    let mut programs = String::new();
    for place in ["usr/sbin", "usr/bin", LOCAL] {
        let directory = root.join(place);
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if place == LOCAL {
                elf::check(&entry.path(), offered)?;
            }
            programs.push_str(&format!("{place}/{}\n", entry.file_name().to_string_lossy()));
        }
    }
    let line = |package: &Package| format!("{}\t{}\n", package.name, package.version);
    let libraries = tree::libraries(root)?.into_iter().map(|name| name + "\n");
    let notes = [
        ("programs", programs),
        ("packages", packages.iter().map(line).collect()),
        ("libraries", libraries.collect()),
    ];
    for (note, text) in notes {
        let path = dir.join(note);
        fs::write(&path, text).map_err(GuestError::file("write", &path))?;
    }
    tree::pack(root, &dir.join(format!("{name}.erofs")))?;
    remove(root)
}

fn open(dir: PathBuf, name: &str, key: &Key) -> Result<Layer, GuestError> {
    let text = read(&dir.join("packages"))?;
    let name = format!("{name}.erofs");
    Ok(Layer {
        id: Key::of([key.as_ref(), text.as_bytes()]),
        image: dir.join(&name),
        packages: base::parse_packages(&text)?,
        name,
    })
}

/// Where a layer has a program, by the notes of [`finish`].
fn packaged_at(programs: &str, name: &str) -> Option<PathBuf> {
    let paths = programs.lines().map(Path::new);
    paths.into_iter().find(|path| path.file_name().is_some_and(|file| file == name)).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_program_goes_where_the_packaged_one_lies() {
        let programs = "usr/sbin/tincd\nusr/bin/tinc\n";
        assert_eq!(packaged_at(programs, "tincd"), Some("usr/sbin/tincd".into()));
        assert_eq!(packaged_at(programs, "tin"), None);
    }

    #[test]
    fn a_modules_layers_are_called_like_no_layer_of_the_provider() {
        let modules = ["base", "modules", "agent", "image", "a", "a-local", "local-a", "module-a"];
        let of_modules = modules.iter().flat_map(|name| [packaged_name(name), local_name(name)]);
        let own = super::super::OWN_LAYERS.map(|name| name.trim_end_matches(".erofs").to_owned());
        let all: Vec<String> = of_modules.chain(own).collect();
        let distinct: std::collections::BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }

    #[test]
    fn a_program_is_not_compiled_to_be_replaced() {
        let software = CargoCrate {
            name: "vpn".into(),
            version: "1.0.0".into(),
            bins: vec!["vpnd".into(), "vpnctl".into()],
            build_packages: Vec::new(),
        };
        let mut module = ModuleSoftware { cargo: vec![software], ..ModuleSoftware::default() };
        module.binaries.insert("vpnd".into(), "/x/vpnd".into());
        assert_eq!(wanted_crates(&module).count(), 1);
        module.binaries.insert("vpnctl".into(), "/x/vpnctl".into());
        assert_eq!(wanted_crates(&module).count(), 0);
    }

    #[test]
    fn a_finished_layer_opens_with_its_packages() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        tree::write(&root, Path::new("usr/bin/vpn"), b"#!/bin/sh\n", 0o755).unwrap();
        let offered = Libraries { glibc: vec![2, 41], names: Default::default() };
        let packages = [Package::new("vpn", "1.0-1")];
        finish(dir.path(), &root, "vpn", &packages, &offered).unwrap();
        let layer = open(dir.path().to_owned(), "vpn", &Key::of(["k"])).unwrap();
        assert_eq!(layer.packages, packages);
        assert!(layer.image.is_file() && !root.exists());
        assert_eq!(read(&dir.path().join("programs")).unwrap(), "usr/bin/vpn\n");
    }
}
