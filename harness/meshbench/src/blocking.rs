//! What blocks for long: hashing and syncing gigabytes, waiting for programs.

/// Does it on a thread where it holds nobody up. A panic there goes on here. When nobody waits any more, it is done to
/// its end all the same: what must not end before it, such as a lock, is to be given to it.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
