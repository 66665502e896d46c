//! CSV with base64 pictures: captions and the names of their pictures.
#![no_main]

use std::path::Path;

use seemore::data::{Captioned, Layout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = [b"b64string_images,caption\n", bytes].concat();
    // what cannot be used is an error or a problem with a place, never a panic
    let _ = Captioned::parse(Path::new("nowhere/captions.csv"), bytes, &Layout::default());
});
