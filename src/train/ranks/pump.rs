//! The thread that owns a rank's connection: moves messages, and watches the other ranks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::RankError;
use super::transport::{Message, Tag, Transport, text, words_of};
use super::words::Words;

/// An order to the pump.
pub enum Command {
    Send {
        to: usize,
        tag: Tag,
        words: Words,
    },
    /// Ends the connection.
    End,
    /// Ends all ranks.
    Abort(i32),
}

/// A message of another rank, or its loss.
pub enum Arrival {
    Message(Message),
    Lost(RankError),
}

/// A running pump.
pub struct Started {
    pub rank: usize,
    pub size: usize,
    pub host: String,
    pub commands: Sender<Command>,
    pub arrivals: Receiver<Arrival>,
    /// Set while an arrival is waited for.
    pub waiting: Arc<AtomicBool>,
    pub thread: JoinHandle<()>,
}

/// Time between two signs of life.
const BEAT: Duration = Duration::from_secs(1);
/// Silence after which a rank is lost, unless [`VARIABLE`] says otherwise.
const SILENCE: Duration = Duration::from_secs(30);
/// Variable with the silence after which a rank is lost, in seconds.
const VARIABLE: &str = "SEEMORE_RANK_TIMEOUT";
/// Time for the last messages of a rank to leave.
const LAST: Duration = Duration::from_secs(2);
/// Time that a rank has to report a loss before the pump ends it.
const GRACE: Duration = Duration::from_secs(10);
/// Time without messages after which the pump sleeps between two looks, though one is waited for.
const SPIN: Duration = Duration::from_millis(2);
/// Sleep between two looks while a message is waited for, while some are on their way, and while
/// there are none.
const LOOK: Duration = Duration::from_micros(50);
const MOVE: Duration = Duration::from_micros(250);
const IDLE: Duration = Duration::from_millis(1);

/// Starts a pump, which `connect`s on its thread.
///
/// # Errors
/// The message of `connect`.
pub fn start<T: Transport + 'static>(
    connect: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<Started, String> {
    let silence = match std::env::var(VARIABLE) {
        Ok(text) => text
            .trim()
            .parse()
            .ok()
            .filter(|seconds| *seconds >= 3)
            .map(Duration::from_secs)
            .ok_or_else(|| format!("cannot use {VARIABLE}={text}: give 3 or more seconds"))?,
        Err(_) => SILENCE,
    };
    let (commands, asked) = channel();
    let (arrived, arrivals) = channel();
    let (told, connected) = channel();
    let waiting = Arc::new(AtomicBool::new(false));
    let waited = waiting.clone();
    let run = move || {
        let transport = match connect() {
            Ok(transport) => transport,
            Err(error) => {
                let _ = told.send(Err(error));
                return;
            }
        };
        let (rank, size) = (transport.rank(), transport.size());
        if told.send(Ok((rank, size, transport.host()))).is_err() {
            return;
        }
        let now = Instant::now();
        let pump = Pump {
            place: format!("{}, process {}", transport.host(), std::process::id()),
            transport,
            asked,
            arrived,
            waiting: waited,
            silence,
            heard: vec![now; size],
            places: vec![String::new(); size],
            beat: None,
            looked: now,
            lost: None,
        };
        pump.run();
    };
    let thread = std::thread::Builder::new()
        .name("ranks".into())
        .spawn(run)
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    let connected = connected.recv();
    let (rank, size, host) = connected
        .map_err(|_| "lost its thread for messages before it was connected".to_owned())??;
    Ok(Started {
        rank,
        size,
        host,
        commands,
        arrivals,
        waiting,
        thread,
    })
}

struct Pump<T> {
    transport: T,
    asked: Receiver<Command>,
    arrived: Sender<Arrival>,
    waiting: Arc<AtomicBool>,
    silence: Duration,
    /// Where this rank runs.
    place: String,
    /// When each rank was last heard of.
    heard: Vec<Instant>,
    /// Where each rank runs.
    places: Vec<String>,
    /// When the last sign of life was sent.
    beat: Option<Instant>,
    /// When this thread last looked around.
    looked: Instant,
    /// When a rank was lost.
    lost: Option<Instant>,
}

impl<T: Transport> Pump<T> {
    fn run(mut self) {
        let mut moved = Instant::now();
        loop {
            loop {
                match self.asked.try_recv() {
                    Ok(command) => {
                        moved = Instant::now();
                        if self.ends(command) {
                            return;
                        }
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return self.flush(),
                }
            }
            if self.progress() {
                moved = Instant::now();
            }
            if self.watch() {
                return;
            }
            let wait = match (self.waiting.load(Ordering::Relaxed), moved.elapsed() < SPIN) {
                (true, true) => {
                    std::thread::yield_now();
                    continue;
                }
                (true, false) => LOOK,
                // what is on its way must be moved on
                (false, _) if !self.transport.is_idle() => MOVE,
                (false, _) => IDLE,
            };
            match self.asked.recv_timeout(wait) {
                Ok(command) => {
                    moved = Instant::now();
                    if self.ends(command) {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    /// Does what a command asks for; returns whether that was the last one.
    fn ends(&mut self, command: Command) -> bool {
        match command {
            Command::Send { to, tag, words } => {
                self.send(to, tag, words);
                false
            }
            Command::End => {
                self.flush();
                true
            }
            Command::Abort(code) => {
                self.flush();
                self.abort(code);
                true
            }
        }
    }

    /// Ends all ranks, and this one also if the library waits for a launcher that it cannot reach.
    fn abort(&mut self, code: i32) {
        if self.transport.ends_process() {
            std::thread::spawn(move || {
                std::thread::sleep(LAST);
                std::process::exit(code)
            });
        }
        self.transport.abort(code);
    }

    fn send(&mut self, to: usize, tag: Tag, words: Words) {
        if let Err(error) = self.transport.send(to, tag, words) {
            self.lose(to, format!("cannot be reached: {error}"));
        }
    }

    /// Gives messages that were sent some time to leave.
    fn flush(&mut self) {
        let start = Instant::now();
        while !self.transport.is_idle() && start.elapsed() < LAST {
            self.progress();
            std::thread::sleep(LOOK);
        }
    }

    /// Moves messages; returns whether anything moved.
    fn progress(&mut self) -> bool {
        let (heard, places, arrived) = (&mut self.heard, &mut self.places, &self.arrived);
        let mut left = None;
        let moved = self.transport.progress(&mut |message| {
            heard[message.from] = Instant::now();
            match message.tag {
                Tag::Life => places[message.from] = text(&message.words),
                Tag::Farewell => {
                    left.get_or_insert((message.from, text(&message.words)));
                    let _ = arrived.send(Arrival::Message(message));
                }
                _ => {
                    // nobody waits any more after an error
                    let _ = arrived.send(Arrival::Message(message));
                }
            }
        });
        if let Some((rank, error)) = left {
            self.lose(rank, format!("ended: {error}"));
        }
        moved.unwrap_or_else(|error| {
            self.lose(self.transport.rank(), format!("cannot go on: {error}"));
            false
        })
    }

    /// Tells the others that this rank lives, and finds those that do not. Returns whether this
    /// rank had to be ended.
    fn watch(&mut self) -> bool {
        let now = Instant::now();
        let away = now - self.looked;
        self.looked = now;
        if away > 2 * BEAT {
            // this process itself was stopped: nobody else is to blame
            self.heard.iter_mut().for_each(|heard| *heard += away);
        }
        let rank = self.transport.rank();
        if self.beat.is_none_or(|beat| now - beat >= BEAT) {
            self.beat = Some(now);
            for to in (0..self.heard.len()).filter(|&to| to != rank) {
                self.send(to, Tag::Life, words_of(&self.place).into());
            }
        }
        let silent = (0..self.heard.len())
            .filter(|&other| other != rank)
            .map(|other| (now.saturating_duration_since(self.heard[other]), other))
            .max();
        if let Some((silence, other)) = silent
            && silence > self.silence
        {
            let what = format!(
                "has been silent for {} s: it hangs or has died, or the network does not carry its messages",
                self.silence.as_secs()
            );
            self.lose(other, what);
        }
        if self.lost.is_some_and(|lost| now - lost > GRACE) {
            // the rank computes, or waits for its device
            tracing::error!("this rank does not end by itself after the loss of another");
            self.abort(1);
            return true;
        }
        false
    }

    /// Reports that a rank is lost. Only the first loss counts: others follow from it.
    fn lose(&mut self, rank: usize, what: String) {
        if self.lost.is_some() {
            return;
        }
        self.lost = Some(Instant::now());
        let error = RankError {
            rank,
            place: self.places[rank].clone(),
            what,
        };
        let _ = self.arrived.send(Arrival::Lost(error));
    }
}
