//! Checks that the JPEG decoder omits: it fills missing data with grey, and reports unsupported
//! variants as damaged.

/// Completeness of a JPEG file, and whether its variant is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The file ends with its end marker.
    Whole,
    /// The end marker is missing, and perhaps data before it.
    CutOff,
    /// The file uses a rare variant, described by the text.
    Unsupported(&'static str),
}

/// Walks over the segments of a JPEG file up to its end marker.
pub fn state(bytes: &[u8]) -> State {
    segments(bytes).unwrap_or(State::CutOff)
}

/// Like [`state`]; `None` if the bytes end first.
fn segments(bytes: &[u8]) -> Option<State> {
    const END: u8 = 0xD9;
    const SCAN: u8 = 0xDA;
    let mut at = 0;
    loop {
        // garbage between segments is skipped, as decoders do
        at += bytes
            .get(at..)?
            .windows(2)
            .position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF))?;
        let marker = bytes[at + 1];
        at += 2;
        match marker {
            END => return Some(State::Whole),
            // markers without a length: start, restarts and TEM
            0x01 | 0xD0..=0xD8 => continue,
            0xC0..=0xC2 if *bytes.get(at + 2)? != 8 => {
                return Some(State::Unsupported("more or fewer than 8 bits per sample"));
            }
            0xC3 | 0xCB => return Some(State::Unsupported("lossless")),
            0xC5..=0xC7 | 0xCD..=0xCF => return Some(State::Unsupported("hierarchical")),
            0xC9 | 0xCA => return Some(State::Unsupported("arithmetic coding")),
            _ => {}
        }
        let length = u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]);
        at += length as usize;
        if marker == SCAN {
            // within a scan, bytes of 0xFF are followed by 0, and restarts may come
            let inside =
                |pair: &[u8]| pair[0] != 0xFF || matches!(pair[1], 0x00 | 0xD0..=0xD7 | 0xFF);
            at += bytes.get(at..)?.windows(2).position(|pair| !inside(pair))?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_end_marker_behind_lookalikes() {
        // a thumbnail with its own end marker in a segment, and a scan with a byte of 0xFF
        let whole = b"\xff\xd8\xff\xe1\0\x06\xff\xd8\xff\xd9\xff\xda\0\x02\x11\xff\0\xff\xd0\x22\xff\xff\xd9trailing";
        assert_eq!(state(whole), State::Whole);
        let end = whole.len() - b"\xd9trailing".len();
        assert!((0..=end).all(|end| state(&whole[..end]) == State::CutOff));
        assert!((end + 1..whole.len()).all(|end| state(&whole[..end]) == State::Whole));
    }
}
