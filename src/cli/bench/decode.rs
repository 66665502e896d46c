//! Benchmark of caption generation.

use std::time::{Duration, Instant};

use cpu_time::ProcessTime;

use super::measure::{
    Case, Effort, Failure, Measurement, Times, bytes_of, expect, kernel_times, noise, time,
};
use crate::caption::Generator;
use crate::device::{Device, Plan};
use crate::models::{Logits, Model, ModelConfig};
use crate::nn::Context;

/// Measures the first token of a caption, image and prompt included, and each of the next `new - 1`
/// with the key/value cache.
pub fn measure(
    device: &Device,
    config: &ModelConfig,
    batch: usize,
    prompt: usize,
    new: usize,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let model = Model::new(device, config, 0)?;
    let info = model.info();
    let mut generator = Generator::new(device, &model, batch, prompt, new.max(2))?;
    let images = noise(batch * 3 * info.image_size() * info.image_size(), 1);
    let token = |i: usize| (i * 5 % info.vocab_size) as u32;
    let text: Vec<u32> = (0..prompt).map(token).collect();
    let prompts = vec![text.as_slice(); batch];

    generator.start(&images, &prompts)?;
    let next = vec![token(prompt); batch];
    let got = generator.next(&next)?.unwrap_or_default();
    let longer: Vec<u32> = (0..batch).flat_map(|_| (0..=prompt).map(token)).collect();
    let mut tape = device.tape();
    let (image, ids) = (
        tape.input(&[batch, 3, info.image_size(), info.image_size()]),
        tape.input(&[batch, prompt + 1]),
    );
    let logits = model.forward(
        &mut Context::inference(&mut tape),
        Some(image),
        ids,
        None,
        Logits::Last,
    );
    tape.hold(logits);
    let full = Plan::new(device, tape)?;
    full.write(image, &images);
    full.write(ids, &longer);
    full.run()?;
    for (got, want) in got.concat().iter().zip(full.read::<f32>(logits)?) {
        expect("decoding with a cache", *got, want as f64, 1e-3)?;
    }

    let first = time(effort, || {
        Ok(generator.start(&images, &prompts).map(|_| ())?)
    })?;
    // the start of a caption, over and over: a token costs more the more precede it
    let (mut times, mut spent) = (vec![], Duration::ZERO);
    for round in 0..effort.warmup + effort.runs.max(1) {
        generator.start(&images, &prompts)?;
        let cpu = ProcessTime::now();
        let mut tokens = vec![];
        for _ in 1..new.max(2) {
            let start = Instant::now();
            generator.next(&next)?;
            tokens.push(start.elapsed());
        }
        if round >= effort.warmup {
            spent += cpu.elapsed();
            times.extend(tokens);
        }
    }
    let count = times.len() as u32;
    let further = Times::new(times, spent / count);
    let case = |variant: &str| Case {
        device,
        bench: "decode",
        case: format!("batch {batch}, prompt {prompt}, {} px", info.image_size()),
        variant: variant.into(),
        flops: None,
        bytes: None,
        peak_gpu_bytes: bytes_of(generator.step_plan()),
    };
    let mut further = case("further token").measured(further);
    further.kernels = kernel_times(generator.step_plan())?;
    Ok(vec![case("first token").measured(first), further])
}
