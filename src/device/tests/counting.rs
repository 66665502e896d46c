//! A second executor, which moves bytes but computes nothing: whole programs are scheduled on it
//! without any other code knowing.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::{Arc, Mutex};

use crate::device::executor::{Bound, Created, DeviceInfo, Executor, Prepared, Range, Read, Times};
use crate::device::{Device, DeviceError, Plan, Tensor};
use crate::graph::{Access, Capabilities, TensorId};
use crate::models::{Model, Preset};
use crate::nn::Context;

#[derive(Default)]
struct Counts {
    memory: BTreeMap<TensorId, Vec<u8>>,
    allocated: u64,
    freed: u64,
    /// Dispatches run, by kernel.
    ran: BTreeMap<String, usize>,
}

/// Counts what is asked of it. Every dispatch fills the values it writes with its number in the
/// schedule.
struct Counting(Arc<Mutex<Counts>>, DeviceInfo);

impl std::fmt::Debug for Counting {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("Counting")
    }
}

fn read(counts: &Mutex<Counts>, Range { id, offset, bytes }: Range) -> Read {
    let counts = counts.lock().unwrap();
    let data = &counts.memory[&id][offset as usize..][..bytes as usize];
    Box::pin(ready(Ok(bytemuck::pod_collect_to_vec(data))))
}

impl Executor for Counting {
    fn info(&self) -> &DeviceInfo {
        &self.1
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::MINIMAL
    }

    fn max_bytes(&self) -> u64 {
        1 << 30
    }

    fn free_memory(&self) -> Option<u64> {
        None
    }

    fn created(&self) -> Created {
        Created {
            buffers: self.0.lock().unwrap().allocated,
            ..Created::default()
        }
    }

    fn allocate(&self, bytes: u64) -> Result<TensorId, DeviceError> {
        let mut counts = self.0.lock().unwrap();
        counts.allocated += 1;
        let id = TensorId(counts.allocated);
        counts.memory.insert(id, vec![0; bytes as usize]);
        Ok(id)
    }

    fn free(&self, id: TensorId) {
        let mut counts = self.0.lock().unwrap();
        counts.freed += 1;
        counts.memory.remove(&id);
    }

    fn write(&self, id: TensorId, offset: u64, bytes: &[u8]) {
        let mut counts = self.0.lock().unwrap();
        let memory = counts.memory.get_mut(&id).unwrap();
        memory[offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    fn read(&self, range: Range) -> Read {
        read(&self.0, range)
    }

    fn prepare(
        &self,
        schedule: &[Bound],
        _parallel: bool,
    ) -> Result<Box<dyn Prepared>, DeviceError> {
        let steps = schedule.iter().map(|bound| {
            let uses = bound.dispatch.uses().zip(&bound.args);
            let written = uses.filter(|((_, access), _)| *access == Access::Write);
            let written = written.map(|(_, range)| *range).collect();
            (bound.dispatch.kernel.name.to_owned(), written)
        });
        Ok(Box::new(Schedule {
            counts: self.0.clone(),
            steps: steps.collect(),
        }))
    }
}

struct Schedule {
    counts: Arc<Mutex<Counts>>,
    steps: Vec<(String, Vec<Range>)>,
}

impl Prepared for Schedule {
    fn submit(&self) -> Result<(), DeviceError> {
        self.submit_some(0..self.steps.len())
    }

    fn submit_and_read(&self, range: Range) -> Read {
        self.submit().unwrap();
        read(&self.counts, range)
    }

    fn submit_some(&self, dispatches: std::ops::Range<usize>) -> Result<(), DeviceError> {
        let mut counts = self.counts.lock().unwrap();
        for index in dispatches {
            let (kernel, written) = &self.steps[index];
            *counts.ran.entry(kernel.clone()).or_default() += 1;
            for range in written {
                let memory = counts.memory.get_mut(&range.id).unwrap();
                let end = memory.len().min((range.offset + range.bytes) as usize);
                for word in memory[range.offset as usize..end].chunks_mut(4) {
                    word.copy_from_slice(&(index as f32).to_le_bytes());
                }
            }
        }
        Ok(())
    }

    fn times(&self) -> Times<'_> {
        Box::pin(ready(Ok(None)))
    }
}

fn counting() -> (Device, Arc<Mutex<Counts>>) {
    let counts = Arc::new(Mutex::new(Counts::default()));
    let info = DeviceInfo {
        name: "counting".into(),
        line: "counting".into(),
        timestamps: false,
        facts: vec![],
    };
    let executor = Counting(counts.clone(), info);
    (Device::with_executor(Arc::new(executor)), counts)
}

#[test]
fn a_second_executor_runs_the_schedule_of_a_whole_model() {
    let (device, counts) = counting();
    let config = Preset::Tiny.config();
    let model = Model::new(&device, &config, 1).unwrap();
    let mut tape = device.tape();
    let side = model.info().image_size();
    let image = tape.input(&[2, 3, side, side]);
    let ids = tape.input(&[2, 5]);
    let mut c = Context::training(&mut tape, 0.1);
    let logits = model.forward(&mut c, Some(image), ids, None, crate::models::Logits::Text);
    let shape = tape.shape(logits).to_vec();
    let cotangent = tape.input(&shape);
    tape.hold(logits);
    tape.backward(logits, cotangent);
    let grads: Vec<_> = tape.parameters();
    let grads: Vec<_> = grads.iter().filter_map(|&(v, _)| tape.grad(v)).collect();
    grads.iter().for_each(|&grad| tape.hold(grad));

    let plan = Plan::new(&device, tape).unwrap();
    plan.write(ids, &[3u32; 10]);
    assert_eq!(plan.read::<u32>(ids).unwrap(), [3; 10]);
    let last: Vec<f32> = plan.run_and_read(logits).unwrap();
    plan.run().unwrap();
    let ran = counts.lock().unwrap().ran.clone();
    assert_eq!(ran.values().sum::<usize>(), 2 * plan.dispatches());
    assert!(
        ran.contains_key("add_layernorm") && ran.len() > 5,
        "{ran:?}"
    );
    // the number of the dispatch that made it
    assert!(last.iter().all(|&value| value == last[0]) && last[0] > 0.0);
    let found = plan.first_not_finite(&|_| false).unwrap();
    assert!(found.is_none() && plan.times().unwrap().is_none());

    let allocated = device.created().buffers;
    drop((plan, model));
    assert_eq!(counts.lock().unwrap().freed, allocated);
}

#[test]
#[should_panic(expected = "a tensor of shape [8] was dropped before the program that uses it")]
fn a_program_needs_its_tensors_when_it_is_prepared() {
    let (device, _) = counting();
    let tensor = Tensor::zeros(&device, &[8]).unwrap();
    let mut tape = device.tape();
    let x = tape.bind(&tensor);
    let y = tape.scale(x, 2.0);
    tape.hold(y);
    drop(tensor);
    let _ = Plan::new(&device, tape);
}
