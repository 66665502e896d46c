//! Batches: pictures and captions as the inputs of a step.

use crate::ops::IGNORE;
use crate::text::Tokenizer;

/// A caption as decoder inputs and, one position earlier, as targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Decoder inputs: begin-of-text, then the caption.
    pub ids: Vec<u32>,
    /// Targets: the caption, then end-of-text.
    pub targets: Vec<u32>,
}

impl Text {
    /// Encodes a caption. With a tokenizer that has no begin or end of text, as of an imported
    /// checkpoint, each character is predicted from those before it, and the first is not a target.
    pub fn new(tokenizer: &Tokenizer, caption: &str) -> Text {
        let text = tokenizer.encode(caption);
        let all: Vec<u32> = tokenizer
            .begin()
            .into_iter()
            .chain(text)
            .chain(tokenizer.end())
            .collect();
        match all.split_last() {
            Some((_, ids)) => Text {
                ids: ids.to_vec(),
                targets: all[1..].to_vec(),
            },
            None => Text {
                ids: vec![],
                targets: vec![],
            },
        }
    }

    /// Returns the number of positions.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are no positions.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// Inputs of one run of a recorded pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Pictures: `[batch, 3, side, side]`, normalized. For answers about pictures, the tiles of all
    /// of them, or their encoder rows.
    pub images: Vec<f32>,
    /// Decoder inputs: `[batch, length]`, padded.
    pub ids: Vec<u32>,
    /// Targets: `[batch, length]`; [`IGNORE`] where nothing is to be predicted. For answers, those of
    /// the answers' tokens alone, one after the other.
    pub targets: Vec<u32>,
    /// Number of each picture's concept: `[batch]`; [`IGNORE`] where there is none.
    pub classes: Vec<u32>,
    /// Where pictures and answers stand in the texts, for pretrained models.
    pub answers: Option<AnswerPlaces>,
}

/// Where the rows of pictures and the tokens of answers stand in the texts of a batch. Indices count
/// over all rows of the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AnswerPlaces {
    /// Position in `ids` that each row of the pictures takes, in the order of the tiles; empty for
    /// models whose pictures stand in front of the text.
    pub pictures: Vec<u32>,
    /// Position of the decoder that predicts each target, pictures in front included.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Pads `texts` to `length` positions. Padding is a target only if `count_pads`, as in the
    /// original.
    pub fn new(
        images: Vec<f32>,
        texts: &[&Text],
        length: usize,
        pad: u32,
        count_pads: bool,
    ) -> Batch {
        let target_pad = if count_pads { pad } else { IGNORE };
        let padded = |tokens: &[u32], pad| {
            tokens
                .iter()
                .copied()
                .chain(std::iter::repeat(pad))
                .take(length)
                .collect::<Vec<_>>()
        };
        Batch {
            images,
            ids: texts
                .iter()
                .flat_map(|text| padded(&text.ids, pad))
                .collect(),
            targets: texts
                .iter()
                .flat_map(|text| padded(&text.targets, target_pad))
                .collect(),
            classes: vec![IGNORE; texts.len()],
            answers: None,
        }
    }

    /// Returns the number of pictures with a concept.
    pub fn classified(&self) -> usize {
        self.classes
            .iter()
            .filter(|&&class| class != IGNORE)
            .count()
    }

    /// Returns the number of tokens to predict.
    pub fn count(&self) -> usize {
        self.targets
            .iter()
            .filter(|&&target| target != IGNORE)
            .count()
    }
}
