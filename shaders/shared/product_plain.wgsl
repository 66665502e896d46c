// Epilogue of a product: none.
//
//   product   a, b -> c      c = op(a) · op(b)

@compute @workgroup_size(WG)
fn product(at: Invocation) { compute(at); }

// Added to four columns of every row.
fn shift_of(column: u32) -> vec4f { return vec4f(); }

// Stores four columns of a row of c[z].
fn finish(z: u32, row: u32, column: u32, value: vec4f, shift: vec4f) {
    store(z, row, column, value);
}
