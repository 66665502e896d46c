//! A tokenizer with one token per character.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Content of `tokenizer.json`. Characters have the ids 0, 1, .. in order, skipping the ids of
/// special tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "type")]
    kind: Kind,
    characters: Vec<char>,
    pad: u32,
    begin: Option<u32>,
    end: Option<u32>,
    unknown: Option<u32>,
}

/// Tag of this format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Characters,
}

/// Vocabulary of characters; see [`Tokenizer`](super::Tokenizer) for the special tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Characters {
    file: File,
    /// Character of each id; `None` for special tokens.
    characters: Vec<Option<char>>,
    ids: BTreeMap<char, u32>,
}

impl Characters {
    /// Creates the vocabulary of texts: padding 0, begin 1, end 2, unknown 3, then the distinct
    /// characters, sorted.
    pub fn train<'a>(texts: impl Iterator<Item = &'a str>) -> Characters {
        let characters = texts
            .flat_map(str::chars)
            .collect::<BTreeSet<char>>()
            .into_iter()
            .collect();
        Self::build(File {
            kind: Kind::Characters,
            characters,
            pad: 0,
            begin: Some(1),
            end: Some(2),
            unknown: Some(3),
        })
    }

    /// Creates a vocabulary of the original seemore: the distinct characters, sorted, then padding.
    /// It has no other special tokens.
    pub fn plain(characters: impl Iterator<Item = char>) -> Characters {
        let characters: Vec<char> = characters.collect::<BTreeSet<char>>().into_iter().collect();
        let pad = characters.len() as u32;
        Self::build(File {
            kind: Kind::Characters,
            characters,
            pad,
            begin: None,
            end: None,
            unknown: None,
        })
    }

    fn build(file: File) -> Characters {
        let special = BTreeSet::from_iter(
            [Some(file.pad), file.begin, file.end, file.unknown]
                .into_iter()
                .flatten(),
        );
        let size = file.characters.len() + special.len();
        let mut free = file.characters.iter();
        let characters: Vec<Option<char>> = (0..size as u32)
            .map(|id| {
                if special.contains(&id) {
                    None
                } else {
                    free.next().copied()
                }
            })
            .collect();
        let ids = characters
            .iter()
            .enumerate()
            .filter_map(|(id, character)| Some(((*character)?, id as u32)))
            .collect();
        Characters {
            file,
            characters,
            ids,
        }
    }

    /// Returns the number of ids.
    pub fn vocab_size(&self) -> usize {
        self.characters.len()
    }

    /// Returns the id of padding.
    pub fn pad(&self) -> u32 {
        self.file.pad
    }

    /// Returns the id of the begin of a text, if there is one.
    pub fn begin(&self) -> Option<u32> {
        self.file.begin
    }

    /// Returns the id of the end of a text, if there is one.
    pub fn end(&self) -> Option<u32> {
        self.file.end
    }

    /// Returns the id of unknown characters, if there is one.
    pub fn unknown(&self) -> Option<u32> {
        self.file.unknown
    }

    /// Returns the distinct characters of a text that are not in the vocabulary, in order.
    pub fn unknown_characters(&self, text: &str) -> Vec<char> {
        let mut seen = BTreeSet::new();
        text.chars()
            .filter(|character| !self.ids.contains_key(character) && seen.insert(*character))
            .collect()
    }

    /// Converts a text to ids. Characters outside the vocabulary become the unknown token, or
    /// padding if there is none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let other = self.file.unknown.unwrap_or(self.file.pad);
        text.chars()
            .map(|character| self.ids.get(&character).copied().unwrap_or(other))
            .collect()
    }

    /// Converts ids to text. The unknown token and ids outside the vocabulary become U+FFFD. Other
    /// special tokens are omitted.
    pub fn decode(&self, ids: &[u32]) -> String {
        let silent = [Some(self.file.pad), self.file.begin, self.file.end];
        ids.iter()
            .filter(|&&id| !silent.contains(&Some(id)))
            .map(|&id| {
                self.characters
                    .get(id as usize)
                    .copied()
                    .flatten()
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
            })
            .collect()
    }

    /// Returns the content of `tokenizer.json`.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.file).expect("characters and ids are plain data")
    }

    /// Parses the content of `tokenizer.json`.
    ///
    /// # Errors
    /// A description of the defect.
    pub fn from_json(text: &str) -> Result<Characters, String> {
        let file: File = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let distinct = file.characters.iter().collect::<BTreeSet<_>>().len();
        if distinct != file.characters.len() {
            return Err("a character is listed twice".into());
        }
        let special: Vec<u32> = [Some(file.pad), file.begin, file.end, file.unknown]
            .into_iter()
            .flatten()
            .collect();
        let size = file.characters.len() + special.iter().collect::<BTreeSet<_>>().len();
        if let Some(id) = special.iter().find(|&&id| id as usize >= size) {
            return Err(format!(
                "special token {id} lies outside the vocabulary of {size}"
            ));
        }
        Ok(Self::build(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_and_decodes() {
        let tokenizer = Characters::train(["red heart", "été"].into_iter());
        assert_eq!(tokenizer.decode(&tokenizer.encode("the art")), "the art");
        assert_eq!(tokenizer.decode(&tokenizer.encode("tier")), "t\u{fffd}er");
        assert_eq!(tokenizer.decode(&tokenizer.encode("red hat")), "red hat");
        assert_eq!(tokenizer.vocab_size(), 4 + "adehrté ".chars().count());
        assert_eq!(tokenizer.encode("q"), [tokenizer.unknown().unwrap()]);
        let framed = [1, tokenizer.encode("a")[0], 2, 0, 0];
        assert_eq!(tokenizer.decode(&framed), "a");
        assert_eq!(tokenizer.unknown_characters("a zoo"), ['z', 'o']);
        assert_eq!(tokenizer.unknown_characters("the tea"), []);
    }

    #[test]
    fn plain_vocabulary_has_characters_and_padding_only() {
        let tokenizer = Characters::plain("hello".chars());
        assert_eq!(
            (tokenizer.vocab_size(), tokenizer.pad(), tokenizer.begin()),
            (5, 4, None)
        );
        assert_eq!(tokenizer.encode("ehlo"), [0, 1, 2, 3]);
    }
}
