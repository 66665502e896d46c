//! The recorded step and the run around it: determinism, accumulation, precision, gradients,
//! observers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seemore::device::Device;
use seemore::graph::Precision;
use seemore::models::{Model, ModelConfig, Overrides, Part, Preset, emoji, seemore as family};
use seemore::nn::{ParameterInfo, Residual};
use seemore::ops::{GradScaler, IGNORE};
use seemore::progress::{Progress, Silent};
use seemore::train::{
    Batch, BatchSize, Decay, Event, Note, Objective, Observer, ObserverError, Optimizer,
    OptimizerConfig, Ready, Rule, RunConfig, StepSizes, Steps, TrainRun, TrainStep,
};

const OPTIMIZER: OptimizerConfig = OptimizerConfig {
    rule: Rule::Adamw,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weight_decay: 0.01,
    clip: 1.0,
    decay: Decay::All,
    ema: 0.0,
};
const LENGTH: usize = 7;

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn config(dropout: f32) -> ModelConfig {
    let mut config = Preset::Tiny.config();
    let overrides = Overrides {
        vocab_size: Some(20),
        dropout: Some(dropout),
        ..Overrides::default()
    };
    config.apply(&overrides).unwrap();
    config
}

/// A batch of synthetic pictures and captions of different lengths.
fn batch(config: &ModelConfig, pictures: std::ops::Range<usize>) -> Batch {
    let info = config.info();
    let side = info.image_size();
    let pixel = |picture: usize, i: usize| ((picture * 37 + i * 13) % 101) as f32 / 50.0 - 1.0;
    let token = |picture: usize, at: usize| ((picture * 5 + at * 3) % info.vocab_size) as u32;
    let target = |picture: usize, at: usize| {
        if at < 3 + picture % 5 {
            token(picture, at + 1)
        } else {
            IGNORE
        }
    };
    Batch {
        images: pictures
            .clone()
            .flat_map(|p| (0..3 * side * side).map(move |i| pixel(p, i)))
            .collect(),
        ids: pictures
            .clone()
            .flat_map(|p| (0..LENGTH).map(move |at| token(p, at)))
            .collect(),
        targets: pictures
            .clone()
            .flat_map(|p| (0..LENGTH).map(move |at| target(p, at)))
            .collect(),
        classes: pictures.map(|p| (p % 3) as u32).collect(),
    }
}

fn sizes(batch: usize, accumulate: usize, checkpoint: bool) -> StepSizes {
    StepSizes {
        batch,
        length: LENGTH,
        accumulate,
        checkpoint,
        ..StepSizes::default()
    }
}

/// The optimizer of all parameters of a model.
fn optimizer(device: &Device, model: &Model) -> Optimizer {
    let scaler = GradScaler::default();
    Optimizer::new(device, model.store(), OPTIMIZER, scaler, |_| true).unwrap()
}

struct Run {
    model: Model,
    losses: Vec<f32>,
}

fn train(device: &Device, config: &ModelConfig, parts: usize, steps: u64) -> Run {
    let model = Model::new(device, config, 3).unwrap();
    let optimizer = optimizer(device, &model);
    let step = TrainStep::new(device, &model, &optimizer, 8 / parts, LENGTH, parts).unwrap();
    let batches: Vec<Batch> = (0..parts)
        .map(|part| batch(config, part * 8 / parts..(part + 1) * 8 / parts))
        .collect();
    let losses = (1..=steps)
        .map(|number| {
            step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
            step.loss().unwrap()
        })
        .collect();
    Run { model, losses }
}

#[test]
fn equal_seeds_give_equal_bits() {
    let device = device();
    let runs = [(); 2].map(|()| train(&device, &config(0.1), 1, 12));
    let bits = |run: &Run| {
        run.losses
            .iter()
            .map(|loss| loss.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&runs[0]), bits(&runs[1]));
    for ((name, a), (_, b)) in runs[0]
        .model
        .parameters()
        .iter()
        .zip(runs[1].model.parameters())
    {
        assert_eq!(a.read::<u32>().unwrap(), b.read::<u32>().unwrap(), "{name}");
    }
    assert!(
        runs[0].losses[11] < runs[0].losses[0],
        "{:?}",
        runs[0].losses
    );
}

#[test]
fn accumulation_equals_a_large_batch() {
    let device = device();
    let whole = train(&device, &config(0.0), 1, 6);
    for parts in [2, 8] {
        let run = train(&device, &config(0.0), parts, 6);
        for (whole, parts) in whole.losses.iter().zip(&run.losses) {
            assert!((whole - parts).abs() < 2e-5, "{whole} and {parts}");
        }
        for ((name, a), (_, b)) in whole.model.parameters().iter().zip(run.model.parameters()) {
            let (a, b) = (a.read::<f32>().unwrap(), b.read::<f32>().unwrap());
            // NaN is the largest in the total order, while f32::max ignores it
            let off = a
                .iter()
                .zip(&b)
                .map(|(a, b)| (a - b).abs())
                .max_by(f32::total_cmp)
                .unwrap();
            // Adam divides tiny gradients by their own size, so rounding may move a parameter by a
            // fraction of the rate
            assert!(off < 5e-4, "{name}: off by {off}");
        }
    }
}

/// Counts what this crate creates. Inside wgpu, each write of a batch still creates a staging
/// buffer.
#[test]
fn steps_create_nothing_on_the_device() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 4, LENGTH, 2).unwrap();
    let batches = [batch(&config, 0..4), batch(&config, 4..8)];
    let run = |number: u64| {
        step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
        (step.loss().unwrap(), step.gradient_norm().unwrap())
    };
    run(1);
    let before = device.created();
    (2..10).for_each(|number| assert!(run(number).1 > 0.0));
    assert_eq!(device.created(), before);
}

#[test]
fn dropout_depends_on_the_seed_only() {
    let device = device();
    let config = config(0.3);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let batches = [batch(&config, 0..8)];
    let loss = |seed| {
        // a learning rate of zero leaves the parameters unchanged, weight decay included
        step.run(&batches, seed, 0.0, 0.0).unwrap();
        step.loss().unwrap().to_bits()
    };
    assert_eq!(loss(1), loss(1));
    assert_ne!(loss(1), loss(2));
}

#[test]
fn values_of_disjoint_lifetimes_share_buffers() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let memory = step.plan().memory();
    assert!(memory.shared < memory.unshared * 3 / 4, "{memory:?}");
    for parts in [1, 2] {
        let before = device.created();
        let recording = TrainStep::record(
            &device,
            &model,
            &optimizer,
            &sizes(8, parts, false),
            &|_| true,
        )
        .unwrap();
        // the loss, the gradients, and their sums when they are accumulated
        assert_eq!(device.created().buffers - before.buffers, 1 + parts as u64);
        if parts == 1 {
            assert_eq!(recording.memory(), memory);
        }
    }
}

#[test]
fn recomputing_blocks_saves_memory_and_keeps_results() {
    let device = device();
    for residual in [Residual::Prenorm, Residual::AfterLn2] {
        let ModelConfig::Seemore(tiny) = config(0.1) else {
            panic!("preset tiny is of the seemore family")
        };
        let config = ModelConfig::from(family::Config { residual, ..tiny });
        let batches = [batch(&config, 0..8)];
        let [(kept, most), (again, less)] = [false, true].map(|checkpoint| {
            let model = Model::new(&device, &config, 3).unwrap();
            let optimizer = optimizer(&device, &model);
            let step = TrainStep::record(
                &device,
                &model,
                &optimizer,
                &sizes(8, 1, checkpoint),
                &|_| true,
            )
            .unwrap()
            .plan(&device)
            .unwrap();
            let mut numbers = vec![];
            for number in 1..=3 {
                step.run(&batches, number as u32, 1e-3, 0.0).unwrap();
                numbers.push(vec![
                    step.loss().unwrap().to_bits(),
                    step.gradient_norm().unwrap().to_bits(),
                ]);
            }
            // the moments reveal the gradients
            let tensors = optimizer
                .state()
                .into_iter()
                .chain(model.parameters().to_vec());
            numbers.extend(tensors.map(|(_, tensor)| tensor.read::<u32>().unwrap()));
            (numbers, step.plan().memory())
        });
        assert_eq!(kept, again);
        assert!(less.shared < most.shared, "{less:?} and {most:?}");
    }
    // with larger batches the gradients of the parameters, which both have, weigh less
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let [most, less] = [false, true].map(|checkpoint| {
        TrainStep::record(
            &device,
            &model,
            &optimizer,
            &sizes(64, 1, checkpoint),
            &|_| true,
        )
        .unwrap()
        .memory()
        .shared
    });
    assert!(less < most * 3 / 4, "{less} and {most}");
}

#[test]
fn the_profile_covers_every_dispatch() {
    let device = device();
    let config = config(0.1);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = optimizer(&device, &model);
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    step.run(&[batch(&config, 0..8)], 1, 1e-3, 0.0).unwrap();
    // tests need an adapter with timestamps, as lavapipe and GPUs have
    let timings = step.plan().profile().unwrap();
    let timings = timings.expect("the adapter measures the time of dispatches");
    assert_eq!(
        timings
            .iter()
            .map(|timing| timing.dispatches)
            .sum::<usize>(),
        step.plan().dispatches()
    );
    assert!(
        timings
            .iter()
            .any(|timing| timing.kernel.starts_with("matmul") && !timing.time.is_zero())
    );
    assert!(timings.is_sorted_by(|a, b| a.time >= b.time));
}

#[test]
fn the_default_model_has_the_original_parameter_count() {
    let device = device();
    let model = Model::new(&device, Preset::Seemore.config(), 0).unwrap();
    assert_eq!(model.parameter_count(), 12_907_970);
}

#[test]
fn non_finite_steps_are_counted_and_change_nothing() {
    let device = device();
    let config = config(0.0);
    let model = Model::new(&device, &config, 3).unwrap();
    let optimizer = Optimizer::new(
        &device,
        model.store(),
        OPTIMIZER,
        GradScaler::dynamic(),
        |_| true,
    )
    .unwrap();
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let good = [batch(&config, 0..8)];
    let mut bad = good.clone();
    bad[0].images[5] = f32::NAN;
    step.run(&good, 1, 1e-3, 0.0).unwrap();
    let snapshot = || {
        model
            .parameters()
            .iter()
            .map(|(_, tensor)| tensor.read::<u32>().unwrap())
            .collect::<Vec<_>>()
    };
    let (before, moments) = (snapshot(), optimizer.state()[0].1.read::<u32>().unwrap());
    step.run(&bad, 2, 1e-3, 0.0).unwrap();
    assert!(!step.gradient_norm().unwrap().is_finite());
    assert_eq!(
        (snapshot(), optimizer.state()[0].1.read::<u32>().unwrap()),
        (before.clone(), moments)
    );
    let counts = || {
        let Steps {
            scale,
            taken,
            skipped,
            ..
        } = optimizer.steps().unwrap();
        (scale, taken, skipped)
    };
    assert_eq!(counts(), (512.0, 1, 1));
    step.run(&good, 3, 1e-3, 0.0).unwrap();
    assert_eq!(counts(), (512.0, 2, 1));
    assert_ne!(snapshot(), before);
}

#[test]
fn power_of_two_loss_scales_change_no_bit() {
    let device = device();
    let config = config(0.1);
    let runs = [GradScaler::default(), GradScaler::dynamic()].map(|scaler| {
        let model = Model::new(&device, &config, 3).unwrap();
        let optimizer =
            Optimizer::new(&device, model.store(), OPTIMIZER, scaler, |_| true).unwrap();
        let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
        (1..=4).for_each(|number| {
            step.run(&[batch(&config, 0..8)], number, 1e-3, 0.0)
                .unwrap()
        });
        (
            step.loss().unwrap().to_bits(),
            step.gradient_norm().unwrap().to_bits(),
        )
    });
    assert_eq!(runs[0], runs[1]);
}

#[test]
fn half_precision_reaches_the_loss_within_one_percent() {
    let device = device();
    let config = config(0.0);
    let [full, half] = [Precision::F32, Precision::F16].map(|precision| {
        let model = Model::new(&device, &config, 3).unwrap();
        let optimizer = Optimizer::new(
            &device,
            model.store(),
            OPTIMIZER,
            GradScaler::of(precision),
            |_| true,
        )
        .unwrap();
        let record = |precision| {
            TrainStep::record(
                &device,
                &model,
                &optimizer,
                &StepSizes {
                    precision,
                    ..sizes(8, 1, false)
                },
                &|_| true,
            )
        };
        let step = record(precision).unwrap().plan(&device).unwrap();
        (1..=60).for_each(|number| {
            step.run(
                &[batch(
                    &config,
                    8 * (number as usize % 4)..8 * (number as usize % 4) + 8,
                )],
                number,
                1e-3,
                0.0,
            )
            .unwrap()
        });
        assert_eq!(optimizer.steps().unwrap().skipped, 0);
        // both are validated in f32 on unseen pictures; a rate of zero changes nothing
        let validation = record(Precision::F32).unwrap().plan(&device).unwrap();
        validation
            .run(&[batch(&config, 32..40)], 0, 0.0, 0.0)
            .unwrap();
        validation.loss().unwrap()
    });
    assert!((half / full - 1.0).abs() < 0.01, "{half} for {full}");
    assert_ne!(half.to_bits(), full.to_bits());
}

/// The emoji preset's arithmetic, small.
fn pooled(guess: bool) -> ModelConfig {
    let tiny = family::Config::tiny();
    emoji::Config {
        vision: emoji::VisionConfig {
            image_size: tiny.vision.image_size,
            patch_size: 4,
            width: tiny.vision.width,
            heads: tiny.vision.heads,
            pool_width: 4,
            ..emoji::VisionConfig::default()
        },
        class_head: emoji::ClassHeadConfig { classes: 3, guess },
        text: emoji::TextConfig {
            vocab_size: 20,
            context: tiny.text.context,
            width: tiny.text.width,
            heads: tiny.text.heads,
            ..emoji::TextConfig::default()
        },
        ..emoji::Config::default()
    }
    .into()
}

const BOTH: Objective = Objective {
    captions: 3.0,
    classes: 1.0,
    smoothing: 0.1,
    pictures: true,
};

/// Records the loss and the gradients of the parameters that `trains` accepts.
fn gradients(
    device: &Device,
    model: &Model,
    objective: Objective,
    trains: &dyn Fn(&ParameterInfo) -> bool,
) -> (TrainStep, Optimizer) {
    // plain gradients: no weight decay, and a learning rate of zero
    let hyper = OptimizerConfig {
        weight_decay: 0.0,
        clip: 0.0,
        ..OPTIMIZER
    };
    let optimizer =
        Optimizer::new(device, model.store(), hyper, GradScaler::default(), trains).unwrap();
    let sizes = StepSizes {
        objective,
        ..sizes(8, 1, false)
    };
    let step = TrainStep::record(device, model, &optimizer, &sizes, trains)
        .unwrap()
        .plan(device)
        .unwrap();
    (step, optimizer)
}

/// Checks by a central difference that the loss rises along the gradient by the length of the
/// gradient.
fn rises_by_its_norm(config: ModelConfig, trains: &dyn Fn(&ParameterInfo) -> bool) {
    let device = device();
    let model = Model::new(&device, &config, 3).unwrap();
    for (_, tensor) in model.parameters() {
        let values = tensor.read::<f32>().unwrap();
        tensor.write(
            &values
                .iter()
                .enumerate()
                .map(|(i, x)| x + 0.05 * ((i * 29 % 97) as f32 / 48.0 - 1.0))
                .collect::<Vec<f32>>(),
        );
    }
    let (step, optimizer) = gradients(&device, &model, BOTH, trains);
    let batches = [batch(&config, 0..8)];
    let loss = || {
        step.run(&batches, 1, 0.0, 0.0).unwrap();
        step.loss().unwrap() as f64
    };
    loss();
    let norm = step.gradient_norm().unwrap() as f64;
    // after one step from zero the first moment is a tenth of the gradient
    let state = optimizer.state();
    let moment = |name: &str| {
        state
            .iter()
            .find(|(known, _)| *known == format!("m.{name}"))
            .unwrap()
            .1
            .read::<f32>()
            .unwrap()
    };
    let directions: Vec<Vec<f32>> = model
        .parameters()
        .iter()
        .map(|(name, _)| moment(name))
        .collect();
    let length = directions
        .iter()
        .flatten()
        .map(|x| (*x as f64).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(
        (10.0 * length / norm - 1.0).abs() < 1e-3,
        "moments of length {length} for gradients of {norm}"
    );
    let before: Vec<Vec<f32>> = model
        .parameters()
        .iter()
        .map(|(_, tensor)| tensor.read().unwrap())
        .collect();
    let shifted = |by: f64| {
        for (((_, tensor), before), direction) in
            model.parameters().iter().zip(&before).zip(&directions)
        {
            let moved = before
                .iter()
                .zip(direction)
                .map(|(x, d)| (*x as f64 + by * *d as f64 / length) as f32);
            tensor.write(&moved.collect::<Vec<f32>>());
        }
        loss()
    };
    const STEP: f64 = 2e-3;
    let slope = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
    assert!(
        (slope / norm - 1.0).abs() < 0.01,
        "the loss rises by {slope}, the gradient is of length {norm}"
    );
}

#[test]
fn gradients_of_the_pooled_model_match_differences() {
    rises_by_its_norm(pooled(false), &|_| true);
}

#[test]
fn the_guess_trains_the_decoder_only() {
    // no gradient flows from the guess to the class head and the encoder, so only the other
    // parameters match differences
    rises_by_its_norm(pooled(true), &|info| info.role.part != Part::Encoder);
}

#[test]
fn frozen_parts_cost_no_backward_work() {
    let device = device();
    for config in [config(0.0), pooled(true)] {
        let model = Model::new(&device, &config, 3).unwrap();
        let objective = if config.info().classes > 0 {
            BOTH
        } else {
            Objective::CAPTIONS
        };
        let dispatches = |frozen: &[Part]| {
            let (step, _) = gradients(&device, &model, objective, &|info| {
                !frozen.contains(&info.role.part)
            });
            step.plan().dispatches()
        };
        let all = dispatches(&[]);
        let encoder = dispatches(&[Part::Encoder]);
        let projector_only = dispatches(&[Part::Encoder, Part::Decoder]);
        // a frozen encoder has no backward pass, which would take about two dispatches for each
        // forward one
        let forward = {
            let mut tape = device.tape();
            let side = config.info().image_size();
            let image = tape.input(&[8, 3, side, side]);
            model.encode(&mut seemore::nn::Context::inference(&mut tape), image);
            tape.dispatches()
        };
        assert!(
            all - encoder >= forward,
            "{all} dispatches, {encoder} without training the encoder of {forward}"
        );
        // gradients pass through the decoder, but its weights get none
        assert!(
            projector_only < encoder,
            "{projector_only} dispatches for the projector, {encoder} with the decoder"
        );

        let frozen = |info: &ParameterInfo| info.role.part == Part::Encoder;
        let values = || {
            model
                .store()
                .iter()
                .map(|(info, t)| (info.clone(), t.read::<f32>().unwrap()))
                .collect::<Vec<_>>()
        };
        let before = values();
        let hyper = OptimizerConfig {
            weight_decay: 0.5,
            decay: Decay::Matrices,
            ..OPTIMIZER
        };
        let optimizer = Optimizer::new(
            &device,
            model.store(),
            hyper,
            GradScaler::default(),
            |info| !frozen(info),
        )
        .unwrap();
        let sizes = StepSizes {
            objective,
            ..sizes(8, 1, false)
        };
        let step = TrainStep::record(&device, &model, &optimizer, &sizes, &|info| !frozen(info))
            .unwrap()
            .plan(&device)
            .unwrap();
        (1..4).for_each(|number| {
            step.run(&[batch(&config, 0..8)], number, 1e-2, 0.0)
                .unwrap()
        });
        for ((info, before), (_, after)) in before.iter().zip(values()) {
            assert_eq!(*before == after, frozen(info), "{}", info.name);
        }
    }
}

#[test]
fn text_without_pictures_trains_the_decoder() {
    let device = device();
    for config in [config(0.0), pooled(true)] {
        let model = Model::new(&device, &config, 3).unwrap();
        let objective = Objective {
            pictures: false,
            ..Objective::CAPTIONS
        };
        let (step, _) = gradients(&device, &model, objective, &|info| !info.role.needs_image);
        let losses: Vec<f32> = (1..20)
            .map(|number| {
                step.run(&[batch(&config, 0..8)], number, 3e-3, 0.0)
                    .unwrap();
                step.loss().unwrap()
            })
            .collect();
        assert!(losses[18] < 0.8 * losses[0], "{losses:?}");
    }
}

#[test]
fn the_average_follows_the_parameters_and_swaps_with_them() {
    let device = device();
    let config = config(0.0);
    let model = Model::new(&device, &config, 3).unwrap();
    let hyper = OptimizerConfig {
        ema: 0.9,
        ..OPTIMIZER
    };
    let optimizer = Optimizer::new(&device, model.store(), hyper, GradScaler::default(), |_| {
        true
    })
    .unwrap();
    let step = TrainStep::new(&device, &model, &optimizer, 8, LENGTH, 1).unwrap();
    let read = |named: &[(String, seemore::device::Tensor)]| {
        named
            .iter()
            .flat_map(|(_, t)| t.read::<f32>().unwrap())
            .collect::<Vec<f32>>()
    };
    let mut want = read(model.parameters());
    for number in 0..5 {
        let keep = optimizer.keep(number);
        assert_eq!(
            keep,
            0.9f64.min((1 + number) as f64 / (10 + number) as f64) as f32
        );
        step.run(&[batch(&config, 0..8)], number as u32, 1e-2, keep)
            .unwrap();
        want.iter_mut()
            .zip(read(model.parameters()))
            .for_each(|(average, now)| *average += (1.0 - keep) * (now - *average));
    }
    let (average, trained) = (read(&optimizer.result()), read(model.parameters()));
    let off = average
        .iter()
        .zip(&want)
        .map(|(a, b)| (a - b).abs())
        .max_by(f32::total_cmp)
        .unwrap();
    assert!(off < 1e-6 && average != trained, "off by {off}");
    optimizer.swap_average().unwrap();
    assert_eq!(
        (read(model.parameters()), read(&optimizer.result())),
        (average.clone(), trained.clone())
    );
    optimizer.swap_average().unwrap();
    assert_eq!(
        (read(model.parameters()), read(&optimizer.result())),
        (trained, average)
    );
}

/// Pauses after the second step, and ends the training after the fourth.
#[derive(Default)]
struct Pauses {
    heard: Vec<String>,
}

const PAUSE: Duration = Duration::from_secs(1);

impl Observer for Pauses {
    fn note(&mut self, note: &Note) {
        self.heard.push(note.to_string());
    }

    fn reading(&mut self, files: &[PathBuf]) -> Box<dyn Progress> {
        self.heard.push(format!("reading {}", files[0].display()));
        Box::new(Silent)
    }

    fn ready(&mut self, ready: &Ready) -> Result<(), ObserverError> {
        let validation = ready
            .validation
            .map_or(0, |validation| validation.samples.len());
        self.heard.push(format!(
            "{} and {validation} pictures",
            ready.train.samples.len()
        ));
        Ok(())
    }

    fn on(&mut self, event: Event) -> ControlFlow<()> {
        match event {
            Event::Submitted { step: 2 } => std::thread::sleep(PAUSE),
            Event::Submitted { step: 4 } => return ControlFlow::Break(()),
            Event::Step { step, .. } => self.heard.push(format!("step {step}")),
            Event::Validating { step, done, of } => {
                self.heard.push(format!("{done} of {of} at step {step}"));
                return ControlFlow::Break(());
            }
            Event::Saved { step, .. } => self.heard.push(format!("saved {step}")),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// A run of the preset `tiny` into `out`.
fn tiny_run(out: &Path) -> RunConfig {
    let mut config = RunConfig::default();
    config.model.preset = Preset::Tiny;
    config.batch.size = BatchSize::Pictures(4);
    config.budget.steps = Some(9);
    config.checkpoint.out = Some(out.to_owned());
    config
}

#[test]
fn an_observer_hears_everything_pauses_and_stops_training() {
    let out = tempfile::tempdir().unwrap();
    let dir = out.path().join("run");
    let mut config = tiny_run(&dir);
    config.log.every = 2;
    let run = TrainRun::new(config).unwrap();
    assert_eq!(run.out(), dir);
    let (mut observer, start) = (Pauses::default(), Instant::now());
    let summary = run.start(&device(), &mut observer).unwrap();
    assert!(summary.interrupted && summary.steps == 4, "{summary:?}");
    // holds however long a step takes: the pause is no training time
    assert!(summary.elapsed + PAUSE <= start.elapsed(), "{summary:?}");
    let heard = [
        "reading data/inputs.csv",
        "reading data/inputs_val.csv",
        "note: 9 steps do not reach the peak learning rate: the warm-up takes 10",
        "48 and 12 pictures",
        "step 1",
        "step 2",
        "step 4",
        "saved 4",
    ];
    assert_eq!(observer.heard, heard);
    // the run folder describes the run
    let stored = RunConfig::load(&dir.join("run.toml")).unwrap();
    assert_eq!(stored.budget.steps, Some(9));
    assert_eq!(stored, RunConfig::resume(&dir).unwrap().stored());
}

#[test]
fn an_observer_ends_a_validation_between_its_batches() {
    let out = tempfile::tempdir().unwrap();
    let mut config = tiny_run(&out.path().join("run"));
    config.data.train = vec!["data/inputs_val.csv".into()];
    config.data.validation = vec!["data/inputs.csv".into()];
    config.validation.every = 1;
    let mut observer = Pauses::default();
    let summary = TrainRun::new(config)
        .unwrap()
        .start(&device(), &mut observer)
        .unwrap();
    assert!(
        summary.interrupted && summary.steps == 1 && summary.validation.is_none(),
        "{summary:?}"
    );
    assert_eq!(
        observer.heard[observer.heard.len() - 3..],
        ["step 1", "16 of 48 at step 1", "saved 1"]
    );
}
