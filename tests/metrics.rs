//! Compares the metrics with values of pycocoevalcap, recorded by `tests/golden/captions.py`.

use std::sync::LazyLock;

use seemore::eval::metrics::{Case, Scores, bleu, cider_d, rouge_l, words};
use serde_json::Value;

static GOLDEN: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(&std::fs::read_to_string("tests/golden/captions.json").unwrap()).unwrap()
});

fn split(text: &Value) -> Vec<String> {
    text.as_str()
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// Returns the recorded corpora with their names.
fn corpora() -> impl Iterator<Item = (&'static str, &'static Value, Vec<Case>)> {
    GOLDEN["corpora"].as_array().unwrap().iter().map(|corpus| {
        let case = |case: &Value| Case {
            candidate: split(&case["candidate"]),
            references: case["references"]
                .as_array()
                .unwrap()
                .iter()
                .map(split)
                .collect(),
        };
        (
            corpus["name"].as_str().unwrap(),
            corpus,
            corpus["cases"]
                .as_array()
                .unwrap()
                .iter()
                .map(case)
                .collect(),
        )
    })
}

#[track_caller]
fn equal(what: &str, got: f64, want: &Value) {
    let want = want.as_f64().unwrap();
    assert!((got - want).abs() < 1e-6, "{what}: got {got}, want {want}");
}

#[test]
fn matches_pycocoevalcap() {
    let mut count = 0;
    for (name, corpus, cases) in corpora() {
        for (n, bleu) in bleu(&cases).into_iter().enumerate() {
            equal(&format!("{name}: BLEU-{}", n + 1), bleu, &corpus["bleu"][n]);
        }
        for ((case, cider), recorded) in cases
            .iter()
            .zip(cider_d(&cases))
            .zip(corpus["cases"].as_array().unwrap())
        {
            equal(
                &format!("{name}: ROUGE-L of {recorded}"),
                rouge_l(case),
                &recorded["rouge_l"],
            );
            equal(
                &format!("{name}: CIDEr-D of {recorded}"),
                cider,
                &recorded["cider_d"],
            );
        }
        let scores = Scores::new(&cases);
        equal(
            &format!("{name}: ROUGE-L"),
            scores.rouge_l,
            &corpus["rouge_l"],
        );
        equal(
            &format!("{name}: CIDEr-D"),
            scores.cider_d,
            &corpus["cider_d"],
        );
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn words_match_the_treebank_tokenizer() {
    for line in GOLDEN["tokens"].as_array().unwrap() {
        let text = line[0].as_str().unwrap();
        // PTBTokenizer keeps this apostrophe here, but not in "woman’s"
        let want: Vec<String> = split(&line[1])
            .iter()
            .map(|word| word.replace('’', "'"))
            .collect();
        assert_eq!(words(text), want, "{text}");
    }
}

#[test]
fn an_empty_data_set_scores_zero() {
    assert_eq!(Scores::new(&[]).cider_d, 0.0);
    assert!(bleu(&[]).iter().all(|bleu| bleu.is_finite()));
}
