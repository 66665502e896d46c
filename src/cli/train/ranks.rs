//! A training whose ranks a launcher of MPI started.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::terminal::listen;
use crate::cli::output::errln;
use crate::cli::{exit_code, failed};
use crate::train::{Event, Observer, ObserverError, Ranks, Ready};

/// Time that a rank is waited for when this one is asked to end before that is worth a word.
const LONG: Duration = Duration::from_millis(200);

/// Follows a training on a rank that does not report.
pub struct Follower {
    /// Set by the signals that ask a program to end.
    stop: Arc<AtomicBool>,
    ranks: Ranks,
}

impl Follower {
    pub fn new(ranks: &Ranks) -> Follower {
        Follower {
            stop: Arc::default(),
            ranks: ranks.clone(),
        }
    }
}

/// Says which rank keeps this one from ending, if one does: a launcher ends all ranks a moment
/// after one of them died.
pub fn say_awaited(ranks: &Ranks) {
    if !ranks.are_several() {
        return;
    }
    std::thread::sleep(LONG);
    if let Some((rank, _)) = ranks.awaited().filter(|(_, time)| *time >= LONG) {
        errln!(
            "error: rank {rank} does not answer: it has died or hangs, and the launcher ends rank {}; the last save is kept",
            ranks.rank()
        );
    }
}

impl Observer for Follower {
    fn ready(&mut self, _ready: &Ready) -> Result<(), ObserverError> {
        listen(&self.stop, &self.ranks)
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
