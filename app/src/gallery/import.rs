//! Captions from other files.

use std::collections::HashMap;
use std::path::Path;

use seemore::data::Captioned;

use super::{Entry, Gallery, plain};

/// Effect of importing captions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// Captions for pictures that have none.
    pub new: Vec<(usize, String)>,
    /// Captions for pictures that have a different one.
    pub conflicting: Vec<(usize, String)>,
    /// Number of captions for pictures that are not in the gallery.
    pub unknown: usize,
}

impl Gallery {
    /// Matches captions to pictures by their paths, else by file names that are unique, and returns
    /// what importing them would do.
    pub fn import(&self, captioned: Vec<Captioned>) -> Import {
        let entries = || self.entries.iter().enumerate();
        let by_path: HashMap<&Path, usize> = entries()
            .map(|(number, entry)| (entry.path.as_path(), number))
            .collect();
        let mut by_name: HashMap<_, Option<usize>> = HashMap::new();
        for (number, Entry { path, .. }) in entries() {
            by_name
                .entry(path.file_name())
                .and_modify(|known| *known = None)
                .or_insert(Some(number));
        }
        let mut import = Import::default();
        for Captioned { picture, caption } in captioned {
            let named = || by_name.get(&picture.file_name()).copied().flatten();
            let Some(entry) = by_path.get(picture.as_path()).copied().or_else(named) else {
                import.unknown += 1;
                continue;
            };
            let caption = plain(&caption);
            let before = &self.entries[entry].caption;
            if before.trim().is_empty() {
                import.new.push((entry, caption));
            } else if before.trim() != caption {
                import.conflicting.push((entry, caption));
            }
        }
        import
    }
}
