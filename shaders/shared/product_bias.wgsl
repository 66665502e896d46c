// Epilogue of a product: a bias.
//
//   product_bias   a, b, bias[n] -> c      c = op(a) · op(b) + bias

@compute @workgroup_size(WG)
fn product_bias(at: Invocation) { compute(at); }

// Added to four columns of every row.
fn shift_of(column: u32) -> vec4f { return load_bias(column); }

// Stores four columns of a row of c[z].
fn finish(z: u32, row: u32, column: u32, value: vec4f, shift: vec4f) {
    store(z, row, column, value + shift);
}
