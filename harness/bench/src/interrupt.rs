//! ^C and SIGTERM. They are heard from the beginning: for process 1 of a container the kernel ignores them where nobody
//! does.

use std::sync::LazyLock;

use crate::exit;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Whether the harness was asked to stop.
static ASKED: LazyLock<watch::Sender<bool>> = LazyLock::new(watch::Sender::default);

/// Listens from now on, on a thread of its own, since the runtime may be what does not end. A request that nobody
/// waits for ends the harness at once, and so does a second one: machines and builders die with it.
pub fn listen() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(_inside);
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                // Asked before it is told: who waits is gone as soon as it has heard.
                let nobody_waits = ASKED.receiver_count() == 0;
                let again = ASKED.send_replace(true);
                if again || nobody_waits {
                    std::process::exit(exit::INTERRUPTED.into());
                }
            }
        });
    })?;
    Ok(())
}

/// Resolves when the harness is asked to stop.
pub async fn requested() {
    // The sender is never dropped.
    let _ = ASKED.subscribe().wait_for(|asked| *asked).await;
}
