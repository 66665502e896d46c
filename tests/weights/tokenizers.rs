//! The real tokenizers of SmolLM2 and SmolVLM.

use seemore::text::{Pretrained, SpecialIds, Tokenizer};
use serde_json::Value;

use crate::decoder::load_tokenizers;
use crate::{golden, recorded, weights};

const PROMPTS: &str = "tests/golden/hf/prompts/prompts.json";

fn pretrained(tokenizer: &Tokenizer) -> &Pretrained {
    match tokenizer {
        Tokenizer::Pretrained(pretrained) => pretrained,
        _ => panic!("not a pretrained tokenizer"),
    }
}

#[track_caller]
fn smolvlm() -> Tokenizer {
    let path = weights::path("smolvlm-tokenizer/tokenizer.json");
    Tokenizer::load_pretrained(&path, SpecialIds::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Checks that a text gives ids, and the ids the text.
#[track_caller]
fn hold(tokenizer: &Tokenizer, text: &str, ids: &[u32]) {
    assert_eq!(tokenizer.encode(text), ids, "{text:?}");
    assert_eq!(pretrained(tokenizer).decode_with_special(ids), text);
}

/// Recorded texts of a template with their ids.
fn of_template(prompts: &Value, template: &str) -> Vec<(String, Vec<u32>)> {
    let cases = golden::list(&prompts["template_cases"]).iter();
    let cases = cases.filter(|case| golden::text(&case["template"]) == template);
    let text = |case: &Value| {
        let string = golden::text(&case["string"]).to_owned();
        (string, recorded::ids(&case["ids"]))
    };
    cases.map(text).collect()
}

#[test]
fn smolvlms_texts_have_the_recorded_ids() {
    let prompts = golden::json(PROMPTS);
    let tokenizer = smolvlm();
    let cases = golden::list(&prompts["tokenizer_cases"]);
    for case in cases {
        let text = golden::text(&case["text"]);
        hold(&tokenizer, text, &recorded::ids(&case["ids"]));
        assert_eq!(text, golden::text(&case["decoded"]));
    }
    let chats = of_template(&prompts, "smolvlm");
    assert!(cases.len() >= 20 && chats.len() >= 8);
    for (text, ids) in chats {
        hold(&tokenizer, &text, &ids);
    }
}

#[test]
fn smolvlms_prompts_have_the_recorded_number_of_tokens() {
    let prompts = golden::json(PROMPTS);
    let tokenizer = smolvlm();
    let cases = golden::list(&prompts["smolvlm_prompts"]).iter();
    let cases = cases.chain([&prompts["smolvlm_two_images_unsplit"]]);
    let mut lengths = vec![];
    for case in cases {
        // written as `<image>*64`, and the ids as runs
        let string = golden::text(&case["string"]);
        let mut parts = string.split("<image>*");
        let mut text = parts.next().unwrap().to_owned();
        for part in parts {
            let digits = part.chars().take_while(char::is_ascii_digit).count();
            text += &"<image>".repeat(part[..digits].parse().unwrap());
            text += &part[digits..];
        }
        let runs = golden::list(&case["ids"]).iter();
        let ids: Vec<u32> = runs
            .flat_map(|run| vec![golden::size(&run[0]) as u32; golden::size(&run[1])])
            .collect();
        assert_eq!(ids.len(), golden::size(&case["tokens"]));
        hold(&tokenizer, &text, &ids);
        lengths.push(ids.len());
    }
    for known in [81, 214, 876, 1141] {
        assert!(lengths.contains(&known), "{lengths:?}");
    }
}

#[test]
fn smollm2s_files_give_the_same_ids() {
    let prompts = golden::json(PROMPTS);
    let [from_json, from_gguf] = load_tokenizers();
    assert_eq!(from_json.vocab_size(), from_gguf.vocab_size());
    let mut held = 0;
    let mut hold_both = |text: &str, ids: &[u32]| {
        hold(&from_json, text, ids);
        hold(&from_gguf, text, ids);
        held += 1;
    };
    for case in golden::list(&prompts["tokenizer_cases"]) {
        // SmolVLM's vocabulary is this one with more special tokens
        let ids = recorded::ids(&case["ids"]);
        if ids.iter().all(|&id| (id as usize) < from_json.vocab_size()) {
            hold_both(golden::text(&case["text"]), &ids);
        }
    }
    for (text, ids) in of_template(&prompts, "smollm2") {
        hold_both(&text, &ids);
    }
    for prompt in golden::list(&recorded::open("smollm2.json")["prompts"]) {
        hold_both(
            golden::text(&prompt["string"]),
            &recorded::ids(&prompt["ids"]),
        );
    }
    assert!(held >= 20, "only {held} texts held");
}

#[test]
fn smollm2s_files_have_the_same_vocabulary() {
    let [from_json, from_gguf] = load_tokenizers();
    let (from_json, from_gguf) = (pretrained(&from_json), pretrained(&from_gguf));
    for id in 0..from_json.vocab_size() as u32 {
        let text = from_json.decode_with_special(&[id]);
        assert_eq!(from_gguf.decode_with_special(&[id]), text, "token {id}");
    }
}
