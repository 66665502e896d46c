//! Checkpoints of earlier formats give the captions that the program which wrote them gave;
//! `tests/golden/checkpoints/README.md` describes the files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use seemore::models::ModelConfig;

const GOLDEN: &str = "tests/golden/checkpoints";

/// Captions of the three most probable hypotheses with their log-probabilities, by model and image.
type Expected = BTreeMap<String, BTreeMap<String, Vec<(f64, String)>>>;

fn expected() -> Expected {
    let text = std::fs::read(format!("{GOLDEN}/expected.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn folder(model: &str) -> String {
    match Path::new(model).is_dir() {
        true => model.to_owned(),
        false => format!("{GOLDEN}/{model}"),
    }
}

#[test]
fn earlier_checkpoints_give_the_recorded_captions() {
    let expected = expected();
    assert!(expected.len() >= 12, "{} models", expected.len());
    for (model, images) in &expected {
        for (image, want) in images {
            let output = Command::new(env!("CARGO_BIN_EXE_seemore"))
                .args(["caption", "--model", &folder(model)])
                .arg(format!("{GOLDEN}/pictures/{image}.png"))
                .args(["--beam", "3", "--n-best", "3", "--max-tokens", "6"])
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{model} {image}: {errors}");
            let text = String::from_utf8(output.stdout).unwrap();
            assert_eq!(text.lines().count(), want.len(), "{model} {image}: {text}");
            for (line, (log_probability, caption)) in text.lines().zip(want) {
                let (number, got) = line.split_once("  ").unwrap();
                let number: f64 = number.trim().parse().unwrap();
                assert_eq!(got, caption, "{model} {image}");
                // printed with four decimals, and sums differ a little from adapter to adapter
                assert!(
                    (number - log_probability).abs() < 2e-3,
                    "{model} {image} {caption}: {number}, recorded {log_probability}"
                );
            }
        }
    }
}

#[test]
fn every_kind_of_earlier_configuration_is_upgraded() {
    let family = |model: &str| {
        let config = ModelConfig::load(&Path::new(&folder(model)).join("config.json")).unwrap();
        let again = ModelConfig::parse(config.to_json().as_bytes()).unwrap();
        assert_eq!(again, config, "{model}");
        config.family()
    };
    for model in expected().keys() {
        let want = if model.contains("emoji") || model.ends_with("-cosine") {
            "emoji"
        } else {
            "seemore"
        };
        assert_eq!(family(model), want, "{model}");
    }
}
