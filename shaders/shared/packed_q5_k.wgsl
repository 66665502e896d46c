// Packed weights in Q5_K: d * scale * q - dmin * minimum.

fn block_at(row: u32, block: u32) -> Block {
    let scale = k_scale(row, 5 * params.blocks, block);
    return scaled(five_bits(row, block), scale.x, -scale.y);
}
