//! One captioned picture, decoded.

use std::path::PathBuf;

use crate::image::{Subject, normalise};

/// A picture at the model's input size, with its captions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Origin: `file.csv row 7` counted as in a spreadsheet (the header is row 1), followed by
    /// `(line 9)` where line numbers differ; `file.jsonl line 7`; `file.json image 391895`;
    /// `file.json entry 7`; `file.tar a/b.png`; or the path of the picture.
    pub id: String,
    /// Pixels `[side, side, 3]`; empty for text without pictures.
    pub rgb: Vec<u8>,
    /// Reference caption for training and exact match.
    pub caption: String,
    /// Further reference captions of the same picture.
    pub others: Vec<String>,
    /// Class label of the class loss: the depicted thing, without variants such as skin tone.
    pub concept: Option<String>,
    /// Whether the data set holds variants of this concept; set by
    /// [`Dataset::mark_variants`](super::Dataset::mark_variants).
    pub varies: bool,
    /// File of the picture, or its name in an archive; `None` for one that is embedded without a
    /// name.
    pub picture: Option<PathBuf>,
    /// Identifier of the picture in the file that it comes from, such as the `id` of COCO.
    pub image_id: Option<String>,
    /// Number of times that an epoch of training shows the picture, from the name of its folder.
    pub repeats: usize,
    /// Conversation about the picture; its first answer is `caption`. Empty for captions that answer
    /// no question of their own.
    pub turns: Vec<Turn>,
}

/// A question and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Question, without marks of the place of the picture.
    pub question: String,
    /// Answer.
    pub answer: String,
}

impl Sample {
    /// Creates a sample with one caption and no concept.
    pub fn new(id: impl Into<String>, rgb: Vec<u8>, caption: impl Into<String>) -> Sample {
        Sample {
            id: id.into(),
            rgb,
            caption: caption.into(),
            others: vec![],
            concept: None,
            varies: false,
            picture: None,
            image_id: None,
            repeats: 1,
            turns: vec![],
        }
    }

    /// Returns the model input `[3, side, side]`; see [`normalise`].
    pub fn normalised(&self) -> Vec<f32> {
        normalise(&self.rgb)
    }
}

impl<'a> From<&'a Sample> for Subject<'a> {
    fn from(sample: &'a Sample) -> Subject<'a> {
        Subject {
            rgb: &sample.rgb,
            caption: &sample.caption,
            varies: sample.varies,
        }
    }
}
