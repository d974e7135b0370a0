use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::{GuestError, Made, Preparing, whole};
use crate::hash;
use crate::host::free_mib;

/// How long the builders of another harness may still write after its end.
const LAST_WRITES: Duration = Duration::from_secs(2 * super::supervisor::GRACE_S as u64);

/// What the C library says of a full disk, in the language that builders are run in.
const NO_SPACE: &str = "No space left on device";

/// Left free for others when a build fails: below this, "no space" is the reason to report.
const NEARLY_FULL_MIB: u64 = 16;

/// Identity of something built: a digest of all that it is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The key of these inputs, in this order.
    pub(crate) fn of<I: AsRef<[u8]>>(inputs: impl IntoIterator<Item = I>) -> Self {
        let mut hasher = Sha256::new();
        for input in inputs {
            hasher.update((input.as_ref().len() as u64).to_le_bytes());
            hasher.update(input.as_ref());
        }
        Self(hash::hex(hasher)[..24].to_owned())
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// What one call of [`Cache::get`] wants.
pub(crate) struct Want<'a> {
    /// The first part of the directory's name.
    pub(crate) name: &'a str,
    /// What the directory holds, as people are told while it is built.
    pub(crate) words: &'a str,
    /// Of the inputs.
    pub(crate) key: Key,
    /// Space that building takes, in MiB.
    pub(crate) space_mib: u64,
    /// Build also if it is there.
    pub(crate) refresh: bool,
}

impl<'a> Want<'a> {
    /// What is the same whenever it was built.
    pub(crate) fn once(name: &'a str, words: &'a str, key: &Key, space_mib: u64) -> Self {
        Self { name, words, key: key.clone(), space_mib, refresh: false }
    }
}

/// Directories that are built once per [`Key`], by whichever process comes first.
///
/// A build happens in `NAME-KEY.tmp` under the lock `NAME-KEY.lock`, and is renamed to `NAME-KEY` when
/// complete. The kernel drops the lock of a process that dies, so a `.tmp` whose lock is free is waste.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
    /// Whether nothing is built.
    looking: bool,
}

impl Cache {
    pub(crate) fn new(root: &Path) -> Result<Self, GuestError> {
        fs::create_dir_all(root).map_err(GuestError::file("create", root))?;
        let root = root.canonicalize().map_err(GuestError::file("open", root))?;
        Ok(Self { root, looking: false })
    }

    /// One that builds nothing: what is missing is an error.
    pub(crate) fn looking(self) -> Self {
        Self { looking: true, ..self }
    }

    /// A directory for what speeds builds up and may be deleted at any time.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, GuestError> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(GuestError::file("create", &path))?;
        Ok(path)
    }

    /// The directory of `want`, made by `build` in the empty directory that it is given, unless it is there.
    pub(crate) fn get(
        &self,
        want: &Want<'_>,
        tell: &dyn Fn(&Preparing),
        build: impl FnOnce(&Path) -> Result<(), GuestError>,
    ) -> Result<PathBuf, GuestError> {
        let name = format!("{}-{}", want.name, want.key.0);
        let path = self.root.join(&name);
        if path.is_dir() && !want.refresh && whole::damage(&path).is_none() {
            return Ok(path);
        }
        if self.looking {
            return Err(GuestError::unexpected(path.display().to_string(), "is not there"));
        }
        let (lock, waited) = self.lock(&name, want.words, tell)?;
        // Whom we waited for built it just now, which is as fresh as anyone can want it.
        if path.is_dir() && (waited || !want.refresh) {
            match whole::damage(&path) {
                None => return Ok(path),
                Some(damage) => tell(&Preparing::Remaking {
                    what: Made::Image(Some(want.words.into())),
                    reason: damage.to_string(),
                }),
            }
        }
        self.remove_waste();
        self.check_space(want.space_mib)?;
        let temporary = self.root.join(format!("{name}.tmp"));
        remove(&temporary)?;
        fs::create_dir(&temporary).map_err(GuestError::file("create", &temporary))?;
        let part = || want.words.to_owned();
        tell(&Preparing::Building { part: part() });
        let begun = Instant::now();
        let built = build(&temporary)
            .and_then(|()| whole::note(&temporary))
            .and_then(|()| self.publish(&temporary, &path));
        let result = built.map_err(|error| self.explain(error, want.space_mib));
        if result.is_err() {
            remove(&temporary)?;
        }
        drop(lock);
        result.map(|()| {
            let seconds = begun.elapsed().as_secs_f64();
            tell(&Preparing::Built { part: part(), seconds });
            path
        })
    }

    /// Puts a finished build in its place, where an older one may be.
    fn publish(&self, temporary: &Path, path: &Path) -> Result<(), GuestError> {
        let old = path.with_extension("old.tmp");
        remove(&old)?;
        match fs::rename(path, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(GuestError::file("replace", path)(error));
            }
            _ => {}
        }
        fs::rename(temporary, path).map_err(GuestError::file("rename to", path))?;
        remove(&old)
    }

    /// The lock of `name`, and whether another process had it first.
    fn lock(
        &self,
        name: &str,
        words: &str,
        tell: &dyn Fn(&Preparing),
    ) -> Result<(File, bool), GuestError> {
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).map_err(GuestError::file("create", &path))?;
        match file.try_lock() {
            Ok(()) => return Ok((file, false)),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(GuestError::file("lock", &path)(error)),
        }
        tell(&Preparing::Waiting { what: Made::Image(Some(words.into())) });
        file.lock().map_err(GuestError::file("lock", &path))?;
        Ok((file, true))
    }

    /// Removes what builds that died have left. Best effort: what stays is only waste of space.
    fn remove_waste(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".tmp")) else {
                continue;
            };
            let name = name.strip_suffix(".old").unwrap_or(name);
            let Ok(file) = File::create(self.root.join(format!("{name}.lock"))) else { continue };
            if file.try_lock().is_ok() {
                let path = entry.path();
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
        }
    }

    fn check_space(&self, needed_mib: u64) -> Result<(), GuestError> {
        let free_mib = free_mib(&self.root).map_err(GuestError::file("measure", &self.root))?;
        if free_mib >= needed_mib {
            return Ok(());
        }
        Err(GuestError::NoSpace { path: self.root.clone(), free_mib, needed_mib })
    }

    /// Replaces the many faces of a full disk by the plain word.
    fn explain(&self, error: GuestError, needed_mib: u64) -> GuestError {
        let full = match &error {
            GuestError::File { source, .. } => source.kind() == io::ErrorKind::StorageFull,
            // A builder fails with one status for whatever reason; why, only its words say.
            GuestError::Command { tail, .. } => tail.contains(NO_SPACE),
            _ => false,
        };
        match free_mib(&self.root) {
            Ok(free_mib) if full || free_mib < NEARLY_FULL_MIB => {
                GuestError::NoSpace { path: self.root.clone(), free_mib, needed_mib }
            }
            _ => error,
        }
    }
}

/// Removes a directory tree if it is there. The builders of a harness that was killed may go on writing to
/// it for as long as they have to clean up.
pub(crate) fn remove(path: &Path) -> Result<(), GuestError> {
    let end = Instant::now() + LAST_WRITES;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                if Instant::now() > end {
                    return Err(GuestError::file("remove", path)(error));
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            // Somebody has put something else there.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return fs::remove_file(path).map_err(GuestError::file("remove", path));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(GuestError::file("remove", path)(error));
            }
            _ => return Ok(()),
        }
    }
}

/// Another name for a file, or another file where the file system has no hard links. What is there already
/// is never written over: it may be another name of a file that others use.
pub(crate) fn link_or_copy(from: &Path, to: &Path) -> Result<(), GuestError> {
    match fs::hard_link(from, to) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(GuestError::file("link to", to)(error));
        }
        Err(_) => {}
    }
    let mut source = File::open(from).map_err(GuestError::file("open", from))?;
    let mut target = File::create_new(to).map_err(GuestError::file("create", to))?;
    io::copy(&mut source, &mut target).map(drop).map_err(GuestError::file("copy", from))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn want(text: &str) -> Want<'static> {
        Want::once("thing", "a thing of two", &Key::of([text]), 1)
    }

    fn write(dir: &Path) -> Result<(), GuestError> {
        fs::write(dir.join("file"), "content").map_err(GuestError::file("write", dir))
    }

    fn names(root: &Path) -> Vec<String> {
        let entries = fs::read_dir(root).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn keys_separate_their_inputs() {
        assert_ne!(Key::of(["ab", "c"]), Key::of(["a", "bc"]));
        assert_ne!(Key::of(["a"]), Key::of(["a", ""]));
    }

    #[test]
    fn the_same_inputs_build_once_and_a_refresh_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let events = RefCell::new(Vec::new());
        let get = |want: &Want<'_>| {
            let log = |told: &Preparing| {
                if matches!(told, Preparing::Built { part, .. } if part == "a thing of two") {
                    events.borrow_mut().push(told.clone());
                }
            };
            cache.get(want, &log, write).unwrap()
        };
        assert_eq!(get(&want("a")), get(&want("a")));
        assert_eq!(events.borrow().len(), 1);
        assert_ne!(get(&want("a")), get(&want("b")));
        get(&Want { refresh: true, ..want("a") });
        assert_eq!(events.borrow().len(), 3);
        assert!(!names(root.path()).iter().any(|name| name.ends_with(".tmp")));
    }

    #[test]
    fn what_became_shorter_is_made_anew_and_who_only_looks_makes_nothing() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let looking = Cache::new(root.path()).unwrap().looking();
        assert!(looking.get(&want("a"), &|_| (), write).is_err());
        let path = cache.get(&want("a"), &|_| (), write).unwrap();
        looking.get(&want("a"), &|_| (), write).unwrap();
        fs::write(path.join("file"), "cont").unwrap();
        assert!(looking.get(&want("a"), &|_| (), write).is_err());
        let told = RefCell::new(Vec::new());
        cache.get(&want("a"), &|step| told.borrow_mut().push(step.clone()), write).unwrap();
        assert_eq!(fs::read_to_string(path.join("file")).unwrap(), "content");
        let anew = matches!(&told.borrow()[0], Preparing::Remaking { what: Made::Image(_), .. });
        assert!(anew, "{told:?}");
    }

    #[test]
    fn what_is_no_directory_any_more_is_made_anew() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let path = cache.get(&want("a"), &|_| (), write).unwrap();
        for _ in 0..2 {
            fs::remove_dir_all(&path).unwrap();
            fs::write(&path, "").unwrap();
            assert_eq!(cache.get(&want("a"), &|_| (), write).unwrap(), path);
            assert!(path.join("file").is_file());
        }
        assert!(!names(root.path()).iter().any(|name| name.ends_with(".tmp")));
    }

    #[test]
    fn a_failed_build_leaves_nothing_and_keeps_the_older_one() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let path = cache.get(&want("a"), &|_| (), write).unwrap();
        let fail = |_: &Path| Err(GuestError::unexpected("it", "broke"));
        let refresh = Want { refresh: true, ..want("a") };
        assert!(cache.get(&refresh, &|_| (), fail).is_err());
        assert!(path.join("file").is_file());
        assert!(!names(root.path()).iter().any(|name| name.ends_with(".tmp")));
    }

    #[test]
    fn waste_of_dead_builds_goes_and_that_of_the_living_stays() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        for name in ["dead-1.tmp", "dead-2.old.tmp", "alive-1.tmp"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let _alive = cache.lock("alive-1", "alive", &|_| ()).unwrap();
        cache.get(&want("a"), &|_| (), write).unwrap();
        let left: Vec<String> =
            names(root.path()).into_iter().filter(|name| name.ends_with(".tmp")).collect();
        assert_eq!(left, ["alive-1.tmp"]);
    }

    #[test]
    fn who_still_writes_into_a_directory_that_is_removed_is_outlasted() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("busy");
        fs::create_dir(&dir).unwrap();
        let writer = dir.clone();
        let writer = std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_millis(500);
            for number in 0.. {
                if Instant::now() > end || fs::write(writer.join(number.to_string()), "").is_err() {
                    return;
                }
            }
        });
        remove(&dir).unwrap();
        writer.join().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_link_never_writes_over_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        fs::write(place("shared"), "agent").unwrap();
        fs::write(place("other"), "module").unwrap();
        link_or_copy(&place("shared"), &place("link")).unwrap();
        assert!(link_or_copy(&place("other"), &place("link")).is_err());
        assert_eq!(fs::read_to_string(place("shared")).unwrap(), "agent");
    }

    #[test]
    fn two_at_once_build_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let builds = AtomicUsize::new(0);
        // Whoever builds goes on once the other waits for it.
        let other = std::sync::Barrier::new(2);
        let get = || {
            let slow = |dir: &Path| {
                builds.fetch_add(1, Ordering::SeqCst);
                other.wait();
                write(dir)
            };
            let hear = |told: &Preparing| {
                if matches!(told, Preparing::Waiting { .. }) {
                    other.wait();
                }
            };
            let path = cache.get(&want("a"), &hear, slow).unwrap();
            assert!(path.join("file").is_file());
        };
        std::thread::scope(|scope| {
            scope.spawn(get);
            scope.spawn(get);
        });
        assert_eq!(builds.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn too_little_space_is_told_before_and_after() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path()).unwrap();
        let huge = Want { space_mib: 1 << 40, ..want("a") };
        let message = cache.get(&huge, &|_| (), write).unwrap_err().to_string();
        assert!(message.contains("no space") && message.contains("1099511627776 MiB"), "{message}");
        let full =
            |dir: &Path| Err(GuestError::file("write", dir)(io::ErrorKind::StorageFull.into()));
        let message = cache.get(&want("b"), &|_| (), full).unwrap_err().to_string();
        assert!(message.contains("no space"), "{message}");
    }
}
