//! Parser of `captions.txt` of Flickr8k.
#![no_main]

use std::path::Path;

use seemore::data::{Captioned, Layout};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let bytes = [b"image,caption\n", bytes].concat();
    // unusable input gives an error or a list of problems, never a panic
    let _ = Captioned::parse(Path::new("nowhere/captions.txt"), bytes, &Layout::default());
});
