//! ^C and SIGTERM.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the harness is asked to stop. A second request ends it at once: its machines die with it.
pub async fn requested() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        interrupt.recv().await;
        std::process::exit(i32::from(meshbench::results::exit::INTERRUPTED));
    });
}
