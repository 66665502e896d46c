//! Pictures and captions as the numbers that a step takes.

use crate::ops::IGNORE;
use crate::text::Tokenizer;

/// A caption as decoder inputs and, one position earlier, as targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Begin-of-text, then the caption.
    pub ids: Vec<u32>,
    /// The caption, then end-of-text.
    pub targets: Vec<u32>,
}

impl Text {
    /// Encodes a caption. A tokenizer without begin or end of text (as of an imported checkpoint) predicts each character
    /// from those before it, and the first is not a target.
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

    /// Positions it takes.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// What one run of a plan trains on or is measured by.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[batch, 3, side, side]`, normalised.
    pub images: Vec<f32>,
    /// `[batch, length]`, padded.
    pub ids: Vec<u32>,
    /// `[batch, length]`; [`IGNORE`] where nothing is to be predicted.
    pub targets: Vec<u32>,
    /// `[batch]`: the number of each picture's concept; [`IGNORE`] where there is none.
    pub classes: Vec<u32>,
}

impl Batch {
    /// Pads `texts` to `length`. Padding is a target only when `count_pads` (the original's way).
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
        }
    }

    /// Number of pictures with a concept.
    pub fn classified(&self) -> usize {
        self.classes
            .iter()
            .filter(|&&class| class != IGNORE)
            .count()
    }

    /// Number of tokens to predict.
    pub fn count(&self) -> usize {
        self.targets
            .iter()
            .filter(|&&target| target != IGNORE)
            .count()
    }
}
