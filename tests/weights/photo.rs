//! The captioner of photographs that ships, on the real weights of its parts.

use std::ops::ControlFlow;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seemore::caption::{CaptionOptions, CaptionToken, Session};
use seemore::image::Picture;
use seemore::models::checkpoint;

use crate::weights;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn session() -> Session {
    // of the repository, whose parts `make weights` has made
    let folder = checkpoint::default_folder().expect("a shipped model");
    assert!(folder.ends_with("data/checkpoints/photo"), "{folder:?}");
    Session::load(&weights::device("cpu"), Path::new(ROOT).join(&folder))
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn it_is_the_default_where_its_parts_are_and_names_things() {
    let session = session();
    for (name, word) in [("cat", "cat"), ("coffee", "coffee"), ("bricks", "brick")] {
        let picture = Path::new(ROOT).join(format!("data/photographs/{name}.jpg"));
        let caption = session.caption(&Picture::open(&picture).unwrap()).unwrap();
        assert!(caption.text.contains(word), "{name}: {}", caption.text);
    }
}

#[test]
fn it_is_unsure_of_what_it_does_not_know() {
    let session = session();
    let sure = |picture: &Picture| {
        let caption = session.caption(picture).unwrap();
        caption.name_probability.expect("a name")
    };
    let cat = Path::new(ROOT).join("data/photographs/cat.jpg");
    let cat = sure(&Picture::open(&cat).unwrap());
    let gray = sure(&Picture {
        width: 224,
        height: 224,
        rgb: vec![128; 3 * 224 * 224],
    });
    assert!(cat > 0.7 && gray < 0.5, "{cat} {gray}");
}

#[test]
fn heat_lies_on_the_thing_that_is_named() {
    let session = session();
    let picture = Path::new(ROOT).join("data/photographs/raccoon.jpg");
    let picture = Picture::open(&picture).unwrap();
    let options = CaptionOptions {
        heat: true,
        ..CaptionOptions::default()
    };
    let mut first = vec![];
    let stop = &mut |token: &CaptionToken| {
        first.clone_from(&token.heat);
        ControlFlow::Break(())
    };
    session.stream(&picture, &options, stop).unwrap();
    // the face
    let side = first.len().isqrt();
    let is_face = |cell: usize| {
        let [x, y] = [cell % side, cell / side].map(|at| (at as f32 + 0.5) / side as f32);
        (0.3..0.95).contains(&x) && (0.2..0.6).contains(&y)
    };
    let face = (0..first.len()).filter(|&cell| is_face(cell));
    let face: f32 = face.map(|cell| first[cell]).sum();
    let all: f32 = first.iter().sum();
    assert!(all > 0.05, "attention to the picture: {all}");
    // it is a quarter of the picture
    assert!(face > 0.5 * all, "{face} of {all}");
}

#[test]
fn it_joins_emoji_and_skin_tone_in_names_that_no_training_picture_has() {
    let file = Path::new(ROOT).join("data/emoji/composition.csv");
    let rows = csv::Reader::from_path(file).unwrap().into_records();
    let (pictures, names): (Vec<Picture>, Vec<String>) = rows
        .step_by(40)
        .map(|row| {
            let row = row.unwrap();
            let picture = Picture::decode(&STANDARD.decode(&row[0]).unwrap()).unwrap();
            (picture, row[1].to_owned())
        })
        .unzip();
    let options = CaptionOptions {
        prompt: "Name it.".into(),
        ..CaptionOptions::default()
    };
    let captions = session().captions(&pictures, &options).unwrap();
    let right = captions.iter().zip(&names);
    let right = right.filter(|(caption, name)| caption.text == **name);
    let share = right.count() as f64 / names.len() as f64;
    // 0.85 of the whole file; thirty rows have a standard error of 7 points
    assert!(share > 0.55, "{share}");
}
