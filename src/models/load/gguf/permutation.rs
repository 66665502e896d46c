//! Order of the rows of query and key weights.

/// Returns the row of a file's `attn_q` or `attn_k` that is row `row` in the order of Hugging Face,
/// for heads of `head_dim` rows.
///
/// Converters of Llama models to GGUF interleave the two halves of each head, so that rotary
/// embeddings turn adjacent pairs: row `2 i + h` of a head in the file is row `h * head_dim / 2 +
/// i` in the order of Hugging Face, where the halves are paired.
pub fn rotary_source(head_dim: usize, row: usize) -> usize {
    let half = head_dim / 2;
    let (head, row) = (row / head_dim, row % head_dim);
    head * head_dim + row % half * 2 + row / half
}
