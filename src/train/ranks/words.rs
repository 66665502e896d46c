//! Words of messages, in memory that is used again.
//!
//! A step moves the gradients several times over. Memory fresh from the system costs a fault for
//! each page of it, which takes longer than to fill it.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory of messages that are done.
#[derive(Default)]
pub struct Spares(Mutex<Vec<Vec<u32>>>);

impl Spares {
    /// Returns so many words of any content, in the smallest memory given back that has room.
    pub fn take(&self, len: usize) -> Vec<u32> {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sizes = spares.iter().map(Vec::capacity).enumerate();
        let best = sizes
            .filter(|&(_, size)| size >= len)
            .min_by_key(|&(_, size)| size);
        let mut words = best.map_or_else(Vec::new, |(index, _)| spares.swap_remove(index));
        drop(spares);
        words.resize(len, 0);
        words
    }

    fn give_back(&self, words: Vec<u32>) {
        let mut spares = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spares.push(words);
    }
}

/// Words that nobody changes any more, or a part of them. Cheap to clone.
#[derive(Clone)]
pub struct Words {
    memory: Arc<Memory>,
    range: Range<usize>,
}

struct Memory {
    words: Vec<u32>,
    /// Takes the words back after their last use.
    spares: Option<Arc<Spares>>,
}

impl Words {
    /// Shares words whose memory goes back to `spares` after their last use.
    pub fn new(words: Vec<u32>, spares: &Arc<Spares>) -> Words {
        Words::of(words, Some(spares.clone()))
    }

    fn of(words: Vec<u32>, spares: Option<Arc<Spares>>) -> Words {
        Words {
            range: 0..words.len(),
            memory: Arc::new(Memory { words, spares }),
        }
    }

    /// Returns some of the words, without a copy.
    ///
    /// # Panics
    /// If the range reaches past the end.
    pub fn part(&self, range: Range<usize>) -> Words {
        assert!(range.end <= self.len(), "{range:?} of {} words", self.len());
        Words {
            memory: self.memory.clone(),
            range: self.range.start + range.start..self.range.start + range.end,
        }
    }
}

impl From<Vec<u32>> for Words {
    fn from(words: Vec<u32>) -> Words {
        Words::of(words, None)
    }
}

impl Deref for Words {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.memory.words[self.range.clone()]
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(spares) = &self.spares {
            spares.give_back(std::mem::take(&mut self.words));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_after_the_last_use() {
        let spares = Arc::new(Spares::default());
        let words = Words::new(spares.take(8), &spares);
        let place = words.as_ptr();
        let part = words.part(2..5);
        drop(words);
        let other = spares.take(3);
        assert_ne!(other.as_ptr(), place);
        assert_eq!(part.part(1..3).len(), 2);
        drop(part);
        drop(Words::new(spares.take(100), &spares));
        let again = spares.take(6);
        assert_eq!((again.as_ptr(), again.len()), (place, 6));
    }
}
