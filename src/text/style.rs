//! Kinds of captions, and how a model is asked for each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Kind of caption that a pretrained model is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Style {
    /// One sentence.
    Short,
    /// A paragraph.
    #[default]
    Detailed,
    /// Text for people who cannot see the picture.
    AltText,
    /// Keywords, separated by commas.
    Tags,
}

impl Style {
    /// All styles.
    pub const ALL: [Style; 4] = [Style::Short, Style::Detailed, Style::AltText, Style::Tags];

    /// Returns the question that asks a model of this
    /// [family](crate::ModelConfig::family) for the style, in English, the language of the models.
    /// Families that are not told apart share a wording.
    pub fn prompt(self, family: &str) -> &'static str {
        match (family, self) {
            // the question of nanoVLM's own examples
            ("nanovlm", Style::Detailed) => "What is this?",
            (_, Style::Short) => "Write a caption of one sentence for this image.",
            // the question of SmolVLM's model card
            (_, Style::Detailed) => "Can you describe this image?",
            (_, Style::AltText) => {
                "Write the alt text of this image: one plain sentence for a person who cannot see it."
            }
            (_, Style::Tags) => {
                "List what this image shows as keywords, separated by commas, without sentences."
            }
        }
    }

    /// Returns the most tokens that a caption of the style needs.
    pub fn max_tokens(self) -> usize {
        match self {
            Style::Short | Style::AltText => 48,
            Style::Tags => 64,
            Style::Detailed => 192,
        }
    }

    /// Returns the name of the style, such as `alt-text`.
    pub fn name(self) -> &'static str {
        match self {
            Style::Short => "short",
            Style::Detailed => "detailed",
            Style::AltText => "alt-text",
            Style::Tags => "tags",
        }
    }
}

impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Style {
    type Err = String;

    fn from_str(name: &str) -> Result<Style, String> {
        let found = Style::ALL.into_iter().find(|style| style.name() == name);
        found.ok_or_else(|| {
            let names = Style::ALL.map(Style::name).join(", ");
            format!("{name:?} is not a style of caption; the styles are {names}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_are_written_as_they_are_given() {
        for style in Style::ALL {
            assert_eq!(style.to_string().parse(), Ok(style));
            assert_eq!(serde_json::to_value(style).unwrap(), style.name());
            let others = Style::ALL
                .into_iter()
                .filter(|other| other.prompt("smolvlm") == style.prompt("smolvlm"));
            assert_eq!(others.count(), 1);
        }
        assert!("poem".parse::<Style>().unwrap_err().contains("alt-text"));
    }
}
