use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use include_dir::{Dir, DirEntry, File, include_dir};

use crate::guest::GuestError;
use crate::guest::cache::{Cache, Key, Want};

/// What a checkout has in its root, for those who have none.
static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/shipped");

/// A folder below `cache` with the modules and scenarios that this library carries. Those of another version lie
/// beside it, so that a run which uses them goes on undisturbed.
pub(super) fn unpacked(cache: &Path) -> Result<PathBuf, GuestError> {
    let mut files = files(&SHIPPED);
    files.sort_by_key(|file| file.path());
    let inputs = files.iter().flat_map(|file| [name(file), file.contents()]);
    let (name, words) = ("shipped", "the modules and scenarios that come along");
    let want = Want::once(name, words, &Key::of(inputs), 1);
    Cache::new(cache)?.get(&want, &|_| (), |dir| {
        files.iter().try_for_each(|file| {
            let path = dir.join(file.path());
            write(file, &path).map_err(GuestError::file("write", &path))
        })
    })
}

fn files(dir: &'static Dir<'static>) -> Vec<&'static File<'static>> {
    let within = |entry: &'static DirEntry<'static>| match entry {
        DirEntry::Dir(dir) => files(dir),
        DirEntry::File(file) => vec![file],
    };
    dir.entries().iter().flat_map(within).collect()
}

fn name(file: &File<'static>) -> &'static [u8] {
    file.path().as_os_str().as_encoded_bytes()
}

fn write(file: &File<'_>, path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, file.contents())?;
    // Modes are not carried along; what names its interpreter is there to be run.
    let mode = if file.contents().starts_with(b"#!") { 0o755 } else { 0o644 };
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Catalogue;

    #[test]
    fn what_is_shipped_is_what_the_checkout_has() {
        let cache = tempfile::tempdir().unwrap();
        let shipped = Catalogue::at(&unpacked(cache.path()).unwrap()).unwrap();
        let checkout = Catalogue::find().unwrap();
        assert_eq!(shipped.scenario_names().unwrap(), checkout.scenario_names().unwrap());
        let names = |catalogue: &Catalogue| -> Vec<_> {
            let modules = catalogue.modules().unwrap();
            modules.into_iter().map(|module| (module.name, module.spec)).collect()
        };
        assert_eq!(names(&shipped), names(&checkout));
        let template = shipped.modules_dir().join("_template/lifecycle");
        assert!(template.is_file(), "`bench new-module` copies it");
    }

    #[test]
    fn it_is_unpacked_once() {
        let cache = tempfile::tempdir().unwrap();
        let first = unpacked(cache.path()).unwrap();
        let kept = first.join("checks/lan.toml");
        // Of the same size: what became shorter is made anew.
        let other = vec![b'#'; fs::read(&kept).unwrap().len()];
        fs::write(&kept, &other).unwrap();
        assert_eq!(unpacked(cache.path()).unwrap(), first);
        assert_eq!(fs::read(&kept).unwrap(), other);
    }
}
