//! Compositions of the tiny CLIP and Llama models: the parts alone, by hand, give the same numbers.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use seemore::caption::{CaptionOptions, Generator, RankedName, Sampling, Session};
use seemore::device::Device;
use seemore::hint::{Hint, Hinted};
use seemore::image::Picture;
use seemore::models::checkpoint::{CheckpointError, KeepWeights, load_with, read_values};
use seemore::models::composition::{Config, Recipe, create};
use seemore::models::{Model, ModelConfig, clip};
use seemore::nn::Projection;

use crate::golden::{self, folders};
use crate::pass::{Inputs, devices, forward};
use crate::recorded::Reference;

/// A CLIP folder and a Llama folder.
fn parts() -> Vec<(PathBuf, PathBuf)> {
    let both = folders("clip_tiny").into_iter().zip(folders("llama_tiny"));
    let found: Vec<_> = both.collect();
    assert!(!found.is_empty(), "clip_tiny and llama_tiny are needed");
    found
}

fn recipe(encoder: &Path, decoder: &Path, kind: Projection) -> Recipe {
    let mut recipe = Recipe::new(encoder, decoder);
    recipe.projector.kind = kind;
    recipe.projector.norm = kind == Projection::Linear;
    recipe.whole_picture = kind == Projection::Linear;
    let sets = [
        "3",
        "Which?=5x2+colors",
        "Whose?=4x1+patches",
        "Where?=3x1+patches+thirds+colors",
        "Above?=2x1+thirds",
    ];
    recipe.projector.names = sets.map(|set| set.parse().unwrap()).to_vec();
    // a picture of few patches has thirds only if each of them is a square of its own
    let grid = clip::Config::load(encoder).unwrap().vision.grid();
    if grid / recipe.projector.pixel_shuffle_factor < 3 {
        recipe.projector.pixel_shuffle_factor = 1;
    }
    recipe
}

/// Makes a composition in a folder. Its names, which training would find, become some numbers.
#[track_caller]
fn compose(out: &Path, recipe: &Recipe) -> Config {
    let config = create(out, recipe).unwrap_or_else(|error| panic!("{error}"));
    let path = out.join("model.safetensors");
    let mut values = read_values(&path).unwrap();
    for (name, (_, values)) in &mut values {
        let some = |i: usize| (i * 31 % 17) as f32 / 4.0 - 2.0;
        let digit = |i: usize| (i % 2 * (i * 5 % NAME_IDS as usize)) as f32;
        let Some(name) = name.strip_prefix("projector.names.") else {
            continue;
        };
        *values = match name.ends_with(".tokens") {
            true => (0..values.len()).map(digit).collect(),
            false => (0..values.len()).map(some).collect(),
        };
    }
    let tensors = values.iter().map(|(name, (shape, values))| {
        let bytes = bytemuck::cast_slice(values);
        let view = TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.clone(), view.unwrap())
    });
    let bytes = safetensors::serialize(tensors, None).unwrap();
    std::fs::write(path, bytes).unwrap();
    config
}

fn load(device: &Device, folder: &Path) -> Model {
    match load_with(device, folder, KeepWeights::AsStored) {
        Ok((model, _)) => model,
        Err(error) => panic!("{error}"),
    }
}

fn session(device: &Device, folder: &Path) -> Session {
    Session::load(device, folder).unwrap_or_else(|error| panic!("{error}"))
}

/// Ids below this are the tokens of names.
const NAME_IDS: u32 = 23;

/// Rows of the decoder for pictures, computed in f64 from the recorded states of the encoder and the
/// embeddings of the first tokens.
fn rows_by_hand(
    config: &Config,
    folder: &Path,
    recorded: &Reference,
    embedded: &[f32],
) -> Vec<f64> {
    let states = recorded.floats(&format!("layer{}", config.encoder.layers - 1));
    let (width, grid) = (
        config.encoder.vision.hidden_size,
        config.encoder.vision.grid(),
    );
    let text = config.decoder.text.hidden_size;
    let factor = config.projector.pixel_shuffle_factor;
    let values = read_values(&folder.join("model.safetensors")).unwrap();
    let tensor = |name: &str| -> Vec<f64> {
        let (_, values) = &values[&format!("projector.{name}")];
        values.iter().map(|&x| x as f64).collect()
    };
    let linear = |name: &str, x: &[f64]| -> Vec<f64> {
        let (weight, bias) = (
            tensor(&format!("{name}.weight")),
            tensor(&format!("{name}.bias")),
        );
        let dot = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
        weight
            .chunks(x.len())
            .zip(bias)
            .map(|(row, bias)| dot(row) + bias)
            .collect()
    };
    let normalised = |name: &str, x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let squares = x.iter().map(|x| (x - mean).powi(2));
        let deviation = (squares.sum::<f64>() / x.len() as f64 + 1e-5).sqrt();
        let (scale, shift) = (
            tensor(&format!("{name}.weight")),
            tensor(&format!("{name}.bias")),
        );
        let each = x.iter().zip(scale).zip(shift);
        each.map(|((x, scale), shift)| (x - mean) / deviation * scale + shift)
            .collect()
    };
    let embedding = config.projector.embedding;
    let pixels = recorded.floats("pixel_values");
    let side = config.encoder.vision.image_size;
    let mut pixels = pixels.chunks(3 * side * side);
    let embeddings = recorded.floats("image_embeds");
    let mut embeddings = embeddings.chunks(embedding.max(1));
    let mut rows = vec![];
    for picture in states.chunks((grid * grid + 1) * width) {
        for row in 0..grid / factor {
            for column in 0..grid / factor {
                let mut square = vec![];
                for patch in 0..factor * factor {
                    let (down, across) = (patch / factor, patch % factor);
                    let place = (row * factor + down) * grid + column * factor + across;
                    // the CLS row stands in front
                    let values = &picture[(1 + place) * width..][..width];
                    square.extend(values.iter().map(|&x| x as f64));
                }
                if config.projector.norm {
                    square = normalised("norm", &square);
                }
                rows.extend(match config.projector.kind {
                    Projection::Linear => linear("proj", &square),
                    Projection::Mlp => {
                        let hidden = linear("proj1", &square);
                        let gelu = |x: &f64| x * normal_distribution(*x);
                        linear("proj2", &hidden.iter().map(gelu).collect::<Vec<_>>())
                    }
                });
            }
        }
        let patches = picture.chunks(width).skip(1);
        let sums = patches.fold(vec![0.0; width], |mut sums, row| {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &x)| *sum += x as f64);
            sums
        });
        let squares = grid / factor;
        let mut thirds = vec![0.0; 3 * width];
        for (place, row) in picture.chunks(width).skip(1).enumerate() {
            let square = place / grid / factor;
            let below = |third: &usize| square < third * squares / 3;
            let third = (1..3).find(below).unwrap_or(3) - 1;
            let sums = &mut thirds[third * width..][..width];
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, &x)| *sum += x as f64);
        }
        let colors = histogram(pixels.next().expect("the pixels of each picture"));
        if embedding > 0 {
            let whole = embeddings.next().expect("an embedding of each picture");
            let whole: Vec<f64> = whole.iter().map(|&x| x as f64).collect();
            rows.extend(linear("embedding", &normalised("embedding_norm", &whole)));
            let direction = |x: &[f64]| -> Vec<f64> {
                let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                x.iter().map(|x| x / length).collect()
            };
            for (number, set) in config.projector.names.iter().enumerate() {
                let mut told = direction(&whole);
                if set.patches {
                    told.extend(direction(&sums));
                }
                if set.thirds {
                    told.extend(direction(&thirds));
                }
                if set.colors {
                    told.extend(&colors);
                }
                let logits = linear(&format!("names.{number}"), &told);
                let most = logits.iter().copied().fold(f64::MIN, f64::max);
                let name = logits.iter().position(|logit| *logit == most).unwrap();
                let digits = tensor(&format!("names.{number}.tokens"));
                let tokens = digits
                    .chunks(digits.len() / logits.len())
                    .nth(name)
                    .unwrap();
                for digits in tokens.chunks(2) {
                    let id = (256.0 * digits[0] + digits[1]) as usize;
                    let row = &embedded[id * text..][..text];
                    rows.extend(row.iter().map(|&x| x as f64));
                }
            }
        }
    }
    rows
}

/// Roots of the shares of colours in a picture of normalised channels, at 8 levels of each from -1.8
/// to 2.15, between which pixels are interpolated.
fn histogram(pixels: &[f32]) -> Vec<f64> {
    let count = pixels.len() / 3;
    let mut shares = vec![0.0; 512];
    for at in 0..count {
        let places = [0, 1, 2].map(|channel: usize| {
            let value = f64::from(pixels[channel * count + at]);
            (value.clamp(-1.8, 2.15) + 1.8) / 3.95 * 7.0
        });
        for (bin, share) in shares.iter_mut().enumerate() {
            let levels = [bin / 64, bin / 8 % 8, bin % 8].map(|level| level as f64);
            let near = places.iter().zip(levels);
            let near = near.map(|(place, level)| (1.0 - (place - level).abs()).max(0.0));
            *share += near.product::<f64>() / count as f64;
        }
    }
    shares.iter().map(|share| share.sqrt()).collect()
}

/// Distribution function of the standard normal distribution, by Simpson's rule.
fn normal_distribution(x: f64) -> f64 {
    let density = |t: f64| (-t * t / 2.0).exp() / std::f64::consts::TAU.sqrt();
    let (count, step) = (2000, x / 2000.0);
    let weight = |i: usize| match i {
        0 => 1.0,
        i if i == count => 1.0,
        i if i % 2 == 1 => 4.0,
        _ => 2.0,
    };
    0.5 + (0..=count)
        .map(|i| weight(i) * density(i as f64 * step))
        .sum::<f64>()
        * step
        / 3.0
}

#[test]
fn pictures_become_the_rows_that_the_parts_give_by_hand() {
    for (encoder, decoder) in parts() {
        let recorded = Reference::open(&encoder);
        let pixels = recorded.floats("pixel_values");
        for kind in [Projection::Linear, Projection::Mlp] {
            let dir = tempfile::tempdir().unwrap();
            let config = compose(dir.path(), &recipe(&encoder, &decoder, kind));
            let names: Vec<u32> = (0..NAME_IDS).collect();
            let cpu = Device::open(Some("cpu")).unwrap();
            let names = Inputs {
                tiles: &[],
                ids: &names,
            };
            let embedded = &forward(&cpu, &load(&cpu, dir.path()), &names)["inputs_embeds"];
            let by_hand = rows_by_hand(&config, dir.path(), &recorded, embedded);
            let want: Vec<f32> = by_hand.iter().map(|&x| x as f32).collect();
            let largest = want.iter().fold(1f32, |most, x| most.max(x.abs()));
            let width = config.decoder.text.hidden_size;
            for device in devices() {
                let model = load(&device, dir.path());
                let side = model.info().image_size();
                let places = pixels.len() / (3 * side * side) * config.tile_rows();
                // one picture after the other in one text
                let mut ids = vec![config.image_token_id; places];
                ids.insert(3, 7);
                ids.push(5);
                let inputs = Inputs {
                    tiles: &pixels,
                    ids: &ids,
                };
                let values = forward(&device, &model, &inputs);
                golden::close("connector", &values["connector"], &want, 2e-5 * largest);
                let embedded = &values["inputs_embeds"];
                golden::close("row 0", &embedded[..width], &want[..width], 2e-5 * largest);
                let after = &embedded[4 * width..5 * width];
                golden::close("row 3", after, &want[3 * width..4 * width], 2e-5 * largest);
                // the rows around them are those of the text alone
                let text = Inputs {
                    tiles: &[],
                    ids: &[7, 5],
                };
                let alone = &forward(&device, &model, &text)["inputs_embeds"];
                assert_eq!(embedded[3 * width..4 * width], alone[..width]);
                assert_eq!(embedded[embedded.len() - width..], alone[width..]);
            }
        }
    }
}

#[test]
fn texts_without_pictures_are_those_of_the_decoder_alone() {
    for (encoder, decoder) in parts() {
        let recorded = Reference::open(&decoder);
        let dir = tempfile::tempdir().unwrap();
        compose(dir.path(), &recipe(&encoder, &decoder, Projection::Linear));
        for device in devices() {
            let model = load(&device, dir.path());
            let ids = recorded.ids("narrow.0.input_ids");
            let inputs = Inputs {
                tiles: &[],
                ids: &ids,
            };
            let values = forward(&device, &model, &inputs);
            recorded.hold("safetensors.0.logits", &values["logits"]);
        }
    }
}

fn picture(encoder: &Path) -> Picture {
    Picture::open(&encoder.join("image0.png")).unwrap()
}

#[test]
fn compositions_caption_stream_and_show_where_they_look() {
    for (encoder, decoder) in parts() {
        let dir = tempfile::tempdir().unwrap();
        let config = compose(dir.path(), &recipe(&encoder, &decoder, Projection::Mlp));
        for device in devices() {
            let session = session(&device, dir.path());
            let picture = picture(&encoder);
            let options = CaptionOptions {
                prompt: "What is it?".into(),
                max_tokens: 6,
                heat: true,
                ..CaptionOptions::default()
            };
            let input = session.input(&picture).unwrap();
            assert_eq!(session.image_tokens(&input), config.tile_rows());
            let whole = session.caption_with(&picture, &options).unwrap();
            let mut heat = vec![];
            let streamed = session
                .stream(&picture, &options, &mut |token| {
                    heat.push(token.heat.clone());
                    ControlFlow::Continue(())
                })
                .unwrap();
            assert_eq!(streamed.tokens, whole.tokens);
            assert!(!whole.tokens.is_empty(), "nothing was written");
            for heat in &heat {
                let shares: f32 = heat.iter().sum();
                assert!(shares > 0.0 && shares <= 1.0 + 1e-3, "{shares}");
            }
            let (maps, relevance) = session
                .attention(&picture, &options.prompt, &whole.tokens)
                .unwrap();
            assert_eq!(maps.visual.len(), config.tile_rows());
            assert_eq!(maps.decoder.len(), config.decoder.text.num_hidden_layers);
            assert_eq!(relevance.len(), whole.tokens.len());
        }
    }
}

#[test]
fn names_are_ranked_by_probability_and_lie_on_the_picture() {
    for (encoder, decoder) in parts() {
        let dir = tempfile::tempdir().unwrap();
        let config = compose(dir.path(), &recipe(&encoder, &decoder, Projection::Linear));
        // the first set is told apart by the embedding alone
        let values = read_values(&dir.path().join("model.safetensors")).unwrap();
        let [weight, bias] =
            ["weight", "bias"].map(|it| &values[&format!("projector.names.0.{it}")].1);
        let embedding = Reference::open(&encoder).floats("image_embeds");
        let embedding = &embedding[..config.projector.embedding];
        let dot = |row: &[f32]| {
            let products = row.iter().zip(embedding).map(|(w, x)| f64::from(w * x));
            products.sum::<f64>()
        };
        let length = dot(embedding).sqrt();
        let rows = weight.chunks(embedding.len()).zip(bias);
        let logits = rows.map(|(row, &bias)| dot(row) / length + f64::from(bias));
        let mut want: Vec<f64> = logits.map(|logit| 1.0 / (1.0 + (-logit).exp())).collect();
        want.sort_by(|a, b| b.total_cmp(a));
        let picture = picture(&encoder);
        for device in devices() {
            let session = session(&device, dir.path());
            let input = session.input(&picture).unwrap();
            let all = session.names(&input, 2).unwrap();
            assert_eq!(all.len(), config.projector.names.len());
            for (ranking, set) in all.iter().zip(&config.projector.names) {
                assert_eq!(ranking.question, set.question);
                // those whose text is empty are left out
                assert!(ranking.names.len() <= 2);
                let sorted = |names: &[RankedName]| names[0].probability >= names[1].probability;
                assert!(ranking.names.windows(2).all(sorted), "{ranking:?}");
            }
            let close = |have: f32, want: f64| (f64::from(have) - want).abs() < 1e-3;
            for name in &all[0].names {
                let is_one = want.iter().any(|&want| close(name.probability, want));
                assert!(is_one, "{name:?}, want {want:?}");
            }
            let asked = |prompt: &str| session.caption_names(&input, prompt, 2).unwrap();
            assert_eq!(asked("").as_ref(), Some(&all[0]));
            assert_eq!(asked("Is it large?"), None);

            let options = |prompt: &str, beam| CaptionOptions {
                prompt: prompt.into(),
                max_tokens: 4,
                beam,
                heat: true,
                ..CaptionOptions::default()
            };
            let mut captions = session.n_best(&picture, &options("", 2)).unwrap();
            captions.push(session.caption_with(&picture, &options("", 1)).unwrap());
            let mut heat = vec![];
            let streamed = session.stream(&picture, &options("", 1), &mut |token| {
                heat.push(token.heat.clone());
                ControlFlow::Continue(())
            });
            captions.push(streamed.unwrap());
            for caption in &captions {
                let sure = caption.name_probability.expect("a name");
                assert!(close(sure, want[0]), "{sure}, want {}", want[0]);
                assert!(caption.confidence() <= sure);
                assert_eq!(caption.is_unsure(), sure < 0.5);
            }
            let other = session.caption_with(&picture, &options("Is it large?", 1));
            assert_eq!(other.unwrap().name_probability, None);
            // patches are smaller than the squares that become rows
            for heat in &heat {
                assert_eq!(heat.len(), config.encoder.vision.grid().pow(2));
                let shares: f32 = heat.iter().sum();
                assert!(shares > 0.0 && shares <= 1.0 + 1e-3, "{shares}");
            }
        }
    }
}

#[test]
fn written_tokens_are_the_likeliest_without_a_cache() {
    for (encoder, decoder) in parts() {
        let dir = tempfile::tempdir().unwrap();
        let config = compose(dir.path(), &recipe(&encoder, &decoder, Projection::Linear));
        let recorded = Reference::open(&encoder);
        for device in devices() {
            let model = load(&device, dir.path());
            let side = model.info().image_size();
            let pixels = &recorded.floats("pixel_values")[..3 * side * side];
            let mut ids = vec![1];
            ids.extend(vec![config.image_token_id; config.tile_rows()]);
            ids.extend([20, 30]);
            let values = |ids: &[u32]| {
                let inputs = Inputs { tiles: pixels, ids };
                forward(&device, &model, &inputs)
            };
            let rows = values(&ids)["connector"].clone();
            let mut generator = Generator::new(&device, &model, 1, ids.len(), 5).unwrap();
            let written = generator
                .complete(&rows, &[&ids], None, Sampling::GREEDY)
                .unwrap();
            for choice in &written[0] {
                let logits = &values(&ids)["logits"];
                let last = &logits[logits.len() - model.info().vocab_size..];
                let likeliest = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b]));
                assert_eq!(Some(choice.token as usize), likeliest);
                ids.push(choice.token);
            }
        }
    }
}

#[test]
fn whole_clip_models_and_gguf_decoders_serve_as_parts() {
    for (encoder, decoder) in parts() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("clip");
        whole_clip(&encoder, &whole);
        let gguf = decoder.join("gguf/f32.gguf");
        if !gguf.is_file() {
            continue;
        }
        let device = &devices()[0];
        let caption = |name: &str, encoder: &Path, decoder: &Path| {
            let out = dir.path().join(name);
            compose(&out, &recipe(encoder, decoder, Projection::Linear));
            let options = CaptionOptions {
                prompt: "What is it?".into(),
                max_tokens: 4,
                ..CaptionOptions::default()
            };
            let session = session(device, &out);
            let captions = session.caption_with(&picture(&whole), &options);
            (captions.unwrap().log_probability, session.parameter_count())
        };
        let (want, count) = caption("plain", &encoder, &decoder);
        for (name, encoder, decoder) in [
            ("whole", &whole, decoder.as_path()),
            ("gguf", &encoder, gguf.as_path()),
        ] {
            let (got, parameters) = caption(name, encoder, decoder);
            assert_eq!(parameters, count, "{name}");
            // a GGUF file may lack the template of the folder
            if name == "whole" {
                assert_eq!(got, want, "{name}");
            }
        }
    }
}

/// Writes the encoder as the Hub's original file of a whole CLIP model has it, with a text encoder
/// beside it.
fn whole_clip(encoder: &Path, out: &Path) {
    std::fs::create_dir(out).unwrap();
    for name in ["preprocessor_config.json", "image0.png"] {
        std::fs::copy(encoder.join(name), out.join(name)).unwrap();
    }
    let vision = golden::json(encoder.join("config.json"));
    let config = serde_json::json!({
        "model_type": "clip", "projection_dim": vision["projection_dim"], "vision_config": vision,
        "text_config": {"hidden_size": 16}, "logit_scale_init_value": 2.6592,
    });
    std::fs::write(out.join("config.json"), config.to_string()).unwrap();
    let mut values = read_values(&encoder.join("model.safetensors")).unwrap();
    for name in [
        "text_model.embeddings.token_embedding.weight",
        "text_projection.weight",
    ] {
        values.insert(name.into(), (vec![2, 2], vec![0.5; 4]));
    }
    values.insert("logit_scale".into(), (vec![], vec![4.6]));
    seemore::models::checkpoint::write_values(&out.join("model.safetensors"), &values, None)
        .unwrap();
}

#[test]
fn absent_and_exchanged_parts_are_named() {
    for (encoder, decoder) in parts() {
        let dir = tempfile::tempdir().unwrap();
        let device = &devices()[0];
        let error = |folder: &Path| match load_with(device, folder, KeepWeights::AsStored) {
            Ok(_) => panic!("{} was loaded", folder.display()),
            Err(error) => error,
        };
        let whole = dir.path().join("whole");
        let config = compose(&whole, &recipe(&encoder, &decoder, Projection::Linear));
        let changed = |name: &str, change: &dyn Fn(&mut Config)| {
            let out = dir.path().join(name);
            std::fs::create_dir(&out).unwrap();
            let weights = "model.safetensors";
            std::fs::copy(whole.join(weights), out.join(weights)).unwrap();
            let mut config = config.clone();
            config.encoder.model = std::path::absolute(&encoder).unwrap().display().to_string();
            config.decoder.model = std::path::absolute(&decoder).unwrap().display().to_string();
            change(&mut config);
            let json = ModelConfig::from(config).to_json();
            std::fs::write(out.join("config.json"), json).unwrap();
            error(&out)
        };
        let no_clip = changed("a", &|config| {
            config.encoder.model = "no-such-org/clip".into();
        });
        let text = no_clip.to_string();
        assert!(
            text.contains("image encoder") && text.contains("no-such-org/clip"),
            "{text}"
        );
        let name = "no-such-org/clip".to_owned();
        assert_eq!(no_clip.hint(), Some(Hint::DownloadModel { name }));
        let no_decoder = changed("b", &|config| config.decoder.model = "../nowhere".into());
        let text = no_decoder.to_string();
        assert!(
            text.contains("decoder") && text.contains("nowhere"),
            "{text}"
        );
        assert_eq!(no_decoder.hint(), Some(Hint::ChooseModel));
        let swapped = changed("c", &|config| {
            config.encoder.model = config.decoder.model.clone()
        });
        assert!(swapped.to_string().contains("llama"), "{swapped}");
        let other = changed("d", &|config| config.decoder.text.intermediate_size += 1);
        assert!(
            other.to_string().contains("decoder")
                && other.to_string().contains("intermediate_size"),
            "{other}"
        );
        let token = changed("e", &|config| config.image_token_id += 1);
        assert!(token.to_string().contains("<image>"), "{token}");

        let again = create(&whole, &recipe(&encoder, &decoder, Projection::Linear));
        assert!(
            matches!(again, Err(CheckpointError::Occupied { .. })),
            "{again:?}"
        );
        let mut values = read_values(&whole.join("model.safetensors")).unwrap();
        values.remove("projector.proj.bias");
        let file = whole.join("model.safetensors");
        seemore::models::checkpoint::write_values(&file, &values, None).unwrap();
        let text = error(&whole).to_string();
        assert!(
            text.contains("projector.proj.bias") && text.contains("whole"),
            "{text}"
        );
    }
}
