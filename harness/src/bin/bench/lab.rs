//! What every command that starts machines needs first: host programs, guests, an accelerator, templates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use harness::guest::debian::{CargoCrate, Debian, GoProgram, ModuleSoftware};
use harness::guest::{self, GuestError, GuestImage, tools};
use harness::machine::{self, Start, Templates, Verdict};
use harness::module::spec::{INTERNAL, Module};
use harness::plan::Images;
use harness::results::exit;

use crate::args::GuestArgs;
use crate::error::Failure;
use crate::workspace::{Workspace, unknown};

/// Guests and the means to start them.
#[derive(Debug)]
pub struct Lab {
    images: BTreeMap<String, Images>,
    /// How machines start.
    pub templates: Templates,
    /// The accelerator and why.
    pub verdict: Verdict,
    /// QEMU's version line.
    pub qemu_version: String,
}

impl Lab {
    /// Installs or names what is missing, builds the modules' guests, and tries the accelerator.
    pub async fn prepare(
        workspace: &Workspace,
        modules: &[Module],
        arguments: &GuestArgs,
    ) -> Result<Self, Failure> {
        let say = |text: &str| eprintln!("{text}");
        let images = images(workspace, modules, arguments, &say)?;
        tools::install_missing(tools::MACHINES, &say).map_err(guest_failure)?;
        let machines = |e: machine::MachineError| Failure::new(exit::MACHINES, e);
        let qemu_version = machine::qemu_version().await.map_err(machines)?;
        let first =
            images.values().next().ok_or_else(|| Failure::usage("no module is selected"))?;
        let verdict = machine::choose(&first.fabric, &workspace.cache).await.map_err(machines)?;
        eprintln!("accelerator: {} ({})", verdict.accelerator, verdict.reason);
        let start = if arguments.no_fork {
            Start::Boot("--no-fork was given".into())
        } else {
            Start::Fork(workspace.cache.join("templates"))
        };
        let templates = Templates::new(start, verdict.accelerator, qemu_version.clone());
        Ok(Self { images, templates, verdict, qemu_version })
    }

    /// The guests of a module.
    pub fn images(&self, module: &str) -> Images {
        self.images[module].clone()
    }

    /// All guests with the module that each was made for.
    pub fn all_images(&self) -> impl Iterator<Item = (&str, &GuestImage)> {
        self.images.iter().map(|(name, images)| (name.as_str(), &*images.member))
    }
}

/// One image for each module; the fabric runs the one without any.
fn images(
    workspace: &Workspace,
    modules: &[Module],
    arguments: &GuestArgs,
    say: &dyn Fn(&str),
) -> Result<BTreeMap<String, Images>, Failure> {
    let finished = named_guests(&arguments.guests)?;
    let replacements = replacements(modules, &arguments.binaries)?;
    let provider = Debian::new(&workspace.cache, harness::AGENT)
        .refresh(arguments.refresh)
        .progress(Arc::new(|text: &str| eprintln!("{text}")));
    let build = |name: &str, software: &[ModuleSoftware]| {
        if let Some(path) = finished.get(name) {
            return guest::load(path).map(Arc::new).map_err(guest_failure);
        }
        tools::install_missing(tools::DEBIAN, say).map_err(guest_failure)?;
        provider.image(software).map(Arc::new).map_err(guest_failure)
    };
    let fabric = build(INTERNAL, &[])?;
    let mut images = BTreeMap::new();
    for module in modules {
        let member = if module.name == INTERNAL {
            fabric.clone()
        } else {
            build(&module.name, &[software(module, &replacements)?])?
        };
        images.insert(module.name.clone(), Images { fabric: fabric.clone(), member });
    }
    Ok(images)
}

/// What the Debian provider installs for a module.
fn software(
    module: &Module,
    replacements: &BTreeMap<String, PathBuf>,
) -> Result<ModuleSoftware, Failure> {
    let debian = &module.spec.software.debian;
    let absent: Vec<&str> = debian
        .missing_programs()
        .iter()
        .map(String::as_str)
        .filter(|program| !replacements.contains_key(*program))
        .collect();
    if !absent.is_empty() {
        let name = &module.name;
        return Err(Failure::setup(format!(
            "{name} is in no registry that the Debian provider uses: {} must be given",
            absent.join(", ")
        ))
        .help("run it with Nix, or with --binary NAME=PATH for a program built by you"));
    }
    let cargo = debian.cargo.iter().map(|program| CargoCrate {
        name: program.name.clone(),
        version: program.version.clone(),
        bins: program.bins.clone(),
        build_packages: program.build_packages.clone(),
    });
    let go = debian.go.iter().map(|program| GoProgram {
        package: program.package.clone(),
        version: program.version.clone(),
        bin: program.bin.clone(),
        ldflags: program.ldflags.clone(),
    });
    Ok(ModuleSoftware {
        name: module.name.clone(),
        apt: debian.apt.clone(),
        cargo: cargo.collect(),
        go: go.collect(),
        binaries: debian
            .binaries
            .iter()
            .filter_map(|name| Some((name.clone(), replacements.get(name)?.clone())))
            .collect(),
    })
}

/// The programs of `--binary [NAME=]PATH`, by name. Each must be one that a selected module runs.
fn replacements(
    modules: &[Module],
    arguments: &[String],
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let programs: Vec<String> =
        modules.iter().flat_map(|module| module.spec.software.debian.binaries.clone()).collect();
    let mut replacements = BTreeMap::new();
    for argument in arguments {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) => (name.to_owned(), PathBuf::from(path)),
            None => {
                let path = PathBuf::from(argument);
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                (name, path)
            }
        };
        if !programs.contains(&name) {
            return Err(unknown("program", &name, &programs));
        }
        let path = std::fs::canonicalize(&path)
            .map_err(|e| Failure::usage(format!("--binary {}: {e}", path.display())))?;
        replacements.insert(name, path);
    }
    Ok(replacements)
}

/// `MODULE=PATH` as given by `--guest`.
fn named_guests(arguments: &[String]) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let split = |argument: &String| {
        let (name, path) = argument.split_once('=').ok_or_else(|| {
            Failure::usage(format!("--guest {argument}: expected MODULE=GUEST_JSON"))
        })?;
        Ok((name.to_owned(), PathBuf::from(path)))
    };
    arguments.iter().map(split).collect()
}

fn guest_failure(error: GuestError) -> Failure {
    Failure::setup(error)
}
