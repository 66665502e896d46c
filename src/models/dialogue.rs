//! How pretrained models are asked: pictures as tiles, messages as text.

use std::path::Path;

use serde_json::Value;

use super::load::{CheckpointError, Gguf};
use super::{ModelConfig, nanovlm, smolvlm};
use crate::image::{Picture, TileGrid, TiledPicture, Tiling};
use crate::text::chat::{ChatError, ChatTemplate, Message, Part, TemplateTokens};
use crate::text::{BytePairs, Pretrained, Tokenizer, TokenizerError};

/// Token that ends a turn of SmolVLM, whether its files list it or not.
const END_OF_TURN: &str = "<end_of_utterance>";

/// Pictures as a family takes them in.
#[derive(Debug, Clone)]
enum Pictures {
    /// None.
    Refused,
    /// Tiles at placeholders, each of that many.
    Smolvlm(smolvlm::PreprocessConfig, usize),
    /// Tiles at placeholders, each of that many, in releases with or without tiles; or in front of
    /// the text.
    Nanovlm {
        config: nanovlm::PreprocessConfig,
        rows: usize,
        at: NanovlmPlaces,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NanovlmPlaces {
    InFront,
    OneTile,
    Tiles,
}

/// Pictures to tiles and messages to text, as the files of a pretrained model say.
#[derive(Debug, Clone)]
pub struct Dialogue {
    pictures: Pictures,
    template: Option<ChatTemplate>,
    tokens: TemplateTokens,
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
        let special = Special::load(dir)?;
        let tokenizer = Tokenizer::load_pretrained(&path, None, vec![])?;
        let Tokenizer::Pretrained(pretrained) = tokenizer else {
            unreachable!("it was loaded as one of a pretrained model")
        };
        let id = |token: &Option<String>| token.as_ref().and_then(|token| pretrained.id(token));
        let mut ends = special.ends.clone();
        ends.extend(id(&special.tokens.end));
        ends.extend(pretrained.id(END_OF_TURN));
        let mut seen = vec![];
        ends.retain(|end| {
            let new = !seen.contains(end);
            seen.push(*end);
            new
        });
        let pad = id(&special.tokens.pad);
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
                Pictures::Smolvlm(preprocess, config.tile_rows())
            }
            ModelConfig::Nanovlm(config) => Pictures::Nanovlm {
                config: nanovlm::PreprocessConfig::load(dir)?,
                rows: config.tile_rows(),
                at: match config.image_token_id {
                    None => NanovlmPlaces::InFront,
                    Some(_) if pretrained.id(nanovlm::WHOLE).is_some() => NanovlmPlaces::Tiles,
                    Some(_) => NanovlmPlaces::OneTile,
                },
            },
            _ => Pictures::Refused,
        };
        let tokenizer = pretrained.with_special(pad, ends);
        Ok((
            Dialogue {
                pictures,
                template: ChatTemplate::load(dir)?,
                tokens: special.tokens,
            },
            Tokenizer::Pretrained(tokenizer.into()),
        ))
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
        let tokens = text.texts("tokenizer.ggml.tokens")?;
        let kind = text.text("tokenizer.ggml.model")?;
        let invalid = |reason: String| TokenizerError::Invalid {
            path: text.path().to_owned(),
            reason,
        };
        if kind != "gpt2" {
            return Err(invalid(format!(
                "its tokenizer is of the kind `{kind}`; only `gpt2`, byte-level BPE, is known"
            ))
            .into());
        }
        let cut = match text.metadata("tokenizer.ggml.pre") {
            Some(_) => text.text("tokenizer.ggml.pre")?,
            None => "default",
        };
        let pairs = BytePairs {
            tokens,
            merges: text.texts("tokenizer.ggml.merges")?,
            kinds: &text.integers("tokenizer.ggml.token_type")?,
            cut,
        };
        let tokenizer = Pretrained::from_pairs(pairs).map_err(invalid)?;
        let id = |key: &str| -> Result<Option<u32>, CheckpointError> {
            let key = format!("tokenizer.ggml.{key}_token_id");
            Ok(match text.metadata(&key) {
                Some(_) => Some(text.size(&key)? as u32),
                None => None,
            })
        };
        let named = |id: Option<u32>| id.and_then(|id| tokens.get(id as usize).cloned());
        let (begin, end) = (id("bos")?, id("eos")?);
        let (pad, unknown) = (id("padding")?, id("unknown")?);
        let mut ends: Vec<u32> = end.into_iter().chain(id("eot")?).collect();
        ends.extend(tokenizer.id(END_OF_TURN));
        ends.sort_unstable();
        ends.dedup();
        let template = match text.metadata("tokenizer.chat_template") {
            Some(_) => Some(ChatTemplate::new(
                text.text("tokenizer.chat_template")?,
                text.path(),
            )?),
            None => None,
        };
        let pictures = match (config, vision) {
            (ModelConfig::Smolvlm(config), Some(vision)) => {
                let preprocess = smolvlm::PreprocessConfig::of_gguf(vision)?;
                Pictures::Smolvlm(preprocess, config.tile_rows())
            }
            _ => Pictures::Refused,
        };
        Ok((
            Dialogue {
                pictures,
                template,
                tokens: TemplateTokens {
                    begin: named(begin),
                    end: named(end),
                    pad: named(pad),
                    unknown: named(unknown),
                },
            },
            Tokenizer::Pretrained(tokenizer.with_special(pad, ends).into()),
        ))
    }

    /// Whether the model takes pictures.
    pub fn takes_pictures(&self) -> bool {
        !matches!(self.pictures, Pictures::Refused)
    }

    /// Converts a picture to tiles.
    ///
    /// # Panics
    /// If the model takes no pictures.
    pub fn tiles(&self, picture: &Picture, tiling: Tiling) -> TiledPicture {
        match &self.pictures {
            Pictures::Smolvlm(config, _) => config.preprocess(picture, tiling),
            Pictures::Nanovlm { config, .. } => config.preprocess(picture, tiling),
            Pictures::Refused => panic!("tiles: the model takes no pictures"),
        }
    }

    /// Returns the text that asks the model to go on after messages, with the places of their
    /// pictures, whose grids of tiles are given in order. Without a template the texts of the
    /// messages follow each other.
    ///
    /// # Errors
    /// A template that fails on the messages.
    ///
    /// # Panics
    /// With another number of grids than pictures in the messages.
    pub fn text(&self, messages: &[Message], grids: &[TileGrid]) -> Result<String, ChatError> {
        let parts = messages.iter().flat_map(|message| &message.content);
        let pictures = parts.filter(|part| **part == Part::Image).count();
        assert_eq!(pictures, grids.len(), "a grid for each picture");
        let render = |messages: &[Message]| match &self.template {
            Some(template) => template.render(messages, &self.tokens, true),
            None => Ok(messages.iter().map(Message::text).collect()),
        };
        match &self.pictures {
            Pictures::Refused => render(messages),
            Pictures::Smolvlm(_, rows) => {
                let text = render(messages)?;
                let mut grids = grids.iter();
                let mut whole = String::new();
                for (index, part) in text.split(smolvlm::PLACEHOLDER).enumerate() {
                    if index > 0 {
                        // a placeholder in the user's own words is no picture
                        match grids.next() {
                            Some(grid) => whole += &smolvlm::places(*grid, *rows),
                            None => whole += smolvlm::PLACEHOLDER,
                        }
                    }
                    whole += part;
                }
                Ok(whole)
            }
            Pictures::Nanovlm { rows, at, .. } => {
                let mut grids = grids;
                let filled = messages.iter().map(|message| {
                    let images = message.content.iter();
                    let count = images.filter(|part| **part == Part::Image).count();
                    let (own, others) = grids.split_at(count);
                    grids = others;
                    let places = match at {
                        NanovlmPlaces::InFront => String::new(),
                        at => nanovlm::places(own, *rows, *at == NanovlmPlaces::Tiles),
                    };
                    Message {
                        role: message.role.clone(),
                        content: vec![Part::Text {
                            text: places + &message.text(),
                        }],
                    }
                });
                let filled: Vec<Message> = filled.collect();
                match at {
                    NanovlmPlaces::InFront => {
                        Ok(nanovlm::question(&filled.iter().map(Message::text).collect::<String>()))
                    }
                    _ => render(&filled),
                }
            }
        }
    }
}

/// Special tokens that a folder's files name.
#[derive(Debug, Default)]
struct Special {
    tokens: TemplateTokens,
    /// Ids of tokens that end a text.
    ends: Vec<u32>,
}

impl Special {
    /// Reads `tokenizer_config.json`, `generation_config.json` and `config.json`, as far as they are
    /// there.
    fn load(dir: &Path) -> Result<Special, CheckpointError> {
        let tokenizer = object(&dir.join("tokenizer_config.json"))?;
        let token = |field: &str| {
            let value = &tokenizer[field];
            // older files have an object with the token's properties
            let text = value.as_str().or_else(|| value["content"].as_str());
            text.map(str::to_owned)
        };
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
        Ok(Special {
            tokens: TemplateTokens {
                begin: token("bos_token"),
                end: token("eos_token"),
                pad: token("pad_token"),
                unknown: token("unk_token"),
            },
            ends,
        })
    }
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
