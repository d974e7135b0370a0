//! What ties the machines of a cluster together: the loss of one ends every wait on all.

use std::sync::Arc;

use tokio::sync::watch;

use super::console::Console;
use super::health::{Health, Loss};
use super::{EVIDENCE, MachineError};

/// A tie between machines. Clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Bond(watch::Sender<State>);

#[derive(Debug, Default)]
struct State {
    tied: Vec<Arc<Tied>>,
    fallen: Option<Fallen>,
    released: bool,
}

#[derive(Debug)]
struct Tied {
    machine: Arc<str>,
    health: Health,
    console: Console,
}

impl Tied {
    /// What it has become, if it was lost and nobody switched it off.
    fn fallen(&self) -> Option<Fallen> {
        let loss = self.health.current().filter(|loss| *loss != Loss::SwitchedOff)?;
        Some(Fallen { machine: self.machine.clone(), loss, console: self.console.clone() })
    }
}

/// A machine that was lost, and not because somebody switched it off.
#[derive(Debug, Clone)]
pub(crate) struct Fallen {
    machine: Arc<str>,
    loss: Loss,
    console: Console,
}

impl State {
    /// Whoever ends the waits of the others.
    fn breaker(&self) -> Option<&Fallen> {
        self.fallen.as_ref().filter(|_| !self.released)
    }
}

impl Default for Bond {
    fn default() -> Self {
        Self(watch::Sender::new(State::default()))
    }
}

impl Bond {
    /// Ties a machine to the others, for as long as it has this health.
    pub(super) fn tie(&self, machine: Arc<str>, health: Health, console: Console) {
        let (bond, tied) = (self.0.clone(), Arc::new(Tied { machine, health, console }));
        bond.send_if_modified(|state| {
            state.tied.push(tied.clone());
            false
        });
        tokio::spawn(async move {
            tied.health.lost().await;
            if let Some(fallen) = tied.fallen() {
                bond.send_modify(|state| {
                    state.fallen.get_or_insert(fallen);
                });
            }
        });
    }

    /// Resolves when a machine is lost, the first of them; at once if one already is.
    pub(crate) async fn broken(&self) -> Fallen {
        let mut receiver = self.0.subscribe();
        loop {
            let fallen = receiver.borrow_and_update().breaker().cloned();
            if let Some(fallen) = fallen {
                return fallen;
            }
            // The sender lives in `self`, so the channel cannot close.
            let _ = receiver.changed().await;
        }
    }

    /// The first machine that was lost. Whoever waited on that one may know before the bond does.
    pub(crate) fn fallen(&self) -> Option<Fallen> {
        let state = self.0.borrow();
        state.fallen.clone().or_else(|| state.tied.iter().find_map(|tied| tied.fallen()))
    }

    /// From now on the loss of one ends no wait on another; says whether it did until now.
    pub(crate) fn release(&self) -> bool {
        self.0.send_if_modified(|state| !std::mem::replace(&mut state.released, true))
    }
}

impl Fallen {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.machine
    }

    /// How it was lost.
    pub(crate) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// The error of somebody who could not go on without it, with what was being done.
    pub(crate) fn error(&self, stage: String) -> MachineError {
        MachineError::Lost {
            machine: self.machine.to_string(),
            stage,
            loss: self.loss.clone(),
            console: self.console.tail(EVIDENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_loss_is_known_as_soon_as_whoever_waited_on_the_machine_knows() {
        let (host, _guest) = tokio::net::UnixStream::pair().unwrap();
        let (bond, health) = (Bond::default(), Health::new());
        bond.tie("alice".into(), health.clone(), Console::follow(host, health.clone()));
        assert!(bond.fallen().is_none());
        health.report(Loss::Panicked("oops".into()));
        // Nothing has run since that could have told the bond.
        assert_eq!(bond.fallen().unwrap().name(), "alice");
        assert!(bond.release(), "nobody had released it");
        assert_eq!(bond.fallen().unwrap().name(), "alice");
    }

    #[tokio::test]
    async fn who_was_switched_off_has_not_fallen() {
        let (host, _guest) = tokio::net::UnixStream::pair().unwrap();
        let (bond, health) = (Bond::default(), Health::new());
        bond.tie("alice".into(), health.clone(), Console::follow(host, health.clone()));
        health.report(Loss::SwitchedOff);
        tokio::task::yield_now().await;
        assert!(bond.fallen().is_none());
    }
}
