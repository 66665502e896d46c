// Packed weights in Q8_0: d * q, q signed.

fn block_at(row: u32, block: u32) -> Block {
    let at = row * params.row_quads + 2 * block;
    let scale = half_at(first_word(row) + 8 * params.blocks, block);
    return Block(of_signed_bytes(quads[at]) * scale, of_signed_bytes(quads[at + 1]) * scale);
}
