//! `seemore eval`, and captions by beam search, with a small model that has learned four colours.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use image::{Rgb, RgbImage};
use seemore::caption::Session;
use seemore::data::{Dataset, Layout};
use seemore::device::Device;
use seemore::eval::{EvalOptions, Evaluation};
use seemore::models::checkpoint;
use seemore::progress::Silent;
use seemore::train::Validation;
use serde_json::Value;
use tempfile::TempDir;

fn seemore(dir: &Path, args: &[&str]) -> Output {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    Command::new(env!("CARGO_BIN_EXE_seemore"))
        .args(args)
        .current_dir(dir)
        .env("SEEMORE_CACHE", cache)
        .output()
        .unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(
        output.status.success(),
        "exit {:?}\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[track_caller]
fn fails(output: &Output, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    words
        .iter()
        .for_each(|word| assert!(text.contains(word), "no `{word}` in: {text}"));
}

const COLOURS: [(&str, [u8; 3]); 4] = [
    ("a red <b>", [220, 30, 30]),
    ("green & \"lush\"", [30, 180, 40]),
    ("blue", [30, 60, 220]),
    ("grey it is", [128; 3]),
];

/// Writes plain squares of these colours with their captions, `count` shades of each.
fn squares(dir: &Path, colours: &[(&str, [u8; 3])], count: u8) {
    std::fs::create_dir_all(dir).unwrap();
    for (index, (caption, colour)) in colours.iter().enumerate() {
        for shade in 0..count {
            let rgb = Rgb(colour.map(|v| v.saturating_add(3 * shade)));
            RgbImage::from_pixel(24, 24, rgb)
                .save(dir.join(format!("{index}-{shade}.png")))
                .unwrap();
            std::fs::write(dir.join(format!("{index}-{shade}.txt")), caption).unwrap();
        }
    }
}

/// A folder with a trained `model`, the `squares` it was trained on, and `others` with captions
/// that it cannot know.
static TRAINED: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    squares(&dir.path().join("squares"), &COLOURS, 4);
    squares(
        &dir.path().join("others"),
        &[("magenta", [220, 40, 40]), ("blue", [30, 60, 225])],
        2,
    );
    let train = [
        "train",
        "--data",
        "squares",
        "--preset",
        "tiny",
        "--steps",
        "200",
        "--val-split",
        "0",
        "--no-augment",
        "--out",
        "model",
    ];
    succeeds(&seemore(dir.path(), &train));
    dir
});

fn eval(args: &[&str]) -> Output {
    seemore(
        TRAINED.path(),
        &[&["eval", "--model", "model"], args].concat(),
    )
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&succeeds(&eval(&[&["--json"], args].concat()))).unwrap()
}

#[test]
fn learned_captions_score_as_exact() {
    let line = json(&["--data", "squares"]);
    for key in ["exact_match", "word_f1", "bleu1", "bleu2", "rouge_l"] {
        assert!(line[key].as_f64().unwrap() > 0.99, "{key}: {line}");
    }
    // four captions of equal frequency, of up to three words, say more than one picture's share
    assert!(
        line["cider_d"].as_f64().unwrap() > 3.0 && line["bleu4"].is_f64() && line["bleu3"].is_f64(),
        "{line}"
    );
    let perplexity = line["perplexity"].as_f64().unwrap();
    assert!(perplexity > 1.0 && perplexity < 1.5, "{perplexity}");
    assert!(line["captions_per_s"].as_f64().unwrap() > 0.0);
    let bins = line["calibration"]["bins"].as_array().unwrap();
    assert_eq!(
        (
            bins.len(),
            bins.iter()
                .map(|bin| bin["n"].as_u64().unwrap())
                .sum::<u64>()
        ),
        (10, 16)
    );
    // every caption is exact, so the calibration error is that of their probabilities
    let off: f64 = bins
        .iter()
        .map(|bin| bin["n"].as_f64().unwrap() * (1.0 - bin["probability"].as_f64().unwrap()))
        .sum();
    assert!(
        (line["calibration"]["error"].as_f64().unwrap() - off / 16.0).abs() < 1e-9 && off > 0.0,
        "{line}"
    );
    assert_eq!(
        (&line["n"], &line["model"], &line["data"][0], &line["beam"]),
        (&16.into(), &"model".into(), &"squares".into(), &1.into())
    );

    let table = succeeds(&eval(&["--data", "squares", "--limit", "3"]));
    assert!(
        table
            .lines()
            .any(|line| line.split_whitespace().eq(["pictures", "3"])),
        "{table}"
    );
    assert!(
        table.contains("exact match") && table.contains("captions/s"),
        "{table}"
    );
}

#[test]
fn batch_size_and_file_order_do_not_change_scores() {
    let scores = |args: &[&str]| {
        let line = json(args);
        [
            "n",
            "exact_match",
            "word_f1",
            "bleu4",
            "rouge_l",
            "cider_d",
            "perplexity",
        ]
        .map(|key| line[key].as_f64().unwrap())
    };
    let whole = scores(&["--data", "squares", "others"]);
    assert_eq!(whole[0], 20.0);
    // the model cannot write magenta
    assert!(whole[1] > 0.85 && whole[1] <= 18.0 / 20.0, "{whole:?}");
    for other in [
        scores(&["--data", "squares", "others", "--batch-size", "3"]),
        scores(&["--data", "others", "--data", "squares"]),
    ] {
        for (whole, other) in whole.iter().zip(other) {
            assert!((whole - other).abs() <= 1e-4 * whole, "{whole} and {other}");
        }
    }
}

#[test]
fn evaluation_agrees_with_validation_and_counts_all_references() {
    let dir = TRAINED.path();
    let device = Device::open(None).unwrap_or_else(|error| panic!("{error}"));
    let (model, tokenizer) = checkpoint::load(&device, &dir.join("model")).unwrap();
    let tokenizer = tokenizer.unwrap();
    let session = Session::load(&device, dir.join("model")).unwrap();
    let read = |name: &str| {
        let bar = Silent;
        Dataset::load(
            &dir.join(name),
            model.info().image_size(),
            &Layout::default(),
            true,
            &bar,
        )
        .unwrap()
        .dataset
    };
    let options = EvalOptions {
        batch: 4,
        beam: 2,
        length_power: 0.0,
        max_tokens: None,
    };
    let evaluate = |data: &Dataset| Evaluation::run(&session, data, options, &Silent).unwrap();
    let mut data = read("others");
    let evaluation = evaluate(&data);
    let validation = Validation::new(&device, &model, &tokenizer, &data)
        .unwrap()
        .run(&tokenizer, &data, false, &mut |_| ControlFlow::Continue(()))
        .unwrap()
        .unwrap();
    assert!(
        (evaluation.perplexity.ln() - validation.loss as f64).abs() < 1e-4,
        "{} and {}",
        evaluation.perplexity,
        validation.loss
    );
    assert_eq!((evaluation.exact_match, validation.exact_match), (0.5, 0.5));
    for (scored, (_, _, written)) in evaluation.captions.iter().zip(&validation.captions) {
        assert_eq!(&scored.caption, written);
        assert!(scored.probability > 0.0 && scored.probability <= 1.0);
    }
    // accept what it writes for the reddish squares
    data.samples
        .iter_mut()
        .for_each(|sample| sample.others.push("a red <b>".into()));
    let more = evaluate(&data);
    assert_eq!(more.exact_match, 1.0);
    assert!(
        more.scores.word_f1 > evaluation.scores.word_f1 && more.perplexity != evaluation.perplexity
    );
}

#[test]
fn report_is_self_contained_and_overwrites_nothing() {
    let dir = TRAINED.path();
    let args = ["--data", "squares", "others", "--html", "report.html"];
    let output = eval(&args);
    succeeds(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("report: report.html"));
    let html = std::fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(html.contains("a red &lt;b&gt;") && html.contains("green &amp; &quot;lush&quot;"));
    assert!(
        !html.contains("<b>") && !html.contains("src=\"http") && !html.contains("href"),
        "it needs other files"
    );
    // two wrong captions, then all twenty pictures
    assert_eq!(
        (
            html.matches("<figure").count(),
            html.matches("data:image/png;base64,").count()
        ),
        (22, 22)
    );
    assert!(
        html.contains("Confident and wrong") && html.contains("<svg") && html.contains("CIDEr-D")
    );
    for tag in ["div", "figure", "figcaption", "svg", "table", "html"] {
        let open =
            html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(open, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }

    fails(&eval(&args), &["report.html", "--overwrite"]);
    succeeds(&eval(
        &[&args[..], &["--overwrite", "--limit", "2"]].concat(),
    ));
    assert!(
        std::fs::read_to_string(dir.join("report.html"))
            .unwrap()
            .len()
            < html.len()
    );
    fails(
        &eval(&["--data", "squares", "--html", "absent/report.html"]),
        &["no folder absent"],
    );
    fails(
        &eval(&["--data", "squares", "--html", "squares", "--overwrite"]),
        &["squares"],
    );
}

#[test]
fn wrong_arguments_are_explained() {
    fails(&eval(&["--data", "absent.csv"]), &["absent.csv"]);
    fails(&eval(&["--data", "squares", "--limit", "0"]), &["--limit"]);
    fails(
        &eval(&["--data", "squares", "--length-power=-1"]),
        &["--length-power"],
    );
    fails(
        &seemore(
            TRAINED.path(),
            &["eval", "--data", "squares", "--model", "nothing"],
        ),
        &["nothing", "seemore models"],
    );
    assert_eq!(
        eval(&["--data", "squares", "--beam", "0"]).status.code(),
        Some(2)
    );
    assert_eq!(eval(&[]).status.code(), Some(2));
}

#[test]
fn beam_search_captions_pictures_and_lists_the_best() {
    let caption = |args: &[&str]| {
        seemore(
            TRAINED.path(),
            &[&["caption", "--model", "model"], args].concat(),
        )
    };
    let picture = "squares/0-1.png";
    assert_eq!(
        succeeds(&caption(&[picture, "--beam", "3"])),
        succeeds(&caption(&[picture]))
    );
    let listed = succeeds(&caption(&[picture, "--beam", "3", "--n-best", "2"]));
    let lines: Vec<(f64, &str)> = listed
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(p, text)| (p.parse().unwrap(), text))
        .collect();
    assert_eq!((lines.len(), lines[0].1), (2, "a red <b>"));
    assert!(
        lines[0].0 > lines[1].0 && lines[0].0 <= 0.0 && lines[1].1 != "a red <b>",
        "{listed}"
    );
    let prompted = succeeds(&caption(&[
        picture,
        "squares/2-0.png",
        "--beam",
        "2",
        "--prompt",
        "a ",
    ]));
    assert!(
        prompted.lines().all(|line| line.contains(".png: a ")),
        "{prompted}"
    );
    fails(
        &caption(&[picture, "--beam", "2", "--n-best", "3"]),
        &["--n-best", "--beam 2"],
    );
    assert_eq!(
        caption(&[picture, "--beam", "2", "--attention", "look.png"])
            .status
            .code(),
        Some(2)
    );
}
