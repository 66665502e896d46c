//! How pretrained models are asked: pictures as tiles, messages as text.

use std::path::Path;

use serde_json::Value;

use super::load::{CheckpointError, Gguf};
use super::prompt::PromptError;
use super::{ModelConfig, clip, nanovlm, smolvlm};
use crate::image::{Normalization, Picture, TileGrid, TiledPicture, Tiling};
use crate::text::chat::{ChatError, ChatTemplate, Message, Part, Role, TemplateTokens};
use crate::text::{Pretrained, SpecialIds, Tokenizer, TokenizerError};

/// Token that ends a turn of SmolVLM, whether its files list it or not.
const END_OF_TURN: &str = "<end_of_utterance>";

/// Pictures as a family takes them in.
#[derive(Debug, Clone)]
enum Pictures {
    /// None.
    Refused,
    /// None, since the image encoder of the language model in this GGUF file is not there.
    NoEncoder(String),
    /// Tiles in places of the text, each with so many.
    Smolvlm {
        config: smolvlm::PreprocessConfig,
        tokens: smolvlm::TileTokens,
        rows: usize,
    },
    /// Tiles in places of the text, each with so many, or one tile in front of it.
    Nanovlm {
        config: nanovlm::PreprocessConfig,
        tokens: Option<nanovlm::TileTokens>,
        rows: usize,
    },
    /// One tile in places of the text.
    Composition {
        config: clip::PreprocessConfig,
        tokens: nanovlm::TileTokens,
        rows: usize,
    },
}

/// Pictures to tiles and messages to text, as the files of a pretrained model say.
#[derive(Debug, Clone)]
pub struct Dialogue {
    pictures: Pictures,
    template: Option<ChatTemplate>,
    tokens: TemplateTokens,
    ends: Vec<u32>,
    /// Tells which tiles have a token.
    vocabulary: Pretrained,
}

/// Messages that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum DialogueError {
    /// The chat template fails.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// Pictures do not fit into the text.
    #[error(transparent)]
    Prompt(#[from] PromptError),
}

impl Dialogue {
    /// Reads what a folder of Hugging Face says, with its tokenizer.
    ///
    /// # Errors
    /// Names the file that is absent or wrong.
    pub(super) fn load(
        dir: &Path,
        config: &ModelConfig,
    ) -> Result<(Dialogue, Tokenizer), CheckpointError> {
        let path = dir.join("tokenizer.json");
        let Tokenizer::Pretrained(vocabulary) =
            Tokenizer::load_pretrained(&path, SpecialIds::default())?
        else {
            unreachable!("it was loaded as one of a pretrained model")
        };
        let tokens = TemplateTokens::load(dir)?;
        let mut ends = listed_ends(dir)?;
        ends.extend(tokens.eos.as_ref().and_then(|end| vocabulary.id(end)));
        let pictures = match config {
            ModelConfig::Smolvlm(config) => {
                let preprocess = smolvlm::PreprocessConfig::load(dir)?;
                let side = config.vision.image_size;
                if preprocess.side != side {
                    return Err(CheckpointError::Mismatch {
                        path: dir.display().to_string(),
                        name: "max_image_size.longest_edge".into(),
                        have: format!("is {}", preprocess.side),
                        want: format!("{side}, as config.json says"),
                    });
                }
                Pictures::Smolvlm {
                    config: preprocess,
                    tokens: smolvlm::TileTokens::default(),
                    rows: config.tile_rows(),
                }
            }
            ModelConfig::Nanovlm(config) => Pictures::Nanovlm {
                config: nanovlm::PreprocessConfig::load(dir)?,
                tokens: nanovlm_tokens(dir, config, &vocabulary)?,
                rows: config.tile_rows(),
            },
            _ => Pictures::Refused,
        };
        let template = match nanovlm_template(dir, config)? {
            Some(template) => Some(template),
            None => match ChatTemplate::load(dir) {
                Ok(template) => Some(template),
                Err(ChatError::Absent { .. }) => None,
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Dialogue::new(pictures, template, tokens, ends, *vocabulary))
    }

    /// Reads what GGUF files say, of the language model and of its image encoder.
    ///
    /// # Errors
    /// Names the file and the key that is absent or wrong.
    pub(super) fn of_gguf(
        text: &Gguf,
        vision: Option<&Gguf>,
        config: &ModelConfig,
    ) -> Result<(Dialogue, Tokenizer), CheckpointError> {
        let invalid = |reason: String| TokenizerError::Invalid {
            path: text.path().to_owned(),
            reason,
        };
        let names = text.texts("tokenizer.ggml.tokens")?;
        let kind = text.text("tokenizer.ggml.model")?;
        if kind != "gpt2" {
            return Err(invalid(format!(
                "its tokenizer is of the kind `{kind}`; only `gpt2`, byte-level BPE, is known"
            ))
            .into());
        }
        let cut = match text.metadata("tokenizer.ggml.pre") {
            Some(_) => text.text("tokenizer.ggml.pre")?,
            None => "gpt-2",
        };
        let kinds = text.integers("tokenizer.ggml.token_type")?;
        let kinds: Vec<i32> = kinds.into_iter().map(|kind| kind as i32).collect();
        let merges = text.texts("tokenizer.ggml.merges")?;
        let vocabulary = Pretrained::from_bpe(names, merges, &kinds, cut, SpecialIds::default())
            .map_err(invalid)?;
        let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
            let key = format!("tokenizer.ggml.{key}_token_id");
            Ok(match text.metadata(&key) {
                Some(_) => Some(text.size(&key)? as u32),
                None => None,
            })
        };
        let named = |id: Option<u32>| id.and_then(|id| names.get(id as usize).cloned());
        let tokens = TemplateTokens {
            bos: named(id("bos")?),
            eos: named(id("eos")?),
            pad: named(id("padding")?),
            unk: named(id("unknown")?),
        };
        let ends = id("eos")?.into_iter().chain(id("eot")?).collect();
        let template = match text.metadata("tokenizer.chat_template") {
            Some(_) => Some(ChatTemplate::named(
                text.text("tokenizer.chat_template")?,
                format!("the key `tokenizer.chat_template` of {}", text.path()),
            )?),
            None => None,
        };
        let pictures = match (config, vision) {
            (ModelConfig::Smolvlm(config), Some(vision)) => Pictures::Smolvlm {
                config: smolvlm::PreprocessConfig::of_gguf(vision)?,
                tokens: smolvlm::TileTokens::default(),
                rows: config.tile_rows(),
            },
            _ if vocabulary
                .id(&smolvlm::TileTokens::default().image)
                .is_some() =>
            {
                Pictures::NoEncoder(text.path().to_owned())
            }
            _ => Pictures::Refused,
        };
        Ok(Dialogue::new(pictures, template, tokens, ends, vocabulary))
    }

    /// Adds pictures to the dialogue of a language model: each becomes `rows` places of the token
    /// `image`, which is added to the vocabulary if missing. `template` takes the place of
    /// the language model's own.
    ///
    /// # Panics
    /// If `tokenizer` is not that of a pretrained model.
    pub(super) fn with_pictures(
        self,
        config: clip::PreprocessConfig,
        rows: usize,
        image: &str,
        template: Option<ChatTemplate>,
    ) -> (Dialogue, Tokenizer) {
        let vocabulary = self.vocabulary.with_token(image);
        let pictures = Pictures::Composition {
            config,
            tokens: nanovlm::TileTokens {
                image: image.to_owned(),
                global: None,
                places: Default::default(),
            },
            rows,
        };
        let template = template.or(self.template);
        Dialogue::new(pictures, template, self.tokens, self.ends, vocabulary)
    }

    /// Returns the id that a token has in the dialogue [with pictures](Self::with_pictures).
    pub(super) fn with_image_token(&self, image: &str) -> u32 {
        let vocabulary = self.vocabulary.with_token(image);
        vocabulary.id(image).expect("the token was added")
    }

    /// Returns the id of a token.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    fn new(
        pictures: Pictures,
        template: Option<ChatTemplate>,
        tokens: TemplateTokens,
        mut ends: Vec<u32>,
        vocabulary: Pretrained,
    ) -> (Dialogue, Tokenizer) {
        ends.extend(vocabulary.id(END_OF_TURN));
        ends.sort_unstable();
        ends.dedup();
        let dialogue = Dialogue {
            pictures,
            template,
            tokens,
            ends,
            vocabulary: vocabulary.clone(),
        };
        (dialogue, Tokenizer::Pretrained(vocabulary.into()))
    }

    /// Ids of tokens of which each ends a text.
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether the model takes pictures.
    pub fn takes_pictures(&self) -> bool {
        !matches!(self.pictures, Pictures::Refused | Pictures::NoEncoder(_))
    }

    /// Returns the GGUF file of a language model that knows pictures and was loaded without its
    /// image encoder.
    pub fn lacks_encoder(&self) -> Option<&str> {
        match &self.pictures {
            Pictures::NoEncoder(path) => Some(path),
            _ => None,
        }
    }

    /// Converts a picture to tiles.
    ///
    /// # Panics
    /// If the model takes no pictures.
    pub fn tiles(&self, picture: &Picture, tiling: Tiling) -> TiledPicture {
        match &self.pictures {
            Pictures::Smolvlm { config, .. } => config.preprocess(picture, tiling),
            Pictures::Nanovlm { config, .. } => config.preprocess(picture, tiling),
            Pictures::Composition { config, .. } => config.preprocess(picture),
            Pictures::Refused | Pictures::NoEncoder(_) => {
                panic!("tiles: the model takes no pictures")
            }
        }
    }

    /// Converts the pixels `[side, side, 3]` of a tile to what the model takes in, `[3, side, side]`.
    ///
    /// # Panics
    /// If the model takes no pictures.
    pub fn normalised(&self, rgb: &[u8]) -> Vec<f32> {
        match &self.pictures {
            Pictures::Smolvlm { config, .. } => config.normalization.apply(rgb),
            Pictures::Nanovlm { .. } => Normalization::UNIT.apply(rgb),
            Pictures::Composition { config, .. } => config.normalization.apply(rgb),
            Pictures::Refused | Pictures::NoEncoder(_) => {
                panic!("normalised: the model takes no pictures")
            }
        }
    }

    /// Returns the text that asks the model to go on after messages, with the places of their
    /// pictures, whose grids of tiles are given in order. Without a template the texts of the
    /// messages follow each other.
    ///
    /// # Errors
    /// A template that fails on the messages, another number of grids than pictures, or a grid with
    /// tiles that the model does not know.
    pub fn text(&self, messages: &[Message], grids: &[TileGrid]) -> Result<String, DialogueError> {
        self.rendered(messages, grids, true)
    }

    /// Returns messages as text, with the beginning of a reply if `asks`.
    fn rendered(
        &self,
        messages: &[Message],
        grids: &[TileGrid],
        asks: bool,
    ) -> Result<String, DialogueError> {
        match &self.pictures {
            Pictures::Refused | Pictures::NoEncoder(_) if grids.is_empty() => {
                self.render(messages, asks)
            }
            Pictures::Refused | Pictures::NoEncoder(_) => Err(ChatError::NoPictures.into()),
            Pictures::Smolvlm { tokens, rows, .. } => {
                for grid in grids {
                    tokens.check(&self.vocabulary, *grid)?;
                }
                Ok(tokens.expand(&self.render(messages, asks)?, grids, *rows)?)
            }
            Pictures::Nanovlm {
                tokens: Some(tokens),
                rows,
                ..
            }
            | Pictures::Composition { tokens, rows, .. } => {
                self.render(&tokens.expand(messages, grids, *rows)?, asks)
            }
            Pictures::Nanovlm { tokens: None, .. } => Ok(nanovlm::question(&plain(messages))),
        }
    }

    /// Returns what [`text`](Self::text) gives for messages, and how it goes on with an answer up to
    /// the end of its turn.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn answered(
        &self,
        messages: &[Message],
        grids: &[TileGrid],
        answer: &str,
    ) -> Result<(String, String), DialogueError> {
        let question = self.text(messages, grids)?;
        let end = || {
            let ids = self.tokens.eos.clone();
            ids.or_else(|| self.vocabulary.name(*self.ends.first()?))
        };
        let plainly = |space: &str| format!("{space}{answer}{}", end().unwrap_or_default());
        let in_front = matches!(self.pictures, Pictures::Nanovlm { tokens: None, .. });
        if self.template.is_none() || in_front {
            let space = match question.ends_with(char::is_whitespace) || question.is_empty() {
                true => "",
                false => " ",
            };
            return Ok((question, plainly(space)));
        }
        let said = Message::text(Role::Assistant, answer);
        let all: Vec<Message> = messages.iter().cloned().chain([said]).collect();
        let whole = self.rendered(&all, grids, false)?;
        let rest = match whole.strip_prefix(&question) {
            Some(rest) => rest.to_owned(),
            // a template whose prompt is no beginning of the conversation
            None => plainly(""),
        };
        Ok((question, rest))
    }

    /// Describes how pictures become inputs, completely: equal texts mean equal inputs.
    pub fn preprocessing(&self) -> String {
        format!("{:?}", self.pictures)
    }

    fn render(&self, messages: &[Message], asks: bool) -> Result<String, DialogueError> {
        match &self.template {
            Some(template) => Ok(template.render(messages, &self.tokens, asks)?),
            None => Ok(plain(messages)),
        }
    }
}

/// Returns the texts of messages, one after the other.
fn plain(messages: &[Message]) -> String {
    let parts = messages.iter().flat_map(|message| &message.content);
    let texts = parts.filter_map(|part| match part {
        Part::Text { text } => Some(text.as_str()),
        Part::Image => None,
    });
    texts.collect()
}

/// Returns the tokens of tiles of a nanoVLM model; `None` if pictures stand in front of the text.
fn nanovlm_tokens(
    dir: &Path,
    config: &nanovlm::Config,
    vocabulary: &Pretrained,
) -> Result<Option<nanovlm::TileTokens>, CheckpointError> {
    if config.image_token_id.is_none() {
        return Ok(None);
    }
    let named = nanovlm::PromptConfig::load(dir)?.tokens;
    // the second release does not list them
    Ok(Some(named.unwrap_or_else(|| {
        let global = vocabulary
            .id(nanovlm::GLOBAL)
            .map(|_| nanovlm::GLOBAL.to_owned());
        nanovlm::TileTokens {
            image: nanovlm::PLACEHOLDER.to_owned(),
            global,
            places: Default::default(),
        }
    })))
}

/// Returns the chat template in the `config.json` of a nanoVLM model, if there is one.
fn nanovlm_template(
    dir: &Path,
    config: &ModelConfig,
) -> Result<Option<ChatTemplate>, CheckpointError> {
    let ModelConfig::Nanovlm(_) = config else {
        return Ok(None);
    };
    let Some(source) = nanovlm::PromptConfig::load(dir)?.chat_template else {
        return Ok(None);
    };
    let path = dir.join("config.json");
    let name = format!("lm_chat_template in {}", path.display());
    Ok(Some(ChatTemplate::named(&source, name)?))
}

/// Returns the ids of tokens that end a text, as `generation_config.json` and `config.json` list
/// them.
fn listed_ends(dir: &Path) -> Result<Vec<u32>, CheckpointError> {
    let mut ends = vec![];
    for (file, field) in [
        ("generation_config.json", "eos_token_id"),
        ("config.json", "eos_token_id"),
        ("config.json", "lm_eos_token_id"),
    ] {
        let file = object(&dir.join(file))?;
        let ids = match &file[field] {
            Value::Array(ids) => ids.iter().filter_map(Value::as_u64).collect(),
            id => id.as_u64().into_iter().collect::<Vec<_>>(),
        };
        ends.extend(ids.into_iter().filter_map(|id| u32::try_from(id).ok()));
    }
    Ok(ends)
}

/// Reads a JSON file; null if there is none.
fn object(path: &Path) -> Result<Value, CheckpointError> {
    if !path.is_file() {
        return Ok(Value::Null);
    }
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|reason| CheckpointError::Read {
        path: name.clone(),
        reason,
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        CheckpointError::Tokenizer(TokenizerError::Invalid {
            path: name,
            reason: error.to_string(),
        })
    })
}
