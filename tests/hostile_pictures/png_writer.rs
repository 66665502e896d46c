//! A PNG writer for variants that common encoders do not write.

use crate::pictures::blocks;

/// Passes of Adam7 interlacing: first column and row, and the steps from there.
const PASSES: [(usize, usize, usize, usize); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

pub const GREY: u8 = 0;
pub const RGB: u8 = 2;
pub const PALETTE: u8 = 3;
pub const GREY_ALPHA: u8 = 4;
pub const RGBA: u8 = 6;

pub struct Png {
    pub width: u32,
    pub height: u32,
    pub depth: u8,
    pub kind: u8,
    pub interlaced: bool,
}

impl Png {
    fn channels(&self) -> usize {
        match self.kind {
            GREY | PALETTE => 1,
            GREY_ALPHA => 2,
            RGB => 3,
            _ => 4,
        }
    }

    pub fn header(&self) -> Vec<u8> {
        let mut header = [self.width.to_be_bytes(), self.height.to_be_bytes()].concat();
        header.extend([self.depth, self.kind, 0, 0, self.interlaced as u8]);
        header
    }

    /// Returns the rows of `samples`, each with its filter byte, before compression.
    pub fn rows(&self, samples: &[u16]) -> Vec<u8> {
        let passes: &[_] = if self.interlaced {
            &PASSES
        } else {
            &[(0, 0, 1, 1)]
        };
        let mut rows = vec![];
        for &(left, top, across, down) in passes {
            let columns: Vec<usize> = (left..self.width as usize).step_by(across).collect();
            // an empty pass has no filter bytes either
            if columns.is_empty() {
                continue;
            }
            for y in (top..self.height as usize).step_by(down) {
                rows.push(0);
                let (mut bits, mut filled) = (0u32, 0);
                for &x in &columns {
                    for channel in 0..self.channels() {
                        let sample =
                            samples[(y * self.width as usize + x) * self.channels() + channel];
                        bits = bits << self.depth | sample as u32;
                        filled += self.depth;
                        while filled >= 8 {
                            filled -= 8;
                            rows.push((bits >> filled) as u8);
                        }
                    }
                }
                if filled > 0 {
                    rows.push((bits << (8 - filled)) as u8);
                }
            }
        }
        rows
    }

    /// Returns the file, with the chunks `between` header and pixels.
    pub fn file(&self, between: &[(&[u8; 4], &[u8])], samples: &[u16]) -> Vec<u8> {
        let pixels = zlib(&self.rows(samples));
        let mut chunks = vec![(b"IHDR", self.header())];
        chunks.extend(between.iter().map(|(name, data)| (*name, data.to_vec())));
        chunks.extend([(b"IDAT", pixels), (b"IEND", vec![])]);
        file(&chunks)
    }
}

pub fn file(chunks: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in chunks {
        bytes.extend((data.len() as u32).to_be_bytes());
        let start = bytes.len();
        bytes.extend(*name);
        bytes.extend(data);
        let sum = crc(&bytes[start..]);
        bytes.extend(sum.to_be_bytes());
    }
    bytes
}

pub fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ byte as u32, |sum, _| {
            sum >> 1 ^ (0xEDB8_8320 & (sum & 1).wrapping_neg())
        })
    })
}

fn adler(bytes: impl Iterator<Item = u8>) -> u32 {
    let (a, b) = bytes.fold((1, 0), |(a, b), byte| {
        let a = (a + byte as u32) % 65521;
        (a, (b + a) % 65521)
    });
    b << 16 | a
}

/// Encodes bytes as stored blocks of zlib.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xFFFF).peekable();
    while let Some(block) = blocks.next() {
        out.push(blocks.peek().is_none() as u8);
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!(block.len() as u16)).to_le_bytes());
        out.extend(block);
    }
    out.extend(adler(bytes.iter().copied()).to_be_bytes());
    out
}

/// Encodes at least `count` zeros in about 1/150 of the bytes: a zero, then copies of 258 bytes.
pub fn zlib_zeros(count: usize) -> Vec<u8> {
    let copies = count.div_ceil(258);
    let mut out = vec![0x78, 0x01];
    let (mut bits, mut filled) = (0u64, 0);
    let mut put = |value: u64, size: u32| {
        bits |= value << filled;
        filled += size;
        while filled >= 8 {
            out.push(bits as u8);
            bits >>= 8;
            filled -= 8;
        }
    };
    // final block with fixed Huffman codes, which are written from their highest bit
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..copies {
        put(0b1010_0011, 8);
        put(0, 5);
    }
    put(0, 7);
    put(0, 7);
    out.extend(adler(std::iter::repeat_n(0, 1 + 258 * copies)).to_be_bytes());
    out
}

/// An animated PNG: the blocks, then a black frame.
pub fn animated_png() -> Vec<u8> {
    let png = Png {
        width: 32,
        height: 32,
        depth: 8,
        kind: RGB,
        interlaced: false,
    };
    let samples: Vec<u16> = blocks().iter().map(|&value| value as u16).collect();
    let control = |number: u32| {
        let mut data = [number, 32, 32, 0, 0].map(u32::to_be_bytes).concat();
        data.extend([0, 1, 0, 10, 0, 0]);
        data
    };
    let second = [
        2u32.to_be_bytes().as_slice(),
        &zlib(&png.rows(&[0; 32 * 32 * 3])),
    ]
    .concat();
    file(&[
        (b"IHDR", png.header()),
        (b"acTL", [2u32, 0].map(u32::to_be_bytes).concat()),
        (b"fcTL", control(0)),
        (b"IDAT", zlib(&png.rows(&samples))),
        (b"fcTL", control(1)),
        (b"fdAT", second),
        (b"IEND", vec![]),
    ])
}
