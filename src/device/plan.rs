//! A program with its memory on a device.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::executor::{Bound, Prepared, Range};
use super::tensor::{Allocation, Tensor};
use super::{Device, DeviceError};
use crate::graph::{
    Access, Dispatch, Memory, Place, Program, RecordError, Tape, TensorId, TensorRef, Var,
    padded_bytes,
};

/// Kernel, shapes and grid of one dispatch of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchInfo {
    /// Stem of the WGSL file.
    pub kernel: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Shapes of the values it reads, in binding order. Elements have 4 bytes.
    pub reads: Vec<Vec<usize>>,
    /// Shapes of the values it writes, in binding order.
    pub writes: Vec<Vec<usize>>,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
}

impl DispatchInfo {
    fn new(dispatch: &Dispatch) -> DispatchInfo {
        let of = |wanted| {
            let uses = dispatch.uses().zip(&dispatch.shapes);
            let uses = uses.filter(|((_, access), _)| *access == wanted);
            uses.map(|(_, shape)| shape.clone()).collect()
        };
        DispatchInfo {
            kernel: dispatch.kernel.name,
            entry: &dispatch.entry.name,
            reads: of(Access::Read),
            writes: of(Access::Write),
            grid: dispatch.grid,
        }
    }

    /// Returns the bytes read and written if every value is touched once: a lower bound of the
    /// traffic.
    pub fn bytes(&self) -> u64 {
        let shapes = self.reads.iter().chain(&self.writes);
        shapes
            .map(|shape| 4 * shape.iter().product::<usize>() as u64)
            .sum()
    }
}

/// The first dispatch of a run that wrote a non-finite number.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The dispatch.
    pub call: DispatchInfo,
    /// Position among the dispatches, counted from 1.
    pub dispatch: usize,
    /// Number of dispatches.
    pub of: usize,
    /// One of the non-finite numbers.
    pub value: f32,
    /// Tensors read by this dispatch, or by the closest one before it that read any.
    pub tensors: Vec<TensorRef>,
}

/// Time that one kernel took in a run, all its dispatches together.
#[derive(Debug, Clone)]
pub struct Timing {
    /// Stem of the WGSL file.
    pub kernel: &'static str,
    /// Entry point.
    pub entry: &'static str,
    /// Number of dispatches.
    pub dispatches: usize,
    /// Their time together.
    pub time: Duration,
}

/// One dispatch, as far as the host needs to know it after preparation.
struct Step {
    info: DispatchInfo,
    /// Memory it writes, with the bytes of the floats there (0 if it holds no floats).
    writes: Vec<(Range, u32)>,
    /// Tensors that outlive the plan which it reads.
    tensors: Vec<TensorRef>,
}

/// A value that the host may write and read.
struct Home {
    range: Range,
    shape: Vec<usize>,
}

/// A program with its memory on a device, ready to run any number of times.
pub struct Plan {
    device: Device,
    prepared: Box<dyn Prepared>,
    steps: Vec<Step>,
    homes: BTreeMap<Var, Home>,
    memory: Memory,
    /// Keeps the memory of the program, and the tensors it uses.
    _allocations: Vec<Arc<Allocation>>,
}

impl Plan {
    /// Returns the bytes that the plan of `tape` will allocate, without allocating them.
    pub fn measure(tape: &Tape) -> Memory {
        Program::measure(tape)
    }

    /// Allocates memory for the program of `tape` and compiles its kernels. Dispatches whose
    /// results nobody can see are left out.
    ///
    /// # Errors
    /// A value larger than the device binds at once, or a device without memory for the plan.
    ///
    /// # Panics
    /// If an intermediate value is read before anything wrote it, or a bound tensor does not exist
    /// any more: a mistake in an op or a model.
    pub fn new(device: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(device, Program::new(tape), true)
    }

    /// Like [`new`](Self::new), with separate memory for each value: to show that sharing changes
    /// nothing.
    #[cfg(test)]
    pub(crate) fn unshared(device: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(device, Program::unshared(tape), true)
    }

    /// Like [`new`](Self::new), but compiles on this thread so that [`Device::attempt`] sees the
    /// errors.
    pub(crate) fn on_this_thread(device: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(device, Program::new(tape), false)
    }

    fn build(
        device: &Device,
        program: Result<Program, RecordError>,
        parallel: bool,
    ) -> Result<Plan, DeviceError> {
        let program = program?;
        let mut allocations = allocate_slots(device, &program)?;
        let slots: Vec<TensorId> = allocations.iter().map(|slot| slot.id).collect();

        let mut ranges: BTreeMap<Var, Range> = BTreeMap::new();
        for (&v, value) in &program.values {
            let bytes = padded_bytes(&value.shape);
            let whole = |id| Range {
                id,
                offset: 0,
                bytes,
            };
            let range = match &value.place {
                Place::Slot(slot) => whole(slots[*slot]),
                Place::Held | Place::Constant(_) => {
                    let allocation = device.allocate(&value.shape)?;
                    let range = whole(allocation.id);
                    if let Place::Constant(data) = &value.place {
                        device.executor().write(range.id, 0, data);
                    }
                    allocations.push(allocation);
                    range
                }
                Place::Tensor(tensor) => {
                    let allocation = device.allocation(tensor.id).unwrap_or_else(|| {
                        panic!(
                            "a tensor of shape {:?} was dropped before the program that uses it was prepared",
                            tensor.shape
                        )
                    });
                    allocations.push(allocation);
                    Range {
                        id: tensor.id,
                        offset: 4 * tensor.offset as u64,
                        bytes,
                    }
                }
            };
            ranges.insert(v, range);
        }

        let mut schedule = vec![];
        for dispatch in &program.dispatches {
            check_memory(dispatch, &ranges);
            let args = dispatch.args.iter().map(|v| ranges[v]).collect();
            schedule.push(Bound { dispatch, args });
        }
        let prepared = device.executor().prepare(&schedule, parallel)?;
        let steps = schedule.iter().map(|bound| step(&program, bound)).collect();

        let mut homes = BTreeMap::new();
        for v in program.values.keys().chain(program.views.keys()) {
            let Some((root, shape, place)) = program.value(*v) else {
                continue;
            };
            if matches!(place, Place::Slot(_)) {
                continue;
            }
            let shape = shape.to_vec();
            let bytes = 4 * shape.iter().product::<usize>() as u64;
            let range = Range {
                bytes,
                ..ranges[&root]
            };
            homes.insert(*v, Home { range, shape });
        }
        #[cfg(test)]
        poison(device, &program, &ranges);
        device.check()?;
        Ok(Plan {
            device: device.clone(),
            prepared,
            steps,
            homes,
            memory: program.memory,
            _allocations: allocations,
        })
    }

    /// Writes all elements of an input or held value; takes effect before the next run.
    ///
    /// # Panics
    /// If `v` is no such value, or has another number of elements.
    #[track_caller]
    pub fn write<T: bytemuck::Pod>(&self, v: Var, data: &[T]) {
        let Some(home) = self.homes.get(&v) else {
            panic!("only inputs and held values can be written")
        };
        self.device.write(home.range, data);
    }

    /// Reads all elements of an input or held value, waiting for the runs before.
    ///
    /// # Errors
    /// A device that failed.
    ///
    /// # Panics
    /// If `v` is no such value, or `T` does not have the size and alignment of `f32`.
    #[track_caller]
    pub fn read<T: bytemuck::Pod>(&self, v: Var) -> Result<Vec<T>, DeviceError> {
        self.device.read(self.home(v).range)
    }

    #[track_caller]
    fn home(&self, v: Var) -> &Home {
        self.homes.get(&v).unwrap_or_else(|| {
            panic!("only inputs and held values can be read: hold it on the tape")
        })
    }

    /// Returns the shape of an input or held value.
    ///
    /// # Panics
    /// If `v` is no such value.
    #[track_caller]
    pub fn shape(&self, v: Var) -> &[usize] {
        &self.home(v).shape
    }

    /// Submits the whole program once, without waiting for it.
    ///
    /// # Errors
    /// A device that failed.
    pub fn run(&self) -> Result<(), DeviceError> {
        self.prepared.submit()
    }

    /// Submits some of the dispatches, without waiting for them.
    ///
    /// # Errors
    /// A device that failed.
    pub(crate) fn run_some(&self, dispatches: std::ops::Range<usize>) -> Result<(), DeviceError> {
        match dispatches.is_empty() {
            true => Ok(()),
            false => self.prepared.submit_some(dispatches),
        }
    }

    /// Returns the number of dispatches after which no other writes a tensor.
    pub(crate) fn written_after(&self, tensor: &Tensor) -> usize {
        let wanted = tensor.range();
        let overlaps = |range: &Range| {
            range.id == wanted.id
                && range.offset < wanted.offset + wanted.bytes
                && wanted.offset < range.offset + range.bytes
        };
        let writes = |step: &Step| step.writes.iter().any(|(range, _)| overlaps(range));
        let last = self.steps.iter().rposition(writes);
        last.map_or(0, |last| last + 1)
    }

    /// Runs the program and reads all elements of an input or held value after it, with one
    /// submission for both.
    ///
    /// # Errors
    /// A device that failed.
    ///
    /// # Panics
    /// If `v` is no such value, or `T` does not have the size and alignment of `f32`.
    #[track_caller]
    pub fn run_and_read<T: bytemuck::Pod>(&self, v: Var) -> Result<Vec<T>, DeviceError> {
        let range = self.home(v).range;
        let words = self.device.block_on(self.prepared.submit_and_read(range))?;
        Ok(bytemuck::cast_vec(words))
    }

    /// Runs the program one dispatch at a time until `until` accepts a dispatch, and looks at all
    /// floats that each writes: slow, for finding the origin of a non-finite number.
    ///
    /// # Errors
    /// A device that failed.
    pub fn first_not_finite(
        &self,
        until: &dyn Fn(&DispatchInfo) -> bool,
    ) -> Result<Option<Finding>, DeviceError> {
        let mut tensors = vec![];
        for (index, step) in self.steps.iter().enumerate() {
            if until(&step.info) {
                break;
            }
            self.prepared.submit_some(index..index + 1)?;
            if !step.tensors.is_empty() {
                tensors.clone_from(&step.tensors);
            }
            for &(range, float) in step.writes.iter().filter(|(_, float)| *float > 0) {
                let read = self.device.executor().read(range);
                let words = self.device.block_on(read)?;
                let floats: Vec<f32> = match float {
                    2 => bytemuck::cast_slice::<u32, u8>(&words)
                        .as_chunks()
                        .0
                        .iter()
                        .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
                        .collect(),
                    _ => bytemuck::cast_vec(words),
                };
                if let Some(&value) = floats.iter().find(|value| !value.is_finite()) {
                    return Ok(Some(Finding {
                        call: step.info.clone(),
                        dispatch: index + 1,
                        of: self.steps.len(),
                        value,
                        tensors,
                    }));
                }
            }
        }
        self.device.check()?;
        Ok(None)
    }

    /// Runs the program once with every dispatch timed, and sums the times by kernel, longest
    /// first. `None` if the device cannot measure them.
    ///
    /// # Errors
    /// A device that failed.
    pub fn profile(&self) -> Result<Option<Vec<Timing>>, DeviceError> {
        let Some(times) = self.times()? else {
            return Ok(None);
        };
        let mut sums: BTreeMap<(&'static str, &'static str), (usize, Duration)> = BTreeMap::new();
        for (step, time) in self.steps.iter().zip(times) {
            let sum = sums.entry((step.info.kernel, step.info.entry)).or_default();
            *sum = (sum.0 + 1, sum.1 + time);
        }
        let timing = |((kernel, entry), (dispatches, time))| Timing {
            kernel,
            entry,
            dispatches,
            time,
        };
        let mut timings: Vec<Timing> = sums.into_iter().map(timing).collect();
        timings.sort_by_key(|timing| std::cmp::Reverse(timing.time));
        Ok(Some(timings))
    }

    /// Runs the program once with every dispatch timed, and returns the times in order. `None` if
    /// the device cannot measure them.
    ///
    /// # Errors
    /// A device that failed.
    pub fn times(&self) -> Result<Option<Vec<Duration>>, DeviceError> {
        self.device.block_on(self.prepared.times())
    }

    /// Returns every dispatch, in order.
    pub fn calls(&self) -> impl Iterator<Item = &DispatchInfo> {
        self.steps.iter().map(|step| &step.info)
    }

    /// Returns the kernel of every dispatch, in order.
    pub fn kernels(&self) -> Vec<&'static str> {
        self.calls().map(|call| call.kernel).collect()
    }

    /// Returns the number of dispatches in a run.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }

    /// Returns the memory that the plan takes.
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// Returns the device that the plan runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }
}

fn step(program: &Program, bound: &Bound) -> Step {
    let Bound { dispatch, args } = bound;
    let bindings = dispatch.entry.bindings.iter();
    let bindings = bindings.filter(|binding| binding.access != Access::Params);
    let (mut writes, mut tensors) = (vec![], vec![]);
    for (((v, shape), range), binding) in dispatch
        .args
        .iter()
        .zip(&dispatch.shapes)
        .zip(args)
        .zip(bindings)
    {
        match (binding.access, &program.values[v].place) {
            (Access::Write, _) => {
                let bytes = 4 * shape.iter().product::<usize>() as u64;
                writes.push((Range { bytes, ..*range }, binding.float));
            }
            (Access::Read, Place::Tensor(tensor)) => tensors.push(tensor.clone()),
            _ => {}
        }
    }
    Step {
        info: DispatchInfo::new(dispatch),
        writes,
        tensors,
    }
}

/// Checks that what a dispatch writes does not lie in an array that it uses otherwise too, not even
/// in another part of it: devices guard arrays as a whole.
fn check_memory(dispatch: &Dispatch, ranges: &BTreeMap<Var, Range>) {
    for v in dispatch.written() {
        let uses = dispatch.args.iter();
        let count = uses
            .filter(|other| ranges[other].id == ranges[&v].id)
            .count();
        assert!(
            count == 1,
            "{} writes a part of a buffer of which it uses another part",
            dispatch.place()
        );
    }
}

/// Allocates memory for intermediate values. An error names the op that needs it.
fn allocate_slots(device: &Device, program: &Program) -> Result<Vec<Arc<Allocation>>, DeviceError> {
    let total: u64 = program.slots.iter().sum();
    let needs = |slot: usize| {
        let largest = |shape: &[usize], v: &Var| {
            program.values[v].place == Place::Slot(slot)
                && padded_bytes(shape) == program.slots[slot]
        };
        program.dispatches.iter().find_map(|dispatch| {
            let mut args = dispatch.args.iter().zip(&dispatch.shapes);
            let (_, shape) = args.find(|(v, shape)| largest(shape, v))?;
            Some((dispatch.place(), shape.clone()))
        })
    };
    let mut made = vec![];
    for (slot, &bytes) in program.slots.iter().enumerate() {
        let allocation = device
            .allocate(&[bytes as usize / 4])
            .and_then(|allocation| device.check().map(|()| allocation));
        made.push(allocation.map_err(|error| match (error, needs(slot)) {
            (
                DeviceError::TooLarge {
                    bytes,
                    limit,
                    adapter,
                    ..
                },
                Some((_, shape)),
            ) => DeviceError::TooLarge {
                shape,
                bytes,
                limit,
                adapter,
            },
            (DeviceError::OutOfMemory(reason), Some((op, shape))) => DeviceError::OutOfMemory(
                format!(
                    "{reason}; at {bytes} bytes of {shape:?} for {op}, of {total} for all values of the step"
                ),
            ),
            (error, _) => error,
        })?);
    }
    Ok(made)
}

/// Fills with NaN everything that the program must write before it reads: a kernel that leaves part
/// of an output untouched then fails its test, which fresh memory of zeros would hide.
#[cfg(test)]
fn poison(device: &Device, program: &Program, ranges: &BTreeMap<Var, Range>) {
    let mut first: BTreeMap<Var, Access> = BTreeMap::new();
    for (v, access) in program.dispatches.iter().flat_map(Dispatch::uses) {
        first.entry(v).or_insert(access);
    }
    for (v, value) in &program.values {
        let written_first = match value.place {
            Place::Slot(_) => true,
            Place::Held => first.get(v) == Some(&Access::Write),
            _ => false,
        };
        if written_first {
            let range = ranges[v];
            let nan = vec![0xFF; range.bytes as usize];
            device.executor().write(range.id, range.offset, &nan);
        }
    }
}
