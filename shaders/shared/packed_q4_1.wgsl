// Packed weights in Q4_1: d * q + m.

fn block_at(row: u32, block: u32) -> Block {
    let pair = words[first_word(row) + 4 * params.blocks + block];
    return scaled(four_bits(row, block), half_value(pair), half_value(pair >> 16));
}
