//! Benchmark of a pretrained model: a tile, the prompt, and a further token.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use cpu_time::ProcessTime;

use super::measure::{
    Case, Effort, Failure, Measurement, Times, bytes_of, kernel_times, noise, time,
};
use crate::caption::Generator;
use crate::device::{Device, Plan};
use crate::models::checkpoint::{self, KeepWeights};
use crate::models::library;
use crate::nn::Context;

/// Tokens of a prompt beside those of the picture: as in "Can you describe this image?".
const TEXT: usize = 17;

/// Tokens written after the prompt.
const NEW: usize = 16;

/// Measures the image encoder over one tile, the prompt with the tile's rows, both together, and each
/// further token with the key/value cache. A text model has a prompt of the same length.
pub fn measure(
    device: &Device,
    name: &Path,
    exact: bool,
    effort: Effort,
) -> Result<Vec<Measurement>, Failure> {
    let path = library::locate(name)?;
    let start = Instant::now();
    let cpu = ProcessTime::now();
    let (model, _) = checkpoint::load_with(device, &path, KeepWeights::AsStored)?;
    let loading = Times::new(vec![start.elapsed()], cpu.elapsed());
    let model = model.rounding(!exact);
    if model.dialogue().is_none() {
        bail!("{} is not a pretrained model", name.display());
    }
    let info = model.info();
    let case = |variant: &str, flops: Option<f64>, bytes: u64| Case {
        device,
        bench: "vlm",
        case: name.display().to_string(),
        variant: variant.into(),
        flops,
        bytes: None,
        peak_gpu_bytes: bytes,
    };
    let mut measured = vec![case("loading", None, 0).measured(loading)];

    let mut rows = vec![];
    let mut encoder = None;
    if info.encodes_apart() {
        let side = info.image_size();
        let mut tape = model.tape(device);
        let image = tape.input(&[1, 3, side, side]);
        let out = model.encode(&mut Context::inference(&mut tape), image).rows;
        tape.hold(out);
        let plan = Plan::new(device, tape)?;
        plan.write(image, &noise(3 * side * side, 1));
        rows = plan.run_and_read::<f32>(out)?;
        ensure!(
            rows.iter().all(|x| x.is_finite()),
            "the tile's rows are not finite"
        );
        let times = time(effort, || {
            plan.run_and_read::<f32>(out)?;
            Ok(())
        })?;
        let flops = 2.0 * model.config().encoder_multiply_adds();
        let mut tile = case("tile", Some(flops), bytes_of(&plan)).measured(times);
        tile.kernels = kernel_times(&plan)?;
        measured.push(tile);
        encoder = Some((plan, out));
    }

    let places = rows.len() / info.decoder.width;
    let filler = |i: usize| (100 + i * 7 % 1000) as u32;
    let prompt: Vec<u32> = match info.placeholder {
        Some(placeholder) => {
            let places = std::iter::repeat_n(placeholder.token, places);
            places.chain((0..TEXT).map(filler)).collect()
        }
        None => (0..64 + TEXT).map(filler).collect(),
    };
    let mut generator = Generator::new(device, &model, 1, prompt.len(), NEW)?;
    if let Some((encoder, out)) = &encoder {
        let first = time(effort, || {
            let rows = encoder.run_and_read::<f32>(*out)?;
            Ok(generator.start(&rows, &[&prompt]).map(|_| ())?)
        })?;
        measured.push(case("first token", None, 0).measured(first));
    }
    let prefilled = time(effort, || {
        Ok(generator.start(&rows, &[&prompt]).map(|_| ())?)
    })?;
    let mut prefill = case(&format!("prompt of {}", prompt.len()), None, 0).measured(prefilled);
    prefill.kernels = kernel_times(generator.prefill_plan())?;
    measured.push(prefill);

    let (mut times, mut cpu) = (vec![], Duration::ZERO);
    for _ in 0..effort.runs.max(1) {
        generator.start(&rows, &[&prompt])?;
        for token in 1..NEW {
            let (start, busy) = (Instant::now(), ProcessTime::now());
            generator.next(&[filler(token)])?;
            times.push(start.elapsed());
            cpu += busy.elapsed();
        }
    }
    let count = times.len() as u32;
    let times = Times::new(times, cpu / count);
    let mut further = case("further token", None, 0).measured(times);
    further.kernels = kernel_times(generator.step_plan())?;
    measured.push(further);
    Ok(measured)
}
