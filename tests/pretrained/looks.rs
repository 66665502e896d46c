//! Where pretrained models look: attention, heat and relevance over the picture.

use std::ops::ControlFlow;
use std::path::Path;

use seemore::caption::{CaptionOptions, Session};
use seemore::device::Device;
use seemore::explain::{AttentionMaps, Heads, Matrix};
use seemore::image::{Picture, Tiling};
use seemore::models::Logits;
use seemore::models::checkpoint::{self, KeepWeights};
use seemore::nn::Context;

use crate::golden::{self, folders};
use crate::pass::devices;
use crate::recorded::Reference;

fn session(device: &Device, folder: &Path, tiling: Tiling) -> Session {
    let loaded = checkpoint::load_with(device, folder, KeepWeights::AsStored);
    let (model, tokenizer) = loaded.unwrap_or_else(|error| panic!("{error}"));
    Session::with_tiling(device, model, tokenizer.unwrap(), tiling)
}

/// A case of `smolvlm_tiny` about one picture.
struct Case {
    name: String,
    tiling: Tiling,
    picture: Picture,
    question: String,
    ids: Vec<u32>,
    written: Vec<u32>,
}

impl Case {
    fn all(recorded: &Reference) -> Vec<Case> {
        let cases = recorded.facts["cases"].as_object().unwrap();
        let of_one_picture = cases
            .iter()
            .filter(|(_, case)| golden::list(&case["images"]).len() == 1);
        of_one_picture
            .map(|(name, case)| {
                let image = golden::text(&case["images"][0]);
                Case {
                    name: name.clone(),
                    tiling: match case["do_image_splitting"].as_bool().unwrap() {
                        true => Tiling::Auto,
                        false => Tiling::One,
                    },
                    picture: Picture::open(&recorded.folder.join(image)).unwrap(),
                    question: golden::text(&case["messages"][0]["content"][1]["text"]).to_owned(),
                    ids: recorded.ids(&format!("{name}.input_ids")),
                    written: recorded.ids(&format!("{name}.greedy_new_tokens")),
                }
            })
            .collect()
    }

    /// Places of the picture's rows in the prompt.
    fn places(&self, session: &Session) -> Vec<usize> {
        let token = session.info().placeholder.unwrap().token;
        let marked = self.ids.iter().enumerate().filter(|(_, id)| **id == token);
        marked.map(|(place, _)| place).collect()
    }

    /// Heat of each token of a streamed caption.
    fn heat(&self, session: &Session) -> (Vec<u32>, Vec<Vec<f32>>) {
        let options = CaptionOptions {
            prompt: self.question.clone(),
            max_tokens: self.written.len(),
            heat: true,
            ..CaptionOptions::default()
        };
        let mut heat = vec![];
        let caption = session
            .stream(&self.picture, &options, &mut |token| {
                heat.push(token.heat.clone());
                ControlFlow::Continue(())
            })
            .unwrap();
        (caption.tokens, heat)
    }
}

fn sum(values: &[f32]) -> f32 {
    values.iter().sum()
}

/// Mean over the heads of row `query` of a recorded map `[1, heads, T, T]`.
fn mean_row(map: &[f32], length: usize, query: usize) -> Vec<f32> {
    let heads = map.len() / (length * length);
    let at = |head: usize, key: usize| map[(head * length + query) * length + key];
    (0..length)
        .map(|key| (0..heads).map(|head| at(head, key)).sum::<f32>() / heads as f32)
        .collect()
}

#[test]
fn attention_is_the_recorded_one_at_the_places_of_the_picture() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        let mut held = 0;
        for device in devices() {
            for case in Case::all(&recorded) {
                let session = session(&device, &folder, case.tiling);
                let found = session.attention(&case.picture, &case.question, &case.written);
                let (maps, relevance) = found.unwrap();
                assert!(maps.encoder.is_empty() && maps.rollout().is_none());
                assert_eq!(maps.visual, case.places(&session), "{}", case.name);
                assert_eq!(maps.decoder.len(), session.info().decoder.layers);
                assert_eq!(relevance.len(), case.written.len());
                let prompt = case.ids.len();
                for (layer, map) in maps.decoder.iter().enumerate() {
                    let name = format!("{}.text.attn{layer}", case.name);
                    if !recorded.holds(&name) {
                        continue;
                    }
                    let want = recorded.floats(&name);
                    let matrix = Matrix::new(map, Heads::Mean);
                    // attention is causal: what was written later changes no row of the prompt
                    for query in 0..prompt {
                        let got = &matrix.row(query)[..prompt];
                        golden::close(&name, got, &mean_row(&want, prompt, query), 2e-5);
                    }
                    let row = mean_row(&want, prompt, prompt - 1);
                    let looks = maps.visual.iter().map(|place| row[*place]);
                    let looks: Vec<f32> = looks.collect();
                    let heat = maps.of_token(&matrix, prompt, 0);
                    golden::close(&name, &heat, &maps.on_picture(&looks), 2e-5);
                    assert!((sum(&heat) - sum(&looks)).abs() < 2e-5, "{name}");
                    held += 1;
                }
            }
        }
        assert!(held > 0, "{}: no attention is recorded", folder.display());
    }
}

#[test]
fn streamed_heat_is_the_attention_of_the_last_layer() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        for device in devices() {
            for case in Case::all(&recorded) {
                let session = session(&device, &folder, case.tiling);
                let (tokens, heat) = case.heat(&session);
                assert_eq!(tokens, case.written, "{}", case.name);
                let found = session.attention(&case.picture, &case.question, &tokens);
                let (maps, _) = found.unwrap();
                let last = Matrix::new(maps.decoder.last().unwrap(), Heads::Mean);
                for (token, heat) in heat.iter().enumerate() {
                    let want = maps.of_token(&last, case.ids.len(), token);
                    let name = format!("{}, token {token}", case.name);
                    golden::close(&name, heat, &want, 2e-5);
                    assert!(sum(heat) > 0.0 && sum(heat) <= 1.0 + 1e-5, "{name}");
                    assert_eq!(heat.len(), heat.len().isqrt().pow(2), "{name}");
                }
            }
        }
    }
}

#[test]
fn heat_lies_where_the_tiles_are() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        let device = &devices()[0];
        for case in Case::all(&recorded) {
            let session = session(device, &folder, case.tiling);
            let (maps, _) = session
                .attention(&case.picture, &case.question, &case.written)
                .unwrap();
            let rows = session.info().placeholder.unwrap().rows;
            let tiles = maps.visual.len() / rows;
            let layout = maps.layout.as_ref().unwrap();
            let (across, side) = (layout.cells(), rows.isqrt());
            assert_eq!(layout.rows(), maps.visual.len());
            // all of the attention on one tile
            for tile in 0..tiles {
                let mut shares = vec![0.0; maps.visual.len()];
                shares[tile * rows..][..rows].fill(1.0 / rows as f32);
                let map = maps.on_picture(&shares);
                let last = tile + 1 == tiles;
                // the picture is wide: its tiles but the last stand in one row
                let columns = match last {
                    true => 0..across,
                    false => tile * side..(tile + 1) * side,
                };
                let even = 1.0 / (columns.len() * across) as f32;
                for (cell, value) in map.iter().enumerate() {
                    let inside = columns.contains(&(cell % across));
                    let want = if inside { even } else { 0.0 };
                    assert!(
                        (value - want).abs() < 1e-6,
                        "{}, tile {tile}, cell {cell}: {value} is not {want}",
                        case.name
                    );
                }
            }
        }
    }
}

#[test]
fn relevance_is_the_first_order_change_of_the_logit() {
    for folder in folders("smolvlm_tiny") {
        let recorded = Reference::open(&folder);
        for device in devices() {
            for case in Case::all(&recorded) {
                let session = session(&device, &folder, case.tiling);
                let first = &case.written[..1];
                let (maps, relevance) = session
                    .attention(&case.picture, &case.question, first)
                    .unwrap();
                let rows = recorded.floats(&format!("{}.connector", case.name));
                let shares = by_differences(&device, &session, &case, &rows);
                let want = maps.on_picture(&shares);
                assert!((sum(&relevance[0]) - 1.0).abs() < 1e-4);
                golden::close(&case.name, &relevance[0], &want, 0.01);
            }
        }
    }
}

/// Shares of each encoded row in the logit of the first written token, by scaling it up and down.
fn by_differences(device: &Device, session: &Session, case: &Case, rows: &[f32]) -> Vec<f32> {
    use seemore::device::Plan;
    use seemore::models::ImageFeatures;
    let places: Vec<u32> = case.places(session).iter().map(|&at| at as u32).collect();
    let width = rows.len() / places.len();
    let mut tape = device.tape();
    let features = tape.input(&[places.len(), width]);
    let (at, ids) = (
        tape.input(&[places.len()]),
        tape.input(&[1, case.ids.len()]),
    );
    let mut c = Context::inference(&mut tape);
    c.image_places = Some(at);
    let features_of = Some(ImageFeatures::of_rows(features));
    let logits = session
        .model()
        .decode(&mut c, features_of, ids, None, Logits::Last);
    tape.hold(logits);
    let plan = Plan::new(device, tape).unwrap();
    plan.write(at, &places);
    plan.write(ids, &case.ids);
    let logit = |row: usize, factor: f32| {
        let mut moved = rows.to_vec();
        moved[row * width..][..width]
            .iter_mut()
            .for_each(|value| *value *= factor);
        plan.write(features, &moved);
        plan.run_and_read::<f32>(logits).unwrap()[case.written[0] as usize]
    };
    let slopes = (0..places.len()).map(|row| (logit(row, 1.05) - logit(row, 0.95)).max(0.0));
    let slopes: Vec<f32> = slopes.collect();
    slopes.iter().map(|slope| slope / sum(&slopes)).collect()
}

#[test]
fn rows_in_front_and_in_the_text_have_heat() {
    for folder in folders("nanovlm_tiny") {
        for (folder, tiling, tiles) in [
            (folder.clone(), Tiling::One, 1),
            (folder.join("tiled"), Tiling::Auto, 0),
        ] {
            if !folder.join("reference.json").is_file() {
                continue;
            }
            for device in devices() {
                let session = session(&device, &folder, tiling);
                // as large as its tiles ask for
                let picture = Picture {
                    width: 90,
                    height: 130,
                    rgb: (0..3 * 90 * 130).map(|i| (i % 251) as u8).collect(),
                };
                let input = session.input(&picture).unwrap();
                assert!(tiles == 0 || input.tiles() == tiles);
                let options = CaptionOptions {
                    max_tokens: 4,
                    heat: true,
                    ..CaptionOptions::default()
                };
                let (mut heat, mut tokens) = (vec![], vec![]);
                session
                    .stream(&picture, &options, &mut |token| {
                        heat.push(token.heat.clone());
                        tokens.push(token.choice.token);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                let (maps, relevance) = session.attention(&picture, "", &tokens).unwrap();
                let layout = maps.layout.as_ref().unwrap();
                assert_eq!(layout.rows(), maps.visual.len());
                let (last, prompt) = (maps.decoder.last().unwrap(), prompt_length(&maps, &tokens));
                let last = Matrix::new(last, Heads::Mean);
                for (token, heat) in heat.iter().enumerate() {
                    let name = format!("{}, token {token}", folder.display());
                    golden::close(&name, heat, &maps.of_token(&last, prompt, token), 2e-5);
                    assert_eq!(heat.len(), relevance[token].len(), "{name}");
                    let rollout = maps.token_rollout(prompt, token);
                    assert_eq!(rollout.len(), heat.len(), "{name}");
                    assert!(sum(&rollout) > 0.0 && sum(&rollout) < 1.0, "{name}");
                }
            }
        }
    }
}

fn prompt_length(maps: &AttentionMaps, tokens: &[u32]) -> usize {
    maps.decoder[0].shape[2] - maps.front + 1 - tokens.len()
}
