//! Slow work that follows what is on screen, run off the UI thread: only the requests of the last
//! frame count.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use egui::Context;

/// Runs requests on threads of its own. Those that are replaced before they start are never run.
pub struct Loader<K, T> {
    queue: Arc<Queue<K>>,
    results: Receiver<(K, T)>,
}

struct Queue<K> {
    requests: Mutex<Requests<K>>,
    changed: Condvar,
}

struct Requests<K> {
    /// Requests to start, the most urgent last.
    pending: Vec<K>,
    /// Requests that were started and whose results were not taken.
    started: Vec<K>,
    closed: bool,
}

impl<K: Clone + PartialEq + Send + 'static, T: Send + 'static> Loader<K, T> {
    /// Starts the threads. Each runs `load` on one request at a time and then repaints the window.
    pub fn new(
        ctx: &Context,
        threads: usize,
        load: impl Fn(&K) -> T + Send + Sync + 'static,
    ) -> Loader<K, T> {
        let queue = Arc::new(Queue {
            requests: Mutex::new(Requests {
                pending: vec![],
                started: vec![],
                closed: false,
            }),
            changed: Condvar::new(),
        });
        let (sender, results) = channel();
        let load = Arc::new(load);
        for _ in 0..threads {
            let (queue, sender, load) = (queue.clone(), sender.clone(), load.clone());
            let ctx = ctx.clone();
            std::thread::spawn(move || serve(&queue, &sender, &*load, &ctx));
        }
        Loader { queue, results }
    }

    /// Replaces the requests that have not started, the most urgent first.
    pub fn request(&self, requests: impl DoubleEndedIterator<Item = K>) {
        let mut queued = self.queue.lock();
        let Requests {
            pending, started, ..
        } = &mut *queued;
        pending.clear();
        pending.extend(requests.rev().filter(|request| !started.contains(request)));
        if !pending.is_empty() {
            self.queue.changed.notify_all();
        }
    }

    /// Returns the next result and its request, or `None` if no further one has arrived.
    pub fn poll(&self) -> Option<(K, T)> {
        let (request, result) = self.results.try_recv().ok()?;
        let mut queued = self.queue.lock();
        queued.started.retain(|started| *started != request);
        Some((request, result))
    }
}

impl<K, T> Drop for Loader<K, T> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl<K> Queue<K> {
    fn lock(&self) -> MutexGuard<'_, Requests<K>> {
        self.requests
            .lock()
            .expect("no thread panics while it holds the lock")
    }
}

/// Runs requests until the queue is closed.
fn serve<K: Clone, T>(
    queue: &Queue<K>,
    sender: &Sender<(K, T)>,
    load: &impl Fn(&K) -> T,
    ctx: &Context,
) {
    loop {
        let mut queued = queue.lock();
        let request = loop {
            if queued.closed {
                return;
            }
            match queued.pending.pop() {
                Some(request) => break request,
                None => {
                    queued = queue
                        .changed
                        .wait(queued)
                        .expect("no thread panics while it holds the lock");
                }
            }
        };
        queued.started.push(request.clone());
        drop(queued);
        let result = load(&request);
        if sender.send((request, result)).is_err() {
            return;
        }
        ctx.request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// Waits for the next result.
    fn next<K: Clone + PartialEq + Send + 'static, T: Send + 'static>(
        loader: &Loader<K, T>,
    ) -> (K, T) {
        let start = Instant::now();
        loop {
            if let Some(result) = loader.poll() {
                return result;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "no result");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn replaced_requests_are_not_run() {
        let (open, gate) = channel();
        let gate = Mutex::new(gate);
        let loader = Loader::new(&Context::default(), 1, move |request: &u32| {
            gate.lock().unwrap().recv().unwrap();
            10 * request
        });
        loader.request([1, 2].into_iter());
        // the thread has taken the most urgent one
        while loader.queue.lock().started.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // what runs is not run again
        loader.request([1, 3, 4].into_iter());
        (0..3).for_each(|_| open.send(()).unwrap());
        let results: Vec<_> = (0..3).map(|_| next(&loader)).collect();
        assert_eq!(results, [(1, 10), (3, 30), (4, 40)]);
        // its result was taken, so it can be requested again
        open.send(()).unwrap();
        loader.request([1].into_iter());
        assert_eq!(next(&loader), (1, 10));
    }

    #[test]
    fn threads_end_with_the_loader() {
        let kept = Arc::new(());
        let held = kept.clone();
        let loader = Loader::new(&Context::default(), 2, move |_: &u32| {
            Arc::strong_count(&held)
        });
        drop(loader);
        let start = Instant::now();
        while Arc::strong_count(&kept) > 1 {
            assert!(
                start.elapsed() < Duration::from_secs(10),
                "a thread goes on"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
