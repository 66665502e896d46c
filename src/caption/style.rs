//! Kinds of captions that pretrained models are asked for.

/// Kind of caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Style {
    /// One sentence.
    Short,
    /// Several sentences.
    #[default]
    Detailed,
    /// One sentence for someone who cannot see the picture.
    AltText,
    /// Words for the things in the picture, separated by commas.
    Tags,
}

impl Style {
    /// All styles.
    pub const ALL: [Style; 4] = [Style::Short, Style::Detailed, Style::AltText, Style::Tags];

    /// Returns the question that asks a model for the style. `family` is the
    /// [family](crate::ModelConfig::family) of the model; those that are not listed share one
    /// wording.
    ///
    /// `Detailed` is the question of SmolVLM's model card.
    pub fn question(self, family: &str) -> &'static str {
        match (family, self) {
            ("nanovlm", Style::Short) => "Describe the image in one sentence.",
            ("nanovlm", Style::Detailed) => "Describe the image.",
            (_, Style::Short) => "Describe this image in one short sentence.",
            (_, Style::Detailed) => "Can you describe this image?",
            (_, Style::AltText) => {
                "Write one sentence that tells someone who cannot see this image what it shows."
            }
            (_, Style::Tags) => "List the main things in this image as words separated by commas.",
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
}
