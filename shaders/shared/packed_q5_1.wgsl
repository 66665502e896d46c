// Packed weights in Q5_1: d * q + m.

fn block_at(row: u32, block: u32) -> Block {
    let pair = words[first_word(row) + 5 * params.blocks + block];
    return scaled(five_bits(row, block), half_value(pair), half_value(pair >> 16));
}
