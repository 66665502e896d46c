// Packed weights in Q4_K: d * scale * q - dmin * minimum.

fn block_at(row: u32, block: u32) -> Block {
    let scale = k_scale(row, 4 * params.blocks, block);
    return scaled(four_bits(row, block), scale.x, -scale.y);
}
