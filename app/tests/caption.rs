//! The Caption page, with a scripted and with the real worker.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{
    Commands, click, command, disc, drop_file, face, fill, finished, has, loaded, photograph,
    progress, real, scripted, snapshot, snapshots, until, wait_for,
};
use egui::Key;
use egui::accesskit::Role;
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use seemore::caption::{Cancel, NameRanking, RankedName};
use seemore_app::pictures::PictureSource;
use seemore_app::worker::{
    CaptionEvent, CaptionJob, CaptionProgress, Command, Event, EventSender, LoadModel, ModelInfo,
    Subject, WorkerHandle, WorkerOptions,
};
use seemore_app::{GenerationSettings, Window};

fn token(job: u64, text: &str, probability: f32, hottest: usize) -> Event {
    let mut heat = vec![0.01; 36];
    heat[hottest] = 0.65;
    let token = common::token(text, probability, heat);
    progress(job, CaptionProgress::Token(token))
}

/// Returns the event that a model which answers questions about photographs was loaded.
fn loaded_pretrained() -> Event {
    let Event::ModelLoaded { slot, model } = loaded() else {
        unreachable!()
    };
    let model = ModelInfo {
        folder: "models/smolvlm".into(),
        subject: Subject::Photographs,
        answers: true,
        question: "What do you see?".into(),
        family: "smolvlm".into(),
        ..model
    };
    Event::ModelLoaded { slot, model }
}

/// A window with a loaded model and a picture in a folder of its own.
fn shown(
    picture: fn(&Path) -> PathBuf,
    model: Event,
) -> (
    tempfile::TempDir,
    Harness<'static, Window>,
    Commands,
    EventSender,
) {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, commands, events) = scripted(vec![picture(folder.path())]);
    events.send(model);
    opened(&mut harness);
    (folder, harness, commands, events)
}

/// Steps until a picture is on the page.
fn opened(harness: &mut Harness<Window>) {
    until(harness, "picture", |harness| has(harness, "Regenerate"));
    harness.run_steps(2);
}

#[test]
fn caption_appears_token_by_token() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, commands, events) = scripted(vec![disc(folder.path())]);
    events.send(loaded());
    until(&mut harness, "picture", |harness| {
        has(harness, "Regenerate")
    });
    harness.step();
    let job: CaptionJob = wait_for(&commands);
    events.send(progress(job.number, CaptionProgress::Started));
    events.send(token(job.number, "red", 0.91, 7));
    harness.run_steps(2);
    // once in the list and once below the picture
    assert!(has(&harness, "Writing...") && harness.query_all_by_label("red").count() == 2);
    events.send(token(job.number, " circle", 0.7, 30));
    events.send(finished(job.number));
    harness.run_steps(2);
    assert!(has(&harness, "2 tokens in 0.50 s"));

    let plain = harness.render().unwrap();
    harness.get_by_label("red").click();
    harness.run_steps(2);
    let red = harness.render().unwrap();
    harness.get_by_label("circle").click();
    harness.run_steps(2);
    let circle = harness.render().unwrap();
    snapshots(&mut harness, "caption");
    assert!(
        plain != red && red != circle,
        "the heat map does not follow the selected word"
    );
}

#[test]
fn other_names_are_shown_of_a_picture_that_the_model_is_unsure_of() {
    let (_folder, mut harness, commands, events) = shown(photograph, loaded_pretrained());
    let job: CaptionJob = wait_for(&commands);
    events.send(progress(job.number, CaptionProgress::Started));
    let name = |text: &str, probability| RankedName {
        text: text.into(),
        probability,
    };
    let names = NameRanking {
        question: None,
        names: vec![name("tower", 0.4), name("castle", 0.3), name("church", 0.2)],
    };
    events.send(progress(job.number, CaptionProgress::Names(names.clone())));
    events.send(token(job.number, "tower", 1.0, 7));
    harness.run_steps(2);
    assert!(!has(&harness, "It may also be"));
    events.send(finished(job.number));
    harness.run_steps(2);
    assert!(has(&harness, "Low confidence: 40 %"));
    assert!(has(&harness, "It may also be: castle; church"));

    harness.get_by_label("Regenerate").click();
    harness.run_steps(2);
    let job: CaptionJob = wait_for(&commands);
    let sure = NameRanking {
        names: vec![name("tower", 0.9), name("castle", 0.3)],
        ..names
    };
    events.send(progress(job.number, CaptionProgress::Names(sure)));
    events.send(token(job.number, "tower", 1.0, 7));
    events.send(finished(job.number));
    harness.run_steps(2);
    assert!(has(&harness, "Confidence: 90 %") && !has(&harness, "It may also be"));
}

#[test]
fn real_worker_captions_dropped_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = real(vec![]);
    drop_file(&mut harness, &disc(folder.path()));
    until(&mut harness, "caption", |harness| has(harness, "tokens in"));
    assert!(has(&harness, "red"), "the caption of a red disc");
    drop_file(&mut harness, &face(folder.path()));
    until(&mut harness, "caption", |harness| has(harness, "face"));
    until(&mut harness, "end of the caption", |harness| {
        has(harness, "tokens in")
    });
    // first without a selected word, then with each of two words
    let mut pictures = vec![harness.render().unwrap()];
    for word in ["grinning", "face"] {
        harness.get_by_label(word).click();
        harness.hover_at(egui::pos2(500.0, 700.0));
        harness.run_steps(4);
        // compares the picture alone, without the frame around the word
        pictures.push(
            image::imageops::crop_imm(&harness.render().unwrap(), 250, 40, 550, 350).to_image(),
        );
    }
    assert!(
        pictures[1] != pictures[2],
        "the heat map does not differ between words"
    );
}

#[test]
fn two_models_are_shown_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let (mut harness, commands, events) = scripted(vec![disc(folder.path())]);
    events.send(loaded());
    let Event::ModelLoaded { model: second, .. } = loaded() else {
        unreachable!()
    };
    let second = ModelInfo {
        folder: "models/patches".into(),
        ..second
    };
    events.send(Event::ModelLoaded {
        slot: 1,
        model: second,
    });
    until(&mut harness, "picture", |harness| {
        harness.query_all_by_label("Regenerate").count() == 2
    });
    harness.step();
    let jobs: [CaptionJob; 2] = [wait_for(&commands), wait_for(&commands)];
    for (job, text) in jobs.iter().zip(["disc", "ball"]) {
        assert!(matches!((job.slot, text), (0, "disc") | (1, "ball")));
        events.send(token(job.number, text, 0.5, 3));
    }
    // a second token, so that the list does not show the word alone too
    events.send(token(jobs[0].number, " shape", 0.5, 3));
    harness.run_steps(2);
    let place = |label| harness.get_by_label(label).rect();
    assert!(place("disc").right() < place("ball").left() && has(&harness, "patches"));
}

#[test]
fn pictures_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let second = folder.path().join("second.png");
    std::fs::copy(&first, &second).unwrap();
    let (mut harness, _commands, events) = scripted(vec![first, second]);
    events.send(loaded());
    until(&mut harness, "pictures", |harness| {
        has(harness, "2 pictures")
    });
    harness.key_press(Key::Delete);
    harness.run_steps(3);
    assert!(has(&harness, "1 picture") && !has(&harness, "second.png"));
    click(&mut harness, "Remove the picture from the list");
    assert!(has(&harness, "Drop a picture here"));
}

#[test]
fn regenerated_captions_differ() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded());
    let first: CaptionJob = wait_for(&commands);
    assert_eq!(first.settings, GenerationSettings::default());
    let mut seeds = vec![];
    for job in [first.number, first.number + 1] {
        events.send(token(job, "red", 0.9, 0));
        events.send(finished(job));
        harness.run_steps(2);
        click(&mut harness, "Regenerate");
        let job: CaptionJob = wait_for(&commands);
        assert!(
            job.settings.temperature > 0.0,
            "it would write the same again"
        );
        seeds.push(job.settings.seed);
    }
    assert!(seeds[0] != seeds[1] && seeds[0] != first.settings.seed);
}

#[test]
fn headline_of_a_beam_search_is_its_best_caption() {
    let folder = tempfile::tempdir().unwrap();
    let worker = WorkerHandle::start(WorkerOptions::default(), || {});
    let model = common::root().join("data/checkpoints/emoji");
    worker.send(Command::LoadModel(LoadModel {
        slot: 0,
        folder: model,
    }));
    let settings = GenerationSettings {
        beams: 4,
        ..GenerationSettings::default()
    };
    worker.send(Command::Caption(CaptionJob {
        number: 1,
        slot: 0,
        source: Arc::new(PictureSource::file(face(folder.path()))),
        history: vec![],
        prompt: String::new(),
        settings,
        cancel: Cancel::new(),
    }));
    let (mut best, mut written) = (None, vec![]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        assert!(std::time::Instant::now() < end, "no caption after a minute");
        let Some(event) = worker.poll() else {
            std::thread::sleep(std::time::Duration::from_millis(10));
            continue;
        };
        let Event::Caption(CaptionEvent { progress, .. }) = event else {
            continue;
        };
        match progress {
            CaptionProgress::Beams(beams) => best = beams.into_iter().next(),
            CaptionProgress::Token(token) => written.push(token.choice.token),
            CaptionProgress::Finished { .. } => break,
            CaptionProgress::Failed(message) => panic!("{message}"),
            CaptionProgress::Started | CaptionProgress::Names(_) => {}
        }
    }
    assert_eq!(written, best.unwrap().tokens);
    assert!(!written.is_empty());
}

#[test]
fn prefix_belongs_to_the_page() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded());
    let _: CaptionJob = wait_for(&commands);
    events.send(finished(1));
    fill(&mut harness, "Prefix", "a photo of");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    let job: CaptionJob = wait_for(&commands);
    assert_eq!(
        (job.prompt.as_str(), job.settings.prefix.as_str()),
        ("a photo of", "")
    );
}

#[test]
fn keys_work_while_a_button_has_the_focus() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let second = folder.path().join("second.png");
    std::fs::copy(&first, &second).unwrap();
    // the model is there before the pictures, whichever thread is faster
    let (mut harness, commands, events) = scripted(vec![]);
    events.send(loaded());
    harness.run_steps(2);
    drop_file(&mut harness, &first);
    until(&mut harness, "a picture", |harness| {
        has(harness, "1 picture")
    });
    drop_file(&mut harness, &second);
    until(&mut harness, "pictures", |harness| {
        has(harness, "2 pictures")
    });
    let first: CaptionJob = wait_for(&commands);
    events.send(token(first.number, "red", 0.9, 0));
    events.send(finished(first.number));
    harness.run_steps(2);
    let second: CaptionJob = wait_for(&commands);
    events.send(finished(second.number));
    harness.run_steps(2);
    harness
        .get_by_role_and_label(Role::Button, "Regenerate")
        .focus();
    harness.run_steps(2);
    let selected = |harness: &Harness<Window>| has(harness, "Click a word to see");
    assert!(selected(&harness));
    harness.key_press(Key::ArrowUp);
    harness.run_steps(2);
    harness.key_press(Key::R);
    harness.run_steps(2);
    let again: CaptionJob = wait_for(&commands);
    assert!(
        again.source.name.ends_with("disc.png"),
        "{}",
        again.source.name
    );
}

#[test]
fn list_follows_the_selection() {
    let folder = tempfile::tempdir().unwrap();
    let first = disc(folder.path());
    let paths: Vec<_> = (0..60)
        .map(|index| {
            let path = folder.path().join(format!("{index:02}.png"));
            std::fs::copy(&first, &path).unwrap();
            path
        })
        .collect();
    let (mut harness, _commands, _events) = scripted(paths);
    until(&mut harness, "pictures", |harness| {
        has(harness, "60 pictures")
    });
    harness.run_steps(3);
    assert!(has(&harness, "59.png") && !has(&harness, "00.png"));
    for _ in 0..59 {
        harness.key_press(Key::ArrowUp);
    }
    harness.run_steps(4);
    assert!(has(&harness, "00.png") && !has(&harness, "59.png"));
}

#[test]
fn buttons_stay_in_place_while_a_caption_appears() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded());
    let place = |harness: &Harness<Window>| {
        let labels = ["Regenerate", "Stop", "Copy", "Reset", "Model input"];
        labels.map(|label| harness.get_by_label(label).rect())
    };
    let before = place(&harness);
    let job: CaptionJob = wait_for(&commands);
    for text in ["red", " circle", " on", " white"] {
        events.send(token(job.number, text, 0.9, 3));
    }
    harness.run_steps(2);
    assert_eq!(place(&harness), before);
    events.send(finished(job.number));
    harness.run_steps(2);
    harness.get_by_label("circle").click();
    harness.run_steps(3);
    assert!(has(&harness, "65.0 %"), "the legend");
    assert_eq!(place(&harness), before);
}

#[test]
fn photographs_and_low_confidence_are_noted() {
    let (_folder, mut harness, commands, events) = shown(photograph, loaded());
    assert!(has(&harness, "This model knows drawings."));
    let job: CaptionJob = wait_for(&commands);
    events.send(token(job.number, "boar", 0.21, 3));
    events.send(finished(job.number));
    harness.run_steps(3);
    assert!(has(&harness, "Low confidence: 21 %"));
    events.send(loaded_pretrained());
    harness.run_steps(3);
    assert!(!has(&harness, "This model knows drawings."));
}

#[test]
fn drawings_are_not_taken_for_photographs() {
    let (_folder, harness, _commands, _events) = shown(face, loaded());
    assert!(!has(&harness, "This model knows drawings."));
}

#[test]
fn alternatives_follow_the_temperature() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded());
    let job: CaptionJob = wait_for(&commands);
    events.send(token(job.number, "red", 0.8, 3));
    events.send(finished(job.number));
    harness.run_steps(2);
    // the temperature of the defaults is 0
    assert!(has(&harness, "red  100.0 %") && has(&harness, "something  0.0 %"));
    let slider = harness
        .get_by_role_and_label(Role::Slider, "Temperature")
        .rect();
    harness.drag_at(slider.left_center() + egui::vec2(7.0, 0.0));
    harness.run_steps(1);
    harness.drop_at(slider.left_center() + egui::vec2(90.0, 0.0));
    harness.run_steps(3);
    assert!(!has(&harness, "red  100.0 %"), "the bars stay");
    assert!(
        command::<CaptionJob>(&commands).is_none(),
        "nothing is written again"
    );
}

#[test]
fn arrow_keys_move_a_slider_that_has_the_focus() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded());
    let job: CaptionJob = wait_for(&commands);
    events.send(token(job.number, "red", 0.8, 3));
    events.send(finished(job.number));
    harness.run_steps(2);
    assert!(has(&harness, "red  100.0 %"));
    harness
        .get_by_role_and_label(Role::Slider, "Temperature")
        .focus();
    // the slider keeps the arrow keys to itself from the next frame on
    harness.run_steps(3);
    for _ in 0..16 {
        harness.key_press(egui::Key::ArrowRight);
        harness.run_steps(1);
    }
    assert!(!has(&harness, "red  100.0 %"), "the temperature stays");
}

#[test]
fn questions_follow_each_other() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded_pretrained());
    let first: CaptionJob = wait_for(&commands);
    assert_eq!(first.prompt, "What do you see?");
    events.send(token(first.number, "A disc.", 0.9, 3));
    events.send(finished(first.number));
    harness.run_steps(2);
    click(&mut harness, "Tags");
    let tags: CaptionJob = wait_for(&commands);
    assert!(tags.prompt.contains("keywords") && tags.history.is_empty());
    events.send(token(tags.number, "disc, red", 0.9, 3));
    events.send(finished(tags.number));
    harness.run_steps(2);
    fill(&mut harness, "Follow-up question", "What colour is it?");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    let follow_up: CaptionJob = wait_for(&commands);
    assert_eq!(follow_up.prompt, "What colour is it?");
    assert_eq!(follow_up.history, [(tags.prompt, "disc, red".to_owned())]);
    events.send(token(follow_up.number, "Red.", 0.9, 3));
    events.send(finished(follow_up.number));
    harness.run_steps(3);
    assert!(has(&harness, "What colour is it?") && has(&harness, "Red."));
    snapshot(&mut harness, "dialogue");
}

#[test]
fn own_questions_are_asked() {
    let (_folder, mut harness, commands, events) = shown(disc, loaded_pretrained());
    let first: CaptionJob = wait_for(&commands);
    events.send(finished(first.number));
    fill(&mut harness, "Question", "How many discs?");
    harness.key_press(Key::Enter);
    harness.run_steps(2);
    let job: CaptionJob = wait_for(&commands);
    assert_eq!(job.prompt, "How many discs?");
}

#[test]
fn pictures_and_captions_are_sent_to_batch() {
    let (folder, mut harness, commands, events) = shown(disc, loaded());
    let job: CaptionJob = wait_for(&commands);
    events.send(token(job.number, "red", 0.91, 7));
    events.send(finished(job.number));
    let own = folder.path().join("own.png");
    std::fs::copy(folder.path().join("disc.png"), &own).unwrap();
    std::fs::write(own.with_extension("txt"), "my own words").unwrap();
    drop_file(&mut harness, &own);
    until(&mut harness, "second picture", |harness| {
        has(harness, "2 pictures")
    });
    let job: CaptionJob = wait_for(&commands);
    events.send(token(job.number, "blue", 0.91, 7));
    events.send(finished(job.number));
    let image = egui::ColorImage::filled([8, 8], egui::Color32::RED);
    harness.event(egui::Event::PasteImage(Arc::new(image)));
    until(&mut harness, "pasted picture", |harness| {
        has(harness, "3 pictures")
    });
    click(&mut harness, "Send to Batch");
    until(&mut harness, "Batch page", |harness| {
        has(harness, "2 of 2 pictures captioned")
    });
    assert!(has(&harness, "1 picture not sent to Batch"));
    assert!(has(&harness, "disc.png: red") && has(&harness, "own.png: my own words"));
    click(&mut harness, "Undo");
    assert!(has(&harness, "disc.png: No caption"));
}
