//! Checks of `config.json`: sizes that pass must not overflow.
#![no_main]

use seemore::models::ModelConfig;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(config) = ModelConfig::parse(bytes) {
        let info = config.info();
        assert!(info.encoder_rows() <= (1 << 24) + 1 && info.visual_tokens < info.context);
        assert!(info.decoder.scale.is_finite() && info.patch_values() > 0);
        assert_eq!(ModelConfig::parse(config.to_json().as_bytes()).unwrap(), config);
    }
});
