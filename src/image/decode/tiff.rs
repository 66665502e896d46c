//! Checks that the TIFF decoder omits: it panics on color planes in tiles.

/// Tag of the arrangement of color planes; 2 for one plane after the other.
const PLANES: u16 = 284;
/// Tag of the width of tiles.
const TILE_WIDTH: u16 = 322;

/// Returns the reason why a TIFF file is not decoded, if its first page is of such a variant.
pub fn unsupported(bytes: &[u8]) -> Option<&'static str> {
    let tags = first_tags(bytes)?;
    let value = |wanted: u16| tags.iter().find(|(tag, _)| *tag == wanted);
    let planar = value(PLANES).is_some_and(|(_, value)| *value == 2);
    (planar && value(TILE_WIDTH).is_some()).then_some("it keeps color planes in tiles")
}

/// Returns the tags of the first page with their first 16 bits, which hold small numbers whole.
fn first_tags(bytes: &[u8]) -> Option<Vec<(u16, u16)>> {
    let little = match bytes.get(..2)? {
        b"II" => true,
        b"MM" => false,
        _ => return None,
    };
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        let digits = bytes.iter().map(|&byte| byte as u64);
        let join = |sum: u64, digit: u64| sum << 8 | digit;
        Some(match little {
            true => digits.rev().fold(0, join),
            false => digits.fold(0, join),
        })
    };
    // positions and sizes of 32 bits, or of 64 bits in BigTIFF
    let (first, count, entry, value) = match number(2, 2)? {
        42 => (number(4, 4)?, 2, 12, 8),
        43 => (number(8, 8)?, 8, 20, 12),
        _ => return None,
    };
    let first = usize::try_from(first).ok()?;
    let entries = usize::try_from(number(first, count)?).ok()?;
    let mut tags = vec![];
    // more than there are bytes ends the list
    for index in 0..entries {
        let at = first
            .checked_add(count)?
            .checked_add(index.checked_mul(entry)?)?;
        let Some(tag) = number(at, 2) else { break };
        let Some(found) = number(at + value, 2) else {
            break;
        };
        tags.push((tag as u16, found as u16));
    }
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Picture, PictureError};

    /// A file of one page with tags of type SHORT, in either byte order, in 32 or 64 bits.
    fn file(little: bool, big: bool, tags: &[(u16, u16)]) -> Vec<u8> {
        let mut bytes = vec![];
        let mut put = |value: u64, size: usize| {
            let all = value.to_be_bytes();
            let mut part = all[8 - size..].to_vec();
            if little {
                part.reverse();
            }
            bytes.extend(part);
        };
        put(if little { 0x4949 } else { 0x4D4D }, 2);
        match big {
            true => [(43, 2), (8, 2), (0, 2), (16, 8), (tags.len() as u64, 8)]
                .map(|(value, size)| put(value, size))
                .len(),
            false => [(42, 2), (8, 4), (tags.len() as u64, 2)]
                .map(|(value, size)| put(value, size))
                .len(),
        };
        for &(tag, value) in tags {
            put(tag as u64, 2);
            put(3, 2);
            put(1, if big { 8 } else { 4 });
            put(value as u64, 2);
            put(0, if big { 6 } else { 2 });
        }
        put(0, if big { 8 } else { 4 });
        bytes
    }

    #[test]
    fn planes_in_tiles_are_refused() {
        for (little, big) in [(true, false), (false, false), (true, true), (false, true)] {
            let planar = file(little, big, &[(256, 4), (PLANES, 2), (TILE_WIDTH, 16)]);
            assert!(unsupported(&planar).is_some(), "{little} {big}");
            let error = Picture::decode(&planar).unwrap_err();
            // the decoder may refuse it before for what it lacks
            assert!(!matches!(error, PictureError::Failed { .. }), "{error}");
            for tags in [&[(PLANES, 2)][..], &[(PLANES, 1), (TILE_WIDTH, 16)], &[]] {
                assert_eq!(unsupported(&file(little, big, tags)), None, "{tags:?}");
            }
            for length in 0..planar.len() {
                let _ = unsupported(&planar[..length]);
            }
        }
        assert_eq!(unsupported(b"II*\0\xff\xff\xff\xff"), None);
    }
}
