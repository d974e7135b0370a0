use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::GuestError;
use crate::file::read_text;

/// Version of `guest.json` that this harness reads and writes.
pub const FORMAT: u32 = 1;

const FILE_NAME: &str = "guest.json";

/// A guest image on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestImage {
    /// Absolute directory of `guest.json`, to which its paths are relative.
    pub dir: PathBuf,
    /// Content of `guest.json`.
    pub manifest: Manifest,
}

impl GuestImage {
    /// Absolute path of the kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join(&self.manifest.kernel)
    }

    /// Absolute path of the initrd.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join(&self.manifest.initrd)
    }

    /// Absolute paths of the root layers, lowest first.
    pub fn layers(&self) -> Vec<PathBuf> {
        self.manifest.layers.iter().map(|layer| self.dir.join(layer)).collect()
    }

    /// Checks what can be checked at each use: that no layer is shorter than its file system.
    ///
    /// # Errors
    /// One that is, or that cannot be read.
    pub(crate) fn check_layers(&self) -> Result<(), GuestError> {
        self.layers().iter().try_for_each(|layer| super::whole::check_layer(layer))
    }

    /// Checks every byte against the manifest, which takes seconds.
    ///
    /// # Errors
    /// Files that are not what it says.
    pub fn verify(&self) -> Result<(), GuestError> {
        let found = self.nar_hash()?;
        let said = &self.manifest.nar_hash;
        if found == *said {
            return Ok(());
        }
        let subject = self.dir.join(FILE_NAME).display().to_string();
        let reason =
            format!("its files are {found} and not {said}: make the guest anew (--refresh)");
        Err(GuestError::unexpected(subject, reason))
    }

    /// The NAR hash of the files as they are, to be compared with [`Manifest::nar_hash`].
    ///
    /// # Errors
    /// A file that cannot be read, or no space for a copy of all.
    pub fn nar_hash(&self) -> Result<String, GuestError> {
        // Beside the files links cost nothing; where nobody may write, they are copied.
        let beside = tempfile::tempfile_in(&self.dir).map(|_| self.dir.clone());
        let scratch = beside.unwrap_or_else(|_| std::env::temp_dir());
        super::nar::of_image(&scratch, &self.kernel(), &self.initrd(), &self.layers())
    }
}

/// Content of `guest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Who made the image.
    pub provider: Provider,
    /// Machine and kernel in Nix's words: `x86_64-linux`.
    pub system: String,
    /// The kernel that QEMU boots.
    pub kernel: PathBuf,
    /// The initial root: the agent as `/init` and the kernel modules of [`Self::layers`]' disks.
    pub initrd: PathBuf,
    /// Kernel command line; machines add to it.
    pub cmdline: String,
    /// File systems that overlayfs stacks to the guest's root, lowest first.
    pub layers: Vec<PathBuf>,
    /// `sha256-` and base64: Nix's NAR hash of a directory with `kernel`, `initrd` and the layers as
    /// `0.erofs`, `1.erofs`, …
    pub nar_hash: String,
    /// What is installed in the layers, sorted by name.
    pub packages: Vec<Package>,
}

/// Who made an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Provider {
    /// Packages from a Debian archive, see [`super::debian`].
    Debian,
    /// The flake.
    Nixos,
}

impl Provider {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Nixos => "nixos",
        }
    }
}

/// Something installed in a guest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name where it came from: a Debian package, a crate, a Go package, a Nix derivation.
    pub name: String,
    /// Its version there.
    pub version: String,
}

impl Package {
    pub(crate) fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self { name: name.into(), version: version.into() }
    }
}

/// Reads the image at `path`, a directory with a `guest.json` or that file itself.
///
/// # Errors
/// A manifest that is malformed, for another kind of host, or names files that are not there.
pub fn load(path: &Path) -> Result<GuestImage, GuestError> {
    let path = path.canonicalize().map_err(GuestError::file("open", path))?;
    let file = if path.is_dir() { path.join(FILE_NAME) } else { path };
    let text = read_text(&file).map_err(GuestError::file("read", &file))?;
    let manifest = parse(&file, &text)?;
    let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
    let image = GuestImage { dir, manifest };
    let named = [("kernel", image.kernel()), ("initrd", image.initrd())];
    let layers = image.layers().into_iter().map(|layer| ("layers", layer));
    for (field, target) in named.into_iter().chain(layers) {
        if !target.is_file() {
            let reason = format!("`{field}` names {}, which is no file", target.display());
            return Err(refusal(&file, &text, field, reason));
        }
    }
    Ok(image)
}

/// Writes `guest.json` into the directory of an image.
pub(crate) fn store(dir: &Path, manifest: &Manifest) -> Result<(), GuestError> {
    let file = dir.join(FILE_NAME);
    let mut text = serde_json::to_string_pretty(manifest)
        .map_err(|error| GuestError::unexpected(FILE_NAME, error.to_string()))?;
    text.push('\n');
    fs::write(&file, text).map_err(GuestError::file("write", &file))
}

fn parse(file: &Path, text: &str) -> Result<Manifest, GuestError> {
    let manifest: Manifest = serde_json::from_str(text).map_err(|error| GuestError::Manifest {
        path: file.to_owned(),
        line: error.line(),
        reason: error.to_string(),
    })?;
    match objection(&manifest) {
        None => Ok(manifest),
        Some((field, reason)) => Err(refusal(file, text, field, reason)),
    }
}

/// The field that makes a well-formed manifest unusable, and why.
fn objection(manifest: &Manifest) -> Option<(&'static str, String)> {
    let system = super::host_system();
    if manifest.format != FORMAT {
        let reason = format!("format {} is not {FORMAT}, the one known here", manifest.format);
        return Some(("format", reason));
    }
    if manifest.system != system {
        return Some(("system", format!("made for {}, this host is {system}", manifest.system)));
    }
    if manifest.layers.is_empty() {
        return Some(("layers", "an image needs at least one layer".to_owned()));
    }
    if manifest.cmdline.chars().any(char::is_control) {
        return Some(("cmdline", "control characters in the kernel command line".to_owned()));
    }
    if !super::nar::is_hash(&manifest.nar_hash) {
        return Some(("nar_hash", "not `sha256-` and 32 bytes in base64".to_owned()));
    }
    None
}

fn refusal(file: &Path, text: &str, field: &str, reason: String) -> GuestError {
    let key = format!("\"{field}\"");
    let line = text.lines().position(|line| line.contains(&key)).map_or(1, |index| index + 1);
    GuestError::Manifest { path: file.to_owned(), line, reason }
}

/// An image whose files are not there.
#[cfg(test)]
pub(crate) fn sample(dir: &Path) -> GuestImage {
    GuestImage { dir: dir.to_owned(), manifest: tests::sample() }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Manifest {
        Manifest {
            format: FORMAT,
            provider: Provider::Debian,
            system: crate::guest::host_system(),
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            cmdline: "console=ttyS0".to_owned(),
            layers: vec!["base.erofs".into()],
            nar_hash: format!("sha256-{}=", "A".repeat(43)),
            packages: vec![Package::new("nftables", "1.1.3-1")],
        }
    }

    fn written(manifest: &Manifest) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vmlinuz", "initrd", "base.erofs"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        store(dir.path(), manifest).unwrap();
        dir
    }

    /// The message for an image whose text is changed so.
    fn complaint(from: &str, to: &str) -> String {
        let dir = written(&sample());
        let file = dir.path().join(FILE_NAME);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from} not in {text}");
        fs::write(&file, text.replace(from, to)).unwrap();
        load(dir.path()).unwrap_err().to_string()
    }

    #[test]
    fn a_byte_that_is_another_is_found_though_the_file_is_as_long() {
        let dir = written(&sample());
        let mut image = load(dir.path()).unwrap();
        image.manifest.nar_hash = image.nar_hash().unwrap();
        image.verify().unwrap();
        fs::write(dir.path().join("base.erofs"), "base.eroft").unwrap();
        let refused = image.verify().unwrap_err().to_string();
        assert!(refused.contains("make the guest anew"), "{refused}");
    }

    #[test]
    fn an_image_loads_by_directory_and_by_file() {
        let dir = written(&sample());
        let image = load(dir.path()).unwrap();
        assert_eq!(image.manifest, sample());
        assert_eq!(image, load(&dir.path().join(FILE_NAME)).unwrap());
        assert!(image.layers()[0].is_absolute() && image.layers()[0].ends_with("base.erofs"));
    }

    #[rstest::rstest]
    #[case("\"format\": 1", "\"format\": 2", "guest.json:2: format 2")]
    #[case("\"initrd\": \"initrd\"", "\"initrd\": \"gone\"", "guest.json:6: `initrd` names")]
    #[case("\"base.erofs\"", "\"gone.erofs\"", "guest.json:8: `layers` names")]
    #[case("-linux", "-hurd", "guest.json:4: made for")]
    #[case("sha256-A", "sha256-!", "guest.json:11: not `sha256-`")]
    #[case("\"kernel\": \"vmlinuz\"", "\"kernel\": vmlinuz", "guest.json:5: expected value")]
    #[case("\"provider\": \"debian\"", "\"provider\": \"hurd\"", "guest.json:3: unknown variant")]
    #[case("\"cmdline\"", "\"command\"", "guest.json:7: unknown field")]
    fn a_bad_manifest_is_refused_with_line_and_reason(
        #[case] from: &str,
        #[case] to: &str,
        #[case] expected: &str,
    ) {
        let message = complaint(from, to);
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn an_image_without_layers_is_refused() {
        let mut manifest = sample();
        manifest.layers.clear();
        let message = load(written(&manifest).path()).unwrap_err().to_string();
        assert!(message.contains("at least one layer"), "{message}");
    }
}
