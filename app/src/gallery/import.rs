//! Captions from other files.

use std::collections::HashMap;

use seemore::data::Captioned;

use super::Gallery;

/// Effect of importing captions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Import {
    /// Captions for pictures that have none.
    pub new: Vec<(usize, String)>,
    /// Captions for pictures that have a different one.
    pub conflicting: Vec<(usize, String)>,
    /// Number of captions for pictures that are not in the folder.
    pub unknown: usize,
}

impl Gallery {
    /// Matches captions to pictures by file name and returns what importing them would do.
    pub fn import(&self, captioned: Vec<Captioned>) -> Import {
        let by_name: HashMap<&str, usize> = self
            .entries
            .iter()
            .enumerate()
            .map(|(i, entry)| (entry.name.as_str(), i))
            .collect();
        let mut import = Import::default();
        for Captioned { picture, caption } in captioned {
            let name = picture.file_name().map(|name| name.to_string_lossy());
            let Some(&entry) = name.and_then(|name| by_name.get(&*name)) else {
                import.unknown += 1;
                continue;
            };
            let before = &self.entries[entry].caption;
            if before.trim().is_empty() {
                import.new.push((entry, caption));
            } else if *before != caption {
                import.conflicting.push((entry, caption));
            }
        }
        import
    }
}
