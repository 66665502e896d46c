//! From a picture to a caption, token by token, and where the model looked.

use std::path::Path;

use crate::caption::{
    Choice, Generator, Hypothesis, Map, Sampler, Sampling, Search, SearchOptions, ranked,
};
use crate::device::{Device, DeviceError, Tensor};
use crate::explain::Relevance;
use crate::explain::{AttentionMaps, AttentionPass};
use crate::image::Picture;
use crate::models::checkpoint::{self, CheckpointError};
use crate::models::seemore::{Config, VisualTokens, Vlm};
use crate::text::{TextStream, Tokenizer};

/// Why no caption can be written.
#[derive(Debug, thiserror::Error)]
pub enum CaptionError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(
        "{0} has no tokenizer.json: import it again with --characters, or copy the tokenizer it was trained with into the folder"
    )]
    NoTokenizer(String),
    #[error("this model has no begin-of-text token: say how the caption starts with --prompt TEXT")]
    NoPrompt,
    #[error(
        "the prompt takes {have} positions and the model has room for {room}: use a shorter one"
    )]
    PromptTooLong { have: usize, room: usize },
}

/// Other tokens that are kept beside each written one.
pub const OTHERS: usize = 5;

/// A token of a caption with where the model looked while it wrote it.
#[derive(Debug, Clone)]
pub struct CaptionToken {
    pub choice: Choice,
    /// What it adds to the caption: see [`TextStream::push`].
    pub text: String,
    /// The likeliest other tokens, at most [`OTHERS`], with their probabilities.
    pub others: Vec<(String, f32)>,
    /// How much of the attention each patch got, row by row over the picture; empty unless wanted. For CLS models it is the image encoder's last CLS
    /// row; for pooled ones the patches' [`Relevance`] to the token; else the decoder's attention to the visual tokens in its last layer. Mean over heads, sums to at most 1.
    pub heat: Vec<f32>,
}

/// A loaded model that captions one picture at a time.
pub struct Captioner {
    device: Device,
    model: Vlm,
    tokenizer: Tokenizer,
    generator: Option<(usize, usize, bool, Generator)>,
    search: Option<(SearchOptions, Search)>,
    /// As `search`, of many pictures at once.
    batch: Option<(SearchOptions, Search)>,
    relevance: Option<(usize, Relevance)>,
    attention: Option<(usize, AttentionPass)>,
}

/// A whole caption.
#[derive(Debug, Clone, PartialEq)]
pub struct Whole {
    /// What comes after the prompt, as it is put behind it.
    pub text: String,
    /// The logarithm of its probability, given the prompt; its end is part of it.
    pub log_probability: f64,
}

impl Captioner {
    /// Loads a checkpoint folder.
    pub fn load(device: &Device, dir: &Path) -> Result<Captioner, CaptionError> {
        let (model, tokenizer) = checkpoint::load(device, dir)?;
        let tokenizer =
            tokenizer.ok_or_else(|| CaptionError::NoTokenizer(dir.display().to_string()))?;
        Ok(Captioner {
            device: device.clone(),
            model,
            tokenizer,
            generator: None,
            search: None,
            batch: None,
            relevance: None,
            attention: None,
        })
    }

    pub fn config(&self) -> &Config {
        self.model.config()
    }

    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub fn parameter_count(&self) -> usize {
        self.model.parameter_count()
    }

    /// All parameters by their names.
    pub fn parameters(&self) -> &[(String, Tensor)] {
        self.model.parameters()
    }

    /// The recorded passes that write captions: the last ones that did, or new ones.
    ///
    /// # Errors
    /// A device without memory for them.
    pub fn program(&mut self) -> Result<&Generator, DeviceError> {
        const MOST: usize = 40;
        if self.generator.is_none() {
            self.generator = Some((
                1,
                MOST,
                false,
                Generator::new(&self.device, &self.model, 1, 1, MOST, false)?,
            ));
        }
        Ok(&self.generator.as_ref().expect("made above").3)
    }

    /// Whether captions come with where the model looked: a CLS model without encoder blocks has nothing to show.
    pub fn looks(&self) -> bool {
        let config = self.model.config();
        config.visual_tokens != VisualTokens::Cls || config.vision_layers > 0
    }

    /// The part of a picture that the model sees, and that heat lies over.
    pub fn shown(&self, picture: &Picture) -> Picture {
        self.config().frame().shown(picture)
    }

    /// Writes at most `most` tokens, or as many as the model has room for, after `prompt` and calls `on` with each as soon as it is chosen; `on` may stop by
    /// returning false. With `heat`, attention is read back for every token.
    pub fn caption(
        &mut self,
        picture: &Picture,
        prompt: &str,
        most: usize,
        sampling: Sampling,
        heat: bool,
        on: &mut dyn FnMut(&CaptionToken) -> bool,
    ) -> Result<Vec<CaptionToken>, CaptionError> {
        let config = self.model.config().clone();
        let (prompt, most) = self.prompt(prompt, most)?;
        let wanted = (prompt.len(), most, heat);
        if self
            .generator
            .as_ref()
            .is_none_or(|(tokens, new, maps, _)| (*tokens, *new, *maps) != wanted)
        {
            let generator = Generator::new(&self.device, &self.model, 1, prompt.len(), most, heat)?;
            self.generator = Some((prompt.len(), most, heat, generator));
        }
        let Some((.., generator)) = &mut self.generator else {
            unreachable!("made above")
        };
        let image = picture.framed(config.frame()).normalised();
        let mut logits = generator.start(&image, &prompt)?;
        // a pooled picture has no place in the decoder's attention, and no attention of its own to all of itself
        let pooled = heat && config.visual_tokens == VisualTokens::Pooled;
        if pooled {
            prepare(&mut self.relevance, prompt.len() + most - 1, |length| {
                Relevance::new(&self.device, &self.model, length)
            })?;
        }
        let mut text = prompt.clone();
        let vision = if heat { generator.maps()? } else { vec![] };
        let mut maps = vision.clone();
        let mut sampler = Sampler::new(sampling);
        let mut stream = TextStream::new(&self.tokenizer, &prompt);
        let mut written = vec![];
        while written.len() < most {
            let choice = sampler.choose(&logits[0]);
            if Some(choice.token) == self.tokenizer.end() {
                break;
            }
            let looked = match &self.relevance {
                Some((_, relevance)) if pooled => relevance.run(&image, &text, choice.token)?,
                _ if heat => look(&config, &vision, &maps),
                _ => vec![],
            };
            text.push(choice.token);
            let others = others(&self.tokenizer, &logits[0], choice.token);
            let token = CaptionToken {
                choice,
                text: stream.push(choice.token),
                others,
                heat: looked,
            };
            let go_on = on(&token);
            written.push(token);
            if !go_on || written.len() == most {
                break;
            }
            match generator.next(&[choice.token])? {
                Some(next) => logits = next,
                None => break,
            }
            if heat {
                maps = generator.maps()?;
            }
        }
        Ok(written)
    }

    /// The attention of every layer over a picture and the tokens that were written of it after `prompt`, and for each token the relevance
    /// of every patch to it, which models without an image encoder do not have.
    pub fn attention(
        &mut self,
        picture: &Picture,
        prompt: &str,
        tokens: &[u32],
    ) -> Result<(AttentionMaps, Vec<Vec<f32>>), CaptionError> {
        let (prompt, most) = self.prompt(prompt, tokens.len())?;
        let tokens = &tokens[..most.min(tokens.len())];
        let text: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        // the last token was chosen, but looked at nothing
        let length = (text.len() - 1).max(prompt.len());
        let image = picture.framed(self.model.config().frame()).normalised();
        // recorded for a little more, so that the next caption need not be of the same length
        let most = length
            .next_multiple_of(8)
            .min(self.model.room())
            .max(length);
        let maps = prepare(&mut self.attention, most, |length| {
            AttentionPass::new(&self.device, &self.model, length)
        })?;
        let maps = maps.run(&image, &text[..length])?;
        if self.model.config().visual_tokens == VisualTokens::Fuyu {
            return Ok((maps, vec![]));
        }
        let relevance = prepare(&mut self.relevance, most, |length| {
            Relevance::new(&self.device, &self.model, length)
        })?;
        let of = |(index, &token): (usize, &u32)| {
            relevance.run(&image, &text[..prompt.len() + index], token)
        };
        Ok((
            maps,
            tokens
                .iter()
                .enumerate()
                .map(of)
                .collect::<Result<_, _>>()?,
        ))
    }

    /// The captions that a beam of so many hypotheses finds, the best first, of at most `most` tokens each after `prompt`; ranked by
    /// [`SearchOptions::length_power`].
    pub fn likeliest(
        &mut self,
        picture: &Picture,
        prompt: &str,
        most: usize,
        beam: usize,
        length_power: f64,
    ) -> Result<Vec<Whole>, CaptionError> {
        let (prompt, new) = self.prompt(prompt, most)?;
        let wanted = SearchOptions {
            batch: 1,
            prompt: prompt.len(),
            new,
            beam,
            length_power,
        };
        let search = searching(&mut self.search, wanted, &self.device, &self.model)?;
        let image = picture.framed(self.model.config().frame()).normalised();
        let found = search.run(&image, &prompt, self.tokenizer.end())?.remove(0);
        Ok(found
            .into_iter()
            .map(|found| whole(&self.tokenizer, &prompt, found))
            .collect())
    }

    /// The likeliest caption of every picture, found by a beam of so many hypotheses, 1 for the likeliest token every time. The pictures,
    /// framed as [`Config::frame`] says, go through the device `batch` at a time; prompt and lengths are as in [`Captioner::likeliest`].
    pub fn captions(
        &mut self,
        pictures: &[Picture],
        batch: usize,
        prompt: &str,
        most: usize,
        beam: usize,
    ) -> Result<Vec<Whole>, CaptionError> {
        let (prompt, new) = self.prompt(prompt, most)?;
        let wanted = SearchOptions {
            batch,
            prompt: prompt.len(),
            new,
            beam,
            length_power: 0.0,
        };
        let search = searching(&mut self.batch, wanted, &self.device, &self.model)?;
        let mut captions = vec![];
        for pictures in pictures.chunks(batch) {
            let images: Vec<f32> = pictures.iter().flat_map(Picture::normalised).collect();
            let found = search.run(
                &images,
                &prompt.repeat(pictures.len()),
                self.tokenizer.end(),
            )?;
            captions.extend(
                found
                    .into_iter()
                    .map(|mut found| whole(&self.tokenizer, &prompt, found.swap_remove(0))),
            );
        }
        Ok(captions)
    }

    /// The tokens of a prompt, and how many of at most `most` new ones there is room for.
    fn prompt(&self, prompt: &str, most: usize) -> Result<(Vec<u32>, usize), CaptionError> {
        let prompt = self.tokenizer.encode(self.tokenizer.as_prompt(prompt));
        let prompt: Vec<u32> = self.tokenizer.begin().into_iter().chain(prompt).collect();
        if prompt.is_empty() {
            return Err(CaptionError::NoPrompt);
        }
        let room = self.model.room();
        if prompt.len() > room {
            return Err(CaptionError::PromptTooLong {
                have: prompt.len(),
                room,
            });
        }
        // the last token is written, but takes no position
        let most = most.min(room - prompt.len() + 1);
        Ok((prompt, most))
    }
}

/// What was made for texts of so many positions, or for longer ones; made anew where there is none.
fn prepare<T>(
    known: &mut Option<(usize, T)>,
    length: usize,
    make: impl FnOnce(usize) -> Result<T, DeviceError>,
) -> Result<&T, DeviceError> {
    if known.as_ref().is_none_or(|(room, _)| *room < length) {
        *known = Some((length, make(length)?));
    }
    Ok(&known.as_ref().expect("made above").1)
}

/// A search with these options: the one that is there, or a new one.
fn searching<'a>(
    known: &'a mut Option<(SearchOptions, Search)>,
    wanted: SearchOptions,
    device: &Device,
    model: &Vlm,
) -> Result<&'a Search, DeviceError> {
    if known.as_ref().is_none_or(|(options, _)| *options != wanted) {
        *known = Some((wanted, Search::new(device, model, wanted)?));
    }
    Ok(&known.as_ref().expect("made above").1)
}

fn whole(tokenizer: &Tokenizer, prompt: &[u32], found: Hypothesis) -> Whole {
    let mut stream = TextStream::new(tokenizer, prompt);
    let text = found
        .tokens
        .iter()
        .map(|&token| stream.push(token))
        .collect();
    Whole {
        text,
        log_probability: found.log_probability(),
    }
}

/// The likeliest tokens of one position beside the chosen one, in words.
fn others(tokenizer: &Tokenizer, logits: &[f32], chosen: u32) -> Vec<(String, f32)> {
    let name = |token: u32| match token {
        token if Some(token) == tokenizer.end() => "(end)".into(),
        token => tokenizer.decode(&[token]),
    };
    let others = ranked(logits)
        .into_iter()
        .filter(|choice| choice.token != chosen)
        .take(OTHERS);
    others
        .map(|choice| (name(choice.token), choice.probability))
        .collect()
}

/// The attention that the position which chose a token paid to each patch. `vision` are the maps of the pass that saw the
/// picture, `maps` those of the pass that chose the token.
fn look(config: &Config, vision: &[Map], maps: &[Map]) -> Vec<f32> {
    let cls = config.visual_tokens == VisualTokens::Cls;
    let chosen = if cls {
        vision.iter().rfind(|map| map.layer.starts_with("vit."))
    } else {
        maps.iter().rfind(|map| !map.layer.starts_with("vit."))
    };
    let Some(Map { shape, values, .. }) = chosen else {
        return vec![];
    };
    let (heads, queries, keys) = (shape[1], shape[2], shape[3]);
    // the CLS row looks at itself first, then at the patches; the decoder's last query at the visual tokens in front
    let (query, first) = if cls { (0, 1) } else { (queries - 1, 0) };
    (first..first + config.patches())
        .map(|key| {
            (0..heads)
                .map(|head| values[(head * queries + query) * keys + key])
                .sum::<f32>()
                / heads as f32
        })
        .collect()
}
