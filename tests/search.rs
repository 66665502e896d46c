//! Search for the likeliest texts: greedy on the device equals greedy on the host, batches equal
//! single pictures, and a beam finds what enumeration finds.

use seemore::caption::{Generator, Hypothesis, Sampling, Search, SearchOptions};
use seemore::device::Device;
use seemore::device::Plan;
use seemore::models::seemore::VisualTokens;
use seemore::models::{Logits, Model, ModelConfig, emoji, seemore as family};
use seemore::nn::Context;

const BEGIN: u32 = 1;
const END: u32 = 2;

fn device() -> Device {
    Device::open(None).unwrap_or_else(|error| panic!("{error}"))
}

/// Reproducible numbers in [-1, 1).
fn noise(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2654435761);
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Visual tokens of the models that are searched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tokens {
    Cls,
    Patches,
    Pooled,
}

/// A model with parameters far from their initial values, so that pictures, positions and tokens
/// matter.
fn model(device: &Device, vocab_size: usize, tokens: Tokens) -> Model {
    let tiny = family::Config::tiny();
    let text = family::TextConfig {
        vocab_size,
        ..tiny.text
    };
    let config: ModelConfig = match tokens {
        // the picture is added to every position, together with the class head's guess
        Tokens::Pooled => emoji::Config {
            vision: emoji::VisionConfig {
                width: tiny.vision.width,
                heads: tiny.vision.heads,
                ..emoji::VisionConfig::default()
            },
            class_head: emoji::ClassHeadConfig {
                classes: 7,
                guess: true,
            },
            text: emoji::TextConfig {
                vocab_size,
                width: text.width,
                heads: text.heads,
                context: text.context,
                ..emoji::TextConfig::default()
            },
            ..emoji::Config::default()
        }
        .into(),
        Tokens::Cls => family::Config { text, ..tiny }.into(),
        Tokens::Patches => family::Config {
            visual_tokens: VisualTokens::Patches,
            text,
            ..tiny
        }
        .into(),
    };
    let model = Model::new(device, &config, 7).unwrap();
    for (_, tensor) in model.parameters() {
        let values: Vec<f32> = tensor.read::<f32>().unwrap();
        let noise = noise(values.len(), values.len() as u32);
        tensor.write(
            &values
                .iter()
                .zip(noise)
                .map(|(value, noise)| value + 0.15 * noise)
                .collect::<Vec<f32>>(),
        );
    }
    model
}

fn pictures(model: &Model, count: usize) -> Vec<Vec<f32>> {
    let side = model.info().image_size();
    (0..count)
        .map(|seed| noise(3 * side * side, 11 + seed as u32))
        .collect()
}

fn options(batch: usize, beam: usize) -> SearchOptions {
    SearchOptions {
        batch,
        prompt: 1,
        new: 10,
        beam,
        length_power: 0.0,
    }
}

fn search(
    device: &Device,
    model: &Model,
    pictures: &[Vec<f32>],
    options: SearchOptions,
) -> Vec<Vec<Hypothesis>> {
    let mut search = Search::new(device, model, options).unwrap();
    pictures
        .chunks(options.batch)
        .flat_map(|some| {
            search
                .run(&some.concat(), &vec![&[BEGIN][..]; some.len()], Some(END))
                .unwrap()
        })
        .collect()
}

#[test]
fn greedy_on_the_device_equals_greedy_on_the_host() {
    let device = device();
    for visual_tokens in [Tokens::Cls, Tokens::Patches, Tokens::Pooled] {
        let model = model(&device, 12, visual_tokens);
        let pictures = pictures(&model, 8);
        let mut generator = Generator::new(&device, &model, 8, 1, 10).unwrap();
        let want = generator
            .complete(
                &pictures.concat(),
                &[&[BEGIN][..]; 8],
                Some(END),
                Sampling::GREEDY,
            )
            .unwrap();
        let got = search(&device, &model, &pictures, options(8, 1));
        let mut ended = 0;
        for (got, want) in got.iter().zip(&want) {
            assert_eq!(got.len(), 1);
            let tokens: Vec<u32> = want.iter().map(|choice| choice.token).collect();
            assert_eq!(got[0].tokens, tokens);
            assert_eq!(got[0].ended, tokens.len() < 10);
            assert_eq!(
                got[0].log_probabilities.len(),
                tokens.len() + got[0].ended as usize
            );
            for (got, want) in got[0].log_probabilities.iter().zip(want) {
                assert!(
                    (got.exp() - want.probability as f64).abs() < 1e-5,
                    "{got} and {}",
                    want.probability
                );
            }
            ended += got[0].ended as usize;
        }
        assert!(
            visual_tokens != Tokens::Cls || (ended > 0 && ended < 8),
            "{ended} of 8 ended: no test of where texts end"
        );
        assert!(
            got.iter().any(|other| other != &got[0]),
            "all pictures have the same text"
        );
    }
}

#[test]
fn batches_give_the_texts_of_single_pictures() {
    let device = device();
    let model = model(&device, 12, Tokens::Cls);
    let pictures = pictures(&model, 7);
    for beam in [1, 3] {
        let single = search(&device, &model, &pictures, options(1, beam));
        // the last batch is not full
        for batch in [4, 7, 9] {
            for (one, many) in single.iter().flatten().zip(
                search(&device, &model, &pictures, options(batch, beam))
                    .iter()
                    .flatten(),
            ) {
                assert_eq!(
                    (&one.tokens, one.ended),
                    (&many.tokens, many.ended),
                    "beam {beam}, batch {batch}"
                );
                assert!((one.log_probability() - many.log_probability()).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn searches_repeat_bit_for_bit() {
    let device = device();
    let model = model(&device, 12, Tokens::Cls);
    let pictures = pictures(&model, 4);
    for beam in [1, 4] {
        let mut search = Search::new(&device, &model, options(4, beam)).unwrap();
        let mut run = |pictures: &[Vec<f32>]| {
            search
                .run(&pictures.concat(), &[&[BEGIN][..]; 4], Some(END))
                .unwrap()
        };
        let first = run(&pictures);
        // earlier contents of the caches change nothing
        run(&pictures.iter().rev().cloned().collect::<Vec<_>>());
        assert_eq!(run(&pictures), first);
    }
}

#[test]
fn a_beam_finds_texts_at_least_as_likely_as_greedy_search() {
    let device = device();
    let model = model(&device, 12, Tokens::Cls);
    let pictures = pictures(&model, 8);
    let greedy = search(&device, &model, &pictures, options(8, 1));
    let beam = search(&device, &model, &pictures, options(8, 4));
    let mut better = 0;
    for (greedy, beam) in greedy.iter().zip(&beam) {
        assert_eq!(beam.len(), 4);
        assert!(
            beam.is_sorted_by(|a, b| a.log_probability() >= b.log_probability()),
            "{beam:?}"
        );
        let gain = beam[0].log_probability() - greedy[0].log_probability();
        assert!(gain > -1e-4, "{gain}: {beam:?} for {greedy:?}");
        better += (gain > 1e-3) as usize;
    }
    assert!(
        better > 0,
        "the beam found nothing that the greedy search did not"
    );
}

/// All texts of at most three tokens with the logarithm of their probability, from full forward
/// passes, the likeliest first.
fn everything(
    device: &Device,
    model: &Model,
    picture: &[f32],
    length_power: f64,
) -> Vec<(f64, Vec<u32>)> {
    let (vocab, side) = (model.info().vocab_size, model.info().image_size());
    let pairs: Vec<[u32; 2]> = (0..vocab as u32)
        .flat_map(|a| (0..vocab as u32).map(move |b| [a, b]))
        .collect();
    let mut tape = device.tape();
    let (image, ids) = (
        tape.input(&[pairs.len(), 3, side, side]),
        tape.input(&[pairs.len(), 3]),
    );
    let logits = model.forward(
        &mut Context::inference(&mut tape),
        Some(image),
        ids,
        None,
        Logits::Text,
    );
    tape.hold(logits);
    let plan = Plan::new(device, tape).unwrap();
    plan.write(image, &picture.repeat(pairs.len()));
    plan.write(
        ids,
        &pairs
            .iter()
            .flat_map(|&[a, b]| [BEGIN, a, b])
            .collect::<Vec<u32>>(),
    );
    let logits: Vec<f32> = plan.run_and_read(logits).unwrap();
    let row = |pair: usize, at: usize| -> Vec<f64> {
        let row = &logits[(3 * pair + at) * vocab..][..vocab];
        let total = row
            .iter()
            .map(|&logit| (logit as f64).exp())
            .sum::<f64>()
            .ln();
        row.iter().map(|&logit| logit as f64 - total).collect()
    };
    let mut texts = std::collections::BTreeMap::new();
    for (pair, tokens) in pairs.iter().enumerate() {
        let rows = [row(pair, 0), row(pair, 1), row(pair, 2)];
        for last in 0..vocab as u32 {
            let text = [tokens[0], tokens[1], last];
            let count = text
                .iter()
                .position(|&token| token == END)
                .map_or(3, |end| end + 1);
            let sum: f64 = text[..count]
                .iter()
                .zip(&rows)
                .map(|(&token, row)| row[token as usize])
                .sum();
            let shown = text[..count]
                .iter()
                .copied()
                .filter(|&token| token != END)
                .collect();
            texts.insert(
                text[..count].to_vec(),
                (sum, sum / (count as f64).powf(length_power), shown),
            );
        }
    }
    let mut texts: Vec<_> = texts.into_values().collect();
    texts.sort_by(|a, b| b.1.total_cmp(&a.1));
    texts
        .into_iter()
        .map(|(sum, _, shown)| (sum, shown))
        .collect()
}

#[test]
fn a_wide_beam_finds_what_enumeration_finds() {
    let device = device();
    let model = model(&device, 5, Tokens::Cls);
    let pictures = pictures(&model, 2);
    for length_power in [0.0, 1.0] {
        // texts of three tokens, and those that end before
        let beam = 4 * 4 * 5 + 4 + 1;
        let found = search(
            &device,
            &model,
            &pictures,
            SearchOptions {
                new: 3,
                length_power,
                ..options(2, beam)
            },
        );
        for (picture, found) in pictures.iter().zip(found) {
            let want = everything(&device, &model, picture, length_power);
            assert_eq!((found.len(), want.len()), (beam, beam));
            assert!((want.iter().map(|(sum, _)| sum.exp()).sum::<f64>() - 1.0).abs() < 1e-4);
            for (found, (sum, tokens)) in found.iter().zip(&want).take(12) {
                assert_eq!(
                    &found.tokens, tokens,
                    "length to the power of {length_power}"
                );
                assert!((found.log_probability() - sum).abs() < 1e-4);
            }
        }
    }
}

#[test]
fn prompts_of_different_lengths_are_searched_together() {
    let device = device();
    let prompts: [&[u32]; 4] = [&[BEGIN], &[BEGIN, 4, 7], &[BEGIN, 3], &[BEGIN, 5, 3, 8, 4]];
    for visual_tokens in [Tokens::Cls, Tokens::Patches, Tokens::Pooled] {
        let model = model(&device, 12, visual_tokens);
        let pictures = pictures(&model, 4);
        for beam in [1, 3] {
            let options = SearchOptions {
                prompt: 5,
                ..options(4, beam)
            };
            let together = Search::new(&device, &model, options)
                .unwrap()
                .run(&pictures.concat(), &prompts, Some(END))
                .unwrap();
            for (row, prompt) in prompts.iter().enumerate() {
                let options = SearchOptions {
                    batch: 1,
                    prompt: prompt.len(),
                    ..options
                };
                let alone = Search::new(&device, &model, options)
                    .unwrap()
                    .run(&pictures[row], &[prompt], Some(END))
                    .unwrap();
                for (together, alone) in together[row].iter().zip(&alone[0]) {
                    assert_eq!(
                        together.tokens, alone.tokens,
                        "{visual_tokens:?}, row {row}"
                    );
                    assert!((together.log_probability() - alone.log_probability()).abs() < 1e-4);
                }
            }
        }
    }
}
