//! The captioned emoji art, and the model that ships with it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use seemore::caption::{Cancel, CaptionOptions, CaptionToken, ModelInput, Session};
use seemore::data::{Dataset, Layout};
use seemore::device::Device;
use seemore::eval::{EvalOptions, Evaluation};
use seemore::image::Picture;
use seemore::progress::Silent;

const TRAINING: [&str; 6] = [
    "noto",
    "noto-v1",
    "twemoji",
    "fluent",
    "emojione",
    "streamline",
];
const MODEL: &str = "data/checkpoints/emoji";

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

fn captions(file: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(format!("data/emoji/{file}.csv")).unwrap();
    let column = reader
        .headers()
        .unwrap()
        .iter()
        .position(|header| header == "caption")
        .unwrap();
    reader
        .records()
        .map(|record| record.unwrap()[column].to_owned())
        .collect()
}

/// Exact match of the shipped model on every `stride`th picture of a file.
fn exact_match(file: &str, stride: usize) -> f64 {
    let session = Session::load(&device(), MODEL).unwrap();
    let path = format!("data/emoji/{file}.csv");
    let loaded = Dataset::load(
        Path::new(&path),
        session.info().preprocess,
        &Layout::default(),
        true,
        &Silent,
    )
    .unwrap();
    let samples = loaded.dataset.samples.into_iter().step_by(stride).collect();
    let dataset = Dataset {
        side: loaded.dataset.side,
        samples,
    };
    let options = EvalOptions {
        batch: 64,
        beam: 1,
        length_power: 0.0,
        max_tokens: None,
    };
    Evaluation::run(&session, &dataset, options, &Silent)
        .unwrap()
        .exact_match
}

#[test]
fn composition_captions_are_not_in_the_training_data() {
    let trained: BTreeSet<String> = TRAINING.iter().flat_map(|file| captions(file)).collect();
    let held_out = captions("composition");
    assert!(trained.len() > 2500 && held_out.len() > 1000);
    let leaked: Vec<&String> = held_out
        .iter()
        .filter(|caption| trained.contains(*caption))
        .collect();
    assert!(leaked.is_empty(), "{leaked:?}");
    // nearly all of their words are
    let words = |captions: &mut dyn Iterator<Item = &String>| -> BTreeSet<String> {
        captions
            .flat_map(|caption| caption.split([' ', ':', ',']))
            .map(str::to_owned)
            .collect()
    };
    let known = words(&mut trained.iter());
    let unknown: Vec<String> = words(&mut held_out.iter())
        .into_iter()
        .filter(|word| !known.contains(word))
        .collect();
    assert!(unknown.len() < 3, "{unknown:?}");
}

#[test]
fn shipped_model_names_drawings_of_an_unseen_artist() {
    // 0.58 of the whole file; a tenth of it has a standard error of 4 points
    let right = exact_match("openmoji/openmoji", 10);
    assert!(right > 0.45, "{right}");
}

#[test]
fn shipped_model_composes_captions_it_never_read() {
    // 0.73 of the whole file; without its histogram of colours an early model had 0.39
    let right = exact_match("composition", 10);
    assert!(right > 0.55, "{right}");
}

/// Streams the caption of a picture of at most ten tokens, with heat.
fn tokens_with_heat(session: &Session, picture: &Picture) -> Vec<CaptionToken> {
    let options = CaptionOptions {
        max_tokens: 10,
        heat: true,
        ..CaptionOptions::default()
    };
    let mut tokens = vec![];
    session
        .stream(picture, &options, &mut |token| {
            tokens.push(token.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    tokens
}

#[test]
fn shipped_model_looks_at_the_drawing() {
    let session = Session::load(&device(), MODEL).unwrap();
    // a red disc in a corner of a large white picture: cropping brings it to the middle, where
    // corners of the frame stay white
    let (width, height) = (300, 200);
    let disc = |x: usize, y: usize| (x as f32 - 60.0).hypot(y as f32 - 50.0) < 40.0;
    let pixel = |i: usize| {
        if disc(i % width, i / width) {
            [221, 46, 68]
        } else {
            [255; 3]
        }
    };
    let picture = Picture {
        width,
        height,
        rgb: (0..width * height).flat_map(pixel).collect(),
    };
    let written = tokens_with_heat(&session, &picture);
    assert!(!written.is_empty());
    for token in &written {
        assert!(
            token.heat.len() == 64 && (token.heat.iter().sum::<f32>() - 1.0).abs() < 1e-3,
            "{:?}",
            token.heat
        );
        let corners: f32 = [0, 7, 56, 63].map(|corner| token.heat[corner]).iter().sum();
        assert!(corners < 0.15, "{:?}: {:?}", token.text, token.heat);
    }
}

#[test]
fn patch_token_model_attends_to_patches() {
    let session = Session::load(&device(), "data/checkpoints/emoji-patches").unwrap();
    let disc = |x: usize, y: usize| (x as f32 - 100.0).hypot(y as f32 - 100.0) < 80.0;
    let pixel = |i: usize| {
        if disc(i % 200, i / 200) {
            [221, 46, 68]
        } else {
            [255; 3]
        }
    };
    let picture = Picture {
        width: 200,
        height: 200,
        rgb: (0..200 * 200).flat_map(pixel).collect(),
    };
    let written = tokens_with_heat(&session, &picture);
    assert!(written.len() > 1, "{written:?}");
    for token in &written {
        let sum: f32 = token.heat.iter().sum();
        assert!(
            token.heat.len() == 36
                && token.heat.iter().all(|&share| share >= 0.0)
                && sum > 0.0
                && sum < 1.001,
            "{:?}",
            token.heat
        );
    }
    let apart: f32 = written[0]
        .heat
        .iter()
        .zip(&written[1].heat)
        .map(|(a, b)| (a - b).abs())
        .sum();
    assert!(apart > 0.01, "two words look at the same patches: {apart}");
}

#[test]
fn a_batch_gets_the_captions_of_single_pictures() {
    let session = Session::load(&device(), MODEL).unwrap();
    let frame = session.info().preprocess;
    let loaded = Dataset::load(
        Path::new("data/emoji/fxemoji.csv"),
        frame,
        &Layout::default(),
        true,
        &Silent,
    )
    .unwrap();
    let samples = loaded.dataset.samples.into_iter().step_by(100);
    let pictures: Vec<Picture> = samples
        .map(|sample| Picture {
            width: frame.side,
            height: frame.side,
            rgb: sample.rgb,
        })
        .map(|picture| picture.framed(frame))
        .collect();
    let options = CaptionOptions {
        max_tokens: 10,
        batch_size: 4,
        ..CaptionOptions::default()
    };
    let together: Vec<String> = session
        .captions(&pictures, &options)
        .unwrap()
        .into_iter()
        .map(|caption| caption.text)
        .collect();
    let alone: Vec<String> = pictures
        .iter()
        .map(|picture| {
            let go_on = &mut |_: &CaptionToken| ControlFlow::Continue(());
            session.stream(picture, &options, go_on).unwrap().text
        })
        .collect();
    assert!(
        together.len() == 9 && together == alone,
        "{together:?} and {alone:?}"
    );
    let begun = CaptionOptions {
        prompt: "grinning".into(),
        batch_size: 2,
        beam: 2,
        ..options
    };
    let begun = session.captions(&pictures[..3], &begun).unwrap();
    assert!(
        begun
            .iter()
            .all(|caption| caption.log_probability < 0.0 && caption.text.starts_with(" ")),
        "{begun:?}"
    );
}

/// Prompts of different lengths share one padded batch, and captions equal those of prompts alone.
#[test]
fn pictures_after_different_prompts_are_captioned_together() {
    let prompts = [
        "",
        "face with",
        "grinning",
        "face with tears of joy: laughing",
        "woman",
    ];
    for model in [MODEL, "data/checkpoints/emoji-patches"] {
        let session = Session::load(&device(), model).unwrap();
        let shade = |index: usize| [250, 40 * index as u8, 60];
        let pictures: Vec<Picture> = (0..prompts.len())
            .map(|index| Picture {
                width: 60,
                height: 60,
                rgb: (0..3600)
                    .flat_map(
                        |i| match (i % 60 > 8 + index) && (i / 60 > 20) && i % 60 < 50 {
                            true => shade(index),
                            false => [255; 3],
                        },
                    )
                    .collect(),
            })
            .collect();
        let inputs: Vec<ModelInput> = pictures
            .iter()
            .map(|it| session.input(it).unwrap())
            .collect();
        for beam in [1, 2] {
            let options = CaptionOptions {
                max_tokens: 8,
                beam,
                ..CaptionOptions::default()
            };
            let together = session
                .captions_of(&inputs, &prompts, &options, &Cancel::new())
                .unwrap();
            for (index, together) in together.iter().enumerate() {
                let options = CaptionOptions {
                    prompt: prompts[index].into(),
                    ..options.clone()
                };
                let alone = session.caption_with(&pictures[index], &options).unwrap();
                assert_eq!(
                    together.tokens, alone.tokens,
                    "{model}: {:?}",
                    prompts[index]
                );
                assert!((together.log_probability - alone.log_probability).abs() < 1e-3);
            }
        }
    }
}
