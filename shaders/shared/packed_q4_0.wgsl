// Packed weights in Q4_0: d * (q - 8).

fn block_at(row: u32, block: u32) -> Block {
    let scale = half_at(first_word(row) + 4 * params.blocks, block);
    return scaled(four_bits(row, block), scale, -8 * scale);
}
