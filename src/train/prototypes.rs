//! Prototypes: the class head starts with the mean image vector of each concept (cf. nearest class
//! mean, Mensink et al. 2013), since even an untrained encoder gives similar pictures similar
//! vectors.

use super::Concepts;
use super::concepts::is_variant;
use crate::data::Dataset;
use crate::device::Plan;
use crate::device::{Device, DeviceError, Tensor};
use crate::models::{ClassHeadTensors, Model};
use crate::nn::Context;
use crate::text::Tokenizer;

/// Pictures encoded at once.
const BATCH: usize = 64;

/// Length of a concept's row over the root of its width: that of new embeddings.
const ROW: f64 = 0.02;

/// Length of a concept's vector for the decoder over the root of its width.
const WORDS: f64 = 0.5;

/// Sets the class head of an untrained model.
///
/// The mean over all pictures, which distinguishes none, is subtracted from the image vector
/// through its bias, if it has one. The row of a class becomes the direction of the concept's mean
/// vector over its pictures that are not variants, and the class's embedding for the decoder, if
/// there is one, the mean direction of the tokens in its name.
pub(super) fn start(
    device: &Device,
    model: &Model,
    tokenizer: &Tokenizer,
    train: &Dataset,
    concepts: &Concepts,
) -> Result<(), DeviceError> {
    let Some(ClassHeadTensors {
        classes: table,
        bias,
        words,
    }) = model.class_head()
    else {
        return Ok(());
    };
    let width = table.shape()[1];
    let samples: Vec<_> = train
        .samples
        .iter()
        .filter(|sample| !is_variant(sample))
        .collect();
    let mut tape = device.tape();
    let side = model.info().image_size();
    let batch = BATCH.min(samples.len().max(1));
    let image = tape.input(&[batch, 3, side, side]);
    let Some(features) = model
        .encode(&mut Context::inference(&mut tape), image)
        .vector
    else {
        return Ok(());
    };
    tape.hold(features);
    let plan = Plan::new(device, tape)?;
    let mut vectors: Vec<f32> = vec![];
    for samples in samples.chunks(batch) {
        let mut images: Vec<f32> = samples
            .iter()
            .flat_map(|sample| sample.normalised())
            .collect();
        images.resize(batch * 3 * side * side, 0.0);
        plan.write(image, &images);
        vectors.extend(&plan.run_and_read::<f32>(features)?[..samples.len() * width]);
    }

    if let Some(bias) = bias {
        let count = samples.len().max(1) as f64;
        let mean: Vec<f64> = (0..width)
            .map(|i| {
                vectors
                    .iter()
                    .skip(i)
                    .step_by(width)
                    .map(|&x| x as f64)
                    .sum::<f64>()
                    / count
            })
            .collect();
        vectors
            .chunks_mut(width)
            .flatten()
            .zip(mean.iter().cycle())
            .for_each(|(x, mean)| *x -= *mean as f32);
        let centred: Vec<f32> = bias
            .read::<f32>()?
            .iter()
            .zip(&mean)
            .map(|(bias, mean)| bias - *mean as f32)
            .collect();
        bias.write(&centred);
    }
    let mut sums = vec![0f64; table.len()];
    for (sample, vector) in samples.iter().zip(vectors.chunks(width)) {
        let Some(concept) = concepts.of(sample) else {
            continue;
        };
        let vector: Vec<f64> = vector.iter().map(|&x| x as f64).collect();
        add_direction(&mut sums[concept as usize * width..][..width], &vector);
    }
    set_rows(&table, &sums, ROW)?;

    let Some((words, tokens)) = words else {
        return Ok(());
    };
    let width = words.shape()[1];
    let tokens: Vec<f64> = tokens.read::<f32>()?.iter().map(|&x| x as f64).collect();
    let mut sums = vec![0f64; words.len()];
    for (row, name) in sums.chunks_mut(width).zip(concepts.names()) {
        for token in tokenizer.encode(name) {
            add_direction(row, &tokens[token as usize * width..][..width]);
        }
    }
    set_rows(&words, &sums, WORDS)
}

fn length(vector: &[f64]) -> f64 {
    vector.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Adds `vector` scaled to length 1.
fn add_direction(sum: &mut [f64], vector: &[f64]) {
    let length = length(vector).max(1e-12);
    sum.iter_mut()
        .zip(vector)
        .for_each(|(sum, x)| *sum += x / length);
}

/// Sets each row of `table: [rows, width]` to the direction of the same row of `sums`, with a root
/// mean square of `size`; rows of zeros stay.
fn set_rows(table: &Tensor, sums: &[f64], size: f64) -> Result<(), DeviceError> {
    let width = table.shape()[1];
    let mut values: Vec<f32> = table.read()?;
    for (row, sum) in values.chunks_mut(width).zip(sums.chunks(width)) {
        let length = length(sum);
        if length > 0.0 {
            row.iter_mut().zip(sum).for_each(|(value, sum)| {
                *value = (size * (width as f64).sqrt() * sum / length) as f32
            });
        }
    }
    table.write(&values);
    Ok(())
}
