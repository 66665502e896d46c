//! Ranks that are threads of one process.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::transport::{Message, Tag, Transport};
use super::words::Words;

/// The connection of one thread with all others.
pub struct Local {
    rank: usize,
    others: Vec<Sender<Message>>,
    arrived: Receiver<Message>,
}

/// Connects so many threads.
pub fn network(size: usize) -> Vec<Local> {
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..size).map(|_| channel()).unzip();
    let ends = receivers.into_iter().enumerate();
    ends.map(|(rank, arrived)| Local {
        rank,
        others: senders.clone(),
        arrived,
    })
    .collect()
}

impl Transport for Local {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.others.len()
    }

    fn host(&self) -> String {
        "threads".into()
    }

    fn send(&mut self, to: usize, tag: Tag, words: Words) -> Result<(), String> {
        let from = self.rank;
        // a thread that has ended is found by its silence, as a process is
        let _ = self.others[to].send(Message { from, tag, words });
        Ok(())
    }

    fn progress(&mut self, take: &mut dyn FnMut(Message)) -> Result<bool, String> {
        let mut moved = false;
        while let Ok(message) = self.arrived.try_recv() {
            moved = true;
            take(message);
        }
        Ok(moved)
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn ends_process(&self) -> bool {
        false
    }

    fn abort(&mut self, _code: i32) {}
}
