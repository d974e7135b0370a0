//! What is kept of a cell that failed: packets, consoles, logs, and the state of the network.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::event::JobEvents;
use super::schedule::Job;
use super::{Stage, Warning};
use crate::blocking::blocking;
use crate::cluster::{Bound, Capture, Cluster, Member};
use crate::machine::{Machine, MachineError};
use crate::module::lifecycle::{LOG, UNIT};

/// Folder of the result directory that holds evidence.
const FOLDER: &str = "evidence";

/// Console lines that are kept.
const CONSOLE_LINES: usize = 400;

/// Bytes of a daemon's log that are kept: its end says how it failed.
const LOG_BYTES: usize = 256 << 10;

/// How long all of it may take to be had.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long the network is watched when something failed while nobody did.
const WATCH: Duration = Duration::from_secs(2);

/// What the fabric knows.
const NETWORK: &str = "for n in $(ls /run/netns); do echo \"== $n\"
nsenter --net=/run/netns/$n sh -c 'ip -s link; tc -s qdisc; nft list ruleset; conntrack -L 2>/dev/null | head -n 200'
done";

/// What a member knows.
const MEMBER: &str = "ip address; ip route show table all; ip -6 route show table all; ss -tunap; \
                      systemctl status --no-pager \"$1\"";

/// Begins to watch all uplinks. Under emulation a capture costs processor time, so it ends before
/// anything is measured; a network that cannot be watched is measured all the same.
pub(super) async fn watch(cluster: &Cluster, events: &JobEvents) -> Option<Capture> {
    let capture = cluster.capture("evidence", &cluster.uplinks(), Bound::EVIDENCE).await;
    capture.inspect_err(|error| events.warn(Warning::NoCapture(error.to_string()))).ok()
}

/// Ends a capture that turned out not to be needed.
pub(super) async fn forget(cluster: &Cluster, capture: Option<Capture>) {
    if let Some(capture) = capture {
        // Nothing depends on what is thrown away.
        let _ = capture.stop(cluster.fabric()).await;
    }
}

/// Writes what there is below the result directory, and names the files relative to it. What
/// cannot be had any more is left out.
pub(super) async fn gather(
    cluster: &Cluster,
    capture: Option<Capture>,
    results: &Path,
    job: &Job,
    stage: Stage,
    events: &JobEvents,
) -> Vec<String> {
    let found = Mutex::default();
    let asked = async {
        tokio::join!(
            of_network(cluster, capture, &found, events),
            join_all(cluster.members().iter().map(|member| of_member(member, &found)))
        )
    };
    in_time(asked, events).await;
    let mut files = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    files.push(("console-fabric.log".into(), console(cluster.fabric())));
    let of_member = |one: &Member| (format!("console-{}.log", one.net.name), console(&one.machine));
    files.extend(cluster.members().iter().map(of_member));
    // Names hold no `_`, so two jobs never share a folder.
    let own = format!("{FOLDER}/{}_{}_{}_{stage}", job.block, job.scenario, job.module);
    let relative = unused(results, &own);
    let (dir, events) = (results.join(&relative), events.clone());
    let written = blocking(move || write(&dir, files, &events)).await;
    written.iter().map(|name| format!("{relative}/{name}")).collect()
}

/// Asks for all of it for as long as all of it may take.
async fn in_time(asked: impl Future, events: &JobEvents) {
    if tokio::time::timeout(DEADLINE, asked).await.is_err() {
        let late = format!("some of it could not be had within {} s", DEADLINE.as_secs());
        events.warn(Warning::EvidenceLost(late));
    }
}

/// The folder, or the first of that name with a number that is not there: what shows an earlier failure stays.
pub(super) fn unused(results: &Path, folder: &str) -> String {
    let mut numbered = (2..=u32::MAX).map(|number| format!("{folder}_{number}"));
    if !results.join(folder).exists() {
        return folder.to_owned();
    }
    numbered.find(|name| !results.join(name).exists()).unwrap_or_else(|| folder.to_owned())
}

type Found = Mutex<Vec<(String, Vec<u8>)>>;

fn found(found: &Found, file: Option<(String, Vec<u8>)>) {
    found.lock().unwrap_or_else(PoisonError::into_inner).extend(file);
}

/// What the fabric has seen and knows, unless it is lost.
async fn of_network(
    cluster: &Cluster,
    capture: Option<Capture>,
    files: &Found,
    events: &JobEvents,
) {
    let fabric = cluster.fabric();
    if fabric.loss().is_some() {
        return;
    }
    let capture = match capture {
        Some(capture) => Some(capture),
        None => {
            let begun = watch(cluster, events).await;
            tokio::time::sleep(WATCH).await;
            begun
        }
    };
    if let Some(capture) = capture
        && let Ok(captured) = capture.stop(fabric).await
    {
        found(files, Some(("uplinks.pcapng".into(), captured.pcapng())));
    }
    found(files, text("network.txt", fabric.run(&["sh", "-c", NETWORK]).await));
}

/// What a member knows, unless it is lost.
async fn of_member(member: &Member, files: &Found) {
    let (name, machine) = (&member.net.name, &member.machine);
    if machine.loss().is_some() {
        return;
    }
    let state = machine.run(&["sh", "-c", MEMBER, "sh", UNIT]).await;
    found(files, text(&format!("state-{name}.txt"), state));
    let tail = ["tail", "-c", &LOG_BYTES.to_string(), LOG];
    found(files, text(&format!("vpn-{name}.log"), machine.run(&tail).await));
}

fn console(machine: &Machine) -> Vec<u8> {
    let mut text = machine.console().tail(CONSOLE_LINES).join("\n");
    text.push('\n');
    text.into_bytes()
}

/// The output of a command, also where it did not succeed.
fn text(
    name: &str,
    output: Result<crate::machine::Output, MachineError>,
) -> Option<(String, Vec<u8>)> {
    let bytes = match output {
        Ok(output) => output.stdout,
        Err(MachineError::Command { stderr, .. }) => stderr.into_bytes(),
        Err(_) => return None,
    };
    (!bytes.is_empty()).then(|| (name.to_owned(), bytes))
}

/// Names of the files that could be written.
fn write(dir: &Path, files: Vec<(String, Vec<u8>)>, events: &JobEvents) -> Vec<String> {
    if let Err(error) = fs::create_dir_all(dir) {
        events.warn(Warning::EvidenceLost(format!("{}: {error}", dir.display())));
        return Vec::new();
    }
    let mut written = Vec::new();
    for (name, bytes) in files.into_iter().filter(|(_, bytes)| bytes.len() > 1) {
        let place = dir.join(&name);
        match fs::write(&place, bytes) {
            Ok(()) => written.push(name),
            Err(error) => {
                events.warn(Warning::EvidenceLost(format!("{}: {error}", place.display())));
            }
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{Event, EventKind, Events, Listener, ListenerError};
    use super::*;

    #[derive(Clone, Default)]
    struct Warned(Arc<Mutex<Vec<Warning>>>);

    impl Listener for Warned {
        fn hear(&mut self, event: &Event) -> Result<(), ListenerError> {
            if let EventKind::Warned { warning } = &event.kind {
                self.0.lock().unwrap().push(warning.clone());
            }
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_evidence_has_one_deadline_and_its_loss_is_told() {
        let warned = Warned::default();
        let job = Events::default().with(warned.clone()).of_job(0);
        let begun = tokio::time::Instant::now();
        in_time(std::future::pending::<()>(), &job).await;
        assert_eq!(begun.elapsed(), DEADLINE);
        in_time(std::future::ready(()), &job).await;
        let warned = warned.0.lock().unwrap();
        assert!(matches!(warned[..], [Warning::EvidenceLost(_)]), "{warned:?}");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_and_named_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("taken.txt")).unwrap();
        let warned = Warned::default();
        let events = Events::default().with(warned.clone());
        let files = ["taken.txt", "network.txt"].map(|name| (name.to_owned(), b"text".to_vec()));
        let written = write(dir.path(), files.into(), &events.of_job(0));
        assert_eq!(written, ["network.txt"]);
        let warnings = warned.0.lock().unwrap();
        let [Warning::EvidenceLost(reason)] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(reason.contains("taken.txt: "), "{reason}");
    }

    #[test]
    fn what_shows_an_earlier_failure_stays() {
        let dir = tempfile::tempdir().unwrap();
        for wanted in ["evidence/1_lan_a_tcp", "evidence/1_lan_a_tcp_2", "evidence/1_lan_a_tcp_3"] {
            let folder = unused(dir.path(), "evidence/1_lan_a_tcp");
            assert_eq!(folder, wanted);
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
    }
}
