//! The Attention page, with a scripted and with the real worker.

mod common;

use std::path::Path;

use common::{
    command, disc, face, has, loaded, real_with, render, root, scripted, snapshot, until, wait_for,
};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::caption::{CaptionToken, Choice};
use seemore::explain::{AttentionMap, AttentionMaps, RowLayout};
use seemore::image::{Area, Picture, PictureTile, TileGrid, TiledPicture};
use seemore::models::Part;
use seemore_app::Window;
use seemore_app::pages::attention::{Attention, AttentionEvent, AttentionJob};
use seemore_app::pages::caption::{CaptionEvent, CaptionJob, CaptionProgress};

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
    for (text, token) in [("red", 3), ("circle", 4)] {
        let token = CaptionToken {
            choice: Choice {
                token,
                probability: 0.5,
            },
            text: text.into(),
            others: vec![],
            heat: vec![],
        };
        events.page(CaptionEvent {
            job: job.number,
            progress: CaptionProgress::Token(token),
        });
    }
    harness.run_steps(2);
    let job: AttentionJob = wait_for(&commands);
    assert_eq!(job.tokens, [3, 4]);
    let input = Picture {
        width: 64,
        height: 64,
        rgb: vec![180; 3 * 64 * 64],
    };
    let event: AttentionEvent = Ok(Box::new(Attention {
        number: job.number,
        input,
        maps,
        relevance,
        prompt,
    }));
    events.page(event);
    (harness, (commands, events))
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
    snapshot(&mut harness, "attention");
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
    assert!(has(
        &harness,
        "Below each word: its share of the patch in row"
    ));
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
        layout: Some(RowLayout::new(&picture, 2)),
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
