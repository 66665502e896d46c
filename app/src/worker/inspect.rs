//! Lists the parameters of a model and the dispatches of one of its programs.

use std::sync::Arc;
use std::time::Duration;

use seemore::device::{DispatchInfo, Memory};

use super::{Event, Worker};
use crate::hint;

/// A recorded program of the chosen model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// Encodes a picture and computes the first token.
    FirstToken,
    /// Computes one further token.
    NextToken,
}

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

/// Runs a program once and lists it.
pub(super) fn run(worker: &Worker, program: Program) {
    let inspected = inspect(worker, program)
        .map(Arc::new)
        .map_err(|error| hint::explain(error.as_ref()));
    worker.events.send(Event::Inspected(inspected));
}

fn inspect(worker: &Worker, program: Program) -> anyhow::Result<Inspection> {
    let session = worker.model(0)?;
    let (dispatches, memory) = session.inspect(|prefill, step| {
        let plan = match program {
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
        program,
        dispatches,
        memory,
        parameters,
    })
}
