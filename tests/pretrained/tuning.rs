//! Tuning of tiny pretrained models through the trainer: what it learns, saves, resumes and merges.

use std::path::{Path, PathBuf};

use seemore::caption::{CaptionOptions, Session};
use seemore::device::Device;
use seemore::eval::{EvalOptions, Evaluation};
use seemore::image::{Augment, Picture, Tiling};
use seemore::models::checkpoint::{self, KeepWeights, load_with, merge};
use seemore::models::composition::{Recipe, create};
use seemore::models::{Model, Part};
use seemore::progress::Silent;
use seemore::text::chat::{Message, Role};
use seemore::train::{
    BatchSize, FeatureStore, Moments, NamedSet, Note, Observer, RunConfig, Summary, TrainRun, Tuned,
};

use crate::golden::{self, folders};
use crate::pass::{Inputs, devices, forward};

/// Pictures of one colour each, with captions that name it.
fn pictures(dir: &Path) {
    for (name, rgb) in [
        ("red", [230, 20, 10]),
        ("green", [10, 220, 30]),
        ("blue", [20, 30, 240]),
        ("white", [250, 250, 250]),
    ] {
        let (width, height) = (40, 30);
        let rgb = rgb.repeat(width * height);
        let png = Picture { width, height, rgb };
        std::fs::write(dir.join(format!("{name}.png")), png_of(&png)).unwrap();
        std::fs::write(dir.join(format!("{name}.txt")), format!("a {name} box")).unwrap();
    }
}

fn png_of(picture: &Picture) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(vec![]);
    let (width, height) = (picture.width as u32, picture.height as u32);
    let image = image::RgbImage::from_raw(width, height, picture.rgb.clone()).unwrap();
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// What a training reports.
#[derive(Default)]
struct Report {
    losses: Vec<f32>,
    encoded: Option<u64>,
    no_features: usize,
    named: Vec<NamedSet>,
}

impl Observer for Report {
    fn note(&mut self, note: &Note) {
        match note {
            Note::Features { encoded, .. } => self.encoded = Some(*encoded),
            Note::NoFeatures { .. } => self.no_features += 1,
            Note::Fitted { named, .. } => self.named.clone_from(named),
            _ => {}
        }
    }

    fn on(&mut self, event: seemore::train::Event) -> std::ops::ControlFlow<()> {
        if let seemore::train::Event::Step { loss, .. } = event {
            self.losses.push(loss);
        }
        std::ops::ControlFlow::Continue(())
    }
}

/// Folders of a test.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pictures")).unwrap();
        pictures(&dir.path().join("pictures"));
        Place { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, base: &Path, out: &str, tuned: &[Tuned], steps: u64) -> RunConfig {
        let mut config = RunConfig::default();
        config.model.base = Some(base.to_owned());
        config.tune.parts = tuned.to_vec();
        config.tune.rank = 4;
        config.tune.prompt = Some("What is it?".into());
        config.tune.features = FeatureStore::Folder(self.path("features"));
        config.data.train = vec![self.path("pictures")];
        config.data.validation_split = Some(0.0);
        config.augment = Augment::none();
        config.batch.size = BatchSize::Pictures(4);
        config.budget.steps = Some(steps);
        config.schedule.learning_rate = 1e-2;
        config.schedule.warmup = 2;
        config.log.every = 1;
        config.checkpoint.out = Some(self.path(out));
        config
    }
}

#[track_caller]
fn train(device: &Device, config: RunConfig) -> (Summary, Report) {
    let mut report = Report::default();
    let run = TrainRun::new(config).unwrap_or_else(|error| panic!("{error}"));
    let summary = run.start(device, &mut report);
    (summary.unwrap_or_else(|error| panic!("{error}")), report)
}

fn load(device: &Device, folder: &Path) -> Model {
    match load_with(device, folder, KeepWeights::AsStored) {
        Ok((model, _)) => model,
        Err(error) => panic!("{}: {error}", folder.display()),
    }
}

/// A composition of the tiny models.
fn composed(place: &Place) -> Option<PathBuf> {
    let (encoder, decoder) = (folders("clip_tiny"), folders("llama_tiny"));
    let (encoder, decoder) = (encoder.first()?, decoder.first()?);
    let out = place.path("composition");
    let mut recipe = Recipe::new(encoder, decoder);
    recipe.projector.names = ["6", "Is it warm?=3x1+patches+colors"]
        .map(|set| set.parse().unwrap())
        .to_vec();
    create(&out, &recipe).unwrap_or_else(|error| panic!("{error}"));
    Some(out)
}

/// Facts about the training pictures, which are not trained on.
fn facts(place: &Place) -> PathBuf {
    let entry = |(name, answer): (&str, &str)| {
        serde_json::json!({"image": format!("pictures/{name}.png"), "conversations": [
            {"from": "human", "value": "<image>\nIs it warm?"},
            {"from": "gpt", "value": answer},
        ]})
    };
    let all = [("red", "yes"), ("green", "no"), ("blue", "no")].map(entry);
    let path = place.path("facts.json");
    std::fs::write(&path, serde_json::to_string(&all).unwrap()).unwrap();
    path
}

#[test]
fn names_without_answers_in_the_data_are_an_error() {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    let mut config = place.config(&base, "run", &[Tuned::Projector], 2);
    config.tune.fit = true;
    let run = TrainRun::new(config).unwrap_or_else(|error| panic!("{error}"));
    let error = run
        .start(&devices()[0], &mut Report::default())
        .unwrap_err();
    let error = error.to_string();
    assert!(error.contains("no answer to \"Is it warm?\""), "{error}");
}

/// Captions of the training pictures.
fn captions(device: &Device, folder: &Path, place: &Place) -> Vec<String> {
    let session = Session::load(device, folder).unwrap_or_else(|error| panic!("{error}"));
    let options = CaptionOptions {
        max_tokens: 12,
        ..CaptionOptions::default()
    };
    ["red", "green", "blue", "white"]
        .map(|name| {
            let picture = place.path(&format!("pictures/{name}.png"));
            let picture = Picture::open(&picture).unwrap();
            session.caption_with(&picture, &options).unwrap().text
        })
        .to_vec()
}

#[test]
fn compositions_learn_captions_and_keep_the_question() {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    for (device, name) in devices().iter().zip(["cpu", "adapter"]) {
        let tuned = [Tuned::Projector, Tuned::Lora];
        let mut config = place.config(&base, name, &tuned, 120);
        config.tune.fit = true;
        config.tune.fit_data = vec![facts(&place)];
        let (_, report) = train(device, config);
        // four answers in six places, and two in three; of as many pictures as were captioned
        let named = report.named.iter();
        let named = named.map(|set| (set.question.as_str(), set.names));
        assert!(named.eq([("What is it?", 4), ("Is it warm?", 2)]));
        // without the one picture of a name nothing is known of it
        assert_eq!(report.named[0].right, None);
        assert!(report.named[1].right.is_some());
        assert_eq!(report.losses.len(), 120);
        let (first, last) = (report.losses[0], *report.losses.last().unwrap());
        assert!(last < 0.2 * first, "{first} to {last}");
        let folder = place.path(name);
        // with the question that it was trained with
        let written = captions(device, &folder, &place);
        let right = ["red", "green", "blue", "white"].map(|name| format!("a {name} box"));
        assert_eq!(written, right);
        // an evaluation asks the same question, and finds the features
        let session = Session::load(device, &folder).unwrap();
        let mut measured = RunConfig::default();
        measured.data.train = vec![place.path("pictures")];
        measured.tune.features = FeatureStore::Folder(place.path("features"));
        let options = EvalOptions {
            batch: 3,
            beam: 1,
            length_power: 0.0,
            max_tokens: None,
        };
        let mut notes = Report::default();
        let found =
            Evaluation::of_answers(&session, &measured, options, 9, &mut notes, &Silent).unwrap();
        assert_eq!((found.0.samples.len(), found.1.exact_match), (4, 1.0));
        assert!(found.1.perplexity < 3.0, "{}", found.1.perplexity);
        assert_eq!(notes.encoded, Some(0));
        // half as large, and as good
        let packed = place.path(&format!("{name}-packed"));
        checkpoint::pack(&folder, &packed).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(captions(device, &packed, &place), right);
        let bytes = |folder: &Path| {
            let file = folder.join("adapter_model.safetensors");
            file.metadata().unwrap().len()
        };
        assert!(bytes(&packed) < bytes(&folder) * 2 / 3);
        // the features were kept, for the other device, too
        let encoded = if name == "cpu" { 4 } else { 0 };
        assert_eq!(report.encoded, Some(encoded));
    }
}

/// Conversations about the training pictures, of two turns each.
fn conversations(place: &Place) -> PathBuf {
    let turns = |name: &str| {
        serde_json::json!({"image": format!("{name}.png"), "conversations": [
            {"from": "human", "value": "<image>\nWhich color?"},
            {"from": "gpt", "value": name},
            {"from": "human", "value": "Which form?"},
            {"from": "gpt", "value": format!("a box, and it is {name}")},
        ]})
    };
    let all: Vec<_> = ["red", "green", "blue", "white"].map(turns).to_vec();
    let path = place.path("pictures/conversations.json");
    std::fs::write(&path, serde_json::to_vec(&all).unwrap()).unwrap();
    path
}

#[test]
fn all_answers_of_a_conversation_are_learned() {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    let device = &devices()[0];
    let tuned = [Tuned::Projector, Tuned::Lora];
    let mut config = place.config(&base, "asked", &tuned, 160);
    config.data.train = vec![conversations(&place)];
    train(device, config);
    let session = Session::load(device, place.path("asked")).unwrap();
    let options = CaptionOptions {
        max_tokens: 40,
        ..CaptionOptions::default()
    };
    for name in ["red", "green", "blue", "white"] {
        let picture = Picture::open(&place.path(&format!("pictures/{name}.png"))).unwrap();
        let pictures = [picture];
        let mut messages = vec![Message::about_picture("Which color?")];
        let reply = |messages: &[Message]| {
            let on = &mut |_: &_| std::ops::ControlFlow::Continue(());
            session
                .reply(messages, &pictures, &options, on)
                .unwrap()
                .text
        };
        assert_eq!(reply(&messages).trim(), name);
        messages.push(Message::text(Role::Assistant, name));
        messages.push(Message::text(Role::User, "Which form?"));
        assert_eq!(reply(&messages).trim(), format!("a box, and it is {name}"));
    }
}

#[test]
fn a_training_goes_on_bit_for_bit_and_features_change_little() {
    goes_on_bit_for_bit(Moments::F32);
}

#[test]
fn a_training_with_8_bit_moments_goes_on_bit_for_bit() {
    goes_on_bit_for_bit(Moments::Eight);
}

fn goes_on_bit_for_bit(moments: Moments) {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    let device = &devices()[0];
    let tuned = [Tuned::Projector, Tuned::Lora];
    let config = |out: &str, steps: u64| {
        let mut config = place.config(&base, out, &tuned, steps);
        config.tune.dropout = 0.1;
        config.optimizer.moments = moments;
        // a schedule over steps would depend on their number
        config.schedule.shape = seemore::train::Schedule::Constant;
        config
    };
    let (_, whole) = train(device, config("whole", 6));
    train(device, config("parts", 3));
    let mut resumed = RunConfig::resume(&place.path("parts")).unwrap();
    resumed.budget.steps = Some(6);
    resumed.checkpoint.out = None;
    let (_, rest) = train(device, resumed);
    assert_eq!(whole.losses[3..], rest.losses);
    for file in ["model.safetensors", "adapter_model.safetensors"] {
        let read = |run: &str| std::fs::read(place.path(run).join(file)).unwrap();
        assert!(read("whole") == read("parts"), "{file}");
    }
    let mut off = config("off", 6);
    off.tune.features = FeatureStore::Off;
    let (_, off) = train(device, off);
    assert_eq!((off.encoded, off.no_features), (None, 0));
    // rounding to 16 bits changes the first loss little, and what follows from it more
    let differences = whole.losses.iter().zip(&off.losses);
    let differences: Vec<f32> = differences.map(|(a, b)| (a - b).abs()).collect();
    assert!(differences[0] < 2e-3, "{differences:?}");
    assert!(differences.iter().all(|off| *off < 0.2), "{differences:?}");
}

#[test]
fn changed_pictures_and_trained_encoders_turn_features_off() {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    let device = &devices()[0];
    let mut config = place.config(&base, "light", &[Tuned::Projector], 2);
    config.augment = Augment::light();
    let (_, report) = train(device, config);
    assert_eq!((report.encoded, report.no_features), (None, 1));
    let config = place.config(&base, "all", &[Tuned::All], 3);
    let (_, report) = train(device, config);
    assert_eq!((report.encoded, report.no_features), (None, 1));
    // what was trained of the encoder and the decoder lies in the folder
    let values = checkpoint::read_values(&place.path("all/model.safetensors")).unwrap();
    for begin in ["vision_model.", "projector.", "model.layers."] {
        assert!(values.keys().any(|name| name.starts_with(begin)), "{begin}");
    }
    captions(device, &place.path("all"), &place);
}

/// Logits of a model for a text about the tiles of a picture.
fn logits(device: &Device, folder: &Path, text: &[u32]) -> Vec<f32> {
    let model = load(device, folder);
    let info = model.info().clone();
    let side = info.image_size();
    let tiles: Vec<f32> = (0..3 * side * side)
        .map(|i| (i % 97) as f32 / 60.0 - 0.8)
        .collect();
    let mut ids = match info.placeholder {
        Some(placeholder) => vec![placeholder.token; placeholder.rows],
        None => vec![],
    };
    ids.extend(text);
    let inputs = Inputs {
        tiles: if info.encodes_apart() { &tiles } else { &[] },
        ids: &ids,
    };
    forward(device, &model, &inputs)["logits"].clone()
}

#[track_caller]
fn same_logits(device: &Device, tuned: &Path, merged: &Path, text: &[u32]) {
    let (want, got) = (logits(device, tuned, text), logits(device, merged, text));
    let largest = want.iter().fold(1f32, |most, x| most.max(x.abs()));
    golden::close("merged", &got, &want, 2e-5 * largest);
}

#[test]
fn merged_models_compute_what_tuned_ones_do() {
    let place = Place::new();
    let base = composed(&place).expect("clip_tiny and llama_tiny are needed");
    let device = &devices()[0];
    let tuned = [Tuned::Projector, Tuned::Lora];
    train(device, place.config(&base, "tuned", &tuned, 8));
    let (from, out) = (place.path("tuned"), place.path("merged"));
    let merged = merge(&from, &out).unwrap_or_else(|error| panic!("{error}"));
    let layers = load(device, &from).info().decoder.layers;
    assert_eq!(merged.adapters, 7 * layers);
    assert!(!out.join("adapter_config.json").exists());
    same_logits(device, &from, &out, &[3, 4, 5]);
    assert_eq!(
        captions(device, &from, &place),
        captions(device, &out, &place)
    );
    // the decoder is a plain model of its own
    assert!(load(device, &out.join("decoder")).lora().is_none());
    let error = merge(&from, &out).unwrap_err().to_string();
    assert!(error.contains("already holds a model"), "{error}");
    let error = merge(&base, &place.path("plain")).unwrap_err().to_string();
    assert!(error.contains("nothing to merge"), "{error}");
    // another tuning takes the composition with its adapter as the base
    let (_, report) = train(device, place.config(&from, "again", &[], 2));
    assert!(report.losses[0].is_finite());
    same_logits(device, &place.path("again"), &place.path("again"), &[3]);
}

/// Values of the layer between image encoder and decoder.
fn projector(device: &Device, folder: &Path) -> Vec<f32> {
    let (model, _) = load_with(device, folder, KeepWeights::Trained).unwrap();
    let mut parameters = model.store().iter();
    let found = parameters.find(|(info, _)| info.role.part == Part::Projector);
    found.unwrap().1.read().unwrap()
}

/// Tunes a part of a model, holds that the loss sinks, and merges the result to a plain folder.
fn tune_and_merge(device: &Device, place: &Place, base: &Path, tuned: Tuned, out: &str) -> PathBuf {
    let mut config = place.config(base, out, &[tuned], 6);
    config.tune.tiles = Tiling::Auto;
    config.batch.size = BatchSize::Pictures(2);
    let (_, report) = train(device, config);
    let (first, last) = (report.losses[0], *report.losses.last().unwrap());
    assert!(last < first, "{tuned:?}: {first} to {last}");
    let (from, to) = (place.path(out), place.path(&format!("{out}merged")));
    merge(&from, &to).unwrap_or_else(|error| panic!("{error}"));
    same_logits(device, &from, &to, &[3, 4, 5]);
    assert!(to.join("config.json").is_file() && to.join("tokenizer.json").is_file());
    // it is another model than the base
    assert!(logits(device, &to, &[3]) != logits(device, base, &[3]));
    from
}

#[test]
fn smolvlm_is_tuned_in_part_and_merged_to_a_plain_folder() {
    for (index, base) in folders("smolvlm_tiny").iter().enumerate() {
        let place = Place::new();
        for (device, name) in devices().iter().zip(["cpu", "adapter"]) {
            for tuned in [Tuned::Lora, Tuned::Decoder] {
                let out = format!("{name}{tuned:?}{index}");
                tune_and_merge(device, &place, base, tuned, &out);
            }
            // an adapter on top keeps the projector, and trains on itself
            let [first, more, again, both] =
                ["first", "more", "again", "both"].map(|step| format!("{name}{step}{index}"));
            let from = tune_and_merge(device, &place, base, Tuned::Projector, &first);
            train(device, place.config(&from, &more, &[Tuned::Lora], 2));
            train(device, place.config(&place.path(&more), &again, &[], 2));
            let (from_both, to) = (place.path(&again), place.path(&both));
            merge(&from_both, &to).unwrap_or_else(|error| panic!("{error}"));
            same_logits(device, &from_both, &to, &[3, 4, 5]);
            assert!(projector(device, &to) == projector(device, &from));
        }
    }
}

#[test]
fn nanovlm_is_tuned_with_pictures_in_front_and_in_tiles() {
    for (index, folder) in folders("nanovlm_tiny").iter().enumerate() {
        for base in [folder.clone(), folder.join("tiled")] {
            if !base.join("config.json").is_file() {
                continue;
            }
            let place = Place::new();
            for (device, name) in devices().iter().zip(["cpu", "adapter"]) {
                for tuned in [Tuned::Lora, Tuned::Projector] {
                    let out = format!("{name}{tuned:?}{index}");
                    tune_and_merge(device, &place, &base, tuned, &out);
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_tuned_is_refused() {
    let place = Place::new();
    let device = &devices()[0];
    let refused = |config: RunConfig| {
        let started = TrainRun::new(config).and_then(|run| run.start(device, &mut ()));
        started.unwrap_err().to_string()
    };
    for text_only in folders("llama_tiny") {
        let error = refused(place.config(&text_only, "a", &[], 2));
        assert!(error.contains("text only"), "{error}");
    }
    let error = refused(place.config(Path::new("data/checkpoints/emoji"), "b", &[], 2));
    assert!(error.contains("not a pretrained model"), "{error}");
    let error = refused(place.config(Path::new("no-such-model"), "c", &[], 2));
    assert!(error.contains("no-such-model"), "{error}");
    for base in folders("smolvlm_tiny") {
        let mut config = place.config(&base, "d", &[], 2);
        config.model.freeze = vec![Part::Encoder];
        assert!(refused(config).contains("model.freeze"));
        let mut config = place.config(&base, "e", &[], 2);
        config.tune.targets = Some("(".into());
        assert!(refused(config).contains("regular expression"));
        let mut config = place.config(&base, "f", &[], 2);
        config.tune.prompt = Some("What is it? ".repeat(2000));
        assert!(refused(config).contains("no caption is left"));
    }
}
