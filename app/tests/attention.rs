//! The Attention page, with a scripted and with the real worker.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{
    Commands, command, disc, face, fill, has, loaded, progress, real_with, render, root, scripted,
    snapshots, until, wait_for,
};
use egui::Key;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::caption::Cancel;
use seemore::explain::{AttentionMap, AttentionMaps, RowLayout};
use seemore::image::{Area, Picture, PictureTile, TileGrid, TiledPicture};
use seemore::models::Part;
use seemore_app::pictures::PictureSource;
use seemore_app::worker::{
    Attention, AttentionJob, CaptionEvent, CaptionJob, CaptionProgress, Command, Event,
    EventSender, LoadModel, MaskJob, Masked, WorkerHandle, WorkerOptions,
};
use seemore_app::{GenerationSettings, Window};

/// Returns a map in which every query of head `h` attends to key `h` only.
fn map(layer: &str, heads: usize, rows: usize) -> AttentionMap {
    let value = |head, key| if head == key { 1.0 } else { 0.0 };
    let values = (0..heads)
        .flat_map(|head| (0..rows * rows).map(move |i| value(head, i % rows)))
        .collect();
    let part = match layer.starts_with("vit.") {
        true => Part::Encoder,
        false => Part::Decoder,
    };
    AttentionMap {
        layer: layer.into(),
        part,
        shape: vec![1, heads, rows, rows],
        values,
    }
}

/// Opens the Attention page for the caption "red circle" of a scripted worker, and sends it maps over
/// a prompt of `prompt` tokens, and relevance. The picture is written to `folder`; what is returned
/// beside the window keeps the worker going.
fn opened(
    folder: &Path,
    maps: AttentionMaps,
    relevance: Vec<Vec<f32>>,
    prompt: usize,
) -> (Harness<'static, Window>, impl Sized) {
    let (harness, commands, events) = opened_with(folder, maps, relevance, prompt);
    (harness, (commands, events))
}

/// As [`opened`], with the worker's ends.
fn opened_with(
    folder: &Path,
    maps: AttentionMaps,
    relevance: Vec<Vec<f32>>,
    prompt: usize,
) -> (Harness<'static, Window>, Commands, EventSender) {
    let (mut harness, commands, events) = scripted(vec![disc(folder)]);
    events.send(loaded());
    until(&mut harness, "picture", |harness| {
        has(harness, "Regenerate")
    });
    harness.step();
    let job: CaptionJob = command(&commands).unwrap();
    harness.get_by_label("Attention").click();
    harness.run_steps(2);
    assert!(has(&harness, "Select a picture on the Caption page"));
    for (text, token) in [("red", 3), (" circle", 4)] {
        let mut written = common::token(text, 0.5, vec![]);
        written.choice.token = token;
        events.send(progress(job.number, CaptionProgress::Token(written)));
    }
    harness.run_steps(2);
    let job: AttentionJob = wait_for(&commands);
    assert_eq!(job.tokens, [3, 4]);
    let input = Picture {
        width: 64,
        height: 64,
        rgb: vec![180; 3 * 64 * 64],
    };
    let attention = Attention::new(job.number, input, maps, relevance, prompt);
    events.send(Event::Attention(Ok(Arc::new(attention))));
    (harness, commands, events)
}

#[test]
fn selected_layer_head_and_patch_change_the_heat_map() {
    let maps = AttentionMaps {
        encoder: vec![
            map("vit.blocks.0.attn", 2, 4),
            map("vit.blocks.1.attn", 2, 4),
        ],
        decoder: vec![map("decoder.blocks.0.attn", 2, 6)],
        first: 0,
        cls: false,
        front: 4,
        visual: (0..4).collect(),
        layout: None,
    };
    let relevance = vec![vec![0.1, 0.2, 0.3, 0.4], vec![0.7, 0.1, 0.1, 0.1]];
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _worker) = opened(folder.path(), maps, relevance, 1);
    let relevance = render(&mut harness);
    assert!(
        has(&harness, "Contribution of each patch to the selected word") && has(&harness, "40.0 %")
    );
    snapshots(&mut harness, "attention");
    harness.get_by_label("Encoder layer 1, head 2").click();
    let second = render(&mut harness);
    assert!(
        has(&harness, "Mean attention of all patches")
            && has(&harness, "Entropy of each head in nats (maximum 1.39)")
    );
    harness.get_by_label("Encoder layer 1, head 1").click();
    let first = render(&mut harness);
    assert!(
        relevance != second && second != first,
        "the heat map does not follow the selection"
    );
    // through the rollout, the encoder and the decoder back to the relevance, then to head 1
    for _ in 0..3 {
        harness.key_press(Key::L);
        harness.run_steps(1);
    }
    assert!(has(&harness, "Contribution of each patch"));
    for key in [Key::L, Key::L, Key::H, Key::H, Key::H, Key::H] {
        harness.key_press(key);
        harness.run_steps(1);
    }
    assert!(render(&mut harness) == first, "the keys lead elsewhere");
    harness.get_by_label("inferno").click();
    assert!(render(&mut harness) != first, "the colours do not change");
    harness.get_by_label("viridis").click();
    harness.get_by_label("Hide sinks").click();
    // the patch that all queries attend to has four times the mean share, which is no sink yet
    assert!(render(&mut harness) != first && has(&harness, "100.0 %"));
    harness.get_by_label("Decoder layer 1, head max").click();
    harness.run_steps(3);
    assert!(has(&harness, "circle to ") || has(&harness, "red to (begin): 0.0 %"));
    assert!(has(&harness, "(begin) to (begin)"));
    // a click in the middle of the picture selects a patch
    harness.get_by_label("Model input").click();
    harness.run_steps(3);
    assert!(has(&harness, "Share of each word in the patch in row"));
}

#[test]
fn rows_of_a_pretrained_model_lie_on_the_picture() {
    let picture = TiledPicture {
        tiles: vec![PictureTile {
            input: vec![],
            picture: None,
            area: Area {
                left: 0.0,
                top: 0.0,
                width: 64.0,
                height: 64.0,
            },
        }],
        grid: TileGrid::default(),
        side: 64,
    };
    // a prompt of 5 tokens, of which 4 are places of the picture's rows
    let maps = AttentionMaps {
        encoder: vec![],
        decoder: vec![map("model.text_model.layers.0", 2, 6)],
        first: 0,
        cls: false,
        front: 0,
        visual: vec![1, 2, 3, 4],
        layout: Some(RowLayout::new(&picture, 2, 0)),
    };
    let relevance = vec![vec![0.1, 0.2, 0.3, 0.4], vec![0.7, 0.1, 0.1, 0.1]];
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _worker) = opened(folder.path(), maps, relevance, 5);
    let relevance = render(&mut harness);
    harness.get_by_label("Rollout").click();
    let rollout = render(&mut harness);
    assert!(relevance != rollout);
    assert!(has(
        &harness,
        "Attention rollout through the decoder from the selected word"
    ));
    // the second head attends to position 1, the first row of the picture
    harness.get_by_label("Decoder layer 1, head 2").click();
    assert!(render(&mut harness) != rollout && has(&harness, "100.0 %"));
    assert!(has(&harness, "(begin) to (begin)"));
}

#[test]
fn heat_map_of_the_real_model_differs_between_words() {
    let folder = tempfile::tempdir().unwrap();
    let model = root().join("data/checkpoints/emoji-patches");
    let mut harness = real_with(model, vec![face(folder.path())]);
    until(&mut harness, "caption", |harness| has(harness, "tokens in"));
    harness.get_by_label("Attention").click();
    until(&mut harness, "attention", |harness| {
        has(harness, "Contribution of each patch")
    });
    harness.get_by_label("Decoder layer 1, head mean").click();
    until(&mut harness, "attention of the decoder", |harness| {
        has(
            harness,
            "Attention of the decoder while it wrote the selected word",
        )
    });
    let first = render(&mut harness);
    harness.key_press(egui::Key::ArrowRight);
    assert!(
        render(&mut harness) != first,
        "the heat map does not follow the word"
    );
}

/// Returns maps of an encoder over 4 patches and of a decoder over `front` visual tokens and `words`
/// positions of text.
fn maps(front: usize, words: usize) -> AttentionMaps {
    AttentionMaps {
        encoder: vec![map("vit.blocks.0.attn", 2, 4)],
        decoder: vec![map("decoder.blocks.0.attn", 2, front + words)],
        first: 0,
        cls: false,
        front,
        visual: (0..front).collect(),
        layout: None,
    }
}

#[test]
fn entropy_of_a_single_position_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    let relevance = vec![vec![0.25; 4]; 2];
    let (mut harness, _worker) = opened(folder.path(), maps(0, 1), relevance, 1);
    harness.run_steps(2);
    harness.get_by_label("Decoder layer 1, head 1").click();
    harness.run_steps(3);
    assert!(has(
        &harness,
        "There is one position only, so every entropy is 0."
    ));
    assert!(has(&harness, "0.00") && !has(&harness, "-0.00"));
}

#[test]
fn hidden_patches_are_sent_and_their_effect_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let relevance = vec![vec![0.1, 0.2, 0.3, 0.4]; 2];
    let (mut harness, commands, events) = opened_with(folder.path(), maps(1, 3), relevance, 1);
    harness.run_steps(2);
    let image = harness.get_by_label("Model input").rect();
    harness.get_by_label("Hide patches").click();
    harness.run_steps(2);
    // the upper left one of four
    harness.drag_at(image.min + image.size() * 0.2);
    harness.run_steps(1);
    harness.drop_at(image.min + image.size() * 0.25);
    harness.run_steps(2);
    assert!(has(&harness, "1 patch hidden"));
    harness.get_by_label("Run again").click();
    harness.run_steps(2);
    let job: MaskJob = wait_for(&commands);
    assert_eq!(
        (job.side, job.patches.as_slice(), job.tokens.len()),
        (2, &[0][..], 2)
    );
    let masked = Masked {
        number: job.number,
        hidden: 1,
        caption: "blue circle".into(),
        probabilities: vec![(0.9, 0.3), (0.8, 0.8)],
    };
    events.send(Event::Masked(Ok(masked)));
    harness.run_steps(3);
    for label in [
        "The caption changes.",
        "blue circle",
        "-60.0 points",
        "72.0 %, 24.0 %",
    ] {
        assert!(has(&harness, label), "{label}");
    }
    harness.get_by_label("Show all").click();
    harness.run_steps(3);
    assert!(!has(&harness, "The caption changes."));
}

#[test]
fn hiding_the_drawing_makes_its_caption_less_likely() {
    let folder = tempfile::tempdir().unwrap();
    let worker = WorkerHandle::start(WorkerOptions::default(), || {});
    let model = root().join("data/checkpoints/emoji-patches");
    let source = Arc::new(PictureSource::file(face(folder.path())));
    worker.send(Command::LoadModel(LoadModel {
        slot: 0,
        folder: model,
    }));
    worker.send(Command::Caption(CaptionJob {
        number: 1,
        slot: 0,
        source: source.clone(),
        history: vec![],
        prompt: String::new(),
        settings: GenerationSettings::default(),
        cancel: Cancel::new(),
    }));
    let end = Instant::now() + Duration::from_secs(60);
    let (mut tokens, mut sent) = (vec![], false);
    let masked = loop {
        assert!(Instant::now() < end, "no result after a minute");
        let Some(event) = worker.poll() else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let progress = match event {
            Event::Masked(masked) => break masked.unwrap(),
            Event::Caption(CaptionEvent { progress, .. }) => progress,
            _ => continue,
        };
        match progress {
            CaptionProgress::Token(token) => tokens.push(token.choice.token),
            CaptionProgress::Finished { .. } if !sent => {
                sent = true;
                worker.send(Command::Mask(MaskJob {
                    number: 1,
                    source: source.clone(),
                    prompt: String::new(),
                    tokens: tokens.clone(),
                    side: 6,
                    patches: (0..36).collect(),
                    settings: GenerationSettings::default(),
                }));
            }
            _ => {}
        }
    };
    assert_eq!(masked.probabilities.len(), tokens.len());
    let product =
        |of: fn(&(f32, f32)) -> f32| -> f32 { masked.probabilities.iter().map(of).product() };
    let [whole, hidden] = [product(|it| it.0), product(|it| it.1)];
    assert!(hidden < 0.5 * whole, "{whole} {hidden}");
}

#[test]
fn heat_maps_are_saved_at_full_resolution_and_as_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let relevance = vec![vec![0.1, 0.2, 0.3, 0.4]; 2];
    let (mut harness, _worker) = opened(folder.path(), maps(1, 3), relevance, 1);
    harness.run_steps(2);
    let mut save = |button: &str, name: &str| {
        harness.get_by_label(button).click();
        until(&mut harness, "dialog", |harness| has(harness, "File path"));
        let path = folder.path().join(name);
        fill(&mut harness, "File path", path.to_str().unwrap());
        harness.key_press(egui::Key::Enter);
        until(&mut harness, "file", |harness| {
            has(harness, &format!("Saved {}", path.display()))
        });
        path
    };
    let picture = save("Save picture...", "map.png");
    let csv = save("Save values...", "map.csv");
    let json = save("Save values...", "map.json");
    let picture = image::open(picture).unwrap();
    // the disc has 64 x 64 pixels; the caption and the legend lie below
    assert!(picture.width() >= 64 && picture.height() > 64);
    let text = std::fs::read_to_string(csv).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "row,column,share",
            "1,1,0.1",
            "1,2,0.2",
            "2,1,0.3",
            "2,2,0.4"
        ]
    );
    let json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(json["caption"], "red circle");
    assert_eq!(json["shares"].as_array().unwrap().len(), 2);
}

#[test]
fn both_axes_of_the_word_matrix_are_labelled() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, _worker) = opened(folder.path(), maps(1, 3), vec![vec![0.25; 4]; 2], 1);
    harness.run_steps(2);
    harness.get_by_label("Decoder layer 1, head mean").click();
    harness.run_steps(3);
    assert!(has(
        &harness,
        "From each word (rows) to the words before it (columns)"
    ));
    assert!(has(&harness, "red to (begin)"));
}
