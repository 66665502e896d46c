//! Captions of pictures by a loaded model.

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use super::passes::{
    AttentionPass, Decoding, DecodingSpec, Pool, RelevancePass, batch_bucket, capacity_bucket,
    length_bucket, text_bucket,
};
use super::search::{self, Hypothesis, Wanted};
use super::{Cancel, CaptionError, Choice, Sampler, Sampling, ranked};
use crate::device::{Device, DeviceError, Plan, Tensor};
use crate::explain::heatmap::Panel;
use crate::explain::{AttentionMap, AttentionMaps, token_heat};
use crate::image::Picture;
use crate::models::checkpoint;
use crate::models::{ImageTokens, Model, ModelInfo};
use crate::text::{TextStream, Tokenizer};

/// Number of alternatives kept beside each token of a streamed caption.
pub const ALTERNATIVES: usize = 5;

/// How a caption is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Text that the caption starts with.
    pub prompt: String,
    /// Maximum number of tokens to write; the model's context limits it, too.
    pub max_tokens: usize,
    /// How the next token is chosen. Ignored with a beam.
    pub sampling: Sampling,
    /// Number of hypotheses kept while a caption is written, of which the likeliest is returned; 1
    /// for none beside it. Streams have no beam.
    pub beam: usize,
    /// Exponent of the length normalization that ranks hypotheses, see
    /// [`SearchOptions`](super::SearchOptions::length_power).
    pub length_power: f64,
    /// Maximum number of pictures on the device at once.
    pub batch_size: usize,
    /// Whether the tokens of a stream come with [`CaptionToken::heat`].
    pub heat: bool,
}

impl Default for CaptionOptions {
    fn default() -> CaptionOptions {
        CaptionOptions {
            prompt: String::new(),
            max_tokens: 64,
            sampling: Sampling::GREEDY,
            beam: 1,
            length_power: 0.0,
            batch_size: 16,
            heat: false,
        }
    }
}

/// A whole caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Text that follows the prompt.
    pub text: String,
    /// Token ids after the prompt, without the end token.
    pub tokens: Vec<u32>,
    /// Natural logarithm of the caption's probability given the picture and the prompt, the end
    /// token included if the caption ended with one.
    pub log_probability: f64,
}

/// A token of a streamed caption.
#[derive(Debug, Clone)]
pub struct CaptionToken {
    /// The token and its probability.
    pub choice: Choice,
    /// Text that the token adds to the caption, see [`TextStream::push`].
    pub text: String,
    /// The likeliest other tokens, at most [`ALTERNATIVES`], with their probabilities.
    pub others: Vec<(String, f32)>,
    /// Share of attention on each patch, row by row over the picture; empty unless asked for. It is
    /// the attention of the image encoder's last CLS row, or of the token's position in the
    /// decoder's last layer, as a mean over heads, and sums to at most 1; for pooled visual tokens
    /// it is the [relevance](RelevancePass) of the patches.
    pub heat: Vec<f32>,
}

impl CaptionToken {
    /// The token as a panel of a heat map picture.
    pub fn panel(&self) -> Panel<'_> {
        Panel {
            text: &self.text,
            probability: self.choice.probability,
            heat: &self.heat,
        }
    }
}

/// A picture as a model takes it in: cropped and resized. Smaller than most pictures, so that many
/// fit into memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInput(Picture);

impl ModelInput {
    /// `[3, side, side]`, normalised.
    fn values(&self) -> Vec<f32> {
        self.0.normalised()
    }
}

/// A loaded model that writes captions.
///
/// Clones are cheap, share the model and its recorded passes, and may be used from several threads
/// at once.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    device: Device,
    model: Model,
    tokenizer: Tokenizer,
    decodings: Pool<DecodingSpec, Decoding>,
    /// By the longest text.
    attention: Pool<usize, AttentionPass>,
    relevance: Pool<usize, RelevancePass>,
}

impl Session {
    /// Number of recorded passes of each kind that are kept for later captions.
    const KEPT: usize = 4;

    /// A session that captions with `model`, whose parameters are on `device`.
    pub fn new(device: &Device, model: Model, tokenizer: Tokenizer) -> Session {
        Session(Arc::new(Inner {
            device: device.clone(),
            model,
            tokenizer,
            decodings: Pool::new(Self::KEPT),
            attention: Pool::new(1),
            relevance: Pool::new(1),
        }))
    }

    /// Loads a checkpoint folder.
    ///
    /// # Errors
    /// A folder that is no checkpoint, a checkpoint without a tokenizer, or insufficient device
    /// memory.
    pub fn load(device: &Device, folder: impl AsRef<Path>) -> Result<Session, CaptionError> {
        let folder = folder.as_ref();
        let (model, tokenizer) = checkpoint::load(device, folder)?;
        let tokenizer =
            tokenizer.ok_or_else(|| CaptionError::NoTokenizer(folder.display().to_string()))?;
        Ok(Session::new(device, model, tokenizer))
    }

    /// The device that the model runs on.
    pub fn device(&self) -> &Device {
        &self.0.device
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// Properties of the model.
    pub fn info(&self) -> &ModelInfo {
        self.0.model.info()
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.0.tokenizer
    }

    /// Number of parameters of the model.
    pub fn parameter_count(&self) -> usize {
        self.0.model.parameter_count()
    }

    /// All parameters by name.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        self.0.model.parameters()
    }

    /// Number of text positions in the model's context.
    pub fn room(&self) -> usize {
        self.0.model.room()
    }

    /// Whether the model has attention to show. Models that read a CLS token need encoder blocks
    /// for it.
    pub fn has_heat(&self) -> bool {
        let info = self.info();
        info.image_tokens != ImageTokens::Cls || info.encoder.is_some_and(|stack| stack.layers > 0)
    }

    /// The part of a picture that the model sees, at its own size; heat lies over it.
    pub fn visible_part(&self, picture: &Picture) -> Picture {
        self.info().preprocess.shown(picture)
    }

    /// Preprocesses a picture for [`captions_of`](Self::captions_of).
    pub fn input(&self, picture: &Picture) -> ModelInput {
        ModelInput(picture.framed(self.info().preprocess))
    }

    /// Writes the likeliest caption of a picture, token by token, with the default options.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn caption(&self, picture: &Picture) -> Result<Caption, CaptionError> {
        self.caption_with(picture, &CaptionOptions::default())
    }

    /// Writes the caption of a picture.
    ///
    /// # Errors
    /// A prompt that is missing or too long for the model, or a failed device.
    pub fn caption_with(
        &self,
        picture: &Picture,
        options: &CaptionOptions,
    ) -> Result<Caption, CaptionError> {
        let mut found = self.captions(std::slice::from_ref(picture), options)?;
        Ok(found.remove(0))
    }

    /// Writes the captions of many pictures, [`batch_size`](CaptionOptions::batch_size) at a time.
    /// Sampling draws picture `i` with the seed plus `i`.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn captions(
        &self,
        pictures: &[Picture],
        options: &CaptionOptions,
    ) -> Result<Vec<Caption>, CaptionError> {
        let inputs: Vec<ModelInput> = pictures.iter().map(|picture| self.input(picture)).collect();
        let prompts = vec![options.prompt.as_str(); inputs.len()];
        self.captions_of(&inputs, &prompts, options, &Cancel::new())
    }

    /// Writes the captions of preprocessed pictures, each after a prompt of its own, unless another
    /// thread cancels it. The prompts replace that of the options.
    ///
    /// # Errors
    /// As [`caption_with`](Self::caption_with), and [`CaptionError::Cancelled`].
    ///
    /// # Panics
    /// With another number of prompts than pictures.
    pub fn captions_of(
        &self,
        inputs: &[ModelInput],
        prompts: &[&str],
        options: &CaptionOptions,
        cancel: &Cancel,
    ) -> Result<Vec<Caption>, CaptionError> {
        assert_eq!(inputs.len(), prompts.len(), "one prompt for each picture");
        let prompts = prompts
            .iter()
            .map(|prompt| self.prompt(prompt))
            .collect::<Result<Vec<_>, _>>()?;
        let mut captions = vec![];
        let image = |index: usize| inputs[index].values();
        self.search(&image, &prompts, options, cancel, &mut |range, found| {
            for (index, mut hypotheses) in range.zip(found) {
                captions.push(self.decoded(&prompts[index], hypotheses.swap_remove(0)));
            }
        })?;
        Ok(captions)
    }

    /// Writes the captions that a beam search finds, the best first: [`beam`](CaptionOptions::beam)
    /// of them, unless there are fewer texts.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn n_best(
        &self,
        picture: &Picture,
        options: &CaptionOptions,
    ) -> Result<Vec<Caption>, CaptionError> {
        let prompts = [self.prompt(&options.prompt)?];
        let mut captions = vec![];
        let image = |_| self.input(picture).values();
        self.search(
            &image,
            &prompts,
            options,
            &Cancel::new(),
            &mut |_, found| {
                let found = found.into_iter().flatten();
                captions.extend(found.map(|hypothesis| self.decoded(&prompts[0], hypothesis)));
            },
        )?;
        Ok(captions)
    }

    /// Writes a caption and calls `on` with each token as soon as it is chosen; `on` may stop it.
    /// Returns the caption so far.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn stream(
        &self,
        picture: &Picture,
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let prompt = self.prompt(&options.prompt)?;
        let image = self.input(picture).values();
        let spec = self.decoding_spec(1, &[prompt.as_slice()], options.max_tokens, 1);
        let spec = DecodingSpec {
            argmax: false,
            maps: options.heat,
            ..spec
        };
        self.decode(spec, |decoding| {
            self.stream_with(decoding, &image, &prompt, options, on)
        })
    }

    fn stream_with(
        &self,
        decoding: &mut Decoding,
        image: &[f32],
        prompt: &[u32],
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let Inner {
            device,
            model,
            tokenizer,
            ..
        } = &*self.0;
        let info = model.info();
        decoding.prepare(device, model, text_bucket(prompt.len(), model.room()))?;
        decoding.start(image, &[prompt]);
        let limit = decoding.room(0).min(options.max_tokens);
        let mut logits = decoding.logits()?;
        // pooled patches are no keys of the decoder, and the encoder's attention is the same for
        // every token
        let pooled = options.heat && info.image_tokens == ImageTokens::Pooled;
        let encoder = if options.heat {
            decoding.maps()?
        } else {
            vec![]
        };
        let mut maps = encoder.clone();
        let mut query = info.visual_tokens + prompt.len() - 1;
        let mut sampler = Sampler::new(options.sampling);
        let mut stream = TextStream::new(tokenizer, prompt);
        let mut text = prompt.to_vec();
        let mut caption = Caption {
            text: String::new(),
            tokens: vec![],
            log_probability: 0.0,
        };
        while caption.tokens.len() < limit {
            let choice = sampler.choose(&logits);
            caption.log_probability += (choice.probability as f64).ln();
            if Some(choice.token) == tokenizer.end() {
                break;
            }
            let heat = if pooled {
                let longest = prompt.len() + limit - 1;
                self.relevance(longest, |pass| pass.run(image, &text, choice.token))?
            } else {
                heat(info, &encoder, &maps, query)
            };
            text.push(choice.token);
            let token = CaptionToken {
                choice,
                text: stream.push(choice.token),
                others: alternatives(tokenizer, &logits, choice.token),
                heat,
            };
            caption.tokens.push(choice.token);
            caption.text.push_str(&token.text);
            if on(&token).is_break() || caption.tokens.len() == limit {
                break;
            }
            decoding.feed(&[choice.token]);
            logits = decoding.logits()?;
            if options.heat && !pooled {
                maps = decoding.maps()?;
                query = 0;
            }
        }
        Ok(caption)
    }

    /// Returns the attention of every layer over a picture, a prompt and the tokens that were
    /// written after it; and the [relevance](RelevancePass) of each patch to each token, which
    /// models without an image encoder do not have.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn attention(
        &self,
        picture: &Picture,
        prompt: &str,
        tokens: &[u32],
    ) -> Result<(AttentionMaps, Vec<Vec<f32>>), CaptionError> {
        let prompt = self.prompt(prompt)?;
        let limit = self.room() - prompt.len() + 1;
        let tokens = &tokens[..limit.min(tokens.len())];
        let text: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        // the last token was chosen, but attended to nothing
        let length = (text.len() - 1).max(prompt.len());
        let image = self.input(picture).values();
        let Inner { device, model, .. } = &*self.0;
        let maps = self.0.attention.with(
            |recorded| *recorded >= length,
            || {
                let length = length_bucket(length, self.room());
                Ok::<_, DeviceError>((length, AttentionPass::new(device, model, length)?))
            },
            |pass| pass.run(&image, &text[..length]),
        )?;
        if self.info().encoder.is_none() {
            return Ok((maps, vec![]));
        }
        let relevance = self.relevance(length, |pass| {
            let of = |(index, &token): (usize, &u32)| {
                pass.run(&image, &text[..prompt.len() + index], token)
            };
            tokens.iter().enumerate().map(of).collect()
        })?;
        Ok((maps, relevance))
    }

    /// Calls `inspect` with the recorded plans that write a caption: the prefill and the decode
    /// step.
    ///
    /// # Errors
    /// Insufficient device memory for the passes.
    pub fn inspect<R>(
        &self,
        inspect: impl FnOnce(&Plan, &Plan) -> Result<R, DeviceError>,
    ) -> Result<R, CaptionError> {
        let begin = [0];
        let spec = self.decoding_spec(1, &[&begin], CaptionOptions::default().max_tokens, 1);
        let spec = DecodingSpec {
            argmax: false,
            ..spec
        };
        self.decode(spec, |decoding| {
            decoding.prepare(&self.0.device, &self.0.model, 1)?;
            Ok(inspect(decoding.prefill_plan(), decoding.step_plan())?)
        })
    }

    /// Token ids that a caption continues: begin-of-text, if there is one, and the prompt.
    fn prompt(&self, prompt: &str) -> Result<Vec<u32>, CaptionError> {
        let tokenizer = self.tokenizer();
        let prompt = tokenizer.encode(tokenizer.as_prompt(prompt));
        let prompt: Vec<u32> = tokenizer.begin().into_iter().chain(prompt).collect();
        if prompt.is_empty() {
            return Err(CaptionError::NoPrompt);
        }
        let room = self.room();
        if prompt.len() > room {
            return Err(CaptionError::PromptTooLong {
                have: prompt.len(),
                room,
            });
        }
        Ok(prompt)
    }

    /// Sizes of passes that write at most `max_tokens` after each prompt.
    fn decoding_spec(
        &self,
        rows: usize,
        prompts: &[&[u32]],
        max_tokens: usize,
        beam: usize,
    ) -> DecodingSpec {
        let model = &self.0.model;
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(1);
        let padded = text_bucket(longest, model.room());
        // the last token is returned, not fed back
        let text = longest.saturating_add(max_tokens.max(1) - 1).max(padded);
        let positions = text.min(model.room()) + model.info().visual_tokens;
        DecodingSpec {
            rows,
            beam,
            capacity: capacity_bucket(positions, model.positions()),
            argmax: beam == 1,
            maps: false,
        }
    }

    /// Runs `run` with recorded passes of these sizes, or with larger caches.
    fn decode<R>(
        &self,
        spec: DecodingSpec,
        run: impl FnOnce(&mut Decoding) -> Result<R, CaptionError>,
    ) -> Result<R, CaptionError> {
        let Inner { device, model, .. } = &*self.0;
        let fits = |recorded: &DecodingSpec| {
            let same = DecodingSpec {
                capacity: recorded.capacity,
                ..spec
            };
            *recorded == same && recorded.capacity >= spec.capacity
        };
        let make = || Ok::<_, CaptionError>((spec, Decoding::new(device, model, spec)?));
        self.0.decodings.with(fits, make, run)
    }

    fn relevance<R>(
        &self,
        length: usize,
        run: impl FnOnce(&mut RelevancePass) -> Result<R, DeviceError>,
    ) -> Result<R, DeviceError> {
        let Inner { device, model, .. } = &*self.0;
        self.0.relevance.with(
            |recorded| *recorded >= length,
            || {
                let length = length_bucket(length, model.room());
                Ok::<_, DeviceError>((length, RelevancePass::new(device, model, length)?))
            },
            run,
        )
    }

    /// Searches for a text after each prompt and calls `on` with each batch's range and hypotheses.
    /// `image` returns the picture of a prompt, `[3, side, side]` and normalised.
    pub(crate) fn search(
        &self,
        image: &dyn Fn(usize) -> Vec<f32>,
        prompts: &[Vec<u32>],
        options: &CaptionOptions,
        cancel: &Cancel,
        on: &mut dyn FnMut(Range<usize>, Vec<Vec<Hypothesis>>),
    ) -> Result<(), CaptionError> {
        let Inner { device, model, .. } = &*self.0;
        if prompts.is_empty() {
            return Ok(());
        }
        let limit = options.batch_size.max(1);
        let rows = batch_bucket(prompts.len().min(limit), limit);
        let beam = options.beam.max(1);
        let sampled = beam == 1 && !options.sampling.is_greedy();
        let all: Vec<&[u32]> = prompts.iter().map(Vec::as_slice).collect();
        let spec = DecodingSpec {
            argmax: beam == 1 && !sampled,
            ..self.decoding_spec(rows, &all, options.max_tokens, beam)
        };
        let longest = all.iter().map(|prompt| prompt.len()).max().unwrap_or(1);
        self.decode(spec, |decoding| {
            decoding.prepare(device, model, text_bucket(longest, model.room()))?;
            for first in (0..prompts.len()).step_by(rows) {
                if cancel.is_cancelled() {
                    return Err(CaptionError::Cancelled);
                }
                let range = first..(first + rows).min(prompts.len());
                let images: Vec<f32> = range.clone().flat_map(image).collect();
                decoding.start(&images, &all[range.clone()]);
                let wanted = Wanted {
                    count: range.len(),
                    new: options.max_tokens,
                    end: self.tokenizer().end(),
                    length_power: options.length_power,
                };
                let found = if sampled {
                    let sampling = |index: usize| Sampling {
                        seed: options.sampling.seed.wrapping_add(index as u64),
                        ..options.sampling
                    };
                    let samplings: Vec<Sampling> = range.clone().map(sampling).collect();
                    search::sample(decoding, &wanted, &samplings, Some(cancel))?
                        .map(|texts| texts.into_iter().map(|text| vec![text]).collect())
                } else {
                    search::search(decoding, &wanted, Some(cancel))?
                };
                on(range, found.ok_or(CaptionError::Cancelled)?);
            }
            Ok(())
        })
    }

    fn decoded(&self, prompt: &[u32], hypothesis: Hypothesis) -> Caption {
        let mut stream = TextStream::new(self.tokenizer(), prompt);
        Caption {
            text: hypothesis
                .tokens
                .iter()
                .map(|&token| stream.push(token))
                .collect(),
            log_probability: hypothesis.log_probability(),
            tokens: hypothesis.tokens,
        }
    }
}

/// The likeliest tokens of one position besides the chosen one, as text.
fn alternatives(tokenizer: &Tokenizer, logits: &[f32], chosen: u32) -> Vec<(String, f32)> {
    let name = |token: u32| match token {
        token if Some(token) == tokenizer.end() => "(end)".into(),
        token => tokenizer.decode(&[token]),
    };
    ranked(logits)
        .into_iter()
        .filter(|choice| choice.token != chosen)
        .take(ALTERNATIVES)
        .map(|choice| (name(choice.token), choice.probability))
        .collect()
}

/// Share of attention on each patch when a token was chosen: of the encoder's last CLS row, or of
/// row `query` of the decoder's last layer. `encoder` are the maps of the prefill, `decoder` those
/// of the pass that chose the token.
fn heat(
    info: &ModelInfo,
    encoder: &[AttentionMap],
    decoder: &[AttentionMap],
    query: usize,
) -> Vec<f32> {
    if info.image_tokens == ImageTokens::Cls {
        // the CLS row attends to itself first, then to the patches
        let last = encoder.iter().rfind(|map| map.is_encoder());
        return last.map_or(vec![], |map| token_heat(map, 0, 1, info.patches()));
    }
    // the visual tokens come first among the keys
    let last = decoder.iter().rfind(|map| !map.is_encoder());
    last.map_or(vec![], |map| token_heat(map, query, 0, info.patches()))
}

#[cfg(test)]
mod tests;
