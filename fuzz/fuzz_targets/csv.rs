//! Parser of CSV with base64 pictures and captions.
#![no_main]

use std::path::Path;

use seemore::data::{Captioned, Layout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = [b"b64string_images,caption\n", bytes].concat();
    // unusable input gives an error or a list of problems, never a panic
    let _ = Captioned::parse(Path::new("nowhere/captions.csv"), bytes, &Layout::default());
});
