// Packed weights in Q5_0: d * (q - 16).

fn block_at(row: u32, block: u32) -> Block {
    let scale = half_at(first_word(row) + 5 * params.blocks, block);
    return scaled(five_bits(row, block), scale, -16 * scale);
}
