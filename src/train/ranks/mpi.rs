//! The connection of ranks through an MPI library.
//!
//! Messages go from rank to rank without waiting, so that this rank notices whom it does not hear
//! of: a collective call of MPI waits for all ranks and names none. The thread that connects makes
//! all calls.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;

use mpi::Threading;
use mpi::environment::{Universe, initialize_with_threading, processor_name};
use mpi::ffi;

use super::transport::{Message, Tag, Transport};
use super::words::{Spares, Words};

/// Connects with the ranks that were started together with this process. Messages come in memory of
/// `spares`.
///
/// # Errors
/// A library that does not start, or that allows calls from the main thread alone.
pub fn connect(spares: &Arc<Spares>) -> Result<Mpi, String> {
    let (universe, threading) = initialize_with_threading(Threading::Funneled)
        .ok_or("cannot start MPI, which this process has started before")?;
    if threading < Threading::Funneled {
        return Err("has an MPI library without support for threads".into());
    }
    let world = World::new()?;
    Ok(Mpi {
        world,
        sends: vec![],
        receives: VecDeque::new(),
        spares: spares.clone(),
        _universe: universe,
    })
}

/// All ranks, with errors returned in place of ending the process.
struct World {
    comm: ffi::MPI_Comm,
    rank: usize,
    size: usize,
}

/// A message that leaves or comes.
struct Request(ffi::MPI_Request);

/// A message that leaves, with its memory.
struct Leaving {
    request: Request,
    _words: Words,
}

/// A message that comes, with the memory that it fills.
struct Coming {
    request: Request,
    words: Vec<u32>,
    from: usize,
    tag: c_int,
}

/// The connection of a rank with all others.
pub struct Mpi {
    world: World,
    sends: Vec<Leaving>,
    /// In the order in which they were matched.
    receives: VecDeque<Coming>,
    spares: Arc<Spares>,
    /// Ends the use of MPI when dropped.
    _universe: Universe,
}

/// Returns the text of an error code.
fn check(code: c_int) -> Result<(), String> {
    match code as u32 {
        ffi::MPI_SUCCESS => Ok(()),
        _ => Err(format!("MPI error {code}")),
    }
}

#[allow(unsafe_code)]
impl World {
    fn new() -> Result<World, String> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: MPI is initialised, and calls come from the thread that did it
        let comm = unsafe {
            let comm = ffi::RSMPI_COMM_WORLD;
            check(ffi::MPI_Comm_set_errhandler(comm, ffi::RSMPI_ERRORS_RETURN))?;
            check(ffi::MPI_Comm_rank(comm, &mut rank))?;
            check(ffi::MPI_Comm_size(comm, &mut size))?;
            comm
        };
        Ok(World {
            comm,
            rank: rank as usize,
            size: size as usize,
        })
    }

    fn send(&self, to: usize, tag: c_int, words: Words) -> Result<Leaving, String> {
        let count = c_int::try_from(words.len()).map_err(|_| "a message is too long".to_owned())?;
        // SAFETY: the request is written by the call; the words stay in place, untouched, until the
        // request is complete
        unsafe {
            let mut request = ffi::RSMPI_REQUEST_NULL;
            check(ffi::MPI_Isend(
                words.as_ptr().cast::<c_void>(),
                count,
                ffi::RSMPI_UINT32_T,
                to as c_int,
                tag,
                self.comm,
                &mut request,
            ))?;
            Ok(Leaving {
                request: Request(request),
                _words: words,
            })
        }
    }

    /// Begins to receive the next message that has come, if one has.
    fn receive(&self, spares: &Spares) -> Result<Option<Coming>, String> {
        // SAFETY: what calls write into lives until they return; the words of the message stay in
        // place, untouched, until the request is complete
        unsafe {
            let (mut flag, mut message) = (0, ffi::RSMPI_MESSAGE_NULL);
            let mut status: ffi::MPI_Status = std::mem::zeroed();
            check(ffi::MPI_Improbe(
                ffi::RSMPI_ANY_SOURCE,
                ffi::RSMPI_ANY_TAG,
                self.comm,
                &mut flag,
                &mut message,
                &mut status,
            ))?;
            if flag == 0 {
                return Ok(None);
            }
            let mut count = 0;
            check(ffi::MPI_Get_count(&status, ffi::RSMPI_UINT32_T, &mut count))?;
            let mut words = spares.take(count as usize);
            let mut request = ffi::RSMPI_REQUEST_NULL;
            check(ffi::MPI_Imrecv(
                words.as_mut_ptr().cast::<c_void>(),
                count,
                ffi::RSMPI_UINT32_T,
                &mut message,
                &mut request,
            ))?;
            Ok(Some(Coming {
                request: Request(request),
                words,
                from: status.MPI_SOURCE as usize,
                tag: status.MPI_TAG,
            }))
        }
    }
}

#[allow(unsafe_code)]
impl Request {
    fn is_done(&mut self) -> Result<bool, String> {
        let mut done = 0;
        // SAFETY: the request is one of this library, or null once it is complete
        unsafe {
            check(ffi::MPI_Test(
                &mut self.0,
                &mut done,
                ffi::RSMPI_STATUS_IGNORE,
            ))?;
        }
        Ok(done != 0)
    }
}

impl Transport for Mpi {
    fn rank(&self) -> usize {
        self.world.rank
    }

    fn size(&self) -> usize {
        self.world.size
    }

    fn host(&self) -> String {
        processor_name().unwrap_or_else(|_| "a machine without a name".into())
    }

    fn send(&mut self, to: usize, tag: Tag, words: Words) -> Result<(), String> {
        self.sends.push(self.world.send(to, tag as c_int, words)?);
        Ok(())
    }

    fn progress(&mut self, take: &mut dyn FnMut(Message)) -> Result<bool, String> {
        let mut moved = false;
        while let Some(pending) = self.world.receive(&self.spares)? {
            self.receives.push_back(pending);
            moved = true;
        }
        // a message waits for those that were sent before it
        let mut waiting: Vec<(usize, c_int)> = vec![];
        let mut index = 0;
        while let Some(pending) = self.receives.get_mut(index) {
            let key = (pending.from, pending.tag);
            if waiting.contains(&key) || !pending.request.is_done()? {
                waiting.push(key);
                index += 1;
                continue;
            }
            moved = true;
            let Some(Coming {
                words, from, tag, ..
            }) = self.receives.remove(index)
            else {
                unreachable!("it was found")
            };
            let tag = *Tag::ALL
                .get(tag as usize)
                .ok_or_else(|| format!("rank {from} sends messages of another version"))?;
            let words = Words::new(words, &self.spares);
            take(Message { from, tag, words });
        }
        let mut index = 0;
        while let Some(pending) = self.sends.get_mut(index) {
            if pending.request.is_done()? {
                self.sends.swap_remove(index);
                moved = true;
            } else {
                index += 1;
            }
        }
        Ok(moved)
    }

    fn is_idle(&self) -> bool {
        self.sends.is_empty() && self.receives.is_empty()
    }

    fn ends_process(&self) -> bool {
        true
    }

    #[allow(unsafe_code)]
    fn abort(&mut self, code: i32) {
        // SAFETY: MPI is initialised; the call does not return
        unsafe {
            ffi::MPI_Abort(self.world.comm, code);
        }
    }
}

#[allow(unsafe_code)]
// SAFETY: made and used on one thread; the handles are never shared
unsafe impl Send for Mpi {}
