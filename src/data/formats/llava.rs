//! Lists of conversations as LLaVA (Liu et al. 2023, arXiv:2304.08485) and most trainers after it
//! take them. The first answer is the caption.

use std::path::Path;

use serde_json::{Value, json};

use super::super::error::DataError;
use super::super::record::Record;
use super::{Definition, picture_names, save};

pub const DEFINITION: Definition = Definition {
    name: "llava",
    description: "conversations of LLaVA",
    // any list of entries may hold conversations
    detect: |_| false,
    read: super::json::DEFINITION.read,
    write: Some(write),
};

/// Question to which the caption is the answer.
const QUESTION: &str = "Describe the picture.";

fn write(path: &Path, records: &[Record]) -> Result<Vec<String>, DataError> {
    let names = picture_names(path, records)?;
    let mut list = vec![];
    for (name, record) in names.iter().zip(records) {
        let mut add = |turns: Vec<[String; 2]>| {
            let turns = turns
                .into_iter()
                .enumerate()
                .flat_map(|(number, [question, answer])| {
                    let mark = if number == 0 { "<image>\n" } else { "" };
                    [
                        json!({"from": "human", "value": format!("{mark}{question}")}),
                        json!({"from": "gpt", "value": answer}),
                    ]
                });
            list.push(json!({
                "id": list.len().to_string(),
                "image": name,
                "conversations": turns.collect::<Vec<_>>(),
            }));
        };
        if record.turns.is_empty() {
            for caption in record.captions() {
                add(vec![[QUESTION.to_owned(), caption.to_owned()]]);
            }
        } else {
            let turns = record.turns.iter();
            add(turns
                .map(|turn| [turn.question.clone(), turn.answer.clone()])
                .collect());
        }
    }
    let bytes =
        serde_json::to_vec_pretty(&Value::Array(list)).expect("names and captions are plain data");
    save(path, &bytes)?;
    Ok(super::without_concepts(records))
}
