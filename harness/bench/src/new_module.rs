//! `bench new-module`.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use meshbench::module::spec;
use meshbench::name::Name;

use crate::error::{Failure, Outcome};
use crate::output::print;
use crate::workspace::Workspace;

/// Folder of the template; `nix flake init -t .#vpn` copies the same.
const TEMPLATE: &str = "_template";

/// What the template has in place of the module's name.
const PLACEHOLDER: &str = "NAME";

/// Writes a module that works as it stands, and says how to go on.
pub fn new_module(workspace: &Workspace, name: &str) -> Outcome {
    Name::parse(name).map_err(Failure::usage)?;
    if workspace.catalogue.is_shipped() {
        return Err(Failure::usage("there is no modules/ and checks/ here or above to write to")
            .help("clone the repository, or name your own folder with --root DIR"));
    }
    let modules = workspace.modules_dir();
    let target = modules.join(name);
    if let Err(error) = fs::create_dir(&target) {
        return Err(match error.kind() {
            ErrorKind::AlreadyExists => {
                Failure::usage(format!("{} is there already", target.display()))
                    .help("choose another name, or remove it")
            }
            _ => Failure::setup(format!("cannot create {}: {error}", target.display())),
        });
    }
    let written = copy(&modules.join(TEMPLATE), &target, name)
        .map_err(Failure::setup)
        .and_then(|()| spec::load(&modules, name).map(drop).map_err(Failure::setup));
    if let Err(failure) = written {
        // It was created just above, so nothing of the user's is in it.
        let _ = fs::remove_dir_all(&target);
        return Err(failure);
    }
    print(&next_steps(&target, name))
}

fn copy(template: &Path, target: &Path, name: &str) -> Result<(), String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let entries = fs::read_dir(template).map_err(|error| failed(template, error))?;
    for entry in entries {
        let from = entry.map_err(|error| failed(template, error))?.path();
        let text = fs::read_to_string(&from).map_err(|error| failed(&from, error))?;
        let mode = fs::metadata(&from).map_err(|error| failed(&from, error))?.permissions().mode();
        let to = target.join(from.file_name().unwrap_or_default());
        fs::write(&to, text.replace(PLACEHOLDER, name)).map_err(|error| failed(&to, error))?;
        // A template in the Nix store is not writable; its copy must be.
        let mode = if mode & 0o111 == 0 { 0o644 } else { 0o755 };
        fs::set_permissions(&to, fs::Permissions::from_mode(mode))
            .map_err(|error| failed(&to, error))?;
    }
    Ok(())
}

fn next_steps(target: &Path, name: &str) -> String {
    format!(
        "wrote {}: module.toml, lifecycle, nixos.nix\n\
         It is WireGuard under another name. Replace it piece by piece, and look after each step:\n\
         \n\
         bench contract {name}    what every module promises\n\
         bench shell {name}       a prompt on every machine of a cluster\n\
         bench {name} --quick     measure it\n\
         \n\
         The guide is modules/README.md. Nix sees the folder after `git add`.\n",
        target.display()
    )
}
