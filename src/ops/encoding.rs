//! Encodings of weights, and how rows of them lie in 32-bit words on a device.
//!
//! A matrix `[rows, cols]` is its rows one after the other, each of
//! [`row_words(cols)`](Encoding::row_words) words, so that a range of rows is a contiguous range of
//! words and matrices of one encoding and width are stacked by concatenation. A row of anything but
//! [`F32`](Encoding::F32) begins at a multiple of four words.
//!
//! A row is cut into blocks of 32 columns. First come the quants of all blocks, then their higher
//! bits, then their scales, then zeros up to a multiple of four words. Bit 0 is the lowest of a
//! word, and of values that share a word the first is in the lowest bits. With `n` blocks:
//!
//! | | quants | higher bits | scales |
//! |---|---|---|---|
//! | F16, BF16 | 16 n words, two columns each | | |
//! | Q8_0 | 8 n, four columns each, signed | | f16 each block |
//! | Q4_0 | 4 n | | f16 each block |
//! | Q4_1 | 4 n | | f16 scale and f16 minimum each block |
//! | Q5_0 | 4 n | n | f16 each block |
//! | Q5_1 | 4 n | n | f16 scale and f16 minimum each block |
//! | Q4_K | 4 n | | four words each eight blocks |
//! | Q5_K | 4 n | n | four words each eight blocks |
//! | Q6_K | 4 n | 2 n | i8 each 16 columns; then f16 each eight blocks |
//!
//! Four bits: word `j` of a block holds columns `4 j + b` in the low halves of its bytes `b` and
//! columns `16 + 4 j + b` in the high halves, so byte `i` of the block holds columns `i` and `16 +
//! i`. A processor with vectors of 16 lanes widens 16 bytes and masks them; a shader masks a word
//! and unpacks its bytes.
//!
//! Column `16 t + 4 j + b` has its fifth bit in bit `8 b + 4 t + j` of the block's word, so
//! `(word >> (4 t + j)) & 0x01010101` holds those of four columns in a byte each. Its fifth and
//! sixth bits are bits `8 b + 2 j` and the next of word `t` of the block's two.
//!
//! The four words of eight blocks (K formats) are the f16 scale and minimum; the lower four bits of
//! the eight 6-bit scales; those of the eight 6-bit minimums; and the upper two bits of the scales
//! in the lower half, of the minimums in the upper half.
//!
//! All products of scale and quant are exact in f32, so a decoded value does not depend on how it
//! is computed.

mod bf16;
mod f16;
mod format;
mod halves;
mod k_scales;
mod kernels;
mod nibbles;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod sample;

use std::fmt;

pub(crate) use bf16::Bf16;
pub(crate) use f16::F16;
pub(crate) use format::{BLOCK, Format, PIECE, Piece, Row, decode_blocks, decode_row};
pub(crate) use kernels::{PackedKernels, bind_packed, packed_kernels, packed_words};
pub(crate) use q4_0::Q40;
pub(crate) use q4_1::Q41;
pub(crate) use q4_k::Q4K;
pub(crate) use q5_0::Q50;
pub(crate) use q5_1::Q51;
pub(crate) use q5_k::Q5K;
pub(crate) use q6_k::Q6K;
pub(crate) use q8_0::Q80;

/// How weights are stored. The quantised formats are those of ggml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// 16-bit bfloat: the upper half of a 32-bit float.
    Bf16,
    /// 8 bits, and a scale every 32 columns.
    Q8_0,
    /// 5 bits, and a scale every 32 columns.
    Q5_0,
    /// 5 bits, and a scale and a minimum every 32 columns.
    Q5_1,
    /// 4 bits, and a scale every 32 columns.
    Q4_0,
    /// 4 bits, and a scale and a minimum every 32 columns.
    Q4_1,
    /// 4 bits, with 6-bit scales and minimums every 32 columns of a block of 256.
    Q4K,
    /// 5 bits, with 6-bit scales and minimums every 32 columns of a block of 256.
    Q5K,
    /// 6 bits, with 8-bit scales every 16 columns of a block of 256.
    Q6K,
}

/// Sizes that do not fit an encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodingError {
    /// A row is not a whole number of blocks.
    #[error("{encoding} stores columns in blocks of {block}, but a row has {cols}")]
    Columns {
        /// Encoding.
        encoding: Encoding,
        /// Columns of a row.
        cols: usize,
        /// Columns of a block.
        block: usize,
    },
    /// A slice does not have the length of whole rows, or not of as many rows as the other.
    #[error(
        "rows of {cols} columns in {encoding}: {have} {unit} are given, {want} {unit} are needed"
    )]
    Length {
        /// Encoding.
        encoding: Encoding,
        /// Columns of a row.
        cols: usize,
        /// What is counted: bytes, words or values.
        unit: &'static str,
        /// Length of the slice.
        have: usize,
        /// Length that fits.
        want: usize,
    },
    /// Values cannot be encoded in this format, only decoded.
    #[error("values cannot be encoded as {encoding}; choose F32, F16, BF16, Q8_0 or Q4_0")]
    DecodeOnly {
        /// Encoding.
        encoding: Encoding,
    },
}

/// Evaluates an expression for the [`Format`] of an encoding, or another for `F32`.
macro_rules! for_format {
    ($encoding:expr, $format:ident => $value:expr, F32 => $floats:expr) => {
        match $encoding {
            Encoding::F32 => $floats,
            Encoding::F16 => {
                type $format = F16;
                $value
            }
            Encoding::Bf16 => {
                type $format = Bf16;
                $value
            }
            Encoding::Q8_0 => {
                type $format = Q80;
                $value
            }
            Encoding::Q5_0 => {
                type $format = Q50;
                $value
            }
            Encoding::Q5_1 => {
                type $format = Q51;
                $value
            }
            Encoding::Q4_0 => {
                type $format = Q40;
                $value
            }
            Encoding::Q4_1 => {
                type $format = Q41;
                $value
            }
            Encoding::Q4K => {
                type $format = Q4K;
                $value
            }
            Encoding::Q5K => {
                type $format = Q5K;
                $value
            }
            Encoding::Q6K => {
                type $format = Q6K;
                $value
            }
        }
    };
}

impl Encoding {
    /// All encodings.
    pub const ALL: [Encoding; 11] = [
        Encoding::F32,
        Encoding::F16,
        Encoding::Bf16,
        Encoding::Q8_0,
        Encoding::Q5_0,
        Encoding::Q5_1,
        Encoding::Q4_0,
        Encoding::Q4_1,
        Encoding::Q4K,
        Encoding::Q5K,
        Encoding::Q6K,
    ];

    /// Returns ggml's name.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "F32",
            Encoding::F16 => "F16",
            Encoding::Bf16 => "BF16",
            Encoding::Q8_0 => "Q8_0",
            Encoding::Q5_0 => "Q5_0",
            Encoding::Q5_1 => "Q5_1",
            Encoding::Q4_0 => "Q4_0",
            Encoding::Q4_1 => "Q4_1",
            Encoding::Q4K => "Q4_K",
            Encoding::Q5K => "Q5_K",
            Encoding::Q6K => "Q6_K",
        }
    }

    /// Returns the number of columns of a block in a file: the columns of a row are a multiple of
    /// it.
    pub fn block(self) -> usize {
        for_format!(self, F => F::BLOCK, F32 => 1)
    }

    /// Returns the number of bytes of a block in a file.
    pub fn block_bytes(self) -> usize {
        for_format!(self, F => F::BLOCK_BYTES, F32 => 4)
    }

    /// Returns the number of bytes of a row in a file.
    ///
    /// # Errors
    /// If the row is not a whole number of blocks.
    pub fn row_bytes(self, cols: usize) -> Result<usize, EncodingError> {
        self.check(cols)?;
        Ok(cols / self.block() * self.block_bytes())
    }

    /// Returns the number of words of a row on a device.
    ///
    /// # Errors
    /// If the row is not a whole number of blocks.
    pub fn row_words(self, cols: usize) -> Result<usize, EncodingError> {
        self.check(cols)?;
        let blocks = cols.div_ceil(BLOCK);
        Ok(for_format!(self, F => F::row_words(blocks).next_multiple_of(4), F32 => cols))
    }

    fn check(self, cols: usize) -> Result<(), EncodingError> {
        match self.block() {
            block if cols.is_multiple_of(block) => Ok(()),
            block => Err(EncodingError::Columns {
                encoding: self,
                cols,
                block,
            }),
        }
    }

    fn check_length(
        self,
        cols: usize,
        unit: &'static str,
        have: usize,
        want: usize,
    ) -> Result<(), EncodingError> {
        match have == want {
            true => Ok(()),
            false => Err(EncodingError::Length {
                encoding: self,
                cols,
                unit,
                have,
                want,
            }),
        }
    }

    /// Writes rows of a file to words: blocks of ggml for quantised formats, little-endian floats
    /// for the others.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, `bytes` are not whole rows, or `words` is not as
    /// many rows.
    pub fn from_ggml(
        self,
        bytes: &[u8],
        cols: usize,
        words: &mut [u32],
    ) -> Result<(), EncodingError> {
        let (row_bytes, row_words) = (self.row_bytes(cols)?, self.row_words(cols)?);
        let rows = bytes.len() / row_bytes.max(1);
        self.check_length(cols, "bytes", bytes.len(), rows * row_bytes)?;
        self.check_length(cols, "words", words.len(), rows * row_words)?;
        if cols == 0 {
            return Ok(());
        }
        let rows = bytes
            .chunks_exact(row_bytes)
            .zip(words.chunks_exact_mut(row_words));
        for (bytes, words) in rows {
            for_format!(
                self,
                F => {
                    words.fill(0);
                    F::repack(bytes, words);
                },
                F32 => {
                    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                        *word = u32::from_le_bytes(*bytes);
                    }
                }
            );
        }
        Ok(())
    }

    /// Decodes rows to f32, exactly as ggml does.
    ///
    /// # Errors
    /// If a row is not a whole number of blocks, `words` are not whole rows, or `values` is not as
    /// many rows.
    pub fn decode(
        self,
        words: &[u32],
        cols: usize,
        values: &mut [f32],
    ) -> Result<(), EncodingError> {
        let row_words = self.row_words(cols)?;
        let rows = words.len() / row_words.max(1);
        self.check_length(cols, "words", words.len(), rows * row_words)?;
        self.check_length(cols, "values", values.len(), rows * cols)?;
        if cols == 0 {
            return Ok(());
        }
        let rows = words
            .chunks_exact(row_words)
            .zip(values.chunks_exact_mut(cols));
        for (words, values) in rows {
            for_format!(
                self,
                F => decode_row::<F>(Row::new(words, cols), 0, values),
                F32 => values.copy_from_slice(bytemuck::cast_slice(words))
            );
        }
        Ok(())
    }

    /// Encodes rows of f32, rounding as ggml's reference quantisers do. Of the quantised formats
    /// this is possible for Q8_0 and Q4_0.
    ///
    /// # Errors
    /// If the format can only be decoded, a row is not a whole number of blocks, `values` are not
    /// whole rows, or `words` is not as many rows.
    pub fn encode(
        self,
        values: &[f32],
        cols: usize,
        words: &mut [u32],
    ) -> Result<(), EncodingError> {
        let row_words = self.row_words(cols)?;
        let encode = match self {
            Encoding::F32 => |row: &[f32], words: &mut [u32]| {
                words.copy_from_slice(bytemuck::cast_slice(row));
            },
            Encoding::F16 => f16::encode,
            Encoding::Bf16 => bf16::encode,
            Encoding::Q8_0 => q8_0::encode,
            Encoding::Q4_0 => q4_0::encode,
            _ => return Err(EncodingError::DecodeOnly { encoding: self }),
        };
        let rows = values.len() / cols.max(1);
        self.check_length(cols, "values", values.len(), rows * cols)?;
        self.check_length(cols, "words", words.len(), rows * row_words)?;
        if cols == 0 {
            return Ok(());
        }
        let rows = values
            .chunks_exact(cols)
            .zip(words.chunks_exact_mut(row_words));
        for (row, words) in rows {
            words.fill(0);
            encode(row, words);
        }
        Ok(())
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
