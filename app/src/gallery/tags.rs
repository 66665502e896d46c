//! Captions that are lists of tags, separated by commas.

use std::collections::HashMap;

use super::Gallery;

/// Returns the tags of a caption.
pub fn of(caption: &str) -> Vec<&str> {
    let parts = caption.split([',', '\n']).map(str::trim);
    parts.filter(|tag| !tag.is_empty()).collect()
}

/// Whether a caption has a tag, ignoring case.
pub fn has(caption: &str, tag: &str) -> bool {
    let tag = tag.trim().to_lowercase();
    of(caption).iter().any(|other| other.to_lowercase() == tag)
}

/// Returns a caption with a tag at its start or end, unless it has the tag.
pub fn with(caption: &str, tag: &str, first: bool) -> String {
    let tag = tag.trim();
    if tag.is_empty() || has(caption, tag) {
        return caption.to_owned();
    }
    match (caption.trim().is_empty(), first) {
        (true, _) => tag.to_owned(),
        (false, true) => format!("{tag}, {}", caption.trim_start()),
        (false, false) => format!("{}, {tag}", caption.trim_end().trim_end_matches(',')),
    }
}

/// Returns a caption without a tag, ignoring case.
pub fn without(caption: &str, tag: &str) -> String {
    if !has(caption, tag) {
        return caption.to_owned();
    }
    let tag = tag.trim().to_lowercase();
    let mut tags = of(caption);
    tags.retain(|other| other.to_lowercase() != tag);
    tags.join(", ")
}

/// Returns a caption whose tag at `from` is moved to `to`.
pub fn moved(caption: &str, from: usize, to: usize) -> String {
    let mut tags = of(caption);
    if from < tags.len() {
        let tag = tags.remove(from);
        tags.insert(to.min(tags.len()), tag);
    }
    tags.join(", ")
}

impl Gallery {
    /// Counts the tags of some entries, the most frequent first.
    pub fn tag_counts(&self, entries: &[usize]) -> Vec<(String, usize)> {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for &entry in entries {
            for tag in of(&self.entries[entry].caption) {
                *counts.entry(tag).or_default() += 1;
            }
        }
        let mut counts: Vec<(String, usize)> = counts
            .into_iter()
            .map(|(tag, count)| (tag.to_owned(), count))
            .collect();
        counts.sort_by(|(a, n), (b, m)| m.cmp(n).then_with(|| a.cmp(b)));
        counts
    }

    /// Returns the captions of some entries that a function changes, as they would be after it.
    pub fn changed(
        &self,
        entries: &[usize],
        change: impl Fn(&str) -> String,
    ) -> Vec<(usize, String)> {
        let changed = |&entry: &usize| {
            let before = &self.entries[entry].caption;
            let after = change(before);
            (after != *before).then_some((entry, after))
        };
        entries.iter().filter_map(changed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_added_removed_and_moved() {
        assert_eq!(with("a, b", " c ", false), "a, b, c");
        assert_eq!(with("a, b,", "c", false), "a, b, c");
        assert_eq!(with("a, b", "c", true), "c, a, b");
        assert_eq!(with("a, B", "b", false), "a, B");
        assert_eq!(with(" ", "b", true), "b");
        assert_eq!(without("a, b , c", "B"), "a, c");
        // a caption without the tag keeps its form
        assert_eq!(without("A cat.\nIt sleeps.", "dog"), "A cat.\nIt sleeps.");
        assert_eq!(moved("a, b, c", 2, 0), "c, a, b");
        assert_eq!(moved("a, b, c", 0, 9), "b, c, a");
    }
}
