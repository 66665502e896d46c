//! What the formats have in common: blocks of 32 columns, quants, scales and offsets.

use crate::ops::native::vectors::{LANES, VectorWork, Vectors, with_vectors};

/// Columns of a block on a device: two vectors.
pub(crate) const BLOCK: usize = 2 * LANES;

/// Blocks whose scales are decoded at once.
pub(crate) const PIECE: usize = 8;

/// Consecutive blocks of a row whose scales are decoded at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece {
    /// Its first block, a multiple of [`PIECE`] where there are scales.
    pub first: usize,
    /// Number of its blocks: [`PIECE`], or fewer.
    pub blocks: usize,
}

impl Piece {
    /// Returns the piece of a row whose scales are those of a block.
    #[inline(always)]
    pub fn of(block: usize, row: Row) -> Piece {
        let first = block / PIECE * PIECE;
        Piece {
            first,
            blocks: PIECE.min(row.blocks - first),
        }
    }
}

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

    /// Returns the words of block `at` of a piece, from a region with `WORDS` words for each block that
    /// begins with word `start`.
    ///
    /// Where the number of the piece's blocks is a constant, bounds are checked once for all of them.
    #[inline(always)]
    pub fn block<const WORDS: usize>(
        self,
        start: usize,
        piece: Piece,
        at: usize,
    ) -> &'a [u32; WORDS] {
        let piece_words = &self.words[start + WORDS * piece.first..][..WORDS * piece.blocks];
        &piece_words.as_chunks().0[at]
    }
}

/// A format of weights in 16 bits or less. Column `c` is `scale * quant + offset`, where the
/// product is exact in f32.
pub(crate) trait Format: Copy + Sync + 'static {
    /// Columns of a block of a file.
    const BLOCK: usize;
    /// Bytes of a block of a file.
    const BLOCK_BYTES: usize;
    /// Columns that share a scale: 16 or 32.
    const GROUP: usize = BLOCK;
    /// Whether there are scales: if not, the quants are the values.
    const SCALED: bool = true;
    /// Whether there are offsets, one for each block: if not, all are zero.
    const SHIFTED: bool = false;

    /// Returns the number of words of a row, without those that pad it.
    fn row_words(blocks: usize) -> usize;

    /// Writes a row of a file to words, which are zero.
    fn repack(bytes: &[u8], words: &mut [u32]);

    /// Returns the quants of block `at` of a piece.
    fn quants<V: Vectors>(v: V, row: Row, piece: Piece, at: usize) -> [V::Floats; 2];

    /// Writes the scales of the groups, and the offsets of the blocks, of a piece of a row. What is
    /// behind those of the last block means nothing; the offsets of formats without stay as they are.
    fn scales<V: Vectors>(
        v: V,
        row: Row,
        piece: Piece,
        scales: &mut [f32; LANES],
        offsets: &mut [f32; LANES],
    );
}

/// Scales and offsets of a piece of a row.
struct Scales {
    /// First block of the piece; none at first.
    piece: usize,
    scales: [f32; LANES],
    offsets: [f32; LANES],
}

/// Decodes the columns of a row from block `first` on.
#[inline(always)]
pub(crate) fn decode_blocks<F: Format, V: Vectors>(
    v: V,
    row: Row,
    first: usize,
    values: &mut [f32],
) {
    let mut scales = Scales {
        piece: usize::MAX,
        scales: [1.0; LANES],
        offsets: [0.0; LANES],
    };
    let (whole, rest) = values.as_chunks_mut::<BLOCK>();
    let last = first + whole.len();
    for (block, values) in (first..).zip(whole) {
        decode_block::<F, V>(v, row, block, &mut scales, values);
    }
    if !rest.is_empty() {
        let mut values = [0.0; BLOCK];
        decode_block::<F, V>(v, row, last, &mut scales, &mut values);
        rest.copy_from_slice(&values[..rest.len()]);
    }
}

#[inline(always)]
fn decode_block<F: Format, V: Vectors>(
    v: V,
    row: Row,
    block: usize,
    scales: &mut Scales,
    values: &mut [f32; BLOCK],
) {
    let piece = Piece::of(block, row);
    let at = block - piece.first;
    let [mut low, mut high] = F::quants(v, row, piece, at);
    if F::SCALED {
        if scales.piece != piece.first {
            scales.piece = piece.first;
            let Scales {
                scales, offsets, ..
            } = scales;
            F::scales(v, row, piece, scales, offsets);
        }
        let groups = match F::GROUP {
            BLOCK => [at, at],
            _ => [2 * at, 2 * at + 1],
        };
        low = v.mul(v.splat(scales.scales[groups[0]]), low);
        high = v.mul(v.splat(scales.scales[groups[1]]), high);
        if F::SHIFTED {
            let offset = v.splat(scales.offsets[at]);
            (low, high) = (v.add(low, offset), v.add(high, offset));
        }
    }
    let [to_low, to_high] = values.as_chunks_mut().0 else {
        unreachable!("a block is two vectors")
    };
    v.store(low, to_low);
    v.store(high, to_high);
}

/// Like [`decode_blocks`], with the widest vectors of the processor.
pub(crate) fn decode_row<F: Format>(row: Row, first: usize, values: &mut [f32]) {
    struct Decode<'a, F> {
        row: Row<'a>,
        first: usize,
        values: &'a mut [f32],
        format: std::marker::PhantomData<F>,
    }
    impl<F: Format> VectorWork for Decode<'_, F> {
        type Output = ();

        #[inline(always)]
        fn run<V: Vectors>(self, v: V) {
            decode_blocks::<F, V>(v, self.row, self.first, self.values);
        }
    }
    with_vectors(Decode {
        row,
        first,
        values,
        format: std::marker::PhantomData::<F>,
    });
}
