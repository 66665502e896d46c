//! Gives a recorded program its buffers by liveness, and runs it in one pass and one submit.

use std::collections::BTreeMap;
use std::time::Duration;

use rayon::prelude::*;

use crate::device::{Device, DeviceError, Pipeline, Place, Tensor, padded_bytes};
use crate::graph::Access;
use crate::graph::{Dispatch, Home, Tape, Var};

struct Step {
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    call: DispatchInfo,
    /// What it writes: where, how many elements, and of how many bytes the floats there are (0: no floats).
    writes: Vec<(Place, usize, u32)>,
    /// The tensors that outlive the plan which it reads.
    tensors: Vec<Tensor>,
}

/// The first dispatch of a run that wrote a number that is not finite.
#[derive(Clone)]
pub struct Finding {
    pub call: DispatchInfo,
    /// Its place among the dispatches, counted from 1, and their number.
    pub dispatch: usize,
    pub of: usize,
    /// One such number.
    pub value: f32,
    /// The last tensors that outlive the plan, as parameters, which it or a dispatch before it read.
    pub tensors: Vec<Tensor>,
}

/// One dispatch of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchInfo {
    pub kernel: &'static str,
    pub entry: &'static str,
    /// The shapes of what it reads and of what it writes, in the order of the kernel's bindings; all elements have 4 bytes.
    pub reads: Vec<Vec<usize>>,
    pub writes: Vec<Vec<usize>>,
    /// Workgroups in x, y and z.
    pub grid: [u32; 3],
}

impl DispatchInfo {
    fn new(dispatch: &Dispatch, shape: impl Fn(Var) -> Vec<usize>) -> DispatchInfo {
        let of = |access| {
            dispatch
                .uses()
                .filter(|&(_, used)| used == access)
                .map(|(v, _)| shape(v))
                .collect()
        };
        let (kernel, entry, grid) = (
            dispatch.kernel.name,
            dispatch.entry.name.as_str(),
            dispatch.grid,
        );
        DispatchInfo {
            kernel,
            entry,
            reads: of(Access::Read),
            writes: of(Access::Write),
            grid,
        }
    }

    /// What it reads and writes at least, each value once.
    pub fn bytes(&self) -> u64 {
        self.reads
            .iter()
            .chain(&self.writes)
            .map(|shape| 4 * shape.iter().product::<usize>() as u64)
            .sum()
    }
}

/// A program with its buffers, ready to run any number of times.
pub struct Plan {
    gpu: Device,
    steps: Vec<Step>,
    /// Where every variable that the host may touch lives, and its shape.
    homes: BTreeMap<Var, (Place, Vec<usize>)>,
    memory: Memory,
}

/// Bytes of a plan's buffers, parameters and other tensors excluded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// All intermediate values, if each had a buffer of its own.
    pub unshared: u64,
    /// What they take with buffers reused: the plan's peak.
    pub shared: u64,
    /// Inputs and held outputs.
    pub held: u64,
    /// The largest buffer.
    pub largest: u64,
}

impl Memory {
    /// That of two plans together.
    pub fn and(self, other: Memory) -> Memory {
        Memory {
            unshared: self.unshared + other.unshared,
            shared: self.shared + other.shared,
            held: self.held + other.held,
            largest: self.largest.max(other.largest),
        }
    }

    /// What a plan allocates.
    pub fn total(&self) -> u64 {
        self.shared + self.held
    }
}

/// The time one kernel took in a run, all its dispatches together.
#[derive(Debug, Clone)]
pub struct Timing {
    pub kernel: &'static str,
    pub entry: &'static str,
    pub dispatches: usize,
    pub time: Duration,
}

impl Plan {
    /// The bytes that the plan of `tape` will allocate, without allocating them.
    pub fn measure(tape: &Tape) -> Memory {
        layout(tape, share).memory
    }

    /// Allocates the buffers of `tape`'s program and compiles its kernels. Dispatches whose results nobody can see are left out.
    ///
    /// # Errors
    /// A value larger than the adapter binds at once, or a device without memory for the plan.
    ///
    /// # Panics
    /// When an intermediate value is read before anything wrote it: a mistake in an op.
    pub fn new(gpu: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(gpu, tape, true, share)
    }

    /// The same with a buffer for each value: to show that sharing changes nothing.
    #[cfg(test)]
    pub(crate) fn unshared(gpu: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(gpu, tape, true, |lives| {
            (
                lives.iter().map(|life| life.bytes).collect(),
                (0..lives.len()).collect(),
            )
        })
    }

    /// The same on this thread alone: for [`Device::attempt`], which sees no errors of others.
    pub(crate) fn on_this_thread(gpu: &Device, tape: Tape) -> Result<Plan, DeviceError> {
        Self::build(gpu, tape, false, share)
    }

    fn build(gpu: &Device, tape: Tape, parallel: bool, share: Share) -> Result<Plan, DeviceError> {
        if let Some(error) = &tape.refused {
            return Err(error.clone());
        }
        let Layout {
            program,
            slots,
            places,
            memory,
        } = layout(&tape, share);
        let slots = allocate(gpu, &tape, &program, &slots, &places)?;

        let mut homes = BTreeMap::new();
        for (index, variable) in tape.variables.iter().enumerate() {
            let place = match &variable.home {
                Home::Transient => continue,
                Home::Held => gpu.buffer(&variable.shape)?.into(),
                Home::Tensor(tensor) => tensor.place().clone(),
            };
            homes.insert(Var(index as u32), (place, variable.shape.clone()));
        }
        let place_of = |v: Var| {
            homes
                .get(&v)
                .map(|(place, _)| place)
                .unwrap_or_else(|| &slots[places[&v]])
        };

        let (params, offsets) = pack_params(gpu, &program);
        let mut steps = vec![];
        for ((dispatch, offset), pipeline) in program
            .iter()
            .zip(offsets)
            .zip(compile(gpu, &program, parallel))
        {
            check_buffers(dispatch, place_of);
            let mut args = dispatch.args.iter();
            let entries: Vec<_> = dispatch
                .entry
                .bindings
                .iter()
                .map(|binding| {
                    let resource = match (binding.access, &params) {
                        (Access::Params, Some(buffer)) => {
                            wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                                buffer,
                                offset,
                                size: std::num::NonZeroU64::new(dispatch.params.len() as u64),
                            })
                        }
                        _ => {
                            let v = *args
                                .next()
                                .expect("the tape checked that every binding has a variable");
                            place_of(v).binding(&tape.variables[v.0 as usize].shape)
                        }
                    };
                    wgpu::BindGroupEntry {
                        binding: binding.index,
                        resource,
                    }
                })
                .collect();
            let bind_group = gpu.bind_group(&wgpu::BindGroupDescriptor {
                label: Some(dispatch.kernel.name),
                layout: &pipeline.layout,
                entries: &entries,
            });
            let call = DispatchInfo::new(dispatch, |v| tape.variables[v.0 as usize].shape.clone());
            let bindings = dispatch
                .entry
                .bindings
                .iter()
                .filter(|binding| binding.access != Access::Params);
            let used = || dispatch.args.iter().copied().zip(bindings.clone());
            let writes = used().filter(|(_, binding)| binding.access == Access::Write);
            let writes = writes
                .map(|(v, binding)| (place_of(v).clone(), tape.len(v), binding.float))
                .collect();
            let tensors = used().filter(|(_, binding)| binding.access == Access::Read);
            let tensors = tensors.filter_map(|(v, _)| match &tape.variables[v.0 as usize].home {
                Home::Tensor(tensor) => Some(tensor.clone()),
                _ => None,
            });
            let tensors = tensors.collect();
            steps.push(Step {
                pipeline: pipeline.pipeline,
                bind_group,
                call,
                writes,
                tensors,
            });
        }
        #[cfg(test)]
        poison(gpu, &program, &slots, &homes, |v| {
            matches!(tape.variables[v.0 as usize].home, Home::Held)
        });
        gpu.check()?;
        Ok(Plan {
            gpu: gpu.clone(),
            steps,
            homes,
            memory,
        })
    }

    /// Writes all elements of an input or held value; takes effect before the next run.
    ///
    /// # Panics
    /// When `v` is not such a value, or has another number of elements.
    #[track_caller]
    pub fn write<T: bytemuck::Pod>(&self, v: Var, data: &[T]) {
        let Some((place, shape)) = self.homes.get(&v) else {
            panic!("only inputs and held values can be written")
        };
        place.write(&self.gpu, shape.iter().product(), data);
    }

    /// Reads all elements of an input or held value, waiting for the runs before.
    ///
    /// # Panics
    /// When `v` is not such a value.
    #[track_caller]
    pub fn read<T: bytemuck::Pod>(&self, v: Var) -> Result<Vec<T>, DeviceError> {
        let (place, shape) = self.readable(v);
        place.read(&self.gpu, shape.iter().product())
    }

    #[track_caller]
    fn readable(&self, v: Var) -> &(Place, Vec<usize>) {
        self.homes.get(&v).unwrap_or_else(|| {
            panic!("only inputs and held values can be read: hold it on the tape")
        })
    }

    /// The shape of an input or held value.
    ///
    /// # Panics
    /// When `v` is not such a value.
    #[track_caller]
    pub fn shape(&self, v: Var) -> &[usize] {
        &self
            .homes
            .get(&v)
            .unwrap_or_else(|| panic!("only inputs and held values have a shape after planning"))
            .1
    }

    /// Submits the whole program once, without waiting for it.
    pub fn run(&self) -> Result<(), DeviceError> {
        self.gpu.submit(self.encode())
    }

    /// Runs the program and reads all elements of an input or held value after it, with one submit for both.
    ///
    /// # Panics
    /// When `v` is not such a value.
    #[track_caller]
    pub fn run_and_read<T: bytemuck::Pod>(&self, v: Var) -> Result<Vec<T>, DeviceError> {
        let (place, shape) = self.readable(v);
        let bytes = 4 * shape.iter().product::<usize>() as u64;
        let bytes = self
            .gpu
            .submit_and_read(self.encode(), &place.buffer, place.offset, bytes)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    }

    fn encode(&self) -> wgpu::CommandEncoder {
        let mut encoder = self
            .gpu
            .device()
            .create_command_encoder(&Default::default());
        let mut pass = encoder.begin_compute_pass(&Default::default());
        for step in &self.steps {
            step.encode(&mut pass);
        }
        drop(pass);
        encoder
    }

    /// Runs the program a dispatch at a time, up to the first that `until` says yes to, and looks at all floats that each writes:
    /// slow, for finding out what went wrong.
    pub fn first_not_finite(
        &self,
        until: &dyn Fn(&DispatchInfo) -> bool,
    ) -> Result<Option<Finding>, DeviceError> {
        let mut tensors = vec![];
        for (index, step) in self.steps.iter().enumerate() {
            if until(&step.call) {
                break;
            }
            let mut encoder = self
                .gpu
                .device()
                .create_command_encoder(&Default::default());
            step.encode(&mut encoder.begin_compute_pass(&Default::default()));
            self.gpu.queue().submit([encoder.finish()]);
            if !step.tensors.is_empty() {
                tensors.clone_from(&step.tensors);
            }
            for (place, elements, float) in &step.writes {
                let bytes = match float {
                    0 => continue,
                    _ => self
                        .gpu
                        .read_bytes(&place.buffer, place.offset, 4 * *elements as u64)?,
                };
                let floats: Vec<f32> = match float {
                    2 => bytes
                        .as_chunks()
                        .0
                        .iter()
                        .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
                        .collect(),
                    _ => bytemuck::pod_collect_to_vec(&bytes),
                };
                if let Some(&value) = floats.iter().find(|value| !value.is_finite()) {
                    let (call, dispatch, of) = (step.call.clone(), index + 1, self.steps.len());
                    return Ok(Some(Finding {
                        call,
                        dispatch,
                        of,
                        value,
                        tensors,
                    }));
                }
            }
        }
        self.gpu.check()?;
        Ok(None)
    }

    /// Runs the program once with a timestamp around every dispatch, and sums the times by kernel, longest first.
    /// `None` when the adapter has no timestamps.
    pub fn profile(&self) -> Result<Option<Vec<Timing>>, DeviceError> {
        let Some(times) = self.times()? else {
            return Ok(None);
        };
        let mut sums: BTreeMap<(&'static str, &'static str), (usize, Duration)> = BTreeMap::new();
        for (step, time) in self.steps.iter().zip(times) {
            let sum = sums.entry((step.call.kernel, step.call.entry)).or_default();
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

    /// Runs the program once with a timestamp around every dispatch: the time of each, in order. `None` when the adapter has no
    /// timestamps.
    pub fn times(&self) -> Result<Option<Vec<Duration>>, DeviceError> {
        if !self.gpu.has_timestamps() {
            return Ok(None);
        }
        // a query set holds at most 4096 queries, two for each dispatch
        const PER_SET: usize = 2048;
        let device = self.gpu.device();
        let period = self.gpu.queue().get_timestamp_period() as f64;
        let mut times = vec![];
        for chunk in self.steps.chunks(PER_SET) {
            let count = 2 * chunk.len() as u32;
            let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let resolved = self
                .gpu
                .raw_buffer((8 * count as u64).next_multiple_of(16), usage);
            let mut encoder = device.create_command_encoder(&Default::default());
            for (index, step) in chunk.iter().enumerate() {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                    label: Some(step.call.kernel),
                    timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                        query_set: &queries,
                        beginning_of_pass_write_index: Some(2 * index as u32),
                        end_of_pass_write_index: Some(2 * index as u32 + 1),
                    }),
                });
                step.encode(&mut pass);
            }
            encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
            self.gpu.queue().submit([encoder.finish()]);
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&self.gpu.read_bytes(
                &resolved,
                0,
                8 * count as u64,
            )?);
            let time = |ticks: &[u64]| {
                Duration::from_nanos((ticks[1].saturating_sub(ticks[0]) as f64 * period) as u64)
            };
            times.extend(ticks.chunks_exact(2).map(time));
        }
        Ok(Some(times))
    }

    /// Every dispatch, in order.
    pub fn calls(&self) -> impl Iterator<Item = &DispatchInfo> {
        self.steps.iter().map(|step| &step.call)
    }

    /// The kernel of every dispatch, in order.
    pub fn kernels(&self) -> Vec<&'static str> {
        self.calls().map(|call| call.kernel).collect()
    }

    /// Number of dispatches in a run.
    pub fn dispatches(&self) -> usize {
        self.steps.len()
    }

    pub fn memory(&self) -> Memory {
        self.memory
    }

    pub fn gpu(&self) -> &Device {
        &self.gpu
    }
}

impl Step {
    fn encode(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.call.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

/// What a dispatch writes may not lie in a buffer that it uses otherwise too, not even in another part of it: the device
/// guards buffers as a whole.
fn check_buffers<'a>(dispatch: &Dispatch, place_of: impl Fn(Var) -> &'a Place) {
    for (v, _) in dispatch
        .uses()
        .filter(|&(_, access)| access == Access::Write)
    {
        let count = dispatch
            .args
            .iter()
            .filter(|&&other| place_of(other).buffer == place_of(v).buffer)
            .count();
        let place = || {
            format!(
                "shaders/{}.wgsl `{}`",
                dispatch.kernel.name, dispatch.entry.name
            )
        };
        assert!(
            count == 1,
            "{} writes a part of a buffer of which it uses another part",
            place()
        );
    }
}

/// Gives values their buffers: see [`share`].
type Share = fn(&[Life]) -> (Vec<u64>, Vec<usize>);

/// Which dispatches of a tape run, and where their values go.
struct Layout<'t> {
    program: Vec<&'t Dispatch>,
    /// Bytes of each buffer for intermediate values.
    slots: Vec<u64>,
    /// The buffer of each of them.
    places: BTreeMap<Var, usize>,
    memory: Memory,
}

fn layout(tape: &Tape, share: Share) -> Layout<'_> {
    let live = live(tape);
    let program: Vec<&Dispatch> = tape
        .program
        .iter()
        .zip(&live)
        .filter(|(_, live)| **live)
        .map(|(dispatch, _)| dispatch)
        .collect();
    let bytes = |v: Var| padded_bytes(&tape.variables[v.0 as usize].shape);
    let transient = |v: Var| matches!(tape.variables[v.0 as usize].home, Home::Transient);
    let mut lives: BTreeMap<Var, Life> = BTreeMap::new();
    for (at, dispatch) in program.iter().enumerate() {
        for (v, access) in dispatch.uses().filter(|&(v, _)| transient(v)) {
            let life = lives.entry(v).or_insert_with(|| {
                let place = format!(
                    "shaders/{}.wgsl `{}`",
                    dispatch.kernel.name, dispatch.entry.name
                );
                assert!(
                    access == Access::Write,
                    "{place} reads a value that nothing wrote"
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
    let (slots, slot_of) = share(&values);
    let held = tape
        .variables
        .iter()
        .enumerate()
        .filter(|(_, variable)| matches!(variable.home, Home::Held));
    let memory = Memory {
        unshared: values.iter().map(|life| life.bytes).sum(),
        shared: slots.iter().sum(),
        held: held
            .clone()
            .map(|(index, _)| bytes(Var(index as u32)))
            .sum(),
        largest: held
            .map(|(index, _)| bytes(Var(index as u32)))
            .chain(slots.iter().copied())
            .max()
            .unwrap_or(0),
    };
    Layout {
        program,
        slots,
        places: lives.keys().copied().zip(slot_of).collect(),
        memory,
    }
}

/// The buffers for intermediate values. Where one is not to be had, the error names the op that needs it.
fn allocate(
    gpu: &Device,
    tape: &Tape,
    program: &[&Dispatch],
    slots: &[u64],
    places: &BTreeMap<Var, usize>,
) -> Result<Vec<Place>, DeviceError> {
    let whole: u64 = slots.iter().sum();
    let needs = |slot: usize| {
        let largest = |v: &Var| {
            places.get(v) == Some(&slot)
                && padded_bytes(&tape.variables[v.0 as usize].shape) == slots[slot]
        };
        let found = program
            .iter()
            .find_map(|dispatch| Some((dispatch, dispatch.args.iter().copied().find(largest)?)));
        found.map(|(dispatch, v)| {
            let shape = tape.variables[v.0 as usize].shape.clone();
            (
                format!(
                    "shaders/{}.wgsl `{}`",
                    dispatch.kernel.name, dispatch.entry.name
                ),
                shape,
            )
        })
    };
    let mut made = vec![];
    for (slot, &bytes) in slots.iter().enumerate() {
        let buffer = gpu
            .buffer(&[bytes as usize / 4])
            .and_then(|buffer| gpu.check().map(|()| buffer));
        made.push(Place::from(buffer.map_err(|error| match (error, needs(slot)) {
            (DeviceError::TooLarge { bytes, limit, adapter, .. }, Some((_, shape))) => DeviceError::TooLarge { shape, bytes, limit, adapter },
            (DeviceError::OutOfMemory(reason), Some((op, shape))) => {
                DeviceError::OutOfMemory(format!("{reason}; at {bytes} bytes of {shape:?} for {op}, of {whole} for all values of the step"))
            }
            (error, _) => error,
        })?));
    }
    Ok(made)
}

/// Fills with NaN all that the program must write before it reads: a kernel that leaves a part of an output as it was
/// fails its test, where fresh buffers of zeros would hide it.
#[cfg(test)]
fn poison(
    gpu: &Device,
    program: &[&Dispatch],
    slots: &[Place],
    homes: &BTreeMap<Var, (Place, Vec<usize>)>,
    held: impl Fn(Var) -> bool,
) {
    let mut first: BTreeMap<Var, Access> = BTreeMap::new();
    for (v, access) in program.iter().flat_map(|dispatch| dispatch.uses()) {
        first.entry(v).or_insert(access);
    }
    let outputs = homes
        .iter()
        .filter(|(v, _)| held(**v) && first.get(v) == Some(&Access::Write))
        .map(|(_, (place, _))| place);
    for Place { buffer, .. } in slots.iter().chain(outputs) {
        gpu.queue()
            .write_buffer(buffer, 0, &vec![0xFF; buffer.size() as usize]);
    }
}

/// Which dispatches write something that is held, persistent, or read by a live dispatch.
fn live(tape: &Tape) -> Vec<bool> {
    let mut wanted: Vec<bool> = tape
        .variables
        .iter()
        .map(|variable| !matches!(variable.home, Home::Transient))
        .collect();
    let mut live = vec![false; tape.program.len()];
    for (at, dispatch) in tape.program.iter().enumerate().rev() {
        live[at] = dispatch
            .uses()
            .any(|(v, access)| access == Access::Write && wanted[v.0 as usize]);
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

/// Buffers for values such that no two values share one while both live: largest values first, each into the first
/// buffer that is free all its life. A value that a dispatch reads and one that it writes both live during it.
/// Returns the size of each buffer and the buffer of each value.
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

/// The pipeline of every dispatch. Those that are new are compiled at the same time, on all cores, if `parallel`.
fn compile(gpu: &Device, program: &[&Dispatch], parallel: bool) -> Vec<Pipeline> {
    let mut numbers = BTreeMap::new();
    let mut distinct = vec![];
    let number_of: Vec<usize> = program
        .iter()
        .map(|dispatch| {
            let constants: Vec<_> = dispatch
                .constants
                .iter()
                .map(|&(name, value)| (name, value.to_bits()))
                .collect();
            *numbers
                .entry((dispatch.kernel.source, &dispatch.entry.name, constants))
                .or_insert_with(|| {
                    distinct.push(*dispatch);
                    distinct.len() - 1
                })
        })
        .collect();
    // one at a time for each thread that is free: some take a hundred times as long as others
    let pipeline =
        |dispatch: &Dispatch| gpu.pipeline(dispatch.kernel, dispatch.entry, &dispatch.constants);
    let pipelines: Vec<Pipeline> = if parallel {
        distinct
            .into_par_iter()
            .with_max_len(1)
            .map(pipeline)
            .collect()
    } else {
        distinct.into_iter().map(pipeline).collect()
    };
    number_of
        .into_iter()
        .map(|number| pipelines[number].clone())
        .collect()
}

/// One uniform buffer with the `params` blocks of all dispatches, equal blocks once, and each dispatch's offset into it.
fn pack_params(gpu: &Device, program: &[&Dispatch]) -> (Option<wgpu::Buffer>, Vec<u64>) {
    let align = gpu.limits().min_uniform_buffer_offset_alignment as usize;
    let mut known: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut bytes: Vec<u8> = vec![];
    let mut offsets = vec![];
    for dispatch in program {
        let offset = *known.entry(&dispatch.params).or_insert_with(|| {
            let offset = bytes.len();
            bytes.extend(&dispatch.params);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            offset as u64
        });
        offsets.push(offset);
    }
    let buffer = (!bytes.is_empty()).then(|| {
        let buffer = gpu.raw_buffer(
            bytes.len() as u64,
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        );
        gpu.queue().write_buffer(&buffer, 0, &bytes);
        buffer
    });
    (buffer, offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_tell_the_shapes_and_bytes_of_what_was_recorded() {
        let gpu = Device::open(None).unwrap();
        let mut tape = Tape::new(gpu.capabilities());
        let (x, y) = (tape.input(&[3, 5]), tape.input(&[3, 5]));
        let sum = tape.add(x, y);
        tape.hold(sum);
        let plan = Plan::new(&gpu, tape).unwrap();
        let calls: Vec<&DispatchInfo> = plan.calls().collect();
        assert_eq!((calls.len(), calls[0].kernel), (1, "add"));
        assert_eq!(
            (&calls[0].reads, &calls[0].writes),
            (&vec![vec![3, 5]; 2], &vec![vec![3, 5]])
        );
        assert_eq!(calls[0].bytes(), 3 * 4 * 15);
        assert!(plan.times().unwrap().is_none_or(|times| times.len() == 1));
    }

    fn life(bytes: u64, first: usize, last: usize) -> Life {
        Life { bytes, first, last }
    }

    #[test]
    fn values_that_live_at_other_times_share_a_buffer() {
        let (slots, slot_of) = share(&[life(16, 0, 1), life(64, 2, 3), life(32, 1, 2)]);
        assert_eq!(slot_of[0], slot_of[1]);
        assert_ne!(slot_of[0], slot_of[2]);
        assert_eq!(slots, [64, 32]);
    }

    #[test]
    fn a_value_read_by_a_dispatch_does_not_lend_its_buffer_to_what_the_dispatch_writes() {
        let (_, slot_of) = share(&[life(16, 0, 1), life(16, 1, 2)]);
        assert_ne!(slot_of[0], slot_of[1]);
    }

    #[test]
    fn no_two_values_overlap_in_a_long_random_program() {
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
                    "{a:?} and {b:?} share a buffer"
                );
            }
        }
        assert!(slots.iter().sum::<u64>() < lives.iter().map(|life| life.bytes).sum::<u64>() / 4);
    }

    use proptest::prelude::*;

    /// An op of a random graph, and the earlier values that it takes, modulo their number.
    fn step() -> impl Strategy<Value = (u8, usize, usize)> {
        (0..6u8, 0..100usize, 0..100usize)
    }

    /// The bits of the result of a random graph over values of 6 x 5 and of the gradients of its inputs.
    fn evaluated(
        gpu: &Device,
        steps: &[(u8, usize, usize)],
        reads: usize,
        plan: impl Fn(&Device, Tape) -> Result<Plan, DeviceError>,
    ) -> (Vec<Vec<u32>>, Memory) {
        let mut tape = Tape::new(gpu.capabilities());
        let inputs = [(); 3].map(|()| tape.variable(&[6, 5]));
        let [weight, bias] = [(); 2].map(|()| tape.variable(&[5]));
        let square = tape.variable(&[5, 5]);
        let mut values = inputs.to_vec();
        for &(op, a, b) in steps {
            let (a, b) = (values[a % values.len()], values[b % values.len()]);
            values.push(match op {
                0 => tape.add(a, b),
                1 => tape.scale(a, 0.75),
                2 => tape.gelu(a),
                3 => tape.softmax(a),
                4 => tape.layernorm(a, weight, bias, 1e-5),
                _ => tape.matmul(a, square),
            });
        }
        // some value in the middle is used once more at the end
        let (last, read) = (values[values.len() - 1], values[reads % values.len()]);
        let y = tape.add(last, read);
        tape.hold(y);
        let cotangent = tape.input(&[6, 5]);
        tape.backward(y, cotangent);
        let grads: Vec<Var> = inputs
            .iter()
            .chain([&weight, &bias, &square])
            .filter_map(|&v| tape.grad(v))
            .collect();
        grads.iter().for_each(|&grad| tape.hold(grad));
        let plan = plan(gpu, tape).unwrap();
        for (index, v) in inputs
            .into_iter()
            .chain([weight, bias, square, cotangent])
            .enumerate()
        {
            let count: usize = plan.shape(v).iter().product();
            plan.write(
                v,
                &(0..count)
                    .map(|i| ((i * 7 + index * 5) % 13) as f32 / 6.0 - 1.0)
                    .collect::<Vec<f32>>(),
            );
        }
        // the second run finds what the first left in the buffers
        plan.run().unwrap();
        plan.run().unwrap();
        (
            [y].into_iter()
                .chain(grads)
                .map(|v| plan.read(v).unwrap())
                .collect(),
            plan.memory(),
        )
    }

    /// Opened once for all cases.
    static GPU: std::sync::LazyLock<Device> =
        std::sync::LazyLock::new(|| Device::open(None).unwrap());

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn shared_buffers_change_no_bit_of_random_graphs(steps in prop::collection::vec(step(), 1..30), reads in 0..100usize) {
            let gpu = GPU.clone();
            let (shared, memory) = evaluated(&gpu, &steps, reads, Plan::new);
            let (alone, most) = evaluated(&gpu, &steps, reads, Plan::unshared);
            prop_assert_eq!(shared, alone);
            prop_assert!(memory.shared <= most.shared && most.shared == most.unshared);
        }
    }
}
