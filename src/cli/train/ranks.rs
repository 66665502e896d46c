//! A training whose ranks a launcher of MPI started.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::terminal::listen;
use crate::cli::{exit_code, failed};
use crate::train::{Event, Observer, ObserverError, Ranks, Ready};

/// Follows a training on a rank that does not report.
#[derive(Default)]
pub struct Follower {
    /// Set by the signals that ask a program to end.
    stop: Arc<AtomicBool>,
}

impl Observer for Follower {
    fn ready(&mut self, _ready: &Ready) -> Result<(), ObserverError> {
        listen(&self.stop, false)
    }

    fn on(&mut self, _event: Event) -> ControlFlow<()> {
        match self.stop.load(Ordering::Relaxed) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Ends the training of this rank: waits for the others, or ends them after an error.
pub fn leave(ranks: &Ranks, result: anyhow::Result<()>) -> anyhow::Result<()> {
    let result = result.and_then(|()| Ok(ranks.leave()?));
    if let (Err(error), true) = (&result, ranks.are_several()) {
        if ranks.fail(&format!("{error:#}")) {
            failed(error);
        }
        ranks.abort(exit_code(error).into());
    }
    result
}
