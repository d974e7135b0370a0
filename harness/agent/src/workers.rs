//! Threads that outlive what they do: making one and letting it end takes a dozen system calls, and its stack
//! is given back to the kernel each time.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::schedule;

type Job = Box<dyn FnOnce() + Send>;

/// Idle threads, the last that finished at the end. There are as many as jobs have run at once.
#[derive(Clone, Default)]
pub(crate) struct Workers(Arc<Mutex<Vec<Sender<Job>>>>);

impl Workers {
    /// Runs a job beside the caller. It must leave its thread as it found it.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let job: Job = Box::new(job);
        let idle = self.lock().pop();
        match idle {
            Some(worker) => worker.send(job).or_else(|unsent| self.add(unsent.0)),
            None => self.add(job),
        }
    }

    fn add(&self, first: Job) -> io::Result<()> {
        let workers = self.clone();
        let (sender, jobs) = channel::<Job>();
        thread::Builder::new().stack_size(256 << 10).spawn(move || {
            schedule::in_line();
            first();
            workers.lock().push(sender.clone());
            for job in jobs {
                job();
                workers.lock().push(sender.clone());
            }
        })?;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Sender<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
