//! Class head: names the concept of an image, which teaches the encoder before the decoder can.

use super::Config;
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::nn::{Context, CosineHead, EMBEDDING_STD, Init, Parameters, Role};

/// Factor on the logits before they become a guess. The most probable concept stands out, so that
/// the words of two do not mix.
const GUESS_SHARPNESS: f32 = 4.0;

/// Scores concepts by their cosine with the image vector, and turns the scores into an embedding
/// for the decoder.
pub(super) struct ClassHead {
    head: CosineHead,
    /// Embeddings of the concepts, `[classes, decoder width]`.
    words: Option<Tensor>,
}

impl ClassHead {
    pub(super) fn new(p: &mut Parameters, config: &Config) -> Result<ClassHead, DeviceError> {
        let classes = config.class_head.classes;
        p.scope("class", |p| {
            let head = p.with_role(Role::CLASS_HEAD, |p| {
                CosineHead::new(p, classes, config.vision.width)
            })?;
            let init = Init::Normal(EMBEDDING_STD);
            let words = config.guesses().then(|| {
                p.with_role(Role::CONDITIONING, |p| {
                    p.create("words", &[classes, config.text.width], init)
                })
            });
            Ok(ClassHead {
                head,
                words: words.transpose()?,
            })
        })
    }

    /// Maps the image vector `[batch, 1, width]` to logits `[batch, classes]`.
    pub(super) fn forward(&self, c: &mut Context, vector: Var) -> Var {
        self.head.forward(c, vector)
    }

    /// Returns the mean of the concepts' embeddings, weighted by their probabilities: `logits:
    /// [batch, classes]` to `[batch, 1, decoder width]`. `None` if the decoder is not given a
    /// guess.
    ///
    /// The decoder's gradient reaches the embeddings, not the probabilities.
    pub(super) fn guess(&self, c: &mut Context, logits: Var) -> Option<Var> {
        let words = self.words.as_ref()?;
        let (batch, width) = (c.tape.shape(logits)[0], words.shape()[1]);
        let logits = if c.training {
            c.tape.detach(logits, GUESS_SHARPNESS)
        } else {
            c.tape.scale(logits, GUESS_SHARPNESS)
        };
        let probabilities = c.tape.softmax(logits);
        let words = c.parameter(words);
        let guess = c.tape.matmul(probabilities, words);
        Some(c.tape.view(guess, &[batch, 1, width]))
    }

    /// Rows of the concepts: `[classes, width]`.
    pub(super) fn weight(&self) -> &Tensor {
        self.head.weight()
    }

    /// Embeddings of the concepts: `[classes, decoder width]`.
    pub(super) fn words(&self) -> Option<&Tensor> {
        self.words.as_ref()
    }
}
