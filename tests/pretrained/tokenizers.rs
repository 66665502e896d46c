//! Token ids of pretrained models.

use std::path::Path;

use seemore::text::{Pretrained, SpecialIds, TextStream, Tokenizer};
use serde_json::Value;

use crate::golden::{self, Recorded};

/// Folders of the real tokenizers, which are not in the repository, and the templates that they
/// belong to.
const REAL: [(&str, &str); 2] = [
    ("smolvlm-tokenizer", "smolvlm"),
    ("smollm2-135m-instruct", "smollm2"),
];

pub fn load(dir: &Path) -> Tokenizer {
    Tokenizer::load_pretrained(&dir.join("tokenizer.json"), SpecialIds::default()).unwrap()
}

fn pretrained(tokenizer: &Tokenizer) -> &Pretrained {
    match tokenizer {
        Tokenizer::Pretrained(pretrained) => pretrained,
        _ => panic!("not a pretrained tokenizer"),
    }
}

/// Reads recorded ids.
fn ids(recorded: &Recorded, name: &str) -> Vec<u32> {
    let (_, ids) = recorded.tensor::<i32>(name);
    ids.into_iter()
        .map(|id| u32::try_from(id).unwrap())
        .collect()
}

/// Checks that text gives ids, and that the ids, all at once and one by one, give the text.
#[track_caller]
fn hold(tokenizer: &Tokenizer, text: &str, want: &[u32]) {
    assert_eq!(tokenizer.encode(text), want, "{text:?}");
    assert_eq!(pretrained(tokenizer).decode_with_special(want), text);
    streamed(tokenizer, want);
}

#[track_caller]
fn streamed(tokenizer: &Tokenizer, ids: &[u32]) {
    let mut stream = TextStream::new(tokenizer, &[]);
    let text: String = ids.iter().map(|&id| stream.push(id)).collect();
    assert_eq!(text + &stream.finish(), tokenizer.decode(ids));
}

#[test]
fn smolvlms_tokens_are_transformers_tokens() {
    golden::each("smolvlm_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let tokenizer = load(dir);
        let sample = golden::text(&reference["tok.sample_text"]);
        hold(&tokenizer, sample, &ids(&recorded, "tok.sample_ids"));
        assert_eq!(sample, golden::text(&reference["tok.sample_decoded"]));
        for (name, case) in reference["cases"].as_object().unwrap() {
            let prompt = golden::text(&case["expanded_prompt"]);
            hold(
                &tokenizer,
                prompt,
                &ids(&recorded, &format!("{name}.input_ids")),
            );
            let new = ids(&recorded, &format!("{name}.greedy_new_tokens"));
            let text = pretrained(&tokenizer).decode_with_special(&new);
            assert_eq!(text, golden::text(&case["generated_text"]), "{name}");
            streamed(&tokenizer, &new);
        }
        // the name of the configuration's image token
        let config = golden::json(dir.join("config.json"));
        let image = pretrained(&tokenizer).id("<image>").unwrap();
        assert_eq!(image as usize, golden::size(&config["image_token_id"]));
        1
    });
}

#[test]
fn nanovlms_tokens_are_recorded_tokens() {
    let cases = [
        ("nanovlm_tiny", &[""][..]),
        ("nanovlm_tiny/tiled", &["tiles.", "single."]),
    ];
    for (folder, names) in cases {
        golden::each(folder, |dir| {
            let reference = golden::json(dir.join("reference.json"));
            let recorded = Recorded::open(dir.join("reference.safetensors"));
            let tokenizer = load(dir);
            for name in names {
                let case = match *name {
                    "" => &reference["v0"],
                    name => &reference[name.trim_end_matches('.')],
                };
                let text = golden::text(&case["text"]);
                hold(
                    &tokenizer,
                    text,
                    &ids(&recorded, &format!("{name}input_ids")),
                );
                let new = ids(&recorded, &format!("{name}greedy_new_tokens"));
                assert_eq!(
                    tokenizer.decode(&new),
                    golden::text(&case["generated_text"])
                );
                streamed(&tokenizer, &new);
            }
            names.len()
        });
    }
}

#[test]
fn llamas_tokens_are_transformers_tokens() {
    golden::each("llama_tiny", |dir| {
        let reference = golden::json(dir.join("reference.json"));
        let recorded = Recorded::open(dir.join("reference.safetensors"));
        let tokenizer = load(dir);
        let texts = golden::list(&reference["texts"]);
        for (i, text) in texts.iter().enumerate() {
            let want = ids(&recorded, &format!("narrow.{i}.input_ids"));
            hold(&tokenizer, golden::text(text), &want);
        }
        texts.len()
    });
}

/// Rebuilds a tokenizer from the fields that a GGUF file has of it.
fn from_fields(file: &Value) -> Tokenizer {
    let vocabulary = file["model"]["vocab"].as_object().unwrap();
    let mut tokens: Vec<(usize, &String)> = vocabulary
        .iter()
        .map(|(token, id)| (golden::size(id), token))
        .collect();
    tokens.sort();
    let mut tokens: Vec<String> = tokens.into_iter().map(|(_, token)| token.clone()).collect();
    let mut types = vec![1; tokens.len()];
    for added in golden::list(&file["added_tokens"]) {
        let (id, token) = (golden::size(&added["id"]), golden::text(&added["content"]));
        if id == tokens.len() {
            tokens.push(token.to_owned());
            types.push(1);
        }
        assert_eq!(tokens[id], token);
        types[id] = 3;
    }
    let merge = |merge: &Value| match merge {
        Value::String(merge) => merge.clone(),
        pair => format!("{} {}", golden::text(&pair[0]), golden::text(&pair[1])),
    };
    let merges: Vec<String> = golden::list(&file["model"]["merges"])
        .iter()
        .map(merge)
        .collect();
    Tokenizer::from_bpe(&tokens, &merges, &types, "smollm", SpecialIds::default()).unwrap()
}

#[test]
fn the_fields_of_gguf_files_give_the_same_tokens() {
    let text =
        "Hello, World! In 2024 the king's 3 café cars.\n\n  two  spaces<|im_end|>\n日本🐕<image>";
    let same = |dir: &Path| {
        let file = golden::json(dir.join("tokenizer.json"));
        let (read, built) = (load(dir), from_fields(&file));
        assert_eq!(read.vocab_size(), built.vocab_size());
        let ids = read.encode(text);
        assert_eq!(built.encode(text), ids);
        assert_eq!(built.decode(&ids), read.decode(&ids));
        1
    };
    golden::each("llama_tiny", same);
    golden::each("smolvlm_tiny", same);
    for (folder, _) in REAL {
        golden::folders(folder)
            .iter()
            .for_each(|dir| assert_eq!(same(dir), 1));
    }
}

/// Returns the real tokenizer of a template, if one of the folders has it.
pub fn real(template: &str) -> Option<Tokenizer> {
    let (folder, _) = REAL.iter().find(|(_, of)| *of == template)?;
    golden::folders(folder).first().map(|folder| load(folder))
}

#[test]
fn recorded_texts_survive_tokens_and_real_tokens_are_the_recorded_ones() {
    let ids = |list: &Value| -> Vec<u32> {
        let ids = golden::list(list).iter().map(golden::size);
        ids.map(|id| id as u32).collect()
    };
    let tiny: Vec<Tokenizer> = golden::folders("smolvlm_tiny")
        .iter()
        .map(|dir| load(dir))
        .collect();
    let (smolvlm, smollm2) = (real("smolvlm"), real("smollm2"));
    golden::each("prompts", |dir| {
        let prompts = golden::json(dir.join("prompts.json"));
        let cases = golden::list(&prompts["tokenizer_cases"]);
        for case in cases {
            let text = golden::text(&case["text"]);
            assert_eq!(text, golden::text(&case["decoded"]));
            for tokenizer in &tiny {
                hold(tokenizer, text, &tokenizer.encode(text));
            }
            if let Some(tokenizer) = &smolvlm {
                hold(tokenizer, text, &ids(&case["ids"]));
            }
        }
        for case in golden::list(&prompts["template_cases"]) {
            let tokenizer = match golden::text(&case["template"]) {
                "smolvlm" => &smolvlm,
                "smollm2" => &smollm2,
                _ => &None,
            };
            if let Some(tokenizer) = tokenizer {
                hold(tokenizer, golden::text(&case["string"]), &ids(&case["ids"]));
            }
        }
        cases.len()
    });
}
