//! A machine's monitor, which is shared by whoever saves or loads its state and by its heartbeat. Of a question on
//! it the guest hears nothing.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{Mutex, MutexGuard};

use super::health::{Health, Loss, NAP, STILL};
use super::qmp::Qmp;

/// Between two beats.
const BEAT: Duration = Duration::from_secs(4);

/// Within this time a machine that hangs is told.
const _: () = assert!(BEAT.as_secs() + STILL.as_secs() < 20);

/// States in which QEMU keeps a guest from running although nobody asked it to, such as when the disk is full.
const STOPPED: [&str; 5] = ["internal-error", "io-error", "guest-panicked", "paused", "suspended"];

/// A monitor. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Monitor {
    link: Arc<Mutex<Link>>,
    /// Whether its QEMU stands still because somebody wants it to.
    held: Arc<AtomicBool>,
}

/// The way to a monitor, which is greeted when it is first used.
#[derive(Debug)]
pub(super) enum Link {
    /// Nobody has asked anything.
    Fresh(Option<UnixStream>),
    /// It has been greeted.
    Open(Qmp),
}

impl Monitor {
    pub(super) fn new(socket: UnixStream) -> Self {
        let link = Arc::new(Mutex::new(Link::Fresh(Some(socket))));
        Self { link, held: Arc::default() }
    }

    /// From now on its silence says nothing, or says again that it hangs.
    pub(super) fn hold(&self, held: bool) {
        self.held.store(held, Ordering::Relaxed);
    }

    fn is_held(&self) -> bool {
        self.held.load(Ordering::Relaxed)
    }

    /// It, for whoever asks next.
    pub(super) async fn turn(&self) -> MutexGuard<'_, Link> {
        self.link.lock().await
    }

    /// Asks QEMU from time to time until the machine is lost. One that does not answer, or keeps its guest from
    /// running, is reported as lost.
    pub(super) async fn beat(self, health: Health) {
        let loss = tokio::select! {
            _ = health.lost() => return,
            loss = self.falters(BEAT, STILL) => loss,
        };
        health.report(loss);
    }

    async fn falters(&self, beat: Duration, patience: Duration) -> Loss {
        loop {
            tokio::time::sleep(beat).await;
            if self.is_held() {
                continue;
            }
            let mut link = self.turn().await;
            let status = tokio::select! {
                biased;
                status = link.status() => status,
                () = self.silence(patience) => return Loss::silent(),
            };
            match status {
                Ok(status) if STOPPED.contains(&status.as_str()) => {
                    return Loss::Hung(format!("QEMU has stopped it: {status}"));
                }
                Ok(_) => {}
                // How QEMU ended is told by whoever waits for that.
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// Resolves after that much time in which it could have answered and the harness itself ran: a host that was
    /// suspended, or a harness that was stopped, is nobody else's silence. What was asked just before it was held is
    /// answered once it goes on.
    async fn silence(&self, patience: Duration) {
        let mut silent = Duration::ZERO;
        while silent < patience {
            tokio::time::sleep(NAP).await;
            silent = if self.is_held() { Duration::ZERO } else { silent + NAP };
        }
    }
}

impl Link {
    /// The monitor, greeted.
    pub(super) async fn opened(&mut self) -> io::Result<&mut Qmp> {
        if let Self::Fresh(socket) = self {
            let closed = || io::Error::other("its monitor did not greet");
            *self = Self::Open(Qmp::open(socket.take().ok_or_else(closed)?).await?);
        }
        match self {
            Self::Open(qmp) => Ok(qmp),
            Self::Fresh(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    async fn status(&mut self) -> io::Result<String> {
        self.opened().await?.status().await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    /// The other end, which greets and then gives these answers.
    fn answering(answers: &[&'static str]) -> Monitor {
        let (ours, its) = UnixStream::pair().unwrap();
        let answers = [&["{\"QMP\":{}}", "{\"return\":{}}"], answers].concat();
        tokio::spawn(async move {
            let mut its = BufReader::new(its);
            for (index, answer) in answers.into_iter().enumerate() {
                if index > 0 {
                    its.read_line(&mut String::new()).await.unwrap();
                }
                its.get_mut().write_all(format!("{answer}\n").as_bytes()).await.unwrap();
            }
            std::future::pending::<()>().await
        });
        Monitor::new(ours)
    }

    async fn loss(answers: &[&'static str]) -> Loss {
        let beat = Duration::from_millis(1);
        answering(answers).falters(beat, Duration::from_secs(1)).await
    }

    const RUNNING: &str = r#"{"return":{"running":true,"status":"running"}}"#;

    #[tokio::test]
    async fn a_qemu_that_answers_no_more_is_lost() {
        assert_eq!(loss(&[RUNNING, RUNNING]).await, Loss::silent());
    }

    #[tokio::test]
    async fn a_qemu_that_is_held_may_be_silent_until_it_is_let_go() {
        let (beat, patience) = (Duration::from_millis(1), Duration::from_secs(1));
        // Before it was asked anything, and while a question is on its way.
        for asked_for in [Duration::ZERO, Duration::from_millis(200)] {
            let monitor = answering(&[RUNNING]);
            let mut loss = std::pin::pin!(monitor.falters(beat, patience));
            assert!(tokio::time::timeout(asked_for, loss.as_mut()).await.is_err());
            monitor.hold(true);
            assert!(tokio::time::timeout(2 * patience, loss.as_mut()).await.is_err());
            monitor.hold(false);
            assert_eq!(loss.await, Loss::silent());
        }
    }

    #[tokio::test]
    async fn a_qemu_that_has_stopped_its_guest_is_told_with_the_reason() {
        let full = r#"{"return":{"running":false,"status":"io-error"}}"#;
        let loss = loss(&[RUNNING, full]).await;
        assert!(loss.to_string().ends_with("QEMU has stopped it: io-error"), "{loss}");
    }
}
