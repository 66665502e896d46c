//! Ranks: processes that train one model together, each on a part of every batch.
//!
//! A step of `N` ranks computes the parts of a batch that gradient accumulation computes one after
//! the other, and adds their gradients in the same order: the result is that of one process, bit
//! for bit. Rank `r` computes parts `r`, `r + N`, ..; see [`GradientSum`] for the exchange.
//!
//! [`Ranks`] knows how ranks talk as a [`Transport`] alone: MPI behind the feature `mpi`, or
//! threads of one process. A thread of its own moves messages and signs of life, so that a rank
//! that died or hangs is noticed whatever the others are doing.

mod gradient_sum;
mod local;
#[cfg(feature = "mpi")]
mod mpi;
mod pump;
mod start;
#[cfg(test)]
mod tests;
mod transport;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use gradient_sum::{GradientSum, Round, Sums};
use pump::{Arrival, Command};
use transport::{Message, Tag, Transport, bytes_of, text, words_of, words_of_bytes};
use words::{Spares, Words};

use crate::data::Sharing;

/// A rank that is lost to the others, or that ended with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank}{} {what}", in_brackets(.place))]
pub struct RankError {
    /// Number of the rank.
    pub rank: usize,
    /// Machine and process of the rank, if they are known.
    pub place: String,
    /// The failure, as the rest of a sentence about the rank.
    pub what: String,
}

fn in_brackets(place: &str) -> String {
    match place {
        "" => String::new(),
        place => format!(" ({place})"),
    }
}

/// The ranks of a training, as one of them sees them. Cheap to clone.
///
/// Methods that exchange messages must be called by all ranks, in the same order, from one thread.
#[derive(Clone, Default)]
pub struct Ranks(Option<Arc<Group>>);

impl fmt::Debug for Ranks {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Ranks({} of {})", self.rank(), self.size())
    }
}

/// Place of a rank among those on its machine, and its part of the cores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Number of the rank among those on its machine.
    pub local: usize,
    /// Threads that this rank can use while the others on the same cores use as many.
    pub threads: usize,
}

/// Gradients that this rank sent so far, and the time that took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub bytes: u64,
    /// Time that no step was computed meanwhile.
    pub time: Duration,
}

impl Traffic {
    /// Returns what was sent since `earlier`.
    pub(super) fn since(self, earlier: Traffic) -> Traffic {
        Traffic {
            bytes: self.bytes - earlier.bytes,
            time: self.time - earlier.time,
        }
    }

    /// Returns the mean over `steps` steps.
    pub(super) fn mean(self, steps: u64) -> Traffic {
        Traffic {
            bytes: self.bytes / steps.max(1),
            time: Duration::from_secs_f64(self.time.as_secs_f64() / steps.max(1) as f64),
        }
    }
}

struct Group {
    rank: usize,
    size: usize,
    /// Name of the machine.
    host: String,
    commands: Sender<Command>,
    inbox: Mutex<Inbox>,
    spares: Arc<Spares>,
    /// Whether this rank waits for a message.
    waiting: Arc<AtomicBool>,
    /// The rank that is waited for, and since when.
    awaited: Mutex<Option<(usize, Instant)>>,
    pump: Mutex<Option<JoinHandle<()>>>,
    /// See [`Traffic`]: bytes and microseconds.
    traffic: [AtomicU64; 2],
}

/// Messages that came, and those that were not asked for yet.
struct Inbox {
    arrivals: Receiver<Arrival>,
    waiting: BTreeMap<(usize, Tag), VecDeque<Words>>,
    lost: Option<RankError>,
}

impl Inbox {
    /// Takes in all that has come.
    fn drain(&mut self) {
        while let Ok(arrival) = self.arrivals.try_recv() {
            self.sort(arrival);
        }
    }

    fn sort(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Message(Message { from, tag, words }) => self
                .waiting
                .entry((from, tag))
                .or_default()
                .push_back(words),
            Arrival::Lost(error) => {
                self.lost.get_or_insert(error);
            }
        }
    }
}

impl Ranks {
    /// A training of one process, without messages.
    pub fn alone() -> Ranks {
        Ranks(None)
    }

    /// Joins the ranks that a launcher of MPI started together with this process. Without a
    /// launcher, or with one rank, it is [`alone`](Self::alone).
    ///
    /// # Errors
    /// An MPI library that does not start, or a launcher and a build without the feature `mpi`.
    pub fn join() -> Result<Ranks, RankError> {
        let Some((rank, size)) = transport::launched() else {
            return Ok(Ranks::alone());
        };
        #[cfg(feature = "mpi")]
        let joined = {
            let _ = (rank, size);
            Ranks::start(mpi::connect)
        };
        #[cfg(not(feature = "mpi"))]
        let joined = match size {
            1 => Ok(Ranks::alone()),
            _ => Err(RankError {
                rank,
                place: String::new(),
                what: format!(
                    "is one of {size}, and this program was built without MPI: build it with the feature `mpi`, or start one process"
                ),
            }),
        };
        joined
    }

    /// Makes the ranks of a training whose ranks are threads of this process.
    pub fn threads(size: usize) -> Vec<Ranks> {
        local::network(size)
            .into_iter()
            .map(|end| Ranks::start(move |_| Ok(end)).expect("threads need no connection"))
            .collect()
    }

    /// Starts the thread that moves messages, which `connect`s first.
    fn start<T: Transport + 'static>(
        connect: impl FnOnce(&Arc<Spares>) -> Result<T, String> + Send + 'static,
    ) -> Result<Ranks, RankError> {
        let spares = Arc::new(Spares::default());
        let of_transport = spares.clone();
        let started = pump::start(move || connect(&of_transport)).map_err(|what| RankError {
            rank: transport::launched().map_or(0, |(rank, _)| rank),
            place: String::new(),
            what,
        })?;
        if started.size == 1 {
            // dropping its commands ends the thread
            drop(started.commands);
            let _ = started.thread.join();
            return Ok(Ranks::alone());
        }
        Ok(Ranks(Some(Arc::new(Group {
            rank: started.rank,
            size: started.size,
            host: started.host,
            commands: started.commands,
            inbox: Mutex::new(Inbox {
                arrivals: started.arrivals,
                waiting: BTreeMap::new(),
                lost: None,
            }),
            spares,
            waiting: started.waiting,
            awaited: Mutex::default(),
            pump: Mutex::new(Some(started.thread)),
            traffic: Default::default(),
        }))))
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |group| group.rank)
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |group| group.size)
    }

    /// Whether this rank is the one that reports and saves.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether there are other ranks.
    pub fn are_several(&self) -> bool {
        self.0.is_some()
    }

    /// Gradients sent so far.
    pub fn traffic(&self) -> Traffic {
        let read = |index: usize| {
            let group = self.0.as_ref();
            group.map_or(0, |group| group.traffic[index].load(Ordering::Relaxed))
        };
        Traffic {
            bytes: read(0),
            time: Duration::from_micros(read(1)),
        }
    }

    /// Counts gradients that were sent since `start`.
    fn count(&self, bytes: u64, start: Instant) {
        if let Some(group) = &self.0 {
            let [sent, time] = &group.traffic;
            sent.fetch_add(bytes, Ordering::Relaxed);
            time.fetch_add(start.elapsed().as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Returns so many words of any content, in memory of past messages where there is some.
    fn spare(&self, len: usize) -> Vec<u32> {
        match &self.0 {
            Some(group) => group.spares.take(len),
            None => vec![0; len],
        }
    }

    /// Shares words that [`spare`](Self::spare) has given out.
    fn words(&self, words: Vec<u32>) -> Words {
        match &self.0 {
            Some(group) => Words::new(words, &group.spares),
            None => words.into(),
        }
    }

    /// Sends a message without waiting for it to arrive.
    fn send(&self, to: usize, tag: Tag, words: impl Into<Words>) {
        if let Some(group) = &self.0 {
            let words = words.into();
            // a pump that has ended has said why
            let _ = group.commands.send(Command::Send { to, tag, words });
        }
    }

    /// Returns the next message of a kind from a rank, if it has come.
    ///
    /// # Errors
    /// A rank that is lost.
    fn try_receive(&self, from: usize, tag: Tag) -> Result<Option<Words>, RankError> {
        let Some(group) = &self.0 else {
            return Ok(None);
        };
        let mut inbox = group.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.drain();
        let queue = inbox.waiting.get_mut(&(from, tag));
        match (queue.and_then(VecDeque::pop_front), &inbox.lost) {
            (Some(words), _) => Ok(Some(words)),
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(None),
        }
    }

    /// Waits for the next message of a kind from a rank.
    ///
    /// # Errors
    /// A rank that is lost, not always the one that is waited for.
    fn receive(&self, from: usize, tag: Tag) -> Result<Words, RankError> {
        let Some(group) = &self.0 else {
            unreachable!("a rank sends itself nothing")
        };
        let set = |awaited: Option<(usize, Instant)>| {
            group.waiting.store(awaited.is_some(), Ordering::Relaxed);
            let place = group.awaited.lock();
            *place.unwrap_or_else(PoisonError::into_inner) = awaited;
        };
        set(Some((from, Instant::now())));
        let received = loop {
            match self.try_receive(from, tag) {
                Ok(None) => {}
                Ok(Some(words)) => break Ok(words),
                Err(error) => break Err(error),
            }
            let mut inbox = group.inbox.lock().unwrap_or_else(PoisonError::into_inner);
            match inbox.arrivals.recv() {
                Ok(arrival) => inbox.sort(arrival),
                Err(_) => {
                    break Err(RankError {
                        rank: group.rank,
                        place: String::new(),
                        what: "has left the others".into(),
                    });
                }
            }
        };
        set(None);
        received
    }

    /// Returns the words of rank 0, on every rank.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(super) fn sent_by_first(&self, words: Vec<u32>) -> Result<Words, RankError> {
        let (rank, size) = (self.rank(), self.size());
        // a binomial tree: rank 0b0110 hears of 0b0100 and tells 0b0111
        let words = match rank {
            0 => words.into(),
            _ => self.receive(rank & (rank - 1), Tag::FromFirst)?,
        };
        let below = if rank == 0 {
            usize::BITS
        } else {
            rank.trailing_zeros()
        };
        let children = (0..below).rev().filter_map(|bit| {
            let child = rank | 1usize.checked_shl(bit)?;
            (child < size).then_some(child)
        });
        for child in children {
            self.send(child, Tag::FromFirst, words.clone());
        }
        Ok(words)
    }

    /// Returns the words of every rank, on every rank.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(crate) fn gather(&self, words: Vec<u32>) -> Result<Vec<Vec<u32>>, RankError> {
        let mut joined = vec![];
        let mut add = |words: &[u32]| {
            joined.push(words.len() as u32);
            joined.extend(words);
        };
        if self.is_first() {
            add(&words);
            for rank in 1..self.size() {
                add(&self.receive(rank, Tag::ToFirst)?);
            }
        } else {
            self.send(0, Tag::ToFirst, words);
        }
        let joined = self.sent_by_first(joined)?;
        let mut rest = &*joined;
        let mut all = Vec::with_capacity(self.size());
        while let Some((&length, behind)) = rest.split_first() {
            let (words, behind) = behind.split_at(length as usize);
            all.push(words.to_vec());
            rest = behind;
        }
        Ok(all)
    }

    /// Returns the text of every rank, on every rank.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(crate) fn gather_texts(&self, of_this: &str) -> Result<Vec<String>, RankError> {
        let all = self.gather(words_of(of_this))?;
        Ok(all.iter().map(|words| text(words)).collect())
    }

    /// Returns the text of rank 0, on every rank.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(crate) fn text_of_first(&self, of_this: &str) -> Result<String, RankError> {
        Ok(text(&self.sent_by_first(words_of(of_this))?))
    }

    /// Returns which flags any rank has set, and the number of rank 0.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(crate) fn agree<const N: usize>(
        &self,
        flags: [bool; N],
        number: f64,
    ) -> Result<([bool; N], f64), RankError> {
        if !self.are_several() {
            return Ok((flags, number));
        }
        let bits = number.to_bits();
        let mut words: Vec<u32> = flags.iter().map(|&flag| flag as u32).collect();
        words.extend([bits as u32, (bits >> 32) as u32]);
        let all = self.gather(words)?;
        let any = std::array::from_fn(|index| all.iter().any(|words| words[index] != 0));
        let [low, high] = [all[0][N], all[0][N + 1]].map(u64::from);
        Ok((any, f64::from_bits(high << 32 | low)))
    }

    /// Returns the ranks as readers of one data set, if there are several.
    pub(crate) fn sharing(&self) -> Option<&dyn Sharing> {
        self.are_several().then_some(self)
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// A rank that is lost.
    pub(crate) fn meet(&self) -> Result<(), RankError> {
        self.gather(vec![]).map(drop)
    }

    /// Returns what this rank shares with others on its machine.
    ///
    /// # Errors
    /// A rank that is lost.
    pub fn share(&self) -> Result<Share, RankError> {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let Some(group) = &self.0 else {
            return Ok(Share {
                local: 0,
                threads: cores,
            });
        };
        let here = format!("{}\n{}", group.host, transport::allowed_cores());
        let all = self.gather_texts(&here)?;
        let host = |place: &String| place.lines().next().map(str::to_owned);
        let before = &all[..group.rank];
        let sharing = all.iter().filter(|place| **place == here).count();
        Ok(Share {
            local: before
                .iter()
                .filter(|place| host(place) == host(&here))
                .count(),
            threads: (cores / sharing).max(1),
        })
    }

    /// Returns the rank whose message this one waits for, and for how long, from any thread.
    pub fn awaited(&self) -> Option<(usize, Duration)> {
        let group = self.0.as_ref()?;
        let awaited = group.awaited.lock();
        let (rank, since) = (*awaited.unwrap_or_else(PoisonError::into_inner))?;
        Some((rank, since.elapsed()))
    }

    /// Leaves after the training, once every rank is done.
    ///
    /// # Errors
    /// A rank that is lost.
    pub fn leave(&self) -> Result<(), RankError> {
        let Some(group) = &self.0 else {
            return Ok(());
        };
        self.meet()?;
        let _ = group.commands.send(Command::End);
        let mut pump = group.pump.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pump) = pump.take() {
            let _ = pump.join();
        }
        Ok(())
    }

    /// Tells the other ranks that this one ends with an error. Returns whether the error is to be
    /// reported here: not if rank 0 does.
    pub fn fail(&self, error: &str) -> bool {
        let Some(group) = &self.0 else {
            return true;
        };
        for rank in (0..group.size).filter(|&rank| rank != group.rank) {
            self.send(rank, Tag::Farewell, words_of(error));
        }
        if group.rank == 0 {
            return true;
        }
        // rank 0 fails at the same time if all do, or a moment later if it loses this rank
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Ok(Some(words)) = self.try_receive(0, Tag::Farewell) {
                return !text(&words).contains(error);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    /// Ends all ranks with an exit code, once the messages of [`fail`](Self::fail) are sent.
    pub fn abort(&self, code: i32) {
        let Some(group) = &self.0 else {
            return;
        };
        let _ = group.commands.send(Command::Abort(code));
        let mut pump = group.pump.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pump) = pump.take() {
            let _ = pump.join();
        }
    }
}

impl Sharing for Ranks {
    fn place(&self) -> (usize, usize) {
        (self.rank(), self.size())
    }

    fn exchange(&self, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, Box<dyn Error + Send + Sync>> {
        let all = self.gather(words_of_bytes(&bytes))?;
        Ok(all.iter().map(|words| bytes_of(words)).collect())
    }
}

/// Time that a rank gives rank 0 to report an error.
const PATIENCE: Duration = Duration::from_secs(2);
