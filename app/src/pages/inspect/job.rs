//! Lists the parameters of a model and the dispatches of one of its programs.

use std::time::Duration;

use seemore::device::{DispatchInfo, Memory};

use crate::hint;
use crate::worker::{Command, Worker};

/// A recorded program of the chosen model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Encodes a picture and computes the first token.
    FirstToken,
    /// Computes one further token.
    NextToken,
}

/// Command that runs a program once and lists it. Its result is an [`InspectEvent`].
#[derive(Debug, Clone, Copy)]
pub struct InspectJob {
    /// Program to run.
    pub program: Program,
}

/// Result of an [`InspectJob`], or why there is none and what to do.
pub type InspectEvent = Result<Box<Inspection>, String>;

/// A program and the parameters of its model.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The program that was run.
    pub program: Program,
    /// Every dispatch in order, with its time if the adapter has timestamps.
    pub dispatches: Vec<(DispatchInfo, Option<Duration>)>,
    /// Memory of the program's buffers.
    pub memory: Memory,
    /// Parameters of the model.
    pub parameters: Vec<Parameter>,
}

/// A parameter of a model.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Path in the model, which is its name in checkpoints.
    pub name: String,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Euclidean norm.
    pub norm: f64,
}

impl Command for InspectJob {
    fn run(self: Box<Self>, worker: &mut Worker) {
        let event: InspectEvent = self
            .inspect(worker)
            .map(Box::new)
            .map_err(|error| hint::explain(error.as_ref()));
        worker.events().page(event);
    }
}

impl InspectJob {
    fn inspect(&self, worker: &mut Worker) -> anyhow::Result<Inspection> {
        let session = worker.model(0)?;
        let (dispatches, memory) = session.inspect(|prefill, step| {
            let plan = match self.program {
                Program::FirstToken => prefill,
                Program::NextToken => step,
            };
            let times = plan.times()?;
            let time = |index: usize| times.as_ref().map(|times| times[index]);
            let dispatches: Vec<_> = plan
                .calls()
                .enumerate()
                .map(|(index, dispatch)| (dispatch.clone(), time(index)))
                .collect();
            Ok((dispatches, plan.memory()))
        })?;
        let mut parameters = vec![];
        for (name, tensor) in session.parameters() {
            let squares: f64 = tensor
                .read::<f32>()?
                .iter()
                .map(|&value| value as f64 * value as f64)
                .sum();
            parameters.push(Parameter {
                name: name.clone(),
                shape: tensor.shape().to_vec(),
                norm: squares.sqrt(),
            });
        }
        Ok(Inspection {
            program: self.program,
            dispatches,
            memory,
            parameters,
        })
    }
}
