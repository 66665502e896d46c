//! Find and replace.

use regex::{NoExpand, Regex, RegexBuilder};

use super::Gallery;

/// Text to find in captions and what to replace it with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replacement {
    /// Text or regular expression to find.
    pub text: String,
    /// Replacement text. With a regular expression, `$1` stands for the first group.
    pub with: String,
    /// Whether upper and lower case differ.
    pub match_case: bool,
    /// Whether `text` is a regular expression.
    pub regex: bool,
}

impl Gallery {
    /// Returns the captions of `entries` that a replacement would change, as they would be after
    /// it.
    ///
    /// # Errors
    /// A message, if the regular expression is invalid.
    pub fn replaced(
        &self,
        entries: &[usize],
        find: &Replacement,
    ) -> Result<Vec<(usize, String)>, String> {
        if find.text.is_empty() {
            return Ok(vec![]);
        }
        let pattern = if find.regex {
            find.text.clone()
        } else {
            regex::escape(&find.text)
        };
        let regex: Regex = RegexBuilder::new(&pattern)
            .case_insensitive(!find.match_case)
            .build()
            .map_err(|error| {
                // the last line of the error says what is wrong, those before it where
                let error = error.to_string();
                let reason = error.lines().last().unwrap_or_default();
                format!(
                    "Invalid regular expression: {}",
                    reason.trim_start_matches("error: ")
                )
            })?;
        let replace = |caption: &str| match find.regex {
            true => regex.replace_all(caption, &find.with).into_owned(),
            false => regex
                .replace_all(caption, NoExpand(&find.with))
                .into_owned(),
        };
        Ok(self.changed(entries, replace))
    }
}
