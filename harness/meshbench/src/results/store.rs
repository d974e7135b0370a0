use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::file::{self, CELLS, RUN, StoreError, TEMPORARY, io, write_file, write_json};
use super::lock::lock;
use super::read::{ResultSet, belongs, load};
use super::{CONTRACT, CellRecord, RunRecord, export};

/// A result directory being written:
/// `run.json`, `cells/<block>_<scenario>_<module>_<workload>.json`, and, once exported,
/// `results.csv`, `samples.csv` and `junit.xml`.
///
/// Every file is written beside its place, synced and renamed: it is there whole or not at all.
///
/// A directory has one writer: it is locked as long as this lives.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    #[expect(dead_code, reason = "the lock ends with it")]
    lock: File,
}

impl Store {
    /// Begins a result directory, making it and its parents if need be.
    ///
    /// # Errors
    /// As [`Store::vacant`]; if the record is unsound, or a file operation fails.
    pub fn create(dir: &Path, run: &RunRecord) -> Result<Self, StoreError> {
        let cells = dir.join(CELLS);
        Self::vacant(dir)?;
        fs::create_dir_all(&cells).map_err(io("make the directory", &cells))?;
        let store = Self { dir: dir.into(), lock: lock(dir)? };
        // Again: before, somebody else may have had it.
        Self::vacant(dir)?;
        store.write_run(run)?;
        Ok(store)
    }

    /// Checks that a directory holds nothing of another run, so that one may begin there.
    ///
    /// # Errors
    /// If it holds a run or cells of one, or cannot be looked into.
    pub fn vacant(dir: &Path) -> Result<(), StoreError> {
        if dir.join(RUN).exists() {
            return Err(StoreError::Exists { path: dir.into() });
        }
        if dir.join(CONTRACT).exists() {
            return Err(StoreError::OfContract { path: dir.into() });
        }
        let cells = dir.join(CELLS);
        let entries = match fs::read_dir(&cells) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(io("list", &cells))?,
        };
        for entry in entries {
            let name = entry.map_err(io("list", &cells))?.file_name();
            if !name.to_string_lossy().starts_with(TEMPORARY) {
                return Err(StoreError::Leftover { path: cells });
            }
        }
        Ok(())
    }

    /// Opens a result directory to go on with it: what is there, and where to write more. Files
    /// that a dying harness left half-written are removed.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub fn open(dir: &Path) -> Result<(Self, ResultSet), StoreError> {
        let lock = lock(dir)?;
        let set = load(dir)?;
        for place in [dir.to_path_buf(), dir.join(CELLS)] {
            remove_temporary(&place)?;
        }
        Ok((Self { dir: dir.into(), lock }, set))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes `run.json`, in place of an earlier one of the same run.
    ///
    /// # Errors
    /// If the record is unsound or of another run, or a file operation fails; the earlier file is then untouched.
    pub fn write_run(&self, run: &RunRecord) -> Result<(), StoreError> {
        run.check().map_err(|reason| StoreError::Unsound { what: RUN.into(), reason })?;
        if self.run()?.is_some_and(|begun| begun.id != run.id) {
            return Err(StoreError::Exists { path: self.dir.clone() });
        }
        write_json(&self.dir.join(RUN), run)
    }

    /// `run.json` as it is there.
    fn run(&self) -> Result<Option<RunRecord>, StoreError> {
        let path = self.dir.join(RUN);
        if path.exists() { file::parse(&path).map(Some) } else { Ok(None) }
    }

    /// Writes the record of one cell, in place of an earlier one of the same key that is not `ok`.
    ///
    /// # Errors
    /// As [`Store::write_run`]; a cell that is there and `ok` stays, and none is written that `run.json` does not ask for.
    pub fn write_cell(&self, cell: &CellRecord) -> Result<(), StoreError> {
        let name = cell.key.file_name();
        let run = self.run()?;
        let sound = run.map_or(Ok(()), |run| belongs(cell, &run)).and_then(|()| cell.check());
        sound.map_err(|reason| StoreError::Unsound { what: name.clone(), reason })?;
        let path = self.dir.join(CELLS).join(&name);
        if path.exists() && file::parse::<CellRecord>(&path)?.outcome.is_ok() {
            return Err(StoreError::Final { cell: name });
        }
        write_json(&path, cell)
    }

    /// Writes the JUnit report of these records.
    ///
    /// # Errors
    /// As [`Store::write_run`].
    pub fn report(&self, set: &ResultSet) -> Result<(), StoreError> {
        self.make(set, &export::REPORT)
    }

    /// Writes the tables and the JUnit report of these records.
    ///
    /// # Errors
    /// As [`Store::write_run`].
    pub fn export(&self, set: &ResultSet) -> Result<(), StoreError> {
        export::TABLES.iter().chain([&export::REPORT]).try_for_each(|file| self.make(set, file))
    }

    fn make(&self, set: &ResultSet, (name, make): &export::File) -> Result<(), StoreError> {
        let bytes =
            make(set).map_err(|reason| StoreError::Unsound { what: (*name).into(), reason })?;
        write_file(&self.dir.join(name), &bytes)
    }
}

fn remove_temporary(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(io("list", dir))? {
        let entry = entry.map_err(io("list", dir))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path()).map_err(io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::sample;
    use super::super::{CellKey, Outcome};
    use super::*;

    fn finished() -> (tempfile::TempDir, ResultSet) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), &sample::run()).unwrap();
        for cell in sample::cells() {
            store.write_cell(&cell).unwrap();
        }
        let set = load(dir.path()).unwrap();
        store.export(&set).unwrap();
        (dir, set)
    }

    fn text(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (dir, set) = finished();
        assert_eq!(load(dir.path()).unwrap(), set);
        assert_eq!(set.run, sample::run());
        let mut cells = sample::cells();
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(set.cells, cells);
    }

    #[test]
    fn nothing_but_the_named_files_is_left() {
        let (dir, _) = finished();
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["cells", "junit.xml", "results.csv", "run.json", "samples.csv"]);
    }

    #[test]
    fn a_run_is_not_written_over_another() {
        let (dir, _) = finished();
        let error = Store::create(dir.path(), &sample::run()).unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error}");
    }

    #[test]
    fn a_run_begins_in_no_directory_of_a_contract() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(CONTRACT), "[]").unwrap();
        let error = Store::create(dir.path(), &sample::run()).unwrap_err();
        assert!(matches!(error, StoreError::OfContract { .. }), "{error}");
    }

    #[test]
    fn cells_without_their_run_are_adopted_by_no_other() {
        let (dir, _) = finished();
        let kept = text(dir.path(), RUN);
        fs::remove_file(dir.path().join(RUN)).unwrap();
        let error = Store::create(dir.path(), &sample::run()).unwrap_err().to_string();
        assert!(error.contains("/cells holds cells") && error.contains("put it back"), "{error}");
        assert!(!dir.path().join(RUN).exists());
        fs::write(dir.path().join(RUN), kept).unwrap();
        assert!(load(dir.path()).is_ok());

        // What a harness left that died at once is nobody's.
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(CELLS)).unwrap();
        fs::write(dir.path().join(CELLS).join(format!("{TEMPORARY}a")), "{").unwrap();
        Store::create(dir.path(), &sample::run()).unwrap();
    }

    #[test]
    fn resuming_finds_the_cells_and_removes_what_a_dead_harness_left() {
        let (dir, set) = finished();
        let leftover = dir.path().join("cells/.tmp-a1b2c3");
        fs::write(&leftover, "{\"format\":").unwrap();
        assert_eq!(load(dir.path()).unwrap(), set);
        assert!(leftover.exists());
        let (store, found) = Store::open(dir.path()).unwrap();
        assert_eq!(found, set);
        assert!(!leftover.exists());

        let failed = |cell: &&CellRecord| matches!(cell.outcome, Outcome::Failed { .. });
        let mut again = found.cells.iter().find(failed).unwrap().clone();
        again.outcome = Outcome::Skipped { reason: "out of time".into() };
        again.metrics.clear();
        store.write_cell(&again).unwrap();
        assert_eq!(load(dir.path()).unwrap().cell(&again.key), Some(&again));
    }

    #[test]
    fn a_finished_cell_is_final() {
        let (dir, set) = finished();
        let (store, _) = Store::open(dir.path()).unwrap();
        let done = set.cells.iter().find(|cell| cell.outcome.is_ok()).unwrap();
        let mut worse = done.clone();
        worse.outcome = Outcome::Skipped { reason: "measured again".into() };
        worse.metrics.clear();
        let error = store.write_cell(&worse).unwrap_err();
        assert!(matches!(error, StoreError::Final { .. }), "{error}");
        assert_eq!(load(dir.path()).unwrap().cell(&done.key), Some(done));
    }

    #[test]
    fn what_the_run_does_not_ask_for_is_not_written_and_no_other_run_over_it() {
        let (dir, set) = finished();
        let (store, _) = Store::open(dir.path()).unwrap();
        let mut other = set.cells[0].clone();
        other.key.module = "nobody".into();
        let error = store.write_cell(&other).unwrap_err().to_string();
        assert!(error.contains("has no module nobody"), "{error}");
        let run = RunRecord { id: format!("{}-2", set.run.id), ..set.run.clone() };
        assert!(matches!(store.write_run(&run), Err(StoreError::Exists { .. })));
        assert_eq!(load(dir.path()).unwrap(), set);
    }

    #[test]
    fn what_is_no_plain_file_is_refused_at_once_by_its_name() {
        let (dir, _) = finished();
        let cell = dir.path().join("cells").join(sample::cells()[0].key.file_name());
        for path in [cell, dir.path().join(RUN)] {
            for make in [
                |path: &Path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
                |path: &Path| fs::create_dir(path).unwrap(),
                |path: &Path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            ] {
                let kept = dir.path().join("kept");
                fs::rename(&path, &kept).unwrap();
                make(&path);
                let error = load(dir.path()).unwrap_err().to_string();
                let name = path.display().to_string();
                assert!(error.contains(&name) && error.contains("no plain file"), "{error}");
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
                fs::rename(&kept, &path).unwrap();
            }
        }
        assert!(load(dir.path()).is_ok());
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Store::open(&dir.path().join("pipe")).is_err());
    }

    #[test]
    fn a_second_writer_is_told_who_has_the_directory() {
        let (dir, _) = finished();
        let first = Store::open(dir.path()).unwrap();
        let error = Store::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("by process {}", std::process::id())), "{error}");
        drop(first);
        Store::open(dir.path()).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let (dir, set) = finished();
        let (store, _) = Store::open(dir.path()).unwrap();
        let mut run = sample::run();
        run.environment.load_average = [f64::NAN; 3];
        assert!(store.write_run(&run).is_err());
        assert_eq!(load(dir.path()).unwrap(), set);

        let blocked = dir.path().join("blocked");
        fs::create_dir(&blocked).unwrap();
        let error = write_file(&blocked, b"x").unwrap_err();
        assert!(matches!(error, StoreError::Io { .. }), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
    }

    #[rstest]
    #[case::name("../../etc/passwd")]
    #[case::underscore("a_b")]
    #[case::empty("")]
    #[case::dot("..")]
    #[case::case("WireGuard")]
    fn a_name_that_is_no_file_name_is_refused(#[case] name: &str) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), &sample::run()).unwrap();
        let mut cell = sample::cells().remove(0);
        cell.key.module = name.into();
        assert!(matches!(store.write_cell(&cell), Err(StoreError::Unsound { .. })));
    }

    /// Each alters one cell file; the error names file, line and reason.
    #[rstest]
    #[case("\"block\": 1", "\"block\": -1", ":4: invalid value: integer `-1`, expected u32")]
    #[case("\"block\": 1", "\"block\": 2", ": its key is that of 2_lan_internal_ping.json")]
    #[case("\"status\": \"ok\"", "\"status\": \"ok\", \"x\": 1", ": unknown field `x`")]
    #[case("\"format\": 1", "\"format\": 9", ": its format is 9, this program reads format 1")]
    #[case("\"format\": 1", "\"format\": 1, \"more\": 1", ":2: unknown field `more`")]
    #[case("\"value\": 0.41", "\"value\": 1e999", ":19: number out of range")]
    #[case("\"ms\"", "\"fortnight\"", ":17: unknown variant `fortnight`")]
    #[case("\"name\": \"rtt\"", "\"name\": \"loss\"", ": metric loss is there twice")]
    fn a_malformed_cell_is_refused(#[case] from: &str, #[case] to: &str, #[case] want: &str) {
        let (dir, _) = finished();
        let path = dir.path().join("cells/1_lan_internal_ping.json");
        let good = fs::read_to_string(&path).unwrap();
        assert!(good.contains(from), "{good}");
        fs::write(&path, good.replace(from, to)).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("1_lan_internal_ping.json"), "{error}");
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn a_truncated_file_is_refused_with_its_line() {
        let (dir, _) = finished();
        let run = text(dir.path(), RUN);
        fs::write(dir.path().join(RUN), &run[..run.len() / 2]).unwrap();
        let error = load(dir.path()).unwrap_err();
        assert!(matches!(error, StoreError::Malformed { line: Some(2..), .. }), "{error}");
    }

    #[test]
    fn strangers_among_the_cells_are_refused() {
        let (dir, _) = finished();
        let stranger = dir.path().join("cells/notes.txt");
        fs::write(&stranger, "x").unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("notes.txt"));
        fs::remove_file(stranger).unwrap();

        let mut cell = sample::cells().remove(0);
        cell.key = CellKey { scenario: "mars".into(), ..cell.key };
        let place = |key: &CellKey| dir.path().join("cells").join(key.file_name());
        write_json(&place(&cell.key), &cell).unwrap();
        let error = load(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("run.json has no scenario mars"), "{error}");
        fs::remove_file(place(&cell.key)).unwrap();

        let own = sample::cells().remove(0).key;
        for (key, says) in [
            (CellKey { block: 1000, ..own.clone() }, "has 7 blocks, and this is of block 1000"),
            (CellKey { workload: "rpc".into(), ..own.clone() }, "asks for no rpc on lan"),
        ] {
            let stranger = CellRecord { key, ..sample::cells().remove(0) };
            write_json(&place(&stranger.key), &stranger).unwrap();
            let error = load(dir.path()).unwrap_err().to_string();
            assert!(error.ends_with(says), "{error}");
            fs::remove_file(place(&stranger.key)).unwrap();
        }
        assert!(load(dir.path()).is_ok());
    }

    #[test]
    fn tables_have_a_row_per_metric_and_per_sample_and_show_failures() {
        let (dir, _) = finished();
        insta::assert_snapshot!(text(dir.path(), "results.csv"), @r#"
        run,block,scenario,module,workload,status,metric,unit,better,value,samples,path,underlay,inner_mtu,duration_seconds,stage,machine,reason
        2026-11-23-a,1,home-dsl,internal,connect,skipped,,,,,,direct,ipv4,1420,4.5,,,there is no VPN to start
        2026-11-23-a,1,home-dsl,wireguard,udp,unsupported,,,,,,direct,ipv4,1420,4.5,,,no hole punching
        2026-11-23-a,1,lan,internal,ping,ok,rtt,ms,lower,0.41,2,direct,ipv4,1420,4.5,,,
        2026-11-23-a,1,lan,internal,ping,ok,loss,%,lower,0,0,direct,ipv4,1420,4.5,,,
        2026-11-23-a,1,lan,wireguard,ping,ok,rtt,ms,lower,0.62,2,direct,ipv4,1420,4.5,,,
        2026-11-23-a,1,lan,wireguard,ping,ok,loss,%,lower,0,0,direct,ipv4,1420,4.5,,,
        2026-11-23-a,1,lan,wireguard,tcp,failed,,,,,,direct,ipv4,1420,4.5,measure,bob,"iperf3: ""the server has terminated"",
        after 2 s"
        "#);
        insta::assert_snapshot!(text(dir.path(), "samples.csv"), @r#"
        run,block,scenario,module,workload,metric,unit,sample,value
        2026-11-23-a,1,lan,internal,ping,rtt,ms,0,0.5
        2026-11-23-a,1,lan,internal,ping,rtt,ms,1,0.41
        2026-11-23-a,1,lan,wireguard,ping,rtt,ms,0,0.5
        2026-11-23-a,1,lan,wireguard,ping,rtt,ms,1,0.62
        "#);
    }

    #[test]
    fn what_a_guest_said_steers_nobody_who_reads_a_table() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path(), &sample::run()).unwrap();
        let hostile = "\u{1b}[2J\u{7}\u{9b}31m\u{202e}".to_owned();
        let mut cell = sample::failed();
        cell.outcome = Outcome::Failed {
            stage: hostile.clone(),
            machine: Some(hostile.clone()),
            reason: hostile.clone(),
            evidence: Vec::new(),
        };
        store.write_cell(&cell).unwrap();
        let set = load(dir.path()).unwrap();
        store.export(&set).unwrap();
        assert_eq!(set.cells[0], cell);
        for name in ["results.csv", "junit.xml"] {
            let text = text(dir.path(), name);
            assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{text:?}");
            assert!(text.contains("[2J") && text.contains("\\u{202e}"), "{text:?}");
        }
    }

    #[test]
    fn junit_tells_failures_from_what_was_not_tried() {
        let (dir, _) = finished();
        insta::assert_snapshot!(text(dir.path(), "junit.xml"), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="meshbench 2026-11-23-a" tests="5" skipped="2" failures="1" errors="0">
            <testsuite name="home-dsl" tests="2" skipped="2" errors="0" failures="0">
                <testcase name="connect block 1" classname="home-dsl.internal" time="4.500">
                    <skipped message="skipped: there is no VPN to start"/>
                </testcase>
                <testcase name="udp block 1" classname="home-dsl.wireguard" time="4.500">
                    <skipped message="unsupported: no hole punching"/>
                </testcase>
            </testsuite>
            <testsuite name="lan" tests="3" skipped="0" errors="0" failures="1">
                <testcase name="ping block 1" classname="lan.internal" time="4.500"/>
                <testcase name="ping block 1" classname="lan.wireguard" time="4.500"/>
                <testcase name="tcp block 1" classname="lan.wireguard" time="4.500">
                    <failure message="measure on bob: iperf3: &quot;the server has terminated&quot;,
        after 2 s" type="measure">logs/1-lan-wireguard/bob.log</failure>
                </testcase>
            </testsuite>
        </testsuites>
        "#);
    }
}
