//! Training of some parts of a model.

use seemore::models::{Model, Part};
use seemore::nn::ParameterInfo;
use seemore::ops::GradScaler;
use seemore::train::{Decay, Objective, Optimizer, OptimizerConfig, StepSizes, TrainStep};

use super::{BOTH, OPTIMIZER, batch, config, device, gradients, pooled, sizes};

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
