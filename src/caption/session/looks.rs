//! Where the model of a session looks.

use super::{ExplainSpec, Input, ModelInput, Session};
use crate::caption::CaptionError;
use crate::caption::passes::{AttentionPass, RelevancePass, length_bucket, places_of};
use crate::device::DeviceError;
use crate::explain::{AttentionMap, AttentionMaps, RowLayout, token_heat};
use crate::image::Picture;
use crate::models::ImageTokens;

/// Largest size of all attention maps of a text, in bytes.
const MAX_MAPS: usize = 1 << 30;

/// How the heat of tokens is read from attention maps.
pub(super) struct Looks {
    /// Whether the decoder takes in the encoder's CLS row.
    cls: bool,
    /// Rows of the image encoder, or decoder positions, that show the picture.
    keys: Vec<usize>,
    /// Where they lie on the picture, unless they are its patches row by row.
    layout: Option<RowLayout>,
}

impl Looks {
    /// Share of attention on each patch when a token was chosen: of the encoder's last CLS row, or
    /// of row `query` of the decoder's last layer. `encoder` are the maps of the prefill, `decoder`
    /// those of the pass that chose the token.
    pub(super) fn heat(
        &self,
        encoder: &[AttentionMap],
        decoder: &[AttentionMap],
        query: usize,
    ) -> Vec<f32> {
        let (last, query) = match self.cls {
            true => (encoder.iter().rfind(|map| map.is_encoder()), 0),
            false => (decoder.iter().rfind(|map| !map.is_encoder()), query),
        };
        let Some(last) = last else {
            return vec![];
        };
        let shares = token_heat(last, query, self.keys.iter().copied());
        match &self.layout {
            Some(layout) => layout.spread(&shares),
            None => shares,
        }
    }
}

impl Session {
    /// Whether the model has attention to show. Models that read a CLS token need encoder blocks
    /// for it.
    pub fn has_heat(&self) -> bool {
        let info = self.info();
        match info.image_tokens {
            ImageTokens::Cls => info.encoder.is_some_and(|stack| stack.layers > 0),
            ImageTokens::None => false,
            _ => true,
        }
    }

    /// The part of a picture that the model sees, at its own size; heat lies over it.
    pub fn visible_part(&self, picture: &Picture) -> Picture {
        self.info().preprocess.shown(picture).into_owned()
    }

    /// Returns how the heat of the tokens after a prompt about pictures is read; `None` for several
    /// pictures or none.
    pub(super) fn looks(
        &self,
        inputs: &[&ModelInput],
        prompt: &[u32],
    ) -> Result<Option<Looks>, CaptionError> {
        let (info, [input]) = (self.info(), inputs) else {
            return Ok(None);
        };
        let cls = info.image_tokens == ImageTokens::Cls;
        Ok(Some(Looks {
            cls,
            keys: match info.placeholder {
                Some(placeholder) => places_of(prompt, placeholder.token).collect(),
                None if info.encodes_apart() => (0..info.visual_tokens).collect(),
                // the CLS row attends to itself first, then to the patches; the visual tokens come
                // first among the keys of the decoder
                None => (cls as usize..cls as usize + info.patches()).collect(),
            },
            layout: self.layout(input)?,
        }))
    }

    /// Returns where the rows of a picture lie on it; `None` for models that take it in as a whole.
    /// Rows of the whole picture lie where the patches are that speak for its name.
    fn layout(&self, input: &ModelInput) -> Result<Option<RowLayout>, CaptionError> {
        let info = self.info();
        Ok(match (&input.0, info.image_tokens) {
            (Input::Tiles(tiled), ImageTokens::Squares { factor }) => {
                let layout = RowLayout::new(tiled, info.grid() / factor, info.whole_rows);
                Some(layout.with_whole(self.name_relevance(input)?))
            }
            _ => None,
        })
    }

    /// Returns the attention of every layer over a picture, a prompt and the tokens that were
    /// written after it; and the [relevance](RelevancePass) of each patch to each token, which
    /// models without an image encoder do not have. Of models that [encode pictures
    /// apart](crate::models::ModelInfo::encodes_apart) they are the attention of every decoder layer
    /// and the relevance of the encoded rows, spread over the picture as
    /// [`AttentionMaps::layout`] says. The relevance of a token costs a pass over the text and back.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with); and maps of more than a gigabyte.
    pub fn attention(
        &self,
        picture: &Picture,
        prompt: &str,
        tokens: &[u32],
    ) -> Result<(AttentionMaps, Vec<Vec<f32>>), CaptionError> {
        let input = self.input(picture)?;
        let prompt = self.prompt(prompt, Some(&input))?;
        let limit = self.room() - prompt.len() + 1;
        let tokens = &tokens[..limit.min(tokens.len())];
        let text: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        // the last token was chosen, but attended to nothing
        let spec = ExplainSpec {
            length: (text.len() - 1).max(prompt.len()),
            image_rows: self.places(&prompt),
        };
        self.check_maps(spec)?;
        let image = self.image_values(&input)?;
        let (device, model) = (&self.0.device, &self.0.model);
        let maps = self.0.attention.with(
            |recorded| recorded.serves(spec),
            || {
                let spec = self.rounded(spec);
                let pass = AttentionPass::new(device, model, spec.length, spec.image_rows)?;
                Ok::<_, DeviceError>((spec, pass))
            },
            |pass| pass.run(&image, &text[..spec.length]),
        )?;
        let maps = AttentionMaps {
            layout: self.layout(&input)?,
            ..maps
        };
        if self.info().encoder.is_none() {
            return Ok((maps, vec![]));
        }
        let relevance: Vec<Vec<f32>> = self.relevance(spec, |pass| {
            let of = |(index, &token): (usize, &u32)| {
                pass.run(&image, &text[..prompt.len() + index], token)
            };
            tokens.iter().enumerate().map(of).collect()
        })?;
        let relevance = match &maps.layout {
            Some(layout) => relevance.iter().map(|row| layout.spread(row)).collect(),
            None => relevance,
        };
        Ok((maps, relevance))
    }

    /// Runs `run` with a recorded pass for texts of these sizes.
    pub(super) fn relevance<R>(
        &self,
        spec: ExplainSpec,
        run: impl FnOnce(&mut RelevancePass) -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        let (device, model) = (&self.0.device, &self.0.model);
        self.0.relevance.with(
            |recorded| recorded.serves(spec),
            || {
                let spec = self.rounded(spec);
                let pass = RelevancePass::new(device, model, spec.length, spec.image_rows)?;
                Ok::<_, DeviceError>((spec, pass))
            },
            run,
        )
    }

    /// Sizes to record a pass for, so that it serves other texts, too.
    fn rounded(&self, spec: ExplainSpec) -> ExplainSpec {
        ExplainSpec {
            length: length_bucket(spec.length, self.room()),
            ..spec
        }
    }

    /// Checks that the maps of a text are not too large. Those of models trained here never are.
    fn check_maps(&self, spec: ExplainSpec) -> Result<(), CaptionError> {
        let info = self.info();
        let positions = info.visual_tokens + self.rounded(spec).length;
        let maps = info.decoder.layers * info.decoder.heads;
        let bytes = positions.saturating_mul(positions).saturating_mul(4 * maps);
        match info.encodes_apart() && bytes > MAX_MAPS {
            true => Err(CaptionError::AttentionTooLarge {
                positions,
                gigabytes: bytes as f64 / 1e9,
            }),
            false => Ok(()),
        }
    }
}

impl ExplainSpec {
    /// Whether a pass of these sizes serves a text of others.
    fn serves(self, wanted: ExplainSpec) -> bool {
        self.length >= wanted.length && self.image_rows == wanted.image_rows
    }
}
