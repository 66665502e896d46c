//! Decoding with the key/value cache gives what the full forward pass gives, at every position.

use seemore::caption::Generator;
use seemore::device::Device;
use seemore::device::Plan;
use seemore::models::seemore::{Config, Fusion, Logits, Preset, VisualTokens, Vlm};
use seemore::nn::Context;

/// Reproducible numbers in [-1, 1).
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Logits `[batch, positions, vocab]` of one forward pass over everything.
fn full(device: &Device, model: &Vlm, images: &[f32], ids: &[u32], batch: usize) -> Vec<f32> {
    let side = model.config().image_size;
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

fn cached_equals_full(config: Config, batch: usize, prompt: usize, new: usize) {
    let device = Device::open(None).unwrap_or_else(|error| panic!("{error}"));
    let model = Vlm::new(&device, &config, 7).unwrap();
    for (_, tensor) in model.parameters() {
        // far from the initial values, where positions would hardly matter
        let values: Vec<f32> = tensor.read::<f32>().unwrap();
        let noise = noise(values.len(), values.len() as u32);
        tensor.write(
            &values
                .iter()
                .zip(noise)
                .map(|(value, noise)| value + 0.1 * noise)
                .collect::<Vec<f32>>(),
        );
    }
    let images = noise(batch * 3 * config.image_size * config.image_size, 1);
    let total = prompt + new;
    let token = |row: usize, at: usize| ((row * 31 + at * 17 + 5) % config.vocab_size) as u32;
    let ids: Vec<u32> = (0..batch)
        .flat_map(|row| (0..total).map(move |at| token(row, at)))
        .collect();
    let want = full(&device, &model, &images, &ids, batch);

    let mut generator = Generator::new(&device, &model, batch, prompt, new + 1, false).unwrap();
    let prompts: Vec<u32> = (0..batch)
        .flat_map(|row| (0..prompt).map(move |at| token(row, at)))
        .collect();
    let mut logits = generator.start(&images, &prompts).unwrap();
    let positions = config.visual() + total;
    for at in prompt - 1..total {
        for (row, got) in logits.iter().enumerate() {
            let first = (row * positions + config.visual() + at) * config.vocab_size;
            let want = &want[first..][..config.vocab_size];
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
                config.visual_tokens
            );
        }
        if at + 1 < total {
            let tokens: Vec<u32> = (0..batch).map(|row| token(row, at + 1)).collect();
            logits = generator
                .next(&tokens)
                .unwrap()
                .expect("room for every token");
        }
    }
}

#[test]
fn with_one_visual_token() {
    cached_equals_full(Preset::Tiny.config(), 3, 4, 9);
    cached_equals_full(Preset::Tiny.config(), 1, 1, 12);
}

#[test]
fn with_patch_tokens_and_without_an_encoder() {
    for visual_tokens in [VisualTokens::Patches, VisualTokens::Fuyu] {
        cached_equals_full(
            Config {
                visual_tokens,
                ..Preset::Tiny.config()
            },
            2,
            3,
            6,
        );
    }
}

/// The emoji preset's arithmetic at the size of the tiny one.
fn small_emoji() -> Config {
    let Config {
        image_size,
        patch_size,
        vision_width,
        vision_layers,
        vision_heads,
        width,
        layers,
        heads,
        context,
        ..
    } = Preset::Tiny.config();
    let sizes = Preset::Emoji.config();
    Config {
        image_size,
        patch_size,
        vision_width,
        vision_layers,
        vision_heads,
        width,
        layers,
        heads,
        context,
        pool_width: 8,
        ..sizes
    }
}

#[test]
fn with_a_picture_added_to_every_position() {
    for (classes, guess) in [(0, false), (9, false), (9, true)] {
        cached_equals_full(
            Config {
                classes,
                guess,
                ..small_emoji()
            },
            3,
            2,
            7,
        );
    }
    cached_equals_full(
        Config {
            visual_tokens: VisualTokens::Cls,
            classes: 5,
            ..small_emoji()
        },
        2,
        1,
        5,
    );
    let prefix = Config {
        fusion: Fusion::Prefix,
        ..small_emoji()
    };
    cached_equals_full(
        Config {
            guess: false,
            color_levels: 0,
            ..prefix.clone()
        },
        2,
        1,
        5,
    );
    // patch tokens in front, and what they are taken for and their colours at every text position
    for cls_token in [false, true] {
        let patches = Config {
            visual_tokens: VisualTokens::Patches,
            cls_token,
            ..prefix.clone()
        };
        cached_equals_full(
            Config {
                classes: 9,
                ..patches.clone()
            },
            3,
            2,
            7,
        );
        cached_equals_full(
            Config {
                guess: false,
                color_levels: 0,
                ..patches
            },
            2,
            1,
            5,
        );
    }
}

#[test]
fn a_second_picture_is_not_disturbed_by_what_the_caches_held() {
    let device = Device::open(None).unwrap_or_else(|error| panic!("{error}"));
    let config = Preset::Tiny.config();
    let model = Vlm::new(&device, &config, 7).unwrap();
    let images = [1, 2].map(|seed| noise(3 * config.image_size * config.image_size, seed));
    let mut generator = Generator::new(&device, &model, 1, 1, 5, false).unwrap();
    let mut run = |image: &[f32]| {
        let first = generator.start(image, &[1]).unwrap();
        (0..4).fold(first, |_, token| generator.next(&[token]).unwrap().unwrap())
    };
    let alone = run(&images[1]);
    run(&images[0]);
    assert_eq!(run(&images[1]), alone);
}
