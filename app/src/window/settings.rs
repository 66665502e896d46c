//! Settings of the window that persist between starts. Pages store their own.

use std::path::PathBuf;

use eframe::Storage;
use serde::{Deserialize, Serialize};

use crate::generation::GenerationSettings;
use crate::page::HeatStyle;

/// Key of the stored settings.
const STORED: &str = "seemore";

/// Settings that are shared by the pages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How captions are generated.
    #[serde(alias = "settings")]
    pub generation: GenerationSettings,
    /// How heat maps are drawn.
    pub heat: HeatStyle,
    /// Title of the page on screen.
    pub tab: String,
    /// Folder of the chosen model.
    pub model: Option<PathBuf>,
    /// Device to run on; `None` for the best one.
    pub device: Option<String>,
}

impl Settings {
    /// Reads the settings. Unreadable ones are replaced by the defaults.
    pub fn load(storage: &dyn Storage) -> Settings {
        eframe::get_value(storage, STORED).unwrap_or_default()
    }

    /// Stores the settings.
    pub fn save(&self, storage: &mut dyn Storage) {
        eframe::set_value(storage, STORED, self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_storage::Memory;

    #[test]
    fn stored_settings_are_restored() {
        let mut memory = Memory::default();
        let settings = Settings {
            tab: "Batch".into(),
            model: Some("models/emoji".into()),
            ..Settings::default()
        };
        settings.save(&mut memory);
        assert_eq!(Settings::load(&memory), settings);
    }

    #[test]
    fn settings_of_earlier_versions_are_read_or_replaced() {
        let mut memory = Memory::default();
        let earlier = "(settings:(temperature:0.5,most:12,prefix:\"a\"),opacity:Some(0.3),\
             colors:inferno,training:(kind:New,preset:\"tiny\"),batch:None,page:Train,\
             model:Some(\"models/emoji\"))";
        memory.set_string(STORED, earlier.into());
        let settings = Settings::load(&memory);
        assert_eq!(settings.model, Some("models/emoji".into()));
        assert_eq!(
            (
                settings.generation.max_len,
                settings.generation.prefix.as_str()
            ),
            // a prefix belongs to the page that asks for it
            (12, "")
        );
        memory.set_string(STORED, "not (settings".into());
        assert_eq!(Settings::load(&memory), Settings::default());
    }
}
