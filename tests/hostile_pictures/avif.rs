//! Pictures in AVIF: drawn by a script with Pillow 13.0.0 (libavif 1.4.2) and avifenc 0.11.1, with
//! what Pillow decodes of them over white and turned upright in a PNG of the same name. `large` has
//! 8001 x 8000 pixels of one shade.

use image::DynamicImage;
use image::metadata::Orientation;
use seemore::image::{ColorProfiles, Picture};

use crate::{decoded, has_advice, refused};

macro_rules! files {
    ($($name:literal)*) => {
        [$(($name, &include_bytes!(concat!("avif/", $name, ".avif"))[..])),*]
    };
}

macro_rules! judged {
    ($($name:literal)*) => {
        [$((
            $name,
            &include_bytes!(concat!("avif/", $name, ".avif"))[..],
            &include_bytes!(concat!("avif/", $name, ".png"))[..],
        )),*]
    };
}

/// Largest difference of two pictures in a value of 8 bits.
fn difference(a: &Picture, b: &Picture) -> u8 {
    assert_eq!((a.width, a.height), (b.width, b.height));
    let pairs = a.rgb.iter().zip(&b.rgb);
    pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn pixels_are_those_that_pillow_decodes() {
    for (name, bytes, wanted) in judged!(
        "420-8" "422-8" "444-8" "420-10" "422-10" "444-12" "limited" "limited-12" "gray" "gray-10-limited"
        "709" "2020" "240" "identity" "ycgco" "alpha" "alpha-10" "premultiplied" "p3" "sequence" "grid"
    ) {
        // Pillow leaves colors as they are
        let picture = Picture::decode_with(bytes, ColorProfiles::Ignored).unwrap();
        let wanted = decoded(wanted);
        let pairs = picture.rgb.iter().zip(&wanted.rgb);
        let sum: u32 = pairs.map(|(a, b)| a.abs_diff(*b) as u32).sum();
        let mean = sum as f64 / wanted.rgb.len() as f64;
        // libavif computes with few fractional bits, and cuts 10 and 12 bits to 8 first; how halved
        // colors are interpolated is left to decoders, which shows at the edges of shapes
        let halved = ["420", "422", "limited", "alpha", "sequence"];
        let most = if halved.contains(&&name[..name.len().min(3)]) || halved.contains(&name) {
            14
        } else {
            4
        };
        let off = difference(&picture, &wanted);
        assert!(
            off <= most && mean <= 1.0,
            "{name} is off by {off}, {mean} in the mean"
        );
    }
}

#[test]
fn other_primaries_are_converted() {
    let [(_, p3)] = files!("p3");
    let converted = decoded(p3);
    let plain = Picture::decode_with(p3, ColorProfiles::Ignored).unwrap();
    assert!(difference(&converted, &plain) > 10);
    // the rectangle's red (220, 30, 40) of Display P3, by the matrices of both spaces
    let at = 3 * (5 * plain.width + 5);
    let [red, green, blue] = converted.rgb[at..].first_chunk().unwrap();
    assert!(
        *red >= 235 && *green <= 8 && blue.abs_diff(27) <= 10,
        "{red} {green} {blue}"
    );
}

#[test]
fn turned_and_mirrored_pictures_are_upright() {
    let [(_, plain)] = files!("420-8");
    let plain = decoded(plain);
    let image = image::RgbImage::from_raw(21, 13, plain.rgb).unwrap();
    let turned =
        files!("turned-2" "turned-3" "turned-4" "turned-5" "turned-6" "turned-7" "turned-8");
    for (orientation, (name, bytes)) in (2..).zip(turned) {
        let mut wanted = DynamicImage::ImageRgb8(image.clone());
        wanted.apply_orientation(Orientation::from_exif(orientation).unwrap());
        let picture = decoded(bytes);
        let size = (picture.width as u32, picture.height as u32);
        assert_eq!(size, (wanted.width(), wanted.height()), "{name}");
        assert!(picture.rgb == wanted.into_rgb8().into_raw(), "{name}");
    }
}

#[test]
fn brand_may_be_a_compatible_one() {
    let [(_, bytes)] = files!("420-8");
    let mut renamed = bytes.to_vec();
    renamed[8..12].copy_from_slice(b"mif1");
    assert!(decoded(&renamed) == decoded(bytes));
}

#[test]
fn too_many_pixels_are_refused_before_decoding() {
    let [(_, bytes)] = files!("large");
    refused(bytes, &["8001 x 8000", "64000000", "make it smaller"]);
}

#[test]
fn cut_files_are_refused() {
    for (name, bytes) in files!("420-8" "alpha" "grid" "sequence") {
        let whole = decoded(bytes);
        for end in 1..bytes.len() {
            match Picture::decode(&bytes[..end]) {
                // boxes that no picture needs may follow
                Ok(picture) => assert!(picture == whole, "{name} cut at {end}"),
                Err(error) => has_advice(&error.to_string(), &[]),
            }
        }
        refused(&bytes[..bytes.len() / 2], &["damaged"]);
    }
}

#[test]
fn panics_of_the_decoder_are_errors() {
    let [(_, bytes)] = files!("420-8");
    let mut bytes = bytes.to_vec();
    let data = bytes.windows(4).rposition(|four| four == b"mdat").unwrap() + 4;
    let mut place = data;
    // units of AV1: a byte with the kind, the length, content
    while bytes[place] >> 3 != 6 {
        place += 2 + bytes[place + 1] as usize;
    }
    // metadata without an end, at which the decoder panics where it cannot unwind
    bytes[place..place + 8].copy_from_slice(&[47, 47, 5, 4, 128, 0, 0, 0]);
    for _ in 0..2 {
        refused(&bytes, &["the decoder of AVIF failed"]);
    }
}

#[test]
fn random_changes_end_in_a_picture_or_an_error() {
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for (_, file) in
        files!("420-8" "422-10" "444-12" "gray-10-limited" "identity" "alpha" "grid" "sequence")
    {
        for _ in 0..40 {
            let mut bytes = file.to_vec();
            for _ in 0..1 + random(4) {
                let place = random(bytes.len());
                bytes[place] = random(256) as u8;
            }
            match Picture::decode(&bytes) {
                Ok(picture) => assert_eq!(picture.rgb.len(), 3 * picture.width * picture.height),
                Err(error) => has_advice(&error.to_string(), &[]),
            }
        }
    }
}
