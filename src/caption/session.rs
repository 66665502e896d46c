//! Captions of pictures by a loaded model.

mod looks;
mod names;

use std::cell::RefCell;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::passes::{
    AttentionPass, Decoding, DecodingSpec, Encoded, Encoding, NameRelevancePass, Pool,
    RelevancePass, batch_bucket, capacity_bucket, length_bucket, places_of, text_bucket,
};
use super::recent::Recent;
use super::search::{self, Hypothesis, Wanted};
use super::{Cancel, CaptionError, Choice, Sampler, Sampling, Tail, ranked};
use crate::device::{Device, DeviceError, Plan, Tensor};
use crate::explain::heatmap::Panel;
use crate::image::{Picture, TileGrid, TiledPicture, Tiling};
use crate::models::checkpoint;
use crate::models::{Dialogue, ImageTokens, Model, ModelInfo};
use crate::text::chat::{Message, Part, Role};
use crate::text::{Style, TextStream, Tokenizer};
use looks::Looks;
use names::NameTexts;
pub use names::{NameRanking, RankedName};

/// Number of alternatives kept beside each token of a streamed caption.
pub const ALTERNATIVES: usize = 5;

/// How a caption is written.
#[derive(Debug, Clone, PartialEq)]
pub struct CaptionOptions {
    /// Text that the caption starts with; for pretrained models the question, empty for that of the
    /// default [`Style`].
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
    /// Probability that the name which the caption follows is right, of compositions that are [given
    /// names](Session::names) and were asked for a caption. [`log_probability`](Self::log_probability)
    /// takes the name for granted.
    pub name_probability: Option<f32>,
}

impl Caption {
    /// Returns how sure the model is: the probability of the average token, as a geometric mean, and
    /// that of the name if there is one.
    pub fn confidence(&self) -> f32 {
        // the end of the caption counts as a token
        let tokens = (self.tokens.len() + 1) as f64;
        let token = (self.log_probability / tokens).exp() as f32;
        token * self.name_probability.unwrap_or(1.0)
    }

    /// Whether the name which the caption follows is more probably wrong than right.
    pub fn is_unsure(&self) -> bool {
        self.name_probability
            .is_some_and(|name| name < NameRanking::SURE)
    }
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
    /// Probabilities of all tokens besides this one and [`others`](Self::others).
    pub tail: Tail,
    /// Share of attention on each patch, row by row over the picture; empty unless asked for. It is
    /// the attention of the image encoder's last CLS row, or of the token's position in the
    /// decoder's last layer, as a mean over heads, and sums to at most 1; for pooled visual tokens
    /// it is the [relevance](RelevancePass) of the patches.
    ///
    /// Of pretrained models it is a square map over the picture stretched to a square, on which the
    /// rows of all tiles are [spread](crate::explain::RowLayout), those of a composition's names as
    /// patches speak for the name; empty for texts about several pictures.
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

/// A picture as a model takes it in. Smaller than most pictures, so that many fit into memory.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInput(Input);

#[derive(Debug, Clone, PartialEq)]
enum Input {
    /// Cropped and resized.
    Picture(Picture),
    /// Tiles of a pretrained model.
    Tiles(Arc<TiledPicture>),
}

impl ModelInput {
    /// Number of tiles that the picture was cut into.
    pub fn tiles(&self) -> usize {
        match &self.0 {
            Input::Picture(_) => 1,
            Input::Tiles(tiled) => tiled.tiles.len(),
        }
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
    /// By the number of tiles.
    encodings: Pool<usize, Encoding>,
    encoded: Recent,
    tiling: Tiling,
    attention: Pool<ExplainSpec, AttentionPass>,
    relevance: Pool<ExplainSpec, RelevancePass>,
    /// By the number of the set of names.
    name_relevance: Pool<usize, NameRelevancePass>,
    /// Names of each set of a composition, once they were asked for.
    names: OnceLock<Vec<NameTexts>>,
}

/// Sizes of passes that explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ExplainSpec {
    /// Length of the longest text.
    length: usize,
    /// Number of places in it for rows of a picture.
    image_rows: usize,
}

/// What a text continues.
struct Question {
    prompt: Vec<u32>,
    /// What a pass takes in for the pictures.
    image: Vec<f32>,
    /// How the heat of tokens is read; `None` for no heat.
    looks: Option<Looks>,
    /// Probability of the name that a caption follows.
    name_probability: Option<f32>,
}

impl Session {
    /// Number of recorded passes of each kind that are kept for later captions.
    const KEPT: usize = 4;

    /// Maximum number of tiles that are encoded at once.
    const TILES: usize = 1;

    /// A session that captions with `model`, whose parameters are on `device`.
    pub fn new(device: &Device, model: Model, tokenizer: Tokenizer) -> Session {
        Session::with_tiling(device, model, tokenizer, Tiling::One)
    }

    /// A session whose pretrained model sees pictures in tiles as `tiling` says.
    pub fn with_tiling(
        device: &Device,
        model: Model,
        tokenizer: Tokenizer,
        tiling: Tiling,
    ) -> Session {
        Session(Arc::new(Inner {
            device: device.clone(),
            model,
            tokenizer,
            decodings: Pool::new(Self::KEPT),
            encodings: Pool::new(1),
            encoded: Recent::default(),
            tiling,
            attention: Pool::new(1),
            relevance: Pool::new(1),
            name_relevance: Pool::new(1),
            names: OnceLock::new(),
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

    /// Preprocesses a picture for [`captions_of`](Self::captions_of).
    ///
    /// # Errors
    /// A model that takes no pictures.
    pub fn input(&self, picture: &Picture) -> Result<ModelInput, CaptionError> {
        self.check_pictures()?;
        Ok(ModelInput(match self.0.model.dialogue() {
            Some(dialogue) => Input::Tiles(Arc::new(dialogue.tiles(picture, self.0.tiling))),
            None => Input::Picture(picture.framed(self.info().preprocess)),
        }))
    }

    /// Preprocesses a picture of which some cells are painted over with a colour, so that the model
    /// does not see them. The cells are those of a square grid with `side` cells along a side that is
    /// stretched over the [visible part](Self::visible_part), row by row, as heat is.
    ///
    /// # Errors
    /// A model that takes no pictures.
    pub fn masked_input(
        &self,
        picture: &Picture,
        side: usize,
        cells: &[usize],
        color: [u8; 3],
    ) -> Result<ModelInput, CaptionError> {
        self.check_pictures()?;
        Ok(ModelInput(match self.0.model.dialogue() {
            Some(dialogue) => {
                let masked = painted(picture.clone(), side, cells, color);
                Input::Tiles(Arc::new(dialogue.tiles(&masked, self.0.tiling)))
            }
            // after the crop, which the colour would move
            None => Input::Picture(painted(
                picture.framed(self.info().preprocess),
                side,
                cells,
                color,
            )),
        }))
    }

    /// Checks that the model takes pictures.
    ///
    /// # Errors
    /// [`CaptionError::TextOnly`] or [`CaptionError::NoEncoder`].
    pub fn check_pictures(&self) -> Result<(), CaptionError> {
        match self.0.model.dialogue() {
            Some(dialogue) if !dialogue.takes_pictures() => Err(match dialogue.lacks_encoder() {
                Some(path) => CaptionError::NoEncoder { path: path.into() },
                None => CaptionError::TextOnly,
            }),
            _ => Ok(()),
        }
    }

    fn inputs(&self, pictures: &[Picture]) -> Result<Vec<ModelInput>, CaptionError> {
        pictures.iter().map(|picture| self.input(picture)).collect()
    }

    /// Number of positions that a preprocessed picture takes in a prompt or in front of it.
    pub fn image_tokens(&self, input: &ModelInput) -> usize {
        let info = self.info();
        let per_tile = info.placeholder.map(|placeholder| placeholder.rows);
        per_tile.map_or(info.visual_tokens, |rows| rows * input.tiles())
    }

    /// Returns the number of positions that a prompt about a preprocessed picture takes, the
    /// picture's included.
    ///
    /// # Errors
    /// A prompt that is missing, that the model cannot be asked, or that is too long.
    pub fn prompt_length(&self, prompt: &str, input: &ModelInput) -> Result<usize, CaptionError> {
        Ok(self.info().visual_tokens + self.prompt(prompt, Some(input))?.len())
    }

    /// Encodes a preprocessed picture for captions of it that follow, where the model [encodes
    /// apart](ModelInfo::encodes_apart). Calls `on` after each pass of the encoder with the number
    /// of tiles encoded so far, unless they are known already.
    ///
    /// # Errors
    /// A failed device.
    pub fn encode(
        &self,
        input: &ModelInput,
        on: &mut dyn FnMut(usize),
    ) -> Result<(), CaptionError> {
        match input.0 {
            Input::Tiles(_) => self.encoded(input, on).map(drop),
            Input::Picture(_) => Ok(()),
        }
    }

    /// Returns what a pass takes in for a picture: its pixels `[3, side, side]` or, where the model
    /// [encodes apart](ModelInfo::encodes_apart), its encoded rows `[rows, width]`.
    fn image_values(&self, input: &ModelInput) -> Result<Vec<f32>, CaptionError> {
        let (side, in_tiles) = (self.info().image_size(), self.0.model.dialogue().is_some());
        match &input.0 {
            Input::Picture(picture) if !in_tiles && picture.width == side => {
                Ok(picture.normalised())
            }
            Input::Picture(_) => Err(CaptionError::OtherModel),
            Input::Tiles(_) => Ok(self.encoded(input, &mut |_| ())?.rows.clone()),
        }
    }

    /// Returns the encoding of a picture in tiles, see [`encode`](Self::encode).
    fn encoded(
        &self,
        input: &ModelInput,
        on: &mut dyn FnMut(usize),
    ) -> Result<Arc<Encoded>, CaptionError> {
        let (side, in_tiles) = (self.info().image_size(), self.0.model.dialogue().is_some());
        let Input::Tiles(tiled) = &input.0 else {
            return Err(CaptionError::OtherModel);
        };
        if !in_tiles || tiled.side != side {
            return Err(CaptionError::OtherModel);
        }
        if let Some(encoded) = self.0.encoded.get(tiled) {
            return Ok(encoded);
        }
        let Inner { device, model, .. } = &*self.0;
        let (mut all, mut done) = (Encoded::default(), 0);
        for tiles in tiled.tiles.chunks(Self::TILES) {
            let pixels: Vec<f32> = tiles.iter().flat_map(|tile| &tile.input).copied().collect();
            let count = tiles.len();
            let encoded = self.0.encodings.with(
                |recorded| *recorded == count,
                || Ok::<_, DeviceError>((count, Encoding::new(device, model, count)?)),
                |encoding| encoding.run(&pixels),
            )?;
            all.rows.extend(encoded.rows);
            all.names = encoded.names;
            all.last_block.extend(encoded.last_block);
            done += count;
            on(done);
        }
        let all = Arc::new(all);
        self.0.encoded.put(tiled.clone(), all.clone());
        Ok(all)
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
    /// A prompt that is missing or too long for the model, a model that takes no pictures, or a
    /// failed device.
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
        let inputs = self.inputs(pictures)?;
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
        self.check_pictures()?;
        let texts = prompts
            .iter()
            .zip(inputs)
            .map(|(prompt, input)| self.prompt(prompt, Some(input)))
            .collect::<Result<Vec<_>, _>>()?;
        let named = RefCell::new(vec![None; inputs.len()]);
        // while the encodings are at hand
        let image = |index: usize| {
            named.borrow_mut()[index] = self.name_probability(&inputs[index], prompts[index])?;
            self.image_values(&inputs[index])
        };
        let mut captions = self.captions_of_rows(&image, &texts, options, cancel)?;
        for (caption, named) in captions.iter_mut().zip(named.take()) {
            caption.name_probability = named;
        }
        Ok(captions)
    }

    /// Writes the captions of pictures whose encoded rows are known, each after prompt tokens of its
    /// own.
    pub(crate) fn captions_of_rows(
        &self,
        rows: &dyn Fn(usize) -> Result<Vec<f32>, CaptionError>,
        prompts: &[Vec<u32>],
        options: &CaptionOptions,
        cancel: &Cancel,
    ) -> Result<Vec<Caption>, CaptionError> {
        let mut captions = vec![];
        self.search(rows, prompts, options, cancel, &mut |range, found| {
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
        self.n_best_of(&self.input(picture)?, options)
    }

    /// As [`n_best`](Self::n_best), of a preprocessed picture.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn n_best_of(
        &self,
        input: &ModelInput,
        options: &CaptionOptions,
    ) -> Result<Vec<Caption>, CaptionError> {
        let prompts = [self.prompt(&options.prompt, Some(input))?];
        let mut captions = vec![];
        let image = |_| self.image_values(input);
        let name_probability = self.name_probability(input, &options.prompt)?;
        self.search(
            &image,
            &prompts,
            options,
            &Cancel::new(),
            &mut |_, found| {
                let found = found.into_iter().flatten();
                captions.extend(found.map(|hypothesis| Caption {
                    name_probability,
                    ..self.decoded(&prompts[0], hypothesis)
                }));
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
        self.stream_of(&self.input(picture)?, options, on)
    }

    /// As [`stream`](Self::stream), of a preprocessed picture.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn stream_of(
        &self,
        input: &ModelInput,
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let question = self.question_about(input, options)?;
        self.stream_question(&question, options, on)
    }

    fn question_about(
        &self,
        input: &ModelInput,
        options: &CaptionOptions,
    ) -> Result<Question, CaptionError> {
        let prompt = self.prompt(&options.prompt, Some(input))?;
        let image = self.image_values(input)?;
        let looks = options.heat.then(|| self.looks(&[input], &prompt));
        Ok(Question {
            name_probability: self.name_probability(input, &options.prompt)?,
            prompt,
            image,
            looks: looks.transpose()?.flatten(),
        })
    }

    fn stream_question(
        &self,
        question: &Question,
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let spec = self.stream_spec(question, options.max_tokens);
        self.decode(spec, |decoding| {
            self.stream_with(decoding, question, None, options, on)
        })
    }

    /// Reads a given caption as if it was written, and calls `on` with each token and the
    /// probability that the model gives it after those before; `on` may stop it. Returns the
    /// caption, whose probability leaves the end token out.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn score(
        &self,
        picture: &Picture,
        tokens: &[u32],
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        self.score_of(&self.input(picture)?, tokens, options, on)
    }

    /// As [`score`](Self::score), of a preprocessed picture.
    ///
    /// # Errors
    /// See [`caption_with`](Self::caption_with).
    pub fn score_of(
        &self,
        input: &ModelInput,
        tokens: &[u32],
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let options = CaptionOptions {
            max_tokens: tokens.len(),
            ..options.clone()
        };
        let question = self.question_about(input, &options)?;
        let spec = self.stream_spec(&question, tokens.len());
        self.decode(spec, |decoding| {
            self.stream_with(decoding, &question, Some(tokens), &options, on)
        })
    }

    /// Sizes of passes that write at most `max_tokens` one by one.
    fn stream_spec(&self, question: &Question, max_tokens: usize) -> DecodingSpec {
        DecodingSpec {
            argmax: false,
            maps: question.looks.is_some(),
            ..self.decoding_spec(1, &[&question.prompt], max_tokens, 1)
        }
    }

    /// Writes a caption, or reads the `given` tokens.
    fn stream_with(
        &self,
        decoding: &mut Decoding,
        question: &Question,
        given: Option<&[u32]>,
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let Question {
            prompt,
            image,
            looks,
            name_probability,
        } = question;
        let Inner {
            device,
            model,
            tokenizer,
            ..
        } = &*self.0;
        let info = model.info();
        decoding.prepare(device, model, self.prompt_bucket(prompt.len()))?;
        decoding.start(image, &[prompt.as_slice()]);
        let limit = decoding.room(0).min(options.max_tokens);
        let mut logits = decoding.logits()?;
        // pooled patches are no keys of the decoder, and the encoder's attention is the same for
        // every token
        let pooled = looks.is_some() && info.image_tokens == ImageTokens::Pooled;
        let encoder = match looks {
            Some(_) => decoding.maps()?,
            None => vec![],
        };
        let mut maps = encoder.clone();
        let mut query = info.visual_tokens + prompt.len() - 1;
        let mut sampler = Sampler::new(options.sampling).without(tokenizer.unknown());
        let ends = self.ends();
        let mut stream = self.text_stream(prompt);
        let mut text = prompt.to_vec();
        let mut caption = Caption {
            text: String::new(),
            tokens: vec![],
            log_probability: 0.0,
            name_probability: *name_probability,
        };
        while caption.tokens.len() < limit {
            let ranked = ranked(&logits);
            let choice = match given {
                None => sampler.choose_of(&logits, &ranked),
                Some(given) => {
                    let token = given[caption.tokens.len()];
                    let found = ranked.iter().find(|choice| choice.token == token);
                    *found.unwrap_or(&Choice {
                        token,
                        probability: 0.0,
                    })
                }
            };
            caption.log_probability += (choice.probability as f64).ln();
            if given.is_none() && ends.contains(&choice.token) {
                break;
            }
            let heat = if pooled {
                let longest = ExplainSpec {
                    length: prompt.len() + limit - 1,
                    image_rows: 0,
                };
                self.relevance(longest, |pass| pass.run(image, &text, choice.token))?
            } else {
                looks
                    .as_ref()
                    .map_or(vec![], |looks| looks.heat(&encoder, &maps, query))
            };
            text.push(choice.token);
            let (others, tail) = alternatives(tokenizer, &ranked, choice.token);
            let token = CaptionToken {
                choice,
                text: stream.push(choice.token),
                others,
                tail,
                heat,
            };
            caption.tokens.push(choice.token);
            caption.text.push_str(&token.text);
            if on(&token).is_break() || caption.tokens.len() == limit {
                break;
            }
            decoding.feed(&[choice.token]);
            logits = decoding.logits()?;
            if looks.is_some() && !pooled {
                maps = decoding.maps()?;
                query = 0;
            }
        }
        Ok(caption)
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

    /// Tiles that a pretrained model sees pictures in.
    pub fn tiling(&self) -> Tiling {
        self.0.tiling
    }

    /// The question about a picture for which no other is given: the one that the model was trained
    /// to answer, else that of the default [`Style`].
    pub fn question(&self) -> &str {
        let model = &self.0.model;
        let default = || Style::default().prompt(model.config().family());
        model.prompt().unwrap_or_else(default)
    }

    /// Token ids that a caption continues: begin-of-text, if there is one, and the prompt; or the
    /// question about a picture as a pretrained model takes it.
    fn prompt(&self, prompt: &str, input: Option<&ModelInput>) -> Result<Vec<u32>, CaptionError> {
        let tokenizer = self.tokenizer();
        let prompt: Vec<u32> = match self.0.model.dialogue() {
            Some(dialogue) => {
                let question = match prompt {
                    "" => self.question(),
                    question => question,
                };
                let image = input.map(|_| Part::Image);
                let content = image.into_iter().chain([Part::text(question)]);
                let messages = [Message::new(Role::User, content.collect())];
                return self.messages(dialogue, &messages, input.as_slice());
            }
            None => {
                let prompt = tokenizer.encode(tokenizer.as_prompt(prompt));
                tokenizer.begin().into_iter().chain(prompt).collect()
            }
        };
        if prompt.is_empty() {
            return Err(CaptionError::NoPrompt);
        }
        self.checked_room(prompt)
    }

    /// Token ids that a reply to messages continues, with the places of their pictures.
    fn messages(
        &self,
        dialogue: &Dialogue,
        messages: &[Message],
        inputs: &[&ModelInput],
    ) -> Result<Vec<u32>, CaptionError> {
        let grid = |input: &&ModelInput| match &input.0 {
            Input::Tiles(tiled) => tiled.grid,
            Input::Picture(_) => TileGrid::default(),
        };
        let grids: Vec<TileGrid> = inputs.iter().map(grid).collect();
        let info = self.info();
        if info.encodes_apart() && info.placeholder.is_none() && inputs.len() != 1 {
            return Err(CaptionError::OnePicture { have: inputs.len() });
        }
        let text = dialogue.text(messages, &grids)?;
        let prompt = self.checked_room(self.tokenizer().encode(&text))?;
        if let Some(placeholder) = info.placeholder {
            let places = self.places(&prompt);
            let rows = inputs.iter().map(|input| input.tiles() * placeholder.rows);
            let rows = rows.sum();
            if places != rows {
                return Err(CaptionError::Places { places, rows });
            }
        }
        Ok(prompt)
    }

    fn checked_room(&self, prompt: Vec<u32>) -> Result<Vec<u32>, CaptionError> {
        match self.room() {
            room if prompt.len() > room => Err(CaptionError::PromptTooLong {
                have: prompt.len(),
                images: self.places(&prompt),
                room,
            }),
            _ => Ok(prompt),
        }
    }

    /// Number of places for rows of images that a prompt has.
    fn places(&self, prompt: &[u32]) -> usize {
        let placeholder = self.info().placeholder;
        placeholder.map_or(0, |placeholder| {
            places_of(prompt, placeholder.token).count()
        })
    }

    /// Writes a pretrained model's reply to messages about pictures, which are given in the order of
    /// their places in the messages, and calls `on` with each token as soon as it is chosen; `on`
    /// may stop it. Returns the reply so far.
    ///
    /// # Errors
    /// Messages that are too long for the model or that its template refuses, pictures for a model
    /// that takes none, or a failed device.
    ///
    /// # Panics
    /// With another number of pictures than places in the messages, or a model that is not a
    /// pretrained one.
    pub fn reply(
        &self,
        messages: &[Message],
        pictures: &[Picture],
        options: &CaptionOptions,
        on: &mut dyn FnMut(&CaptionToken) -> ControlFlow<()>,
    ) -> Result<Caption, CaptionError> {
        let Some(dialogue) = self.0.model.dialogue() else {
            panic!("reply: the model is not a pretrained one")
        };
        let inputs = self.inputs(pictures)?;
        let inputs: Vec<&ModelInput> = inputs.iter().collect();
        let prompt = self.messages(dialogue, messages, &inputs)?;
        let mut image = vec![];
        for input in &inputs {
            image.extend(self.image_values(input)?);
        }
        let looks = options.heat.then(|| self.looks(&inputs, &prompt));
        let question = Question {
            prompt,
            image,
            looks: looks.transpose()?.flatten(),
            name_probability: None,
        };
        self.stream_question(&question, options, on)
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
        let padded = self.prompt_bucket(longest);
        // the last token is returned, not fed back
        let text = longest.saturating_add(max_tokens.max(1) - 1).max(padded);
        let positions = text.min(model.room()) + model.info().visual_tokens;
        DecodingSpec {
            rows,
            beam,
            capacity: capacity_bucket(positions, model.positions()),
            image_rows: rows * self.most_places(prompts),
            argmax: beam == 1,
            maps: false,
        }
    }

    /// Length to record a prefill for. The prompts of pretrained models are long, so that padding
    /// would take time.
    fn prompt_bucket(&self, tokens: usize) -> usize {
        match self.0.model.dialogue() {
            Some(_) => length_bucket(tokens, self.room()),
            None => text_bucket(tokens, self.room()),
        }
    }

    /// Ids of tokens of which each ends a text.
    fn ends(&self) -> Vec<u32> {
        match self.0.model.dialogue() {
            Some(dialogue) => dialogue.ends().to_vec(),
            None => self.tokenizer().end().into_iter().collect(),
        }
    }

    /// Decodes what follows a prompt.
    fn text_stream(&self, prompt: &[u32]) -> TextStream<'_> {
        // captions of models trained here may begin within a word of the prompt
        let continued = match self.0.model.dialogue() {
            Some(_) => &[],
            None => prompt,
        };
        TextStream::new(self.tokenizer(), continued)
    }

    /// Largest number of places for rows of images that a prompt has.
    fn most_places(&self, prompts: &[&[u32]]) -> usize {
        let places = prompts.iter().map(|prompt| self.places(prompt));
        places.max().unwrap_or(0)
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

    /// Searches for a text after each prompt and calls `on` with each batch's range and hypotheses.
    /// `image` returns what a pass takes in for the picture of a prompt.
    pub(crate) fn search(
        &self,
        image: &dyn Fn(usize) -> Result<Vec<f32>, CaptionError>,
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
            decoding.prepare(device, model, self.prompt_bucket(longest))?;
            for first in (0..prompts.len()).step_by(rows) {
                if cancel.is_cancelled() {
                    return Err(CaptionError::Cancelled);
                }
                let range = first..(first + rows).min(prompts.len());
                let mut images = vec![];
                for index in range.clone() {
                    images.extend(image(index)?);
                }
                decoding.start(&images, &all[range.clone()]);
                let wanted = Wanted {
                    count: range.len(),
                    new: options.max_tokens,
                    ends: self.ends(),
                    unknown: self.tokenizer().unknown(),
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
        let mut stream = self.text_stream(prompt);
        Caption {
            text: hypothesis
                .tokens
                .iter()
                .map(|&token| stream.push(token))
                .collect(),
            log_probability: hypothesis.log_probability(),
            tokens: hypothesis.tokens,
            name_probability: None,
        }
    }
}

/// Paints cells of a grid over a picture.
fn painted(mut picture: Picture, side: usize, cells: &[usize], color: [u8; 3]) -> Picture {
    let (width, height) = (picture.width, picture.height);
    for cell in cells {
        let range = |at: usize, length: usize| at * length / side..(at + 1) * length / side;
        for y in range(cell / side, height) {
            for x in range(cell % side, width) {
                picture.rgb[3 * (y * width + x)..][..3].copy_from_slice(&color);
            }
        }
    }
    picture
}

/// The likeliest tokens of one position besides the chosen one, as text, and the probabilities of
/// those that are left.
fn alternatives(
    tokenizer: &Tokenizer,
    ranked: &[Choice],
    chosen: u32,
) -> (Vec<(String, f32)>, Tail) {
    let name = |token: u32| match token {
        token if Some(token) == tokenizer.end() => "(end)".into(),
        token => tokenizer.decode(&[token]),
    };
    let mut others = ranked.iter().filter(|choice| choice.token != chosen);
    let likeliest = others.by_ref().take(ALTERNATIVES);
    let likeliest = likeliest.map(|choice| (name(choice.token), choice.probability));
    let likeliest = likeliest.collect();
    (
        likeliest,
        Tail::new(others.map(|choice| choice.probability)),
    )
}

#[cfg(test)]
mod tests;
