//! Tokens with a meaning, found by their names.

use serde_json::{Map, Value, json};

use super::pretrained::{Pretrained, SpecialIds};

/// Names of tokens with a meaning, where a file does not tell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialNames {
    /// Padding.
    pub pad: Option<String>,
    /// End of a text.
    pub end: Option<String>,
}

/// Usual names of padding, the surest first: of T5 and Llama, BERT, later models.
const PAD: [&str; 7] = [
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|padding|>",
    "<|finetune_right_pad_id|>",
    "<PAD>",
    "<|PAD|>",
];
/// Usual names of the begin of a text.
const BEGIN: [&str; 7] = [
    "<s>",
    "[CLS]",
    "<bos>",
    "<|begin_of_text|>",
    "<|startoftext|>",
    "<|start_of_text|>",
    "[BOS]",
];
/// Usual names of the end of a text.
const END: [&str; 10] = [
    "</s>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "[SEP]",
    "<eos>",
    "[EOS]",
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
];
/// Usual names of unknown text.
const UNKNOWN: [&str; 4] = ["<unk>", "[UNK]", "<|unk|>", "<UNK>"];

impl SpecialNames {
    /// Whether no name is given.
    pub fn is_empty(&self) -> bool {
        *self == SpecialNames::default()
    }

    /// Finds the ids of a vocabulary: of the given names, of those in the `tokenizer_config.json`
    /// beside it, of the usual ones. End of text also stands for its begin and for padding where
    /// there is no other token for them, as in GPT-2.
    ///
    /// # Errors
    /// A given name that is no token.
    pub(super) fn ids(
        &self,
        vocabulary: &Pretrained,
        file: &Value,
        beside: Option<&Value>,
    ) -> Result<SpecialIds, String> {
        let given = |name: &Option<String>, what: &str| match name {
            Some(name) => match vocabulary.id(name) {
                Some(id) => Ok(Some(id)),
                None => Err(format!("it has no token {name:?} for {what}")),
            },
            None => Ok(None),
        };
        let configured = |key: &str| {
            let value = &beside?[key];
            vocabulary.id(value.as_str().or_else(|| value["content"].as_str())?)
        };
        let usual = |names: &[&str]| names.iter().find_map(|name| vocabulary.id(name));
        let end = given(&self.end, "the end of a text")?
            .or_else(|| configured("eos_token"))
            .or_else(|| usual(&END));
        let pad = given(&self.pad, "padding")?
            .or_else(|| configured("pad_token"))
            .or_else(|| usual(&PAD))
            .or(end);
        let begin = configured("bos_token")
            .or_else(|| configured("cls_token"))
            .or_else(|| usual(&BEGIN))
            .or(end);
        let unknown = file["model"]["unk_token"]
            .as_str()
            .and_then(|name| vocabulary.id(name))
            .or_else(|| configured("unk_token"))
            .or_else(|| usual(&UNKNOWN));
        Ok(SpecialIds {
            pad,
            begin,
            end,
            unknown,
        })
    }
}

/// Returns the content of a `tokenizer_config.json` with the names of ids; `None` if there are
/// none.
pub(super) fn config_json(vocabulary: &Pretrained) -> Option<String> {
    let SpecialIds {
        pad,
        begin,
        end,
        unknown,
    } = vocabulary.special();
    let known = [
        ("pad_token", pad),
        ("bos_token", begin),
        ("eos_token", end),
        ("unk_token", unknown),
    ];
    let name =
        |(key, id): (&str, Option<u32>)| Some((key.to_owned(), json!(vocabulary.token(id?)?)));
    let names: Map<String, Value> = known.into_iter().filter_map(name).collect();
    (!names.is_empty())
        .then(|| serde_json::to_string_pretty(&Value::Object(names)).expect("names are plain data"))
}

#[cfg(test)]
mod tests {
    use super::super::Tokenizer;
    use super::*;

    /// A vocabulary of words with added tokens, in the format of `model`.
    fn file(model: &str, added: &[&str]) -> String {
        let mut vocabulary: Vec<&str> = added.to_vec();
        vocabulary.extend(["a", "red", "square", "\u{2581}a", "\u{2581}red"]);
        let ids = vocabulary.iter().enumerate();
        let vocab: Value = match model {
            "Unigram" => vocabulary
                .iter()
                .map(|token| json!([token, -1.0]))
                .collect(),
            _ => Value::Object(
                ids.clone()
                    .map(|(id, token)| (token.to_string(), id.into()))
                    .collect(),
            ),
        };
        let tokens: Vec<Value> = added
            .iter()
            .enumerate()
            .map(|(id, token)| json!({"id": id, "content": token, "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}))
            .collect();
        let mut description = json!({"type": model, "vocab": vocab});
        match model {
            "BPE" => description["merges"] = json!([]),
            "Unigram" => description["unk_id"] = json!(2),
            _ => {
                description["unk_token"] = json!("[UNK]");
                description["continuing_subword_prefix"] = json!("##");
                description["max_input_chars_per_word"] = json!(100);
            }
        }
        json!({"version": "1.0", "added_tokens": tokens, "model": description, "pre_tokenizer": {"type": "WhitespaceSplit"}}).to_string()
    }

    #[test]
    fn usual_names_are_found_in_every_form() {
        let load = |text: &str, names: SpecialNames| Tokenizer::from_json_named(text, &names, None);
        let forms = [
            ("GPT-2", file("BPE", &["<|endoftext|>"]), [0, 0, 0]),
            (
                "SmolLM",
                file("BPE", &["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),
                [0, 0, 0],
            ),
            (
                "BERT",
                file("WordPiece", &["[PAD]", "[UNK]", "[CLS]", "[SEP]"]),
                [0, 2, 3],
            ),
            ("Llama", file("BPE", &["<unk>", "<s>", "</s>"]), [2, 1, 2]),
            (
                "Llama 3",
                file(
                    "BPE",
                    &[
                        "<|begin_of_text|>",
                        "<|end_of_text|>",
                        "<|finetune_right_pad_id|>",
                    ],
                ),
                [2, 0, 1],
            ),
            (
                "T5",
                file("Unigram", &["<pad>", "</s>", "<unk>"]),
                [0, 1, 1],
            ),
        ];
        for (name, text, [pad, begin, end]) in forms {
            let tokenizer = load(&text, SpecialNames::default())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            let found = (tokenizer.pad(), tokenizer.begin(), tokenizer.end());
            assert_eq!(found, (pad, Some(begin), Some(end)), "{name}");
            let ids = tokenizer.encode("a red square");
            assert!(!ids.is_empty() && !ids.contains(&end), "{name} {ids:?}");
        }
        let text = file("BPE", &["<|endoftext|>", "<mine>", "<stop>"]);
        let names = |pad: &str, end: &str| SpecialNames {
            pad: Some(pad.into()),
            end: Some(end.into()),
        };
        let tokenizer = load(&text, names("<mine>", "<stop>")).unwrap();
        assert_eq!((tokenizer.pad(), tokenizer.end()), (1, Some(2)));
        let error = load(&text, names("<yours>", "<stop>")).unwrap_err();
        assert!(
            error.contains("no token \"<yours>\" for padding"),
            "{error}"
        );
    }

    #[test]
    fn names_beside_the_file_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, file("BPE", &["<|endoftext|>", "<mine>"])).unwrap();
        let names = SpecialNames {
            pad: Some("<mine>".into()),
            end: None,
        };
        let tokenizer = Tokenizer::load_named(&path, &names).unwrap();
        let config = tokenizer.config_json().unwrap();
        assert!(config.contains("\"pad_token\": \"<mine>\""), "{config}");
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let again = Tokenizer::load(&path).unwrap();
        assert_eq!((again.pad(), again.end()), (1, Some(0)));
        // as `transformers` writes tokens
        let config = r#"{"pad_token": null, "eos_token": {"content": "<mine>", "lstrip": false}}"#;
        std::fs::write(dir.path().join("tokenizer_config.json"), config).unwrap();
        let again = Tokenizer::load(&path).unwrap();
        assert_eq!((again.pad(), again.end()), (1, Some(1)));
    }
}
