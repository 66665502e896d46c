//! Reasons that a caption cannot be written.

use crate::device::DeviceError;
use crate::hint::{Hint, Hinted};
use crate::models::checkpoint::CheckpointError;
use crate::models::{DialogueError, PromptError};

/// Why a caption cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptionError {
    /// The checkpoint cannot be loaded.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The device failed, or has too little memory.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The checkpoint folder has no tokenizer, without which tokens are no text.
    #[error("{0} has no tokenizer.json")]
    NoTokenizer(String),
    /// The tokenizer has no begin-of-text token and the prompt is empty, so there is nothing to
    /// continue.
    #[error("this model has no begin-of-text token, so a caption cannot start from nothing")]
    NoPrompt,
    /// The model cannot be asked this.
    #[error(transparent)]
    Dialogue(#[from] DialogueError),
    /// The model takes no pictures.
    #[error("this model takes text only: choose one with an image encoder")]
    TextOnly,
    /// The captions of a pretrained model are measured by
    /// [`Evaluation::of_answers`](crate::eval::Evaluation::of_answers).
    #[error("captions of pretrained models are measured as answers to a question")]
    NotMeasured,
    /// The model is a GGUF language model that was loaded without its image encoder.
    #[error(
        "{path} is a language model without its image encoder, so it takes text only: put the model's mmproj file beside it"
    )]
    NoEncoder {
        /// File of the language model.
        path: String,
    },
    /// The model takes exactly one picture at a time.
    #[error("this model answers about one picture at a time, and {have} were given")]
    OnePicture {
        /// Number of pictures.
        have: usize,
    },
    /// A prepared picture does not fit the model.
    #[error("the picture was prepared for another model: prepare it with this model's session")]
    OtherModel,
    /// The text of a prompt contains the token that marks the places of pictures.
    #[error(
        "the prompt has places for {places} rows of pictures, and the pictures have {rows}: leave the model's image token out of the text"
    )]
    Places {
        /// Number of places in the prompt.
        places: usize,
        /// Number of rows of the pictures.
        rows: usize,
    },
    /// The attention maps of a text are too large.
    #[error(
        "the attention of all layers over {positions} positions takes {gigabytes:.1} GB: show the picture in fewer tiles"
    )]
    AttentionTooLarge {
        /// Number of positions of the decoder.
        positions: usize,
        /// Size of all maps, in gigabytes.
        gigabytes: f64,
    },
    /// The prompt does not fit into the model's context.
    #[error("{}", too_long(*have, *images, *room))]
    PromptTooLong {
        /// Number of positions that the prompt takes.
        have: usize,
        /// Number of them that pictures take.
        images: usize,
        /// Number of text positions in the model's context.
        room: usize,
    },
    /// The perplexity of an evaluation is no number.
    #[error(
        "the perplexity is {perplexity}: the model diverged in training, or its weights are damaged"
    )]
    NotFinite {
        /// The perplexity.
        perplexity: f64,
    },
    /// The work was cancelled.
    #[error("cancelled")]
    Cancelled,
}

fn too_long(have: usize, images: usize, room: usize) -> String {
    let advice = match fewer_tiles_help(have, images, room) {
        true => "show pictures in fewer tiles, or shorten the prompt",
        false => "shorten the prompt",
    };
    let of_pictures = match images {
        0 => String::new(),
        images => format!(", {images} of them for pictures,"),
    };
    format!(
        "the prompt takes {have} positions{of_pictures} and the model has room for {room}: {advice}"
    )
}

/// Whether a prompt would fit if its pictures took less.
fn fewer_tiles_help(have: usize, images: usize, room: usize) -> bool {
    have - images < room
}

impl Hinted for CaptionError {
    fn hint(&self) -> Option<Hint> {
        match self {
            CaptionError::NoTokenizer(_) => Some(Hint::AddTokenizer),
            CaptionError::NoPrompt => Some(Hint::GivePrompt),
            CaptionError::NoEncoder { .. } => Some(Hint::NameEncoder),
            CaptionError::Dialogue(DialogueError::Prompt(PromptError::NoTile { .. })) => {
                Some(Hint::FewerTiles)
            }
            CaptionError::AttentionTooLarge { .. } => Some(Hint::FewerTiles),
            &CaptionError::PromptTooLong { have, images, room }
                if fewer_tiles_help(have, images, room) =>
            {
                Some(Hint::FewerTiles)
            }
            CaptionError::Checkpoint(error) => error.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_tiles_are_advised_where_the_text_alone_fits() {
        for (have, images, helps) in [(9000, 1088, true), (9000, 64, false), (9000, 0, false)] {
            let room = 8192;
            let error = CaptionError::PromptTooLong { have, images, room };
            assert_eq!(error.hint().is_some(), helps, "{error}");
            assert_eq!(error.to_string().contains("tiles"), helps, "{error}");
            assert!(error.to_string().ends_with("shorten the prompt"), "{error}");
        }
    }
}
