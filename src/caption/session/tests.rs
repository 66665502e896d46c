use std::path::PathBuf;

use super::*;
use crate::ops::check::device;

fn load(name: &str) -> Session {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("data/checkpoints")
        .join(name);
    Session::load(&device(), folder).unwrap()
}

/// A disc on white.
fn picture(radius: f32) -> Picture {
    let inside = |i: usize| ((i % 64) as f32 - 30.0).hypot((i / 64) as f32 - 34.0) < radius;
    Picture {
        width: 64,
        height: 64,
        rgb: (0..64 * 64)
            .flat_map(|i| if inside(i) { [250, 200, 40] } else { [255; 3] })
            .collect(),
    }
}

fn options(prompt: &str) -> CaptionOptions {
    CaptionOptions {
        prompt: prompt.into(),
        max_tokens: 6,
        ..CaptionOptions::default()
    }
}

#[test]
fn padded_prompts_give_the_captions_of_exact_ones() {
    for name in ["emoji", "emoji-patches"] {
        let session = load(name);
        let Inner {
            device,
            model,
            tokenizer,
            ..
        } = &*session.0;
        for prompt in [
            "",
            "face",
            "face with tears of joy",
            "a red heart and a blue heart with",
        ] {
            let tokens = session.prompt(prompt, None).unwrap();
            let search = super::super::SearchOptions {
                batch: 1,
                prompt: tokens.len(),
                new: 6,
                beam: 1,
                length_power: 0.0,
            };
            // records a pass of exactly the prompt's length
            let exact = super::super::Search::new(device, model, search)
                .unwrap()
                .run(
                    &session
                        .image_values(&session.input(&picture(20.0)).unwrap())
                        .unwrap(),
                    &[&tokens],
                    tokenizer.end(),
                )
                .unwrap();
            let caption = session
                .caption_with(&picture(20.0), &options(prompt))
                .unwrap();
            assert_eq!(caption.tokens, exact[0][0].tokens, "{name}: {prompt:?}");
        }
    }
}

#[test]
fn streams_the_caption_and_stops_where_told() {
    let session = load("emoji");
    let whole = session.caption_with(&picture(20.0), &options("")).unwrap();
    let mut texts = vec![];
    let streamed = session
        .stream(&picture(20.0), &options(""), &mut |token| {
            texts.push(token.text.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(
        (&streamed.tokens, texts.concat()),
        (&whole.tokens, whole.text)
    );
    assert!((streamed.log_probability - whole.log_probability).abs() < 1e-4);
    let first = session
        .stream(
            &picture(20.0),
            &options(""),
            &mut |_| ControlFlow::Break(()),
        )
        .unwrap();
    assert_eq!(first.tokens, whole.tokens[..1]);
}

#[test]
fn cancels_between_tokens() {
    let (session, cancel) = (load("emoji"), Cancel::new());
    cancel.clone().cancel();
    let inputs = [session.input(&picture(20.0)).unwrap()];
    let found = session.captions_of(&inputs, &[""], &options(""), &cancel);
    assert!(matches!(found, Err(CaptionError::Cancelled)), "{found:?}");
    // passes are kept and usable afterwards
    assert!(session.caption(&picture(20.0)).is_ok());
}

#[test]
fn clones_caption_at_the_same_time() {
    let session = load("emoji");
    let want: Vec<Caption> = [10.0, 20.0, 28.0]
        .map(|radius| session.caption(&picture(radius)).unwrap())
        .to_vec();
    let threads: Vec<_> = [10.0, 20.0, 28.0]
        .map(|radius| {
            let session = session.clone();
            std::thread::spawn(move || session.caption(&picture(radius)).unwrap())
        })
        .into_iter()
        .collect();
    let got: Vec<Caption> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(got, want);
}

#[test]
fn sampling_repeats_by_seed_whatever_the_batch() {
    let session = load("emoji");
    let pictures = [12.0, 16.0, 20.0, 24.0].map(picture);
    let run = |batch_size: usize, seed: u64| {
        let options = CaptionOptions {
            sampling: Sampling {
                temperature: 1.5,
                seed,
                ..Sampling::GREEDY
            },
            batch_size,
            ..options("")
        };
        let captions = session.captions(&pictures, &options).unwrap();
        captions
            .into_iter()
            .map(|caption| caption.tokens)
            .collect::<Vec<_>>()
    };
    assert_eq!(run(4, 1), run(3, 1));
    assert_ne!(run(4, 1), run(4, 2));
}

#[test]
fn refuses_prompts_that_do_not_fit() {
    let session = load("emoji");
    let error = session
        .caption_with(&picture(20.0), &options(&"face ".repeat(1000)))
        .unwrap_err();
    assert!(
        matches!(error, CaptionError::PromptTooLong { have, room, images: 0 } if have > room),
        "{error}"
    );
}

#[test]
fn a_picture_for_another_model_is_refused() {
    let session = load("emoji-patches");
    let small = picture(9.0);
    assert_ne!(small.width, session.info().image_size());
    let input = ModelInput(Input::Picture(small));
    let error = session.image_values(&input).unwrap_err();
    assert!(matches!(error, CaptionError::OtherModel), "{error}");
    let tiles = TiledPicture {
        tiles: vec![],
        grid: TileGrid::default(),
        side: session.info().image_size(),
    };
    let input = ModelInput(Input::Tiles(Arc::new(tiles)));
    let error = session.image_values(&input).unwrap_err();
    assert!(matches!(error, CaptionError::OtherModel), "{error}");
}

#[test]
fn given_captions_have_the_probabilities_that_they_were_written_with() {
    let session = load("emoji");
    let options = options("");
    let mut written = vec![];
    let caption = session
        .stream(&picture(20.0), &options, &mut |token| {
            written.push(token.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    let mut read = vec![];
    let again = session
        .score(&picture(20.0), &caption.tokens, &options, &mut |token| {
            read.push(token.clone());
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(again.text, caption.text);
    assert_eq!(written.len(), read.len());
    for (written, read) in written.iter().zip(&read) {
        assert_eq!(
            (written.choice, &written.others),
            (read.choice, &read.others)
        );
    }
    // another picture makes the caption less likely
    let mut elsewhere = 0.0;
    session
        .score(&picture(2.0), &caption.tokens, &options, &mut |token| {
            elsewhere += (token.choice.probability as f64).ln();
            ControlFlow::Continue(())
        })
        .unwrap();
    let here: f64 = written
        .iter()
        .map(|token| (token.choice.probability as f64).ln())
        .sum();
    assert!(elsewhere < here, "{elsewhere} {here}");
}

#[test]
fn masked_cells_are_painted_over() {
    let picture = Picture {
        width: 4,
        height: 2,
        rgb: vec![9; 24],
    };
    let masked = painted(picture, 2, &[1], [1, 2, 3]);
    assert_eq!(&masked.rgb[..12], [9, 9, 9, 9, 9, 9, 1, 2, 3, 1, 2, 3]);
    assert_eq!(&masked.rgb[12..], [9; 12]);
}
