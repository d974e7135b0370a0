//! Guest images from Debian packages: no Nix, no loop device, no privilege.
//!
//! A guest's root is a stack of layers, each built once per content: the base and its kernel modules, the
//! agent, then per module what it installs, then per module the programs given with `--binary`.

mod apt;
mod base;
mod build;
pub(crate) mod fields;
mod qemu;
mod software;
mod tree;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use self::base::Base;
use super::cache::{Cache, Key, Want, link_or_copy};
use super::{
    FORMAT, GuestError, GuestImage, Made, Manifest, Package, Prepares, Preparing, Provider, Qemu,
};
use super::{initrd, manifest, nar};

/// Kernel command line. The console is the serial port; a panic ends the machine; no timer check and no
/// watchdog, because on a busy host an emulated machine fails both without being at fault; no address
/// randomisation, so that runs differ less; no security modules, whose set-up by systemd takes an emulated
/// machine half a second.
const CMDLINE: &str = concat!(
    "panic=1 loglevel=4 net.ifnames=0 audit=0 lsm= edd=off nokaslr no_timer_check tsc=reliable ",
    "nowatchdog systemd.show_status=false console="
);

const SERVICE: &str = "\
[Unit]
Description=meshbench agent
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
Type=simple
ExecStart=/usr/lib/meshbench/agent
Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root
StandardError=file:/dev/console
Restart=always
RestartSec=0
TasksMax=infinity
OOMScoreAdjust=-900
";

/// File names of the layers that all guests share, lowest first.
const OWN_LAYERS: [&str; 3] = ["base.erofs", "modules.erofs", AGENT_LAYER];

const AGENT_LAYER: &str = "agent.erofs";

/// What one module wants to have in its guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleSoftware {
    /// The module's name, which its layers get.
    pub name: String,
    /// Debian packages.
    pub apt: Vec<String>,
    /// Crates compiled on the host.
    pub cargo: Vec<CargoCrate>,
    /// Go programs compiled on the host.
    pub go: Vec<GoProgram>,
    /// Local programs, by the name of the program that they replace (`--binary NAME=PATH`).
    pub binaries: BTreeMap<String, PathBuf>,
}

/// A crate from the registry, at a pinned version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CargoCrate {
    /// Crate name in the registry.
    #[serde(rename = "crate", deserialize_with = "fields::program_name")]
    pub name: String,
    /// Exact version, such as `2.3.0`.
    #[serde(deserialize_with = "fields::version")]
    pub version: String,
    /// Programs that the crate installs.
    #[serde(deserialize_with = "fields::program_names")]
    pub bins: Vec<String>,
    /// Debian packages needed to compile it.
    #[serde(default, deserialize_with = "fields::package_names")]
    pub build_packages: Vec<String>,
}

/// A Go main package from the module proxy, at a pinned version, linked statically.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GoProgram {
    /// Import path of the main package.
    #[serde(deserialize_with = "fields::text")]
    pub package: String,
    /// Exact version, such as `v1.90.0`.
    #[serde(deserialize_with = "fields::go_version")]
    pub version: String,
    /// Name of the program in the guest.
    #[serde(deserialize_with = "fields::program_name")]
    pub bin: String,
    /// Linker flags in the words of `go install -ldflags`, if the program needs any.
    pub ldflags: Option<String>,
    /// Whether it needs cgo, and so a C compiler on the host.
    #[serde(default)]
    pub cgo: bool,
    /// Build tags.
    #[serde(default, deserialize_with = "fields::program_names")]
    pub tags: Vec<String>,
}

/// The provider of Debian guests.
pub struct Debian {
    cache: PathBuf,
    agent: Vec<u8>,
    refresh: bool,
    looking: bool,
    progress: Prepares,
}

impl std::fmt::Debug for Debian {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Debian").field("cache", &self.cache).finish_non_exhaustive()
    }
}

impl Debian {
    /// A provider with its files in `cache` and `agent` as the agent's program, a static one.
    pub fn new(cache: &Path, agent: &[u8]) -> Self {
        let progress = Arc::new(|_: &Preparing| ());
        let (cache, agent) = (cache.to_owned(), agent.to_owned());
        Self { cache, agent, refresh: false, looking: false, progress }
    }

    /// Reports stages that take time.
    pub fn progress(mut self, progress: Prepares) -> Self {
        self.progress = progress;
        self
    }

    /// Builds the base and all layers anew even if they are cached, to take up newer packages.
    pub fn refresh(mut self, refresh: bool) -> Self {
        self.refresh = refresh;
        self
    }

    /// The image of a guest with the software of these modules; builds what the cache lacks.
    ///
    /// Blocks for as long as that takes: half a minute for the base, minutes for what is compiled.
    ///
    /// # Errors
    /// Missing host programs, no space, no network, a package or program that does not fit.
    pub fn image(&self, software: &[ModuleSoftware]) -> Result<GuestImage, GuestError> {
        let cache = self.cache()?;
        let tell = self.progress.as_ref();
        let base = base::get(&cache, self.refresh, tell)?;
        let agent = self.agent_parts(&cache, &base)?;
        let mut parts = Parts {
            id: vec![base.id.clone(), agent.1],
            layers: base.layers().into(),
            packages: base.packages.clone(),
        };
        parts.layers.push((AGENT_LAYER, agent.0.join(AGENT_LAYER)));
        let builder = software::Builder { cache: &cache, base: &base };
        let mut named = Vec::new();
        for module in software {
            for layer in builder.layers(module, self.refresh, tell)? {
                parts.id.push(layer.id);
                parts.packages.extend(layer.packages);
                named.push((layer.name, layer.image));
            }
        }
        parts.layers.extend(named.iter().map(|(name, image)| (name.as_str(), image.clone())));
        parts.packages.sort();
        parts.packages.dedup();
        let key = Key::of(parts.id.iter().map(Key::as_ref).chain([cmdline().as_bytes()]));
        let initrd = agent.0.join("initrd");
        let get = |refresh| {
            let words = "the whole: kernel, initrd and the list of layers";
            let want = Want { refresh, ..Want::once("image", words, &key, 16) };
            let dir = cache.get(&want, tell, |dir| parts.assemble(&base, &initrd, dir))?;
            manifest::load(&dir)
        };
        match get(false) {
            Err(error) if !self.looking => {
                tell(&Preparing::Remaking { what: Made::Image(None), reason: error.to_string() });
                get(true)
            }
            got => got,
        }
    }

    /// Whether the image is there, so that nothing would be built.
    pub fn has(&self, software: &[ModuleSoftware]) -> bool {
        let looking = Self {
            cache: self.cache.clone(),
            agent: self.agent.clone(),
            refresh: false,
            looking: true,
            progress: Arc::new(|_: &Preparing| ()),
        };
        !self.refresh && self.cache.is_dir() && looking.image(software).is_ok()
    }

    fn cache(&self) -> Result<Cache, GuestError> {
        let cache = Cache::new(&self.cache)?;
        Ok(if self.looking { cache.looking() } else { cache })
    }

    /// The archive that guests are made from, fit to be published; absent where no guest was made yet.
    pub fn mirror(&self) -> Option<String> {
        let cache = Cache::new(&self.cache).ok()?.looking();
        let base = base::get(&cache, false, self.progress.as_ref()).ok()?;
        Some(base::public(&base.mirror))
    }

    /// The QEMU of the guests' release, for sealed clusters: the same for everyone, whatever the host has.
    /// Unpacked once; takes half a minute then.
    ///
    /// # Errors
    /// As [`Debian::image`].
    pub fn qemu(&self) -> Result<Qemu, GuestError> {
        let cache = Cache::new(&self.cache)?;
        let tell = self.progress.as_ref();
        let base = base::get(&cache, false, tell)?;
        qemu::get(&cache, &base, self.refresh, tell)
    }

    /// The directory of the agent's layer and initrd, and its identity.
    fn agent_parts(&self, cache: &Cache, base: &Base) -> Result<(PathBuf, Key), GuestError> {
        let key = Key::of([base.id.as_ref(), SERVICE.as_bytes(), &self.agent]);
        let (name, words) = ("agent", "the layer with the agent");
        let want = Want::once(name, words, &key, 32);
        let dir = cache.get(&want, self.progress.as_ref(), |dir| {
            let root = dir.join("root");
            tree::write(&root, Path::new("usr/lib/meshbench/agent"), &self.agent, 0o755)?;
            let unit = Path::new("usr/lib/systemd/system/meshbench-agent.service");
            tree::write(&root, unit, SERVICE.as_bytes(), 0o644)?;
            tree::pack(&root, &dir.join(AGENT_LAYER))?;
            super::cache::remove(&root)?;
            initrd::write(&dir.join("initrd"), &self.agent, &base.boot_modules())
        })?;
        Ok((dir, key))
    }
}

/// What an image is put together from.
struct Parts<'a> {
    id: Vec<Key>,
    layers: Vec<(&'a str, PathBuf)>,
    packages: Vec<Package>,
}

impl Parts<'_> {
    /// Makes `dir` an image that stands alone: hard links keep it whole when the cache moves on.
    fn assemble(&self, base: &Base, initrd: &Path, dir: &Path) -> Result<(), GuestError> {
        let (kernel, initial) = (dir.join("vmlinuz"), dir.join("initrd"));
        link_or_copy(&base.kernel(), &kernel)?;
        link_or_copy(initrd, &initial)?;
        let mut layers = Vec::new();
        for (name, image) in &self.layers {
            let path = dir.join(name);
            link_or_copy(image, &path)?;
            layers.push(path);
        }
        let manifest = Manifest {
            format: FORMAT,
            provider: Provider::Debian,
            system: super::host_system(),
            kernel: "vmlinuz".into(),
            initrd: "initrd".into(),
            cmdline: cmdline(),
            layers: self.layers.iter().map(|(name, _)| name.into()).collect(),
            nar_hash: nar::of_image(dir, &kernel, &initial, &layers)?,
            packages: self.packages.clone(),
        };
        manifest::store(dir, &manifest)
    }
}

fn cmdline() -> String {
    let console = if cfg!(target_arch = "aarch64") { "ttyAMA0" } else { "ttyS0" };
    format!("{CMDLINE}{console}")
}

/// Reads a file that an earlier build has written.
fn read(path: &Path) -> Result<String, GuestError> {
    fs::read_to_string(path).map_err(GuestError::file("read", path))
}
