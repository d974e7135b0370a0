//! Load on the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps processors busy until it is dropped.
pub struct Busy(Arc<AtomicBool>);

impl Busy {
    pub fn new(threads: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..threads {
            let stop = stop.clone();
            std::thread::spawn(move || while !stop.load(Ordering::Relaxed) {});
        }
        Self(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
