use serde_json::json;

use super::*;
use crate::models::{Preset, emoji, seemore};

fn parse(value: Value) -> Result<ModelConfig, ConfigError> {
    ModelConfig::parse(value.to_string().as_bytes())
}

fn error(value: Value) -> String {
    parse(value).unwrap_err().to_string()
}

const PRESETS: [Preset; 6] = [
    Preset::Seemore,
    Preset::SeemoreOriginal,
    Preset::Llava,
    Preset::Fuyu,
    Preset::Tiny,
    Preset::Emoji,
];

#[test]
fn written_configurations_are_read_back_equal() {
    for preset in PRESETS {
        let config = preset.config();
        config.check().unwrap();
        let text = config.to_json();
        assert_eq!(ModelConfig::parse(text.as_bytes()).unwrap(), config);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["family"], config.family());
        assert_eq!(value["version"], VERSION);
    }
}

#[test]
fn absent_fields_take_the_default_of_the_family() {
    let config = parse(json!({"family": "emoji", "text": {"vocab_size": 99}})).unwrap();
    let mut expected = emoji::Config::default();
    expected.text.vocab_size = 99;
    assert_eq!(config, expected.into());
    let config = parse(json!({"vision": {"layers": 1}})).unwrap();
    let mut expected = seemore::Config::default();
    expected.vision.layers = 1;
    assert_eq!(config, expected.into());
}

#[test]
fn errors_name_the_path_of_the_field() {
    let text = error(json!({"text": {"heads": 7}}));
    assert!(text.contains("text.heads = 7"), "{text}");
    let text = error(json!({"text": {"heads": "many"}}));
    assert!(text.contains("text.heads: invalid type"), "{text}");
    let text = error(json!({"vision": {"hog": true}}));
    assert!(text.contains("vision") && text.contains("`hog`"), "{text}");
    let text = error(json!({"vision": {"patch_size": 7}}));
    assert!(text.contains("vision.patch_size = 7"), "{text}");
    let text = error(json!({"family": "emoji", "vision": {"color_levels": 3}}));
    assert!(text.contains("vision.color_levels = 3"), "{text}");
}

#[test]
fn unknown_families_and_newer_versions_are_refused() {
    let text = error(json!({"family": "giraffe"}));
    assert!(
        text.contains("giraffe") && text.contains("seemore"),
        "{text}"
    );
    let text = error(json!({"version": 3, "family": "seemore"}));
    assert!(
        text.contains("version 3") && text.contains("update"),
        "{text}"
    );
    assert!(error(json!([1, 2])).contains("JSON object"));
    assert!(ModelConfig::parse(b"{").is_err());
}

#[test]
fn overrides_replace_values_and_are_checked() {
    for preset in PRESETS {
        let mut config = preset.config();
        let context = config.info().context;
        let overrides = Overrides {
            vocab_size: Some(123),
            dropout: Some(0.25),
            ..Overrides::default()
        };
        config.apply(&overrides).unwrap();
        let info = config.info();
        assert_eq!(
            (info.vocab_size, info.dropout, info.context),
            (123, 0.25, context)
        );
        let overrides = Overrides {
            dropout: Some(1.0),
            ..Overrides::default()
        };
        assert!(config.apply(&overrides).is_err());
    }
}
