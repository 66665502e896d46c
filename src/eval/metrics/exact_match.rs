//! Exact match.

/// Whether a caption equals one of the references, ignoring surrounding white space.
pub fn exact_match<'a>(caption: &str, references: impl IntoIterator<Item = &'a str>) -> bool {
    references
        .into_iter()
        .any(|reference| reference.trim() == caption.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_every_character_with_any_reference() {
        assert!(exact_match(" red heart\n", ["blue heart", "red heart "]));
        assert!(!exact_match(
            "red heart",
            ["Red heart", "red  heart", "red heart."]
        ));
        assert!(!exact_match("", []));
    }
}
