// Epilogue of a product: a bias, then an activation. The input of the activation is stored too, for
// its derivative.
//
//   product_bias_activation   a, b, bias[n] -> pre, c      pre = op(a) · op(b) + bias
//                                                          c = activation(pre)
//
//   pre   [batch, m, n], like c

@compute @workgroup_size(WG)
fn product_bias_activation(at: Invocation) { compute(at); }

// Added to four columns of every row.
fn shift_of(column: u32) -> vec4f { return load_bias(column); }

// Stores four columns of a row of pre[z] and of c[z].
fn finish(z: u32, row: u32, column: u32, value: vec4f, shift: vec4f) {
    let x = value + shift;
    store_pre(z, row, column, x);
    store(z, row, column, activate(ACTIVATION, x));
}
