//! A program bound to buffers and pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rayon::prelude::*;

use super::Shared;
use super::pipelines::{Pipeline, key};
use crate::device::DeviceError;
use crate::device::executor::{Bound, Prepared, Range, Read, Times};
use crate::graph::Access;

struct Step {
    kernel: &'static str,
    pipeline: wgpu::ComputePipeline,
    bind_group: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Step {
    fn encode(&self, pass: &mut wgpu::ComputePass) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bind_group, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

struct PreparedProgram {
    shared: Arc<Shared>,
    steps: Vec<Step>,
}

/// Compiles kernels and creates bind groups.
pub(super) fn prepare(
    shared: &Arc<Shared>,
    schedule: &[Bound],
    parallel: bool,
) -> impl Prepared + use<> {
    let (params, offsets) = pack_params(shared, schedule);
    let pipelines = compile(shared, schedule, parallel);
    let steps = schedule.iter().zip(offsets).zip(pipelines);
    let steps = steps
        .map(|((bound, offset), pipeline)| step(shared, bound, &params, offset, pipeline))
        .collect();
    PreparedProgram {
        shared: shared.clone(),
        steps,
    }
}

fn step(
    shared: &Shared,
    bound: &Bound,
    params: &Option<wgpu::Buffer>,
    offset: u64,
    pipeline: Pipeline,
) -> Step {
    let Bound { dispatch, args } = bound;
    let buffers: Vec<wgpu::Buffer> = args
        .iter()
        .map(|range| shared.memory.buffer(range.id))
        .collect();
    let mut args = args.iter().zip(&buffers);
    let bindings = dispatch.entry.bindings.iter();
    let entries: Vec<_> = bindings
        .map(|binding| {
            let (buffer, offset, size) = match (binding.access, params) {
                (Access::Params, Some(buffer)) => (buffer, offset, dispatch.params.len() as u64),
                _ => {
                    let (range, buffer) = args.next().expect("every binding has memory");
                    // with the padding behind it, but for a part at the end of its array
                    let size = range.bytes.min(buffer.size() - range.offset);
                    (buffer, range.offset, size)
                }
            };
            wgpu::BindGroupEntry {
                binding: binding.index,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset,
                    size: std::num::NonZeroU64::new(size),
                }),
            }
        })
        .collect();
    shared.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
    let bind_group = shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(dispatch.kernel.name),
        layout: &pipeline.layout,
        entries: &entries,
    });
    Step {
        kernel: dispatch.kernel.name,
        pipeline: pipeline.pipeline,
        bind_group,
        grid: dispatch.grid,
    }
}

/// Returns the pipeline of every dispatch. New ones are compiled at the same time, on all cores, if
/// `parallel`.
fn compile(shared: &Shared, schedule: &[Bound], parallel: bool) -> Vec<Pipeline> {
    let mut numbers = BTreeMap::new();
    let mut distinct = vec![];
    let number_of: Vec<usize> = schedule
        .iter()
        .map(|bound| {
            *numbers.entry(key(bound.dispatch)).or_insert_with(|| {
                distinct.push(bound.dispatch);
                distinct.len() - 1
            })
        })
        .collect();
    let pipelines: Vec<Pipeline> = if parallel {
        // one at a time for each free thread: some take a hundred times as long as others
        let distinct = distinct.into_par_iter().with_max_len(1);
        distinct.map(|dispatch| shared.pipeline(dispatch)).collect()
    } else {
        let distinct = distinct.into_iter();
        distinct.map(|dispatch| shared.pipeline(dispatch)).collect()
    };
    let pipeline = |number: usize| pipelines[number].clone();
    number_of.into_iter().map(pipeline).collect()
}

/// Returns one uniform buffer with the `params` blocks of all dispatches, equal blocks once, and
/// the offset of each dispatch's block.
fn pack_params(shared: &Shared, schedule: &[Bound]) -> (Option<wgpu::Buffer>, Vec<u64>) {
    let align = shared.limits.min_uniform_buffer_offset_alignment as usize;
    let mut known: BTreeMap<&[u8], u64> = BTreeMap::new();
    let mut bytes: Vec<u8> = vec![];
    let mut offsets = vec![];
    for bound in schedule {
        let params = &bound.dispatch.params;
        let offset = *known.entry(params).or_insert_with(|| {
            let offset = bytes.len();
            bytes.extend(params);
            bytes.resize(bytes.len().next_multiple_of(align), 0);
            offset as u64
        });
        offsets.push(offset);
    }
    let buffer = (!bytes.is_empty()).then(|| {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let buffer = shared.create_buffer(bytes.len() as u64, usage);
        shared.queue.write_buffer(&buffer, 0, &bytes);
        buffer
    });
    (buffer, offsets)
}

impl PreparedProgram {
    fn encoder(&self) -> wgpu::CommandEncoder {
        let device = &self.shared.device;
        device.create_command_encoder(&Default::default())
    }

    /// Dispatches in one pass.
    fn encode(&self, steps: &[Step]) -> wgpu::CommandEncoder {
        let mut encoder = self.encoder();
        let mut pass = encoder.begin_compute_pass(&Default::default());
        steps.iter().for_each(|step| step.encode(&mut pass));
        drop(pass);
        encoder
    }

    /// Runs some dispatches, each in a pass of its own between two timestamps.
    async fn time(&self, steps: &[Step]) -> Result<Vec<Duration>, DeviceError> {
        let device = &self.shared.device;
        let count = 2 * steps.len() as u32;
        let queries = device.create_query_set(&wgpu::QuerySetDescriptor {
            label: Some("profile"),
            ty: wgpu::QueryType::Timestamp,
            count,
        });
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let bytes = 8 * count as u64;
        let resolved = self.shared.create_buffer(bytes.next_multiple_of(16), usage);
        let mut encoder = self.encoder();
        for (index, step) in steps.iter().enumerate() {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(step.kernel),
                timestamp_writes: Some(wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * index as u32),
                    end_of_pass_write_index: Some(2 * index as u32 + 1),
                }),
            });
            step.encode(&mut pass);
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved, 0);
        let read = self
            .shared
            .submit_and_read_buffer(encoder, &resolved, 0, bytes);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&read.await?);
        let period = self.shared.queue.get_timestamp_period() as f64;
        let time = |ticks: &[u64]| {
            let nanoseconds = ticks[1].saturating_sub(ticks[0]) as f64 * period;
            Duration::from_nanos(nanoseconds as u64)
        };
        Ok(ticks.chunks_exact(2).map(time).collect())
    }
}

impl Prepared for PreparedProgram {
    fn submit(&self) -> Result<(), DeviceError> {
        self.shared.submit(self.encode(&self.steps))
    }

    fn submit_and_read(&self, range: Range) -> Read {
        self.shared.submit_and_read(self.encode(&self.steps), range)
    }

    fn submit_some(&self, dispatches: std::ops::Range<usize>) -> Result<(), DeviceError> {
        self.shared.submit(self.encode(&self.steps[dispatches]))
    }

    fn times(&self) -> Times<'_> {
        /// Dispatches per query set, which holds at most 4096 queries.
        const PER_SET: usize = 2048;
        Box::pin(async move {
            if !self
                .shared
                .features
                .contains(wgpu::Features::TIMESTAMP_QUERY)
            {
                return Ok(None);
            }
            let mut times = vec![];
            for steps in self.steps.chunks(PER_SET) {
                times.extend(self.time(steps).await?);
            }
            Ok(Some(times))
        })
    }
}
