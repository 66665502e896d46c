//! Untrusted pictures of every kind, valid and invalid, all made by the tests themselves. Each must
//! decode to the right colours, or be refused with a reason and advice.

mod corrupted;
mod jpeg_variants;
mod memory;
mod orientation;
mod other_variants;
mod oversized;
mod pictures;
mod png_variants;
mod png_writer;
mod truncated;
mod unrecognized;
mod webp_writer;

use seemore::image::Picture;

/// Decodes a picture.
#[track_caller]
fn decoded(bytes: &[u8]) -> Picture {
    let picture = Picture::decode(bytes).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height);
    picture
}

/// Checks that decoding fails with a message that contains all of `words`, and advice.
#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    match Picture::decode(bytes) {
        Ok(picture) => panic!("decoded as {} x {}", picture.width, picture.height),
        Err(error) => has_advice(&error.to_string(), words),
    }
}

/// Checks that a message contains all of `words`, and advice.
#[track_caller]
fn has_advice(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "no `{word}` in: {message}");
    }
    assert!(
        [
            "use PNG",
            "make it smaller",
            "download it again",
            "save it again"
        ]
        .iter()
        .any(|advice| message.contains(advice)),
        "gives no advice: {message}"
    );
}

/// Checks that two pictures differ by at most `off` in every value.
#[track_caller]
fn assert_near(what: &str, got: &[u8], want: &[u8], off: u8) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got.abs_diff(*want) <= off,
            "{what}: at {i} got {got}, want {want}"
        );
    }
}

/// Returns the colour of a pixel.
fn pixel(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
    let first = 3 * (y * picture.width + x);
    [
        picture.rgb[first],
        picture.rgb[first + 1],
        picture.rgb[first + 2],
    ]
}
