//! Decoding with a key/value cache gives the logits of the full forward pass at every position.

use seemore::caption::Generator;
use seemore::device::Device;
use seemore::device::Plan;
use seemore::models::seemore::VisualTokens;
use seemore::models::{Logits, Model, ModelConfig, Preset, emoji, seemore as family};
use seemore::nn::Context;
use seemore::ops::check::random_f32;

/// Logits `[batch, positions, vocab]` of one forward pass over everything.
fn full(device: &Device, model: &Model, images: &[f32], ids: &[u32], batch: usize) -> Vec<f32> {
    let side = model.info().image_size();
    let mut tape = device.tape();
    let image = tape.input(&[batch, 3, side, side]);
    let text = tape.input(&[batch, ids.len() / batch]);
    let logits = model.forward(
        &mut Context::inference(&mut tape),
        Some(image),
        text,
        None,
        Logits::All,
    );
    tape.hold(logits);
    let plan = Plan::new(device, tape).unwrap();
    plan.write(image, images);
    plan.write(text, ids);
    plan.run().unwrap();
    plan.read(logits).unwrap()
}

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

/// A model whose parameters are far from their initial values, so that positions matter.
fn model(device: &Device, config: impl Into<ModelConfig>) -> Model {
    let model = Model::new(device, config, 7).unwrap();
    for (_, tensor) in model.parameters() {
        let values: Vec<f32> = tensor.read::<f32>().unwrap();
        let noise = random_f32(values.len(), values.len() as u64);
        tensor.write(
            &values
                .iter()
                .zip(noise)
                .map(|(value, noise)| value + 0.05 * noise)
                .collect::<Vec<f32>>(),
        );
    }
    model
}

/// Compares each row of a batch, with prompts of the given lengths, with the full forward pass.
/// `recorded` is the prompt length that passes are recorded for.
fn cached_equals_full(
    config: impl Into<ModelConfig>,
    prompts: &[usize],
    recorded: usize,
    new: usize,
) {
    let device = device();
    let model = model(&device, config);
    let info = model.info();
    let batch = prompts.len();
    let images = random_f32(batch * 3 * info.image_size().pow(2), 1);
    let total = recorded + new;
    let token = |row: usize, at: usize| ((row * 31 + at * 17 + 5) % info.vocab_size) as u32;
    let ids: Vec<u32> = (0..batch)
        .flat_map(|row| (0..total).map(move |at| token(row, at)))
        .collect();
    let want = full(&device, &model, &images, &ids, batch);

    let mut generator = Generator::new(&device, &model, batch, recorded, new + 1).unwrap();
    let tokens: Vec<Vec<u32>> = prompts
        .iter()
        .enumerate()
        .map(|(row, &prompt)| (0..prompt).map(|at| token(row, at)).collect())
        .collect();
    let tokens: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    let mut logits = generator.start(&images, &tokens).unwrap();
    let positions = info.visual_tokens + total;
    for step in 0..=new {
        for (row, got) in logits.iter().enumerate() {
            let at = prompts[row] - 1 + step;
            let first = (row * positions + info.visual_tokens + at) * info.vocab_size;
            let want = &want[first..][..info.vocab_size];
            // in the total order NaN is the largest, where f32::max would pass over it
            let off = got
                .iter()
                .zip(want)
                .map(|(got, want)| (got - want).abs())
                .max_by(f32::total_cmp)
                .unwrap();
            assert!(
                off < 2e-5,
                "{:?}, picture {row}, position {at}: logits off by {off}",
                info.image_tokens
            );
        }
        if step < new {
            let tokens: Vec<u32> = (0..batch)
                .map(|row| token(row, prompts[row] + step))
                .collect();
            logits = generator
                .next(&tokens)
                .unwrap()
                .expect("room for every token");
        }
    }
}

/// Prompts of one length, as many as the passes are recorded for.
fn even(config: impl Into<ModelConfig>, batch: usize, prompt: usize, new: usize) {
    cached_equals_full(config, &vec![prompt; batch], prompt, new);
}

#[test]
fn decodes_after_one_visual_token() {
    even(Preset::Tiny.config(), 3, 4, 9);
    even(Preset::Tiny.config(), 1, 1, 12);
}

#[test]
fn decodes_after_patch_tokens_and_without_an_encoder() {
    for visual_tokens in [VisualTokens::Patches, VisualTokens::Fuyu] {
        even(
            family::Config {
                visual_tokens,
                ..family::Config::tiny()
            },
            2,
            3,
            6,
        );
    }
}

/// The emoji preset's arithmetic at the size of the tiny one.
fn small_emoji() -> emoji::Config {
    let tiny = family::Config::tiny();
    emoji::Config {
        vision: emoji::VisionConfig {
            image_size: tiny.vision.image_size,
            patch_size: tiny.vision.patch_size,
            width: tiny.vision.width,
            layers: tiny.vision.layers,
            heads: tiny.vision.heads,
            pool_width: 8,
            ..emoji::VisionConfig::default()
        },
        text: emoji::TextConfig {
            width: tiny.text.width,
            layers: tiny.text.layers,
            heads: tiny.text.heads,
            context: tiny.text.context,
            ..emoji::TextConfig::default()
        },
        ..emoji::Config::default()
    }
}

fn class_head(classes: usize, guess: bool) -> emoji::ClassHeadConfig {
    emoji::ClassHeadConfig { classes, guess }
}

#[test]
fn decodes_with_a_picture_added_to_every_position() {
    for (classes, guess) in [(0, false), (9, false), (9, true)] {
        let config = emoji::Config {
            class_head: class_head(classes, guess),
            ..small_emoji()
        };
        even(config, 3, 2, 7);
    }
    let mut cls = small_emoji();
    cls.vision.tokens = emoji::VisualTokens::Cls;
    cls.class_head = class_head(5, true);
    even(cls, 2, 1, 5);
    let mut prefix = small_emoji();
    prefix.text.fusion = emoji::Fusion::Prefix;
    let mut plain = prefix.clone();
    plain.class_head.guess = false;
    plain.vision.color_levels = 0;
    even(plain, 2, 1, 5);
    // patch tokens in front; guessed class and colours added to every text position
    for cls_token in [false, true] {
        let mut patches = prefix.clone();
        patches.vision.tokens = emoji::VisualTokens::Patches;
        patches.vision.cls_token = cls_token;
        let guessed = emoji::Config {
            class_head: class_head(9, true),
            ..patches.clone()
        };
        even(guessed, 3, 2, 7);
        patches.class_head.guess = false;
        patches.vision.color_levels = 0;
        even(patches, 2, 1, 5);
    }
    let mut fuyu = prefix;
    fuyu.vision.tokens = emoji::VisualTokens::Fuyu;
    fuyu.vision.oriented_gradients = false;
    fuyu.vision.color_levels = 0;
    even(fuyu, 2, 1, 5);
}

#[test]
fn earlier_contents_of_the_caches_do_not_change_results() {
    let device = device();
    let config = Preset::Tiny.config();
    let model = Model::new(&device, &config, 7).unwrap();
    let images = [1, 2].map(|seed| random_f32(3 * model.info().image_size().pow(2), seed));
    let mut generator = Generator::new(&device, &model, 1, 1, 5).unwrap();
    let mut run = |image: &[f32]| {
        let first = generator.start(image, &[&[1]]).unwrap();
        (0..4).fold(first, |_, token| generator.next(&[token]).unwrap().unwrap())
    };
    let alone = run(&images[1]);
    run(&images[0]);
    assert_eq!(run(&images[1]), alone);
}

#[test]
fn ragged_prompts_decode_together() {
    let tiny = family::Config::tiny;
    cached_equals_full(tiny(), &[4, 1, 7, 2, 8], 8, 6);
    for visual_tokens in [VisualTokens::Patches, VisualTokens::Fuyu] {
        let config = family::Config {
            visual_tokens,
            ..tiny()
        };
        cached_equals_full(config, &[1, 5, 3], 5, 4);
    }
    cached_equals_full(small_emoji(), &[6, 2, 3], 8, 4);
}
