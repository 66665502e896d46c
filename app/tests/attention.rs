//! The attention page, with a worker that the test plays and with the real one.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{disc, face, has, loaded, real_with, scripted, snapshot, until};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::caption::CaptionToken;
use seemore::caption::{Choice, Map};
use seemore::explain::AttentionMaps;
use seemore::image::Picture;
use seemore_app::Window;
use seemore_app::work::attention::Looked;
use seemore_app::work::captioning::Progress;
use seemore_app::worker::{Order, Report};

/// A map whose head `h` looks at key `h` from everywhere.
fn map(layer: &str, heads: usize, rows: usize) -> Map {
    let value = |head, key| if head == key { 1.0 } else { 0.0 };
    let values = (0..heads)
        .flat_map(|head| (0..rows * rows).map(move |i| value(head, i % rows)))
        .collect();
    Map {
        layer: layer.into(),
        shape: vec![1, heads, rows, rows],
        values,
    }
}

fn picture(harness: &mut Harness<Window>) -> Vec<u8> {
    harness.run_steps(3);
    harness.render().unwrap().into_raw()
}

#[test]
fn layers_heads_and_patches_are_chosen_and_seen() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, orders, reports) = scripted(vec![disc(folder.path())]);
    reports.send(loaded()).unwrap();
    until(&mut harness, "the picture", |harness| {
        has(harness, "Write again")
    });
    harness.step();
    let job = orders
        .try_iter()
        .find_map(|order| {
            if let Order::Caption(job) = order {
                Some(job)
            } else {
                None
            }
        })
        .unwrap();
    harness.get_by_label("Attention").click();
    harness.run_steps(2);
    assert!(has(&harness, "Choose a picture on the caption page"));
    for (text, token) in [("red", 3), ("circle", 4)] {
        let written = CaptionToken {
            choice: Choice {
                token,
                probability: 0.5,
            },
            text: text.into(),
            others: vec![],
            heat: vec![],
        };
        reports
            .send(Report::Caption {
                job: job.number,
                progress: Progress::Token(written),
            })
            .unwrap();
    }
    harness.run_steps(2);
    let Ok(Order::Attention(look)) = orders.recv_timeout(Duration::from_secs(10)) else {
        panic!("no order to look")
    };
    assert_eq!(look.tokens, [3, 4]);
    let maps = AttentionMaps {
        encoder: vec![
            map("vit.blocks.0.attn", 2, 4),
            map("vit.blocks.1.attn", 2, 4),
        ],
        decoder: vec![map("decoder.blocks.0.attn", 2, 6)],
        first: 0,
        cls: false,
        visual: 4,
    };
    let shown = Picture {
        width: 64,
        height: 64,
        rgb: vec![180; 3 * 64 * 64],
    };
    let relevance = vec![vec![0.1, 0.2, 0.3, 0.4], vec![0.7, 0.1, 0.1, 0.1]];
    reports
        .send(Report::Looked(Box::new(Looked {
            number: look.number,
            shown,
            maps,
            relevance,
            prompt: 1,
        })))
        .unwrap();
    let relevance = picture(&mut harness);
    assert!(
        has(&harness, "how much each patch speaks for the chosen word") && has(&harness, "40.0 %")
    );
    snapshot(&mut harness, "attention");
    harness.get_by_label("Encoder layer 1, head 2").click();
    let second = picture(&mut harness);
    assert!(
        has(&harness, "what the mean patch looks at")
            && has(&harness, "Entropy of each head, of at most 1.39 nats")
    );
    harness.get_by_label("Encoder layer 1, head 1").click();
    let first = picture(&mut harness);
    assert!(
        relevance != second && second != first,
        "the heat does not follow the choice"
    );
    harness.get_by_label("inferno").click();
    assert!(
        picture(&mut harness) != first,
        "the colours stay as they are"
    );
    harness.get_by_label("viridis").click();
    harness.get_by_label("Hide sinks").click();
    // the one patch that all look at gets four times the even share: no sink yet
    assert!(picture(&mut harness) != first && has(&harness, "100.0 %"));
    harness.get_by_label("Decoder layer 1, head max").click();
    harness.run_steps(3);
    assert!(has(&harness, "circle looks at") || has(&harness, "red looks at (begin): 0.0 %"));
    assert!(has(&harness, "(begin) looks at (begin)"));
    // what is written in the picture's middle row is a patch
    harness.get_by_label("What the model sees").click();
    harness.run_steps(3);
    assert!(has(
        &harness,
        "below each word: its share of the patch in row"
    ));
}

#[test]
fn the_heat_of_the_real_model_differs_between_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/checkpoints/emoji-patches");
    let mut harness = real_with(model, vec![face(folder.path())]);
    until(&mut harness, "the caption", |harness| {
        has(harness, "tokens in")
    });
    harness.get_by_label("Attention").click();
    until(&mut harness, "the attention", |harness| {
        has(harness, "how much each patch speaks")
    });
    harness.get_by_label("Decoder layer 1, head mean").click();
    until(&mut harness, "the decoder's look", |harness| {
        has(
            harness,
            "where the decoder looked while it wrote the chosen word",
        )
    });
    let first = picture(&mut harness);
    harness.key_press(egui::Key::ArrowRight);
    assert!(
        picture(&mut harness) != first,
        "the heat does not follow the word"
    );
}
