//! What the decoder of JPEG does not tell: it fills what a file lacks with grey, and calls what it does not know damaged.

/// Whether a JPEG is of a kind that can be decoded, and there to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Whole,
    /// Without the marker at its end, before which anything may be missing.
    CutOff,
    /// Of a kind that is rare and not decoded here.
    Unsupported(&'static str),
}

/// Walks over the segments of a JPEG, from its first to its end marker.
pub fn state(bytes: &[u8]) -> State {
    segments(bytes).unwrap_or(State::CutOff)
}

/// `None` where the bytes end first.
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
            // those without a length: start, restarts, and one that means nothing
            0x01 | 0xD0..=0xD8 => continue,
            0xC0..=0xC2 if *bytes.get(at + 2)? != 8 => {
                return Some(State::Unsupported("it does not have 8 bits a sample"));
            }
            0xC3 | 0xCB => return Some(State::Unsupported("it is lossless")),
            0xC5..=0xC7 | 0xCD..=0xCF => return Some(State::Unsupported("it is hierarchical")),
            0xC9 | 0xCA => return Some(State::Unsupported("it has arithmetic coding")),
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
    fn the_end_is_found_behind_what_looks_like_it() {
        // a thumbnail with an end of its own in a segment, and a scan with a byte of 0xFF
        let whole = b"\xff\xd8\xff\xe1\0\x06\xff\xd8\xff\xd9\xff\xda\0\x02\x11\xff\0\xff\xd0\x22\xff\xff\xd9trailing";
        assert_eq!(state(whole), State::Whole);
        let end = whole.len() - b"\xd9trailing".len();
        assert!((0..=end).all(|end| state(&whole[..end]) == State::CutOff));
        assert!((end + 1..whole.len()).all(|end| state(&whole[..end]) == State::Whole));
    }
}
