//! Where a run's pictures and captions come from.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::formats::Layout;

/// Where training and validation data are read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Source {
    #[serde(deserialize_with = "one_or_more")]
    pub data: Vec<PathBuf>,
    #[serde(deserialize_with = "one_or_more")]
    pub val_data: Vec<PathBuf>,
    /// Share of `data` that is validated on, without `val_data`.
    pub val_split: f64,
    pub image_column: String,
    pub caption_column: String,
    /// Folder of the pictures that files name.
    #[serde(default)]
    pub images: Option<PathBuf>,
    /// Whether pictures of `data` may be among those of `val_data`.
    #[serde(default)]
    pub allow_overlap: bool,
}

impl Source {
    pub fn layout(&self) -> Layout {
        Layout {
            image_column: self.image_column.clone(),
            caption_column: self.caption_column.clone(),
            images: self.images.clone(),
        }
    }
}

/// Earlier checkpoints name one file, or none.
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
    fn the_one_file_of_earlier_checkpoints_is_read() {
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
