//! Words of answers as the decoder takes them in.

use std::collections::BTreeMap;

use crate::device::{Device, Plan};
use crate::models::Model;
use crate::nn::Context;
use crate::train::TrainError;

/// Embeddings of the tokens of answers, and how much each counts.
pub(super) struct Words {
    width: usize,
    known: BTreeMap<u32, (f64, Vec<f32>)>,
}

impl Words {
    /// Reads the embeddings of the tokens of all answers.
    pub fn read(model: &Model, device: &Device, answers: &[Vec<u32>]) -> Result<Words, TrainError> {
        let mut counts = BTreeMap::<u32, usize>::new();
        for answer in answers {
            let mut ids = answer.clone();
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                *counts.entry(id).or_default() += 1;
            }
        }
        let ids: Vec<u32> = counts.keys().copied().collect();
        let mut tape = model.tape(device);
        let input = tape.input(&[1, ids.len().max(1)]);
        let rows = model.embed(&mut Context::inference(&mut tape), input);
        tape.hold(rows);
        let plan = Plan::new(device, tape)?;
        plan.write(input, &ids);
        let rows: Vec<f32> = plan.run_and_read(rows)?;
        let width = model.info().decoder.width;
        let counted = counts.into_iter().zip(rows.chunks_exact(width));
        let known = counted.map(|((id, count), row)| {
            let weight = (answers.len() as f64 / count as f64).ln();
            (id, (weight, row.to_vec()))
        });
        Ok(Words {
            width,
            known: known.collect(),
        })
    }

    /// Weighted mean of the embeddings of an answer's tokens.
    pub fn mean(&self, answer: &[u32]) -> Vec<f64> {
        // tokens of all answers still count where there are no others
        const LEAST: f64 = 1e-6;
        let mut mean = vec![0.0; self.width];
        let mut sum = 0.0;
        for (weight, row) in answer.iter().map(|id| &self.known[id]) {
            let weight = weight.max(LEAST);
            sum += weight;
            for (mean, value) in mean.iter_mut().zip(row) {
                *mean += weight * f64::from(*value);
            }
        }
        mean.iter_mut().for_each(|mean| *mean /= sum);
        mean
    }
}
