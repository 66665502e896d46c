//! The recorded step: deterministic, accumulation equal to the big batch, nothing created once it runs.

use seemore::gpu::Gpu;
use seemore::model::{Config, Preset, Vlm};
use seemore::nn::Residual;
use seemore::ops::{GradScaler, IGNORE};
use seemore::optim::{Decay, Hyper, Optimizer, Rule, Steps};
use seemore::tape::Precision;
use seemore::train::{Batch, StepSizes, TrainStep};

const HYPER: Hyper =
    Hyper { rule: Rule::Adamw, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: 1.0, decay: Decay::All, ema: 0.0 };
const LENGTH: usize = 7;

fn gpu() -> Gpu {
    Gpu::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn config(dropout: f32) -> Config {
    Config { vocab_size: 20, dropout, ..Preset::Tiny.config() }
}

/// A batch of made-up pictures and captions of different lengths.
fn batch(config: &Config, pictures: std::ops::Range<usize>) -> Batch {
    let side = config.image_size;
    let pixel = |picture: usize, i: usize| ((picture * 37 + i * 13) % 101) as f32 / 50.0 - 1.0;
    let token = |picture: usize, at: usize| ((picture * 5 + at * 3) % config.vocab_size) as u32;
    let target = |picture: usize, at: usize| if at < 3 + picture % 5 { token(picture, at + 1) } else { IGNORE };
    Batch {
        images: pictures.clone().flat_map(|p| (0..3 * side * side).map(move |i| pixel(p, i))).collect(),
        ids: pictures.clone().flat_map(|p| (0..LENGTH).map(move |at| token(p, at))).collect(),
        targets: pictures.clone().flat_map(|p| (0..LENGTH).map(move |at| target(p, at))).collect(),
        classes: pictures.map(|p| (p % 3) as u32).collect(),
    }
}

fn sizes(batch: usize, accumulate: usize, checkpoint: bool) -> StepSizes {
    StepSizes { batch, length: LENGTH, accumulate, checkpoint, ..StepSizes::default() }
}

struct Run {
    model: Vlm,
    losses: Vec<f32>,
}

fn train(gpu: &Gpu, config: &Config, parts: usize, steps: u64) -> Run {
    let model = Vlm::new(gpu, config, 3).unwrap();
    let optimizer = Optimizer::new(gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let step = TrainStep::new(gpu, &model, &optimizer, 8 / parts, LENGTH, parts).unwrap();
    let batches: Vec<Batch> = (0..parts).map(|part| batch(config, part * 8 / parts..(part + 1) * 8 / parts)).collect();
    let losses = (1..=steps)
        .map(|number| {
            step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
            step.loss().unwrap()
        })
        .collect();
    Run { model, losses }
}

#[test]
fn the_same_seed_gives_the_same_losses_and_parameters_bit_for_bit() {
    let gpu = gpu();
    let runs = [(); 2].map(|()| train(&gpu, &config(0.1), 1, 12));
    let bits = |run: &Run| run.losses.iter().map(|loss| loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&runs[0]), bits(&runs[1]));
    for ((name, a), (_, b)) in runs[0].model.parameters().iter().zip(runs[1].model.parameters()) {
        assert_eq!(a.read::<u32>().unwrap(), b.read::<u32>().unwrap(), "{name}");
    }
    assert!(runs[0].losses[11] < runs[0].losses[0], "{:?}", runs[0].losses);
}

#[test]
fn accumulated_gradients_give_what_the_big_batch_gives() {
    let gpu = gpu();
    let whole = train(&gpu, &config(0.0), 1, 6);
    for parts in [2, 8] {
        let run = train(&gpu, &config(0.0), parts, 6);
        for (whole, parts) in whole.losses.iter().zip(&run.losses) {
            assert!((whole - parts).abs() < 2e-5, "{whole} and {parts}");
        }
        for ((name, a), (_, b)) in whole.model.parameters().iter().zip(run.model.parameters()) {
            let (a, b) = (a.read::<f32>().unwrap(), b.read::<f32>().unwrap());
            // in the total order NaN is the largest, where f32::max would pass over it
            let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).max_by(f32::total_cmp).unwrap();
            // Adam divides tiny gradients by their own size, so that rounding may move a parameter by a share of the rate
            assert!(off < 5e-4, "{name}: off by {off}");
        }
    }
}

/// Counted is what this crate asks for. Inside wgpu each write of a batch still makes a staging buffer.
#[test]
fn steps_create_no_buffer_no_bind_group_and_no_pipeline() {
    let gpu = gpu();
    let config = config(0.1);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let step = TrainStep::new(&gpu, &model, &optimizer, 4, LENGTH, 2).unwrap();
    let batches = [batch(&config, 0..4), batch(&config, 4..8)];
    let run = |number: u64| {
        step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
        (step.loss().unwrap(), step.gradient_norm().unwrap())
    };
    run(1);
    let before = gpu.created();
    (2..10).for_each(|number| assert!(run(number).1 > 0.0));
    assert_eq!(gpu.created(), before);
}

#[test]
fn dropout_changes_with_the_seed_only() {
    let gpu = gpu();
    let config = config(0.3);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let step = TrainStep::new(&gpu, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let batches = [batch(&config, 0..8)];
    let loss = |seed| {
        // a learning rate of zero leaves the parameters as they are, and so does decay times zero
        step.run(&batches, seed, 0.0, 0.0).unwrap();
        step.loss().unwrap().to_bits()
    };
    assert_eq!(loss(1), loss(1));
    assert_ne!(loss(1), loss(2));
}

#[test]
fn buffers_are_shared_by_values_that_live_at_other_times() {
    let gpu = gpu();
    let config = config(0.1);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let step = TrainStep::new(&gpu, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let memory = step.plan().memory();
    assert!(memory.shared < memory.unshared * 3 / 4, "{memory:?}");
    for parts in [1, 2] {
        let before = gpu.created();
        let recording = TrainStep::record(&gpu, &model, &optimizer, &sizes(8, parts, false), &|_| true).unwrap();
        // the loss, the gradients, and with parts their sums
        assert_eq!(gpu.created().buffers - before.buffers, 1 + parts as u64);
        if parts == 1 {
            assert_eq!(recording.memory(), memory);
        }
    }
}

#[test]
fn blocks_computed_again_give_the_same_numbers_in_less_memory() {
    let gpu = gpu();
    for residual in [Residual::Prenorm, Residual::AfterLn2] {
        let config = Config { residual, ..config(0.1) };
        let batches = [batch(&config, 0..8)];
        let [(kept, most), (again, less)] = [false, true].map(|checkpoint| {
            let model = Vlm::new(&gpu, &config, 3).unwrap();
            let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
            let step = TrainStep::record(&gpu, &model, &optimizer, &sizes(8, 1, checkpoint), &|_| true).unwrap().plan(&gpu).unwrap();
            let mut numbers = vec![];
            for number in 1..=3 {
                step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
                numbers.push(vec![step.loss().unwrap().to_bits(), step.gradient_norm().unwrap().to_bits()]);
            }
            // moments show the gradients themselves
            let tensors = optimizer.state().into_iter().chain(model.parameters().to_vec());
            numbers.extend(tensors.map(|(_, tensor)| tensor.read::<u32>().unwrap()));
            (numbers, step.plan().memory())
        });
        assert_eq!(kept, again);
        assert!(less.shared < most.shared, "{less:?} and {most:?}");
    }
    // with more pictures than these the gradients of the parameters, which both have, weigh less
    let config = config(0.1);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let [most, less] = [false, true]
        .map(|checkpoint| TrainStep::record(&gpu, &model, &optimizer, &sizes(64, 1, checkpoint), &|_| true).unwrap().memory().shared);
    assert!(less < most * 3 / 4, "{less} and {most}");
}

#[test]
fn the_profile_names_every_kernel_and_sums_up_to_the_dispatches() {
    let gpu = gpu();
    let config = config(0.1);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::default(), |_| true).unwrap();
    let step = TrainStep::new(&gpu, &model, &optimizer, 8, LENGTH, 1).unwrap();
    step.run(&[batch(&config, 0..8)], 1, 1e-3, 0.0).unwrap();
    let Some(timings) = step.plan().profile().unwrap() else {
        assert!(!gpu.has_timestamps());
        return;
    };
    assert_eq!(timings.iter().map(|timing| timing.dispatches).sum::<usize>(), step.plan().dispatches());
    assert!(timings.iter().any(|timing| timing.kernel.starts_with("matmul") && !timing.time.is_zero()));
    assert!(timings.is_sorted_by(|a, b| a.time >= b.time));
}

#[test]
fn the_default_model_has_the_originals_number_of_parameters() {
    let gpu = gpu();
    let model = Vlm::new(&gpu, &Preset::Seemore.config(), 0).unwrap();
    assert_eq!(model.parameter_count(), 12_907_970);
}

#[test]
fn a_step_whose_gradients_are_not_finite_changes_nothing_and_is_counted() {
    let gpu = gpu();
    let config = config(0.0);
    let model = Vlm::new(&gpu, &config, 3).unwrap();
    let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::dynamic(), |_| true).unwrap();
    let step = TrainStep::new(&gpu, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let good = [batch(&config, 0..8)];
    let mut bad = good.clone();
    bad[0].images[5] = f32::NAN;
    step.run(&good, 1, 1e-3, 0.0).unwrap();
    let snapshot = || model.parameters().iter().map(|(_, tensor)| tensor.read::<u32>().unwrap()).collect::<Vec<_>>();
    let (before, moments) = (snapshot(), optimizer.state()[0].1.read::<u32>().unwrap());
    step.run(&bad, 2, 1e-3, 0.0).unwrap();
    assert!(!step.gradient_norm().unwrap().is_finite());
    assert_eq!((snapshot(), optimizer.state()[0].1.read::<u32>().unwrap()), (before.clone(), moments));
    assert_eq!(optimizer.steps().unwrap(), Steps { scale: 512.0, taken: 1, skipped: 1 });
    step.run(&good, 3, 1e-3, 0.0).unwrap();
    assert_eq!(optimizer.steps().unwrap(), Steps { scale: 512.0, taken: 2, skipped: 1 });
    assert_ne!(snapshot(), before);
}

#[test]
fn scaling_the_loss_by_a_power_of_two_changes_no_bit() {
    let gpu = gpu();
    let config = config(0.1);
    let runs = [GradScaler::default(), GradScaler::dynamic()].map(|scaler| {
        let model = Vlm::new(&gpu, &config, 3).unwrap();
        let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, scaler, |_| true).unwrap();
        let step = TrainStep::new(&gpu, &model, &optimizer, 8, LENGTH, 1).unwrap();
        (1..=4).for_each(|number| step.run(&[batch(&config, 0..8)], number, 1e-3, 0.0).unwrap());
        (step.loss().unwrap().to_bits(), step.gradient_norm().unwrap().to_bits())
    });
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn half_precision_reaches_the_same_loss_within_a_hundredth() {
    let gpu = gpu();
    let config = config(0.0);
    let [full, half] = [Precision::F32, Precision::F16].map(|precision| {
        let model = Vlm::new(&gpu, &config, 3).unwrap();
        let optimizer = Optimizer::new(&gpu, model.storage(), HYPER, GradScaler::of(precision), |_| true).unwrap();
        let record = |precision| TrainStep::record(&gpu, &model, &optimizer, &StepSizes { precision, ..sizes(8, 1, false) }, &|_| true);
        let step = record(precision).unwrap().plan(&gpu).unwrap();
        (1..=60).for_each(|number| {
            step.run(&[batch(&config, 8 * (number as usize % 4)..8 * (number as usize % 4) + 8)], number, 1e-3, 0.0).unwrap()
        });
        assert_eq!(optimizer.steps().unwrap().skipped, 0);
        // both are validated in f32, on pictures that they have not seen; a rate of zero changes nothing
        let validation = record(Precision::F32).unwrap().plan(&gpu).unwrap();
        validation.run(&[batch(&config, 32..40)], 0, 0.0, 0.0).unwrap();
        validation.loss().unwrap()
    });
    assert!((half / full - 1.0).abs() < 0.01, "{half} for {full}");
    assert_ne!(half.to_bits(), full.to_bits());
}
