//! Description of a run's training and validation data.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

/// Files of training and validation data, and how to read them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Files and folders of training data.
    #[serde(deserialize_with = "one_or_more")]
    pub data: Vec<PathBuf>,
    /// Files and folders of validation data; empty to split validation data off `data`.
    #[serde(deserialize_with = "one_or_more")]
    pub val_data: Vec<PathBuf>,
    /// Share of `data` used for validation if `val_data` is empty.
    pub val_split: f64,
    /// CSV column with base64 pictures.
    pub image_column: String,
    /// CSV column with captions.
    pub caption_column: String,
    /// Folder of the pictures that files name; `None` for each file's own folder.
    #[serde(default)]
    pub images: Option<PathBuf>,
    /// Whether pictures of `val_data` may also be in `data`.
    #[serde(default)]
    pub allow_overlap: bool,
}

/// Reads a list of paths, or the single path or `null` of earlier checkpoints.
fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Paths {
        More(Vec<PathBuf>),
        One(Option<PathBuf>),
    }
    Ok(match Paths::deserialize(from)? {
        Paths::More(paths) => paths,
        Paths::One(path) => path.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_single_path_of_earlier_checkpoints() {
        let earlier = |val: &str| {
            format!(
                r#"{{"data": "a.csv", "val_data": {val}, "val_split": 0.1, "image_column": "i", "caption_column": "c"}}"#
            )
        };
        let source: Source = serde_json::from_str(&earlier("null")).unwrap();
        assert_eq!(
            (source.data.clone(), source.val_data.clone()),
            (vec!["a.csv".into()], vec![])
        );
        assert_eq!(
            serde_json::from_str::<Source>(&earlier("\"b.csv\""))
                .unwrap()
                .val_data,
            [PathBuf::from("b.csv")]
        );
        let several = Source {
            data: vec!["a.csv".into(), "c.json".into()],
            allow_overlap: true,
            ..source
        };
        assert_eq!(
            serde_json::from_str::<Source>(&serde_json::to_string(&several).unwrap()).unwrap(),
            several
        );
    }
}
