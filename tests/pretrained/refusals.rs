//! What pretrained models refuse: errors, not panics.

use std::ops::ControlFlow;

use seemore::caption::{Cancel, CaptionError, CaptionOptions, Session};
use seemore::device::Device;
use seemore::image::Picture;
use seemore::text::chat::{Message, Part, Role};

use crate::golden::folders;
use crate::pass::devices;

fn picture() -> Picture {
    Picture {
        width: 40,
        height: 30,
        rgb: (0..3 * 40 * 30).map(|i| (i % 251) as u8).collect(),
    }
}

fn options(prompt: &str) -> CaptionOptions {
    CaptionOptions {
        prompt: prompt.into(),
        max_tokens: 2,
        heat: true,
        ..CaptionOptions::default()
    }
}

fn load(device: &Device, folder: &std::path::Path) -> Session {
    Session::load(device, folder).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn models_of_text_refuse_pictures_everywhere() {
    for folder in folders("llama_tiny") {
        let session = load(&devices()[0], &folder);
        let (picture, options) = (picture(), options(""));
        let pictures = std::slice::from_ref(&picture);
        let mut on = |_: &_| ControlFlow::Continue(());
        let question = [Message::about_picture("What is it?")];
        let results = [
            session.input(&picture).map(drop),
            session.check_pictures(),
            session.caption(&picture).map(drop),
            session.caption_with(&picture, &options).map(drop),
            session.captions(pictures, &options).map(drop),
            session.n_best(&picture, &options).map(drop),
            session.stream(&picture, &options, &mut on).map(drop),
            session.attention(&picture, "", &[1, 2]).map(drop),
            session
                .reply(&question, pictures, &options, &mut on)
                .map(drop),
        ];
        for (index, result) in results.into_iter().enumerate() {
            assert!(
                matches!(result, Err(CaptionError::TextOnly)),
                "{index}: {result:?}"
            );
        }
        assert!(!session.has_heat());
        // without pictures it answers, and has no heat to show
        let question = [Message::text(Role::User, "Hi")];
        let mut heat = vec![];
        session
            .reply(&question, &[], &options, &mut |token| {
                heat.push(token.heat.len());
                ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(heat, [0, 0]);
    }
}

#[test]
fn inputs_of_another_model_are_refused() {
    for (text, seeing) in folders("llama_tiny").iter().zip(folders("smolvlm_tiny")) {
        let device = &devices()[0];
        let (text, seeing) = (load(device, text), load(device, &seeing));
        let inputs = [seeing.input(&picture()).unwrap()];
        let found = text.captions_of(&inputs, &[""], &options(""), &Cancel::new());
        assert!(matches!(found, Err(CaptionError::TextOnly)), "{found:?}");
    }
}

#[test]
fn image_tokens_in_the_text_of_a_question_are_refused() {
    for (name, token) in [
        ("smolvlm_tiny", "<image>"),
        ("nanovlm_tiny/tiled", "<|image|>"),
    ] {
        for folder in folders(name) {
            let session = load(&devices()[0], &folder);
            let question = format!("What is {token}?");
            let error = session.caption_with(&picture(), &options(&question));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("places") && error.contains("image token"),
                "{name}: {error}"
            );
        }
    }
}

#[test]
fn a_reply_about_several_pictures_has_no_heat() {
    for folder in folders("smolvlm_tiny") {
        let session = load(&devices()[0], &folder);
        let parts = vec![Part::Image, Part::Image, Part::text("Which is larger?")];
        let question = [Message::new(Role::User, parts)];
        let mut heat = vec![];
        session
            .reply(
                &question,
                &[picture(), picture()],
                &options(""),
                &mut |token| {
                    heat.push(token.heat.len());
                    ControlFlow::Continue(())
                },
            )
            .unwrap();
        assert_eq!(heat, [0, 0]);
    }
}

#[test]
fn models_with_the_picture_in_front_take_exactly_one() {
    for folder in folders("nanovlm_tiny") {
        let session = load(&devices()[0], &folder);
        let mut on = |_: &_| ControlFlow::Continue(());
        for count in [0, 2] {
            let parts = std::iter::repeat_n(Part::Image, count).chain([Part::text("Hi")]);
            let question = [Message::new(Role::User, parts.collect())];
            let pictures = vec![picture(); count];
            let found = session.reply(&question, &pictures, &options(""), &mut on);
            assert!(
                matches!(found, Err(CaptionError::OnePicture { have }) if have == count),
                "{count}: {found:?}"
            );
        }
    }
}
