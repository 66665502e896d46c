//! What a model is made of: its parameters, and the dispatches that a program of it records.

use std::time::Duration;

use seemore::device::{DispatchInfo, Memory};

use crate::worker::Bench;

/// A recorded program of the chosen model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// A picture and the beginning of its caption, up to the first token.
    First,
    /// One further token.
    Next,
}

#[derive(Debug, Clone)]
pub struct Inspection {
    pub program: Program,
    /// Every dispatch, in order, with its time in one run where the adapter tells.
    pub calls: Vec<(DispatchInfo, Option<Duration>)>,
    pub memory: Memory,
    pub parameters: Vec<Parameter>,
}

#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its path in the model, which is its name in a checkpoint.
    pub name: String,
    pub shape: Vec<usize>,
    /// The square root of the sum of its squares.
    pub norm: f64,
}

/// Runs a program of the chosen model once, and lists what it and the model are made of.
pub fn inspect(bench: &mut Bench, program: Program) -> anyhow::Result<Inspection> {
    let Some(captioner) = &mut bench.captioners[0] else {
        anyhow::bail!("no model is loaded: choose a checkpoint folder first")
    };
    let plan = match program {
        Program::First => captioner.program()?.first_plan(),
        Program::Next => captioner.program()?.token_plan(),
    };
    let times = plan.times()?;
    let time = |index: usize| times.as_ref().map(|times| times[index]);
    let calls = plan
        .calls()
        .enumerate()
        .map(|(index, call)| (call.clone(), time(index)))
        .collect();
    let memory = plan.memory();
    let mut parameters = vec![];
    for (name, tensor) in captioner.parameters() {
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
        calls,
        memory,
        parameters,
    })
}
