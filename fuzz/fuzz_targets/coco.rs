//! COCO's captions: captions and the names of their pictures.
#![no_main]

use std::path::Path;

use seemore::data::{Captioned, Layout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // what cannot be used is an error or a problem with a place, never a panic
    let _ = Captioned::parse(Path::new("nowhere/captions.json"), bytes.to_vec(), &Layout::default());
});
