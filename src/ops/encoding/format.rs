//! What the formats have in common: blocks of 32 columns, quants, scales and offsets.

/// Columns of a block on a device.
pub(crate) const BLOCK: usize = 32;

/// A row of words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Its words.
    pub words: &'a [u32],
    /// Number of its blocks.
    pub blocks: usize,
}

impl<'a> Row<'a> {
    /// Returns the row of `cols` columns in these words.
    #[inline(always)]
    pub fn new(words: &'a [u32], cols: usize) -> Row<'a> {
        Row {
            words,
            blocks: cols.div_ceil(BLOCK),
        }
    }

    /// Returns the halves from word `first` on.
    #[inline(always)]
    pub fn halves(self, first: usize) -> &'a [u16] {
        bytemuck::cast_slice(&self.words[first..])
    }
}

/// A format of weights in 16 bits or less. Column `c` is `scale * quant + offset`, where the
/// product is exact in f32.
pub(crate) trait Format {
    /// Columns of a block of a file.
    const BLOCK: usize;
    /// Bytes of a block of a file.
    const BLOCK_BYTES: usize;
    /// Columns that share a scale and an offset: 16 or 32.
    const GROUP: usize = BLOCK;
    /// Whether there are scales: if not, the quants are the values.
    const SCALED: bool = true;
    /// Whether there are offsets: if not, all are zero.
    const SHIFTED: bool = true;

    /// Returns the number of words of a row, without those that pad it.
    fn row_words(blocks: usize) -> usize;

    /// Writes a row of a file to words, which are zero.
    fn repack(bytes: &[u8], words: &mut [u32]);

    /// Returns the quants of a block.
    fn quants(row: Row, block: usize) -> [f32; BLOCK];

    /// Writes scales and offsets of groups from group `first` on. Formats without scales or without
    /// offsets do not write them.
    fn scales(row: Row, first: usize, scales: &mut [f32], offsets: &mut [f32]);
}

/// Decodes the columns of a row from block `first` on.
#[inline(always)]
pub(crate) fn decode_blocks<F: Format>(row: Row, first: usize, values: &mut [f32]) {
    /// Blocks whose scales are decoded at once.
    const PIECE: usize = 8;
    let per_block = BLOCK / F::GROUP;
    let pieces = values.chunks_mut(PIECE * BLOCK);
    for (piece, values) in pieces.enumerate() {
        let block = first + piece * PIECE;
        let count = values.len().div_ceil(BLOCK);
        let (mut scales, mut offsets) = ([1.0; 2 * PIECE], [0.0; 2 * PIECE]);
        if F::SCALED {
            let groups = count * per_block;
            F::scales(
                row,
                block * per_block,
                &mut scales[..groups],
                &mut offsets[..groups],
            );
        }
        let (whole, rest) = values.as_chunks_mut::<BLOCK>();
        for (at, values) in whole.iter_mut().enumerate() {
            *values = decode_block::<F>(row, block, at, &scales, &offsets);
        }
        if !rest.is_empty() {
            let last = decode_block::<F>(row, block, whole.len(), &scales, &offsets);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }
}

/// Decodes block `first + at` with the scales and offsets of the groups from block `first` on.
#[inline(always)]
fn decode_block<F: Format>(
    row: Row,
    first: usize,
    at: usize,
    scales: &[f32],
    offsets: &[f32],
) -> [f32; BLOCK] {
    let mut values = F::quants(row, first + at);
    if F::SCALED {
        let per_block = BLOCK / F::GROUP;
        for (part, values) in values.chunks_exact_mut(F::GROUP).enumerate() {
            let group = at * per_block + part;
            let (scale, offset) = (scales[group], offsets[group]);
            for value in values {
                *value *= scale;
                if F::SHIFTED {
                    *value += offset;
                }
            }
        }
    }
    values
}
