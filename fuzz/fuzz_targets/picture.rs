//! Decoding and preprocessing of pictures in every format.
#![no_main]

use seemore::image::{Preprocess, MAX_PIXELS, MAX_SIDE, Picture};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(picture) = Picture::decode(bytes) {
        let (width, height) = (picture.width, picture.height);
        assert!(picture.rgb.len() == 3 * width * height && (width * height) as u64 <= MAX_PIXELS && width.max(height) <= MAX_SIDE as usize);
        // larger pictures take seconds
        if width * height < 1 << 20 {
            assert_eq!(picture.framed(Preprocess { side: 32, crop: true }).rgb.len(), 3 * 32 * 32);
        }
    }
});
