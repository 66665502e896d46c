//! Checks of `config.json`: sizes that pass must not overflow.
#![no_main]

use seemore::models::seemore::Config;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = serde_json::from_slice::<Config>(bytes) else { return };
    if config.check().is_ok() {
        assert!(config.encoder_rows() <= (1 << 24) + 1 && config.visual() < config.context);
        assert!(config.scale(config.width, config.heads).is_finite() && config.feature_width() > 0);
        let _ = config.differences_from_original();
    }
});
