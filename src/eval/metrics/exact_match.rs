//! Whether a caption is right to the letter.

/// Whether `written` is one of the true captions, spaces around them aside.
pub fn exact_match<'a>(written: &str, truths: impl IntoIterator<Item = &'a str>) -> bool {
    truths
        .into_iter()
        .any(|truth| truth.trim() == written.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_reference_counts_and_every_letter_does() {
        assert!(exact_match(" red heart\n", ["blue heart", "red heart "]));
        assert!(!exact_match(
            "red heart",
            ["Red heart", "red  heart", "red heart."]
        ));
        assert!(!exact_match("", []));
    }
}
