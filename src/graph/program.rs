//! A tape made ready for devices: the dispatches that matter, and memory for their values by
//! liveness.

use std::collections::BTreeMap;

use super::dispatch::Dispatch;
use super::tape::Home;
use super::{Access, RecordError, Tape, TensorRef, Var};

/// Returns the bytes of memory for 4-byte elements of `shape`, rounded up to 16 so that kernels can
/// view them as `vec4`.
pub fn padded_bytes(shape: &[usize]) -> u64 {
    (4 * shape.iter().product::<usize>() as u64)
        .next_multiple_of(16)
        .max(16)
}

/// Where the elements of a value are during a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Place {
    /// In the shared memory of this index: see [`Program::slots`].
    Slot(usize),
    /// In memory of its own, which the host may write and read.
    Held,
    /// In memory of its own, with these bytes in it from the start.
    Constant(Vec<u8>),
    /// In a tensor that outlives the program.
    Tensor(TensorRef),
}

/// A value of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Shape in elements of 4 bytes, row-major.
    pub shape: Vec<usize>,
    /// Where its elements are.
    pub place: Place,
}

/// A recorded program as plain data, for any device: dispatches in order, and where their values
/// live.
pub struct Program {
    /// Dispatches in order. Those whose results nobody can see are left out.
    pub dispatches: Vec<Dispatch>,
    /// All values that dispatches bind or the host may touch.
    pub values: BTreeMap<Var, Value>,
    /// Values that are seen under another shape: the value in `values`, and the shape.
    pub views: BTreeMap<Var, (Var, Vec<usize>)>,
    /// Bytes of each shared memory for intermediate values.
    pub slots: Vec<u64>,
    /// Memory that the program needs.
    pub memory: Memory,
}

/// Memory of a program in bytes, without parameters and other tensors that outlive it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All intermediate values, if each had memory of its own.
    pub unshared: u64,
    /// All intermediate values with memory shared by liveness: the peak.
    pub shared: u64,
    /// Inputs, constants and held outputs.
    pub held: u64,
    /// Largest single allocation.
    pub largest: u64,
}

impl Memory {
    /// Returns the memory of two programs together.
    pub fn and(self, other: Memory) -> Memory {
        Memory {
            unshared: self.unshared + other.unshared,
            shared: self.shared + other.shared,
            held: self.held + other.held,
            largest: self.largest.max(other.largest),
        }
    }

    /// Returns the bytes that a program allocates.
    pub fn total(&self) -> u64 {
        self.shared + self.held
    }
}

impl Program {
    /// Turns a tape into a program.
    ///
    /// # Errors
    /// Data too large for the kernels: see [`RecordError`].
    ///
    /// # Panics
    /// If an intermediate value is read before anything wrote it: a mistake in an op.
    pub fn new(tape: Tape) -> Result<Program, RecordError> {
        Self::with(tape, share)
    }

    /// Turns a tape into a program with separate memory for each value, to show that sharing
    /// changes nothing.
    pub fn unshared(tape: Tape) -> Result<Program, RecordError> {
        Self::with(tape, |lives| {
            (
                lives.iter().map(|life| life.bytes).collect(),
                (0..lives.len()).collect(),
            )
        })
    }

    /// Returns the memory that the program of `tape` will need.
    pub fn measure(tape: &Tape) -> Memory {
        layout(tape, share).memory
    }

    fn with(tape: Tape, share: Share) -> Result<Program, RecordError> {
        if let Some(error) = tape.error {
            return Err(error);
        }
        let Layout {
            live,
            slots,
            slot_of,
            memory,
        } = layout(&tape, share);
        let (mut values, mut views) = (BTreeMap::new(), BTreeMap::new());
        for (index, variable) in tape.variables.into_iter().enumerate() {
            let v = Var(index as u32);
            let place = match variable.home {
                Home::Transient => match slot_of.get(&v) {
                    Some(&slot) => Place::Slot(slot),
                    None => continue,
                },
                Home::Held => Place::Held,
                Home::Constant(bytes) => Place::Constant(bytes),
                Home::Tensor(tensor) => Place::Tensor(tensor),
                Home::View(of) => {
                    views.insert(v, (of, variable.shape));
                    continue;
                }
            };
            values.insert(
                v,
                Value {
                    shape: variable.shape,
                    place,
                },
            );
        }
        let dispatches = tape.dispatches.into_iter().zip(live);
        let dispatches = dispatches.filter_map(|(dispatch, live)| live.then_some(dispatch));
        Ok(Program {
            dispatches: dispatches.collect(),
            values,
            views,
            slots,
            memory,
        })
    }

    /// Returns the value that `v` is, or is a view of, with the shape of `v`. `None` for
    /// intermediate values that no dispatch uses.
    pub fn value(&self, v: Var) -> Option<(Var, &[usize], &Place)> {
        match self.views.get(&v) {
            Some((of, shape)) => Some((*of, shape, &self.values.get(of)?.place)),
            None => self
                .values
                .get(&v)
                .map(|value| (v, &value.shape[..], &value.place)),
        }
    }
}

/// Assigns memory to values: see [`share`].
type Share = fn(&[Life]) -> (Vec<u64>, Vec<usize>);

struct Layout {
    /// Which dispatches run.
    live: Vec<bool>,
    slots: Vec<u64>,
    slot_of: BTreeMap<Var, usize>,
    memory: Memory,
}

fn layout(tape: &Tape, share: Share) -> Layout {
    let live = live(tape);
    let program = tape.dispatches.iter().zip(&live).filter(|(_, live)| **live);
    let bytes = |v: Var| padded_bytes(tape.shape(v));
    let transient = |v: Var| matches!(tape.variable_of(v).home, Home::Transient);
    let mut lives: BTreeMap<Var, Life> = BTreeMap::new();
    for (at, (dispatch, _)) in program.enumerate() {
        for (v, access) in dispatch.uses().filter(|&(v, _)| transient(v)) {
            let life = lives.entry(v).or_insert_with(|| {
                assert!(
                    access == Access::Write,
                    "{} reads a value that nothing wrote",
                    dispatch.place()
                );
                Life {
                    bytes: bytes(v),
                    first: at,
                    last: at,
                }
            });
            life.last = at;
        }
    }
    let values: Vec<Life> = lives.values().copied().collect();
    let (slots, slots_of) = share(&values);
    let held = tape.variables.iter();
    let held = held.filter(|variable| matches!(variable.home, Home::Held | Home::Constant(_)));
    let held: Vec<u64> = held.map(|variable| padded_bytes(&variable.shape)).collect();
    let memory = Memory {
        unshared: values.iter().map(|life| life.bytes).sum(),
        shared: slots.iter().sum(),
        held: held.iter().sum(),
        largest: held.iter().chain(&slots).copied().max().unwrap_or(0),
    };
    Layout {
        live,
        slot_of: lives.keys().copied().zip(slots_of).collect(),
        slots,
        memory,
    }
}

/// Returns which dispatches write a value that is held, outlives the program, or is read by a live
/// dispatch.
fn live(tape: &Tape) -> Vec<bool> {
    let visible = |variable: &super::tape::Variable| !matches!(variable.home, Home::Transient);
    let mut wanted: Vec<bool> = tape.variables.iter().map(visible).collect();
    let mut live = vec![false; tape.dispatches.len()];
    for (at, dispatch) in tape.dispatches.iter().enumerate().rev() {
        live[at] = dispatch.written().any(|v| wanted[v.0 as usize]);
        if live[at] {
            for (v, _) in dispatch.uses() {
                wanted[v.0 as usize] = true;
            }
        }
    }
    live
}

/// The dispatches, first to last, between which a value must be kept.
#[derive(Debug, Clone, Copy)]
struct Life {
    bytes: u64,
    first: usize,
    last: usize,
}

/// Assigns memory so that no two values share one while both are alive: largest values first, each
/// into the first slot that is free all its life. A value that a dispatch reads and one that it
/// writes are both alive during it.
///
/// Returns the size of each slot and the slot of each value.
// ANCHOR: share
fn share(lives: &[Life]) -> (Vec<u64>, Vec<usize>) {
    let mut order: Vec<usize> = (0..lives.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lives[index].bytes), lives[index].first));
    let mut slots: Vec<(u64, Vec<Life>)> = vec![];
    let mut slot_of = vec![0; lives.len()];
    for index in order {
        let life = lives[index];
        let free = slots.iter().position(|(_, guests)| {
            guests
                .iter()
                .all(|other| other.last < life.first || life.last < other.first)
        });
        let slot = free.unwrap_or_else(|| {
            slots.push((life.bytes, vec![]));
            slots.len() - 1
        });
        slots[slot].1.push(life);
        slot_of[index] = slot;
    }
    (slots.into_iter().map(|(bytes, _)| bytes).collect(), slot_of)
}
// ANCHOR_END: share

#[cfg(test)]
mod tests {
    use super::*;

    fn life(bytes: u64, first: usize, last: usize) -> Life {
        Life { bytes, first, last }
    }

    #[test]
    fn values_alive_at_different_times_share_memory() {
        let (slots, slot_of) = share(&[life(16, 0, 1), life(64, 2, 3), life(32, 1, 2)]);
        assert_eq!(slot_of[0], slot_of[1]);
        assert_ne!(slot_of[0], slot_of[2]);
        assert_eq!(slots, [64, 32]);
    }

    #[test]
    fn a_dispatch_does_not_write_over_what_it_reads() {
        let (_, slot_of) = share(&[life(16, 0, 1), life(16, 1, 2)]);
        assert_ne!(slot_of[0], slot_of[1]);
    }

    #[test]
    fn no_two_live_values_overlap_in_a_long_random_program() {
        let mut state = 7u64;
        let mut random = |n: u64| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % n
        };
        let lives: Vec<Life> = (0..400)
            .map(|_| {
                let first = random(1000) as usize;
                life(16 * (1 + random(9)), first, first + random(60) as usize)
            })
            .collect();
        let (slots, slot_of) = share(&lives);
        for (i, a) in lives.iter().enumerate() {
            assert!(slots[slot_of[i]] >= a.bytes);
            for (j, b) in lives.iter().enumerate().skip(i + 1) {
                assert!(
                    slot_of[i] != slot_of[j] || a.last < b.first || b.last < a.first,
                    "{a:?} and {b:?} share memory"
                );
            }
        }
        let unshared = lives.iter().map(|life| life.bytes).sum::<u64>();
        assert!(slots.iter().sum::<u64>() < unshared / 4);
    }
}
