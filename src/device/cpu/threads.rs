//! Threads that share the tasks of one dispatch after the other.
//!
//! A decoded token is some sixty dispatches of a few microseconds: waking a sleeping thread takes
//! longer than most of them. So while a program runs the threads wait for its next dispatch without
//! sleeping, and a dispatch ends without waiting for threads that have not begun to work on it.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::graph::Workers;

/// Rounds that an idle thread waits before it sleeps: some 50 us.
const ROUNDS: usize = 2000;

/// Returns the number of threads that this process can run at the same time.
pub(super) fn available() -> usize {
    std::thread::available_parallelism().map_or(1, |threads| threads.get())
}

/// A job's task, without the lifetime of its borrows: used only while `for_each` waits.
type Task = *const (dyn Fn(usize) + Sync);

/// The work that is handed out.
struct Job {
    task: Task,
    tasks: usize,
}

/// Bit of [`Shared::state`] that says that a job may be joined.
const OPEN: u64 = 1;
/// Added to [`Shared::state`] by each thread that works on the job.
const ACTIVE: u64 = 2;
/// Added to [`Shared::state`] by each new job; at most 32,767 threads can be active.
const NEXT: u64 = 1 << 16;

struct Shared {
    /// Number of the job, the number of threads in it besides the caller, and whether it is open.
    state: AtomicU64,
    /// Written by the caller while the job is not open and no thread is active.
    job: UnsafeCell<Option<Job>>,
    /// Next task of the job.
    next: AtomicUsize,
    /// Tasks left over this number are taken at once.
    share: usize,
    /// First panic of a task.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Whether a program is running.
    awake: AtomicBool,
    ended: AtomicBool,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    wake: Condvar,
}

// SAFETY: `job` is written while nobody can join it, and read by those who have joined
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}
// SAFETY: the task behind `job` is Sync
#[allow(unsafe_code)]
unsafe impl Send for Shared {}

impl Shared {
    /// Takes tasks that follow one another: many while many are left, so that a thread reads what lies
    /// together in memory, and few towards the end, so that all threads end together.
    fn take(&self, tasks: usize) -> Option<Range<usize>> {
        let mut next = self.next.load(Ordering::Relaxed);
        loop {
            let left = tasks.checked_sub(next).filter(|&left| left > 0)?;
            let end = next + (left / self.share).max(1);
            let taken =
                self.next
                    .compare_exchange_weak(next, end, Ordering::Relaxed, Ordering::Relaxed);
            match taken {
                Ok(_) => return Some(next..end),
                Err(now) => next = now,
            }
        }
    }

    /// Runs tasks until none is left.
    fn work(&self, task: &(dyn Fn(usize) + Sync), tasks: usize) {
        let run = || {
            while let Some(range) = self.take(tasks) {
                range.for_each(task);
            }
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            // the others need not go on
            self.next.store(tasks, Ordering::Relaxed);
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }

    /// Joins the open job unless its number is `last`; returns the number of the job.
    fn join(&self, last: u64) -> Option<u64> {
        let state = self.state.load(Ordering::Acquire);
        if state & OPEN == 0 || state / NEXT == last {
            return None;
        }
        self.state
            .compare_exchange(state, state + ACTIVE, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(|state| state / NEXT)
    }

    fn wake(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }

    /// Joins jobs until the pool ends, and sleeps while there is none. Runs on each thread.
    #[allow(unsafe_code)]
    fn serve(&self) {
        let mut last = 0;
        let mut idle = 0;
        while !self.ended.load(Ordering::Relaxed) {
            if let Some(number) = self.join(last) {
                last = number;
                // SAFETY: the job is not written while a thread is active, and `for_each` keeps its
                // task alive for as long
                unsafe {
                    if let Some(job) = &*self.job.get() {
                        self.work(&*job.task, job.tasks);
                    }
                }
                self.state.fetch_sub(ACTIVE, Ordering::Release);
                idle = 0;
                continue;
            }
            idle += 1;
            if idle < ROUNDS {
                std::hint::spin_loop();
            } else if self.awake.load(Ordering::Relaxed) {
                std::thread::yield_now();
            } else {
                self.sleep(last);
                idle = 0;
            }
        }
    }

    /// Sleeps until there is a job or a program.
    fn sleep(&self, last: u64) {
        let mut bed = self.bed.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        loop {
            let state = self.state.load(Ordering::SeqCst);
            let job = state & OPEN != 0 && state / NEXT != last;
            if job || self.awake.load(Ordering::SeqCst) || self.ended.load(Ordering::SeqCst) {
                break;
            }
            bed = self.wake.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The calling thread and others that help it.
pub(super) struct Threads {
    shared: Arc<Shared>,
    /// Held by the thread whose job is being worked on.
    caller: Mutex<()>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts `threads - 1` threads: the caller of [`Workers::for_each`] is one, too. Where the
    /// system refuses one, those that it started do the work.
    pub fn new(threads: usize) -> Threads {
        let threads = threads.clamp(1, 1024);
        let shared = Arc::new(Shared {
            share: 2 * threads,
            state: AtomicU64::new(NEXT),
            job: UnsafeCell::new(None),
            next: AtomicUsize::new(0),
            panic: Mutex::new(None),
            awake: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            wake: Condvar::new(),
        });
        let start = |index| {
            let shared = shared.clone();
            let builder = std::thread::Builder::new().name(format!("kernels {index}"));
            builder.spawn(move || shared.serve()).ok()
        };
        Threads {
            handles: (1..threads).map_while(start).collect(),
            caller: Mutex::new(()),
            shared,
        }
    }

    /// Keeps the threads from sleeping until the result is dropped.
    pub fn keep_awake(&self) -> Awake<'_> {
        if !self.handles.is_empty() {
            self.shared.awake.store(true, Ordering::SeqCst);
            self.shared.wake();
        }
        Awake(&self.shared)
    }
}

/// Keeps threads awake until dropped.
pub(super) struct Awake<'a>(&'a Shared);

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.0.awake.store(false, Ordering::SeqCst);
    }
}

impl Workers for Threads {
    fn for_each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        let caller = self.caller.try_lock();
        if tasks <= 1 || self.handles.is_empty() || caller.is_err() {
            // alone, or from within a task
            return (0..tasks).for_each(task);
        }
        let shared = &*self.shared;
        // SAFETY: no thread is active, and none can join before the job is opened. The lifetime of
        // the task is forgotten, and nobody uses it after this function has returned: it waits for
        // those who have joined, and nobody can join after the job is closed
        #[allow(unsafe_code)]
        unsafe {
            let task: Task = std::mem::transmute::<&(dyn Fn(usize) + Sync), Task>(task);
            *shared.job.get() = Some(Job { task, tasks });
        }
        shared.next.store(0, Ordering::Relaxed);
        shared.state.fetch_add(NEXT + OPEN, Ordering::SeqCst);
        shared.wake();
        shared.work(task, tasks);
        let mut state = shared.state.fetch_sub(OPEN, Ordering::AcqRel) - OPEN;
        let mut rounds = 0;
        while !state.is_multiple_of(NEXT) {
            rounds += 1;
            if rounds < ROUNDS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
            state = shared.state.load(Ordering::Acquire);
        }
        drop(caller);
        let panic = shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake();
        for handle in self.handles.drain(..) {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_and_is_done_when_the_call_returns() {
        for threads in [1, 2, 5] {
            let threads = Threads::new(threads);
            for tasks in (0..200).chain([5000]) {
                let ran: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                threads.for_each(tasks, &|index| {
                    ran[index].fetch_add(1, Ordering::Relaxed);
                });
                assert!(ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn jobs_after_a_pause_are_done_too() {
        let threads = Threads::new(3);
        for _ in 0..20 {
            // long enough to fall asleep
            std::thread::sleep(std::time::Duration::from_millis(3));
            let sum = AtomicUsize::new(0);
            let _awake = threads.keep_awake();
            threads.for_each(50, &|index| {
                sum.fetch_add(index, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 1225);
        }
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller_and_harms_no_later_job() {
        let threads = Threads::new(2);
        let run = || threads.for_each(100, &|index| assert!(index != 37, "task 37"));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"task 37"));
        let count = AtomicUsize::new(0);
        threads.for_each(100, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 100);
    }

    #[test]
    fn tasks_may_hand_out_tasks() {
        let threads = Threads::new(2);
        let count = AtomicUsize::new(0);
        threads.for_each(10, &|_| {
            threads.for_each(10, &|_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(count.into_inner(), 100);
    }
}
