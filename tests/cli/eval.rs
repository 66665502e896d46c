//! `seemore eval`: captions of an evaluation as data, and captions made elsewhere.

use super::*;

#[test]
fn captions_are_written_and_scored_again() {
    let dir = tempfile::tempdir().unwrap();
    tiny_model(dir.path());
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = seemore(
            dir.path(),
            &[&["eval", "--data", "squares", "--json"], arguments].concat(),
        );
        serde_json::from_str(&succeeds(&output)).unwrap()
    };
    let lines = json(&["--model", "model", "--predictions", "p.jsonl"]);
    json(&["--model", "model", "--predictions", "results.json"]);
    let text = std::fs::read_to_string(dir.path().join("p.jsonl")).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (text.lines().count(), &first["references"][0]),
        (16, &"blue".into())
    );
    let results: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(dir.path().join("results.json")).unwrap())
            .unwrap();
    assert_eq!(
        (results.as_array().unwrap().len(), &results[0]["image_id"]),
        (16, &"blue0.png".into())
    );
    for file in ["p.jsonl", "results.json"] {
        let again = json(&["--from", file]);
        for score in ["n", "exact_match", "word_f1", "bleu1", "rouge_l", "cider_d"] {
            assert_eq!(again[score], lines[score], "{file} {score}");
        }
    }
    let eval = |arguments: &[&str]| {
        seemore(
            dir.path(),
            &[&["eval", "--data", "squares"], arguments].concat(),
        )
    };
    assert!(succeeds(&eval(&["--from", "p.jsonl", "--limit", "3"])).contains("exact match"));
    fails(
        &eval(&["--model", "model", "--predictions", "p.jsonl"]),
        1,
        &["p.jsonl is already there", "--overwrite"],
    );
    std::fs::write(dir.path().join("few.jsonl"), text.lines().next().unwrap()).unwrap();
    fails(
        &eval(&["--from", "few.jsonl"]),
        1,
        &["no caption for 15 of 16 pictures"],
    );
    fails(
        &eval(&["--from", "p.jsonl", "--model", "model"]),
        2,
        &["--from", "--model"],
    );
}
