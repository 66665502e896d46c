// Products in 4 by 4 blocks, for variants in which every invocation reads its own operands and
// writes its own results. With FOURS everything is read and written as vec4, for which the last
// dimension of a, b and c must be divisible by 4:
//   A · B    needs k and n,      A · Bᵀ   needs k and n,
//   Aᵀ · B   needs m and n,      Aᵀ · Bᵀ  needs m, n and k.
// Without it any size will do. Loads are clamped into their matrix, stores guarded.

override FOURS: bool = true;

@group(0) @binding(3) var<storage, read> bias: array<vec4f>;       // [n]
@group(0) @binding(4) var<storage, read_write> pre: array<vec4f>;  // [batch, m, n]
@group(0) @binding(5) var<storage, read_write> c: array<vec4f>;    // [batch, splits, m, n]

// Columns column..column + 3 of a row of `width` elements that begins at `start`; past the last,
// others of the row.
fn a_row(start: u32, column: u32, width: u32) -> vec4f {
    if (FOURS) { return a_four((start + min(column, width - 4)) / 4); }
    let at = start + min(column + NEXT, vec4u(width - 1));
    return vec4f(a_one(at.x), a_one(at.y), a_one(at.z), a_one(at.w));
}

fn b_row(start: u32, column: u32, width: u32) -> vec4f {
    if (FOURS) { return b_four((start + min(column, width - 4)) / 4); }
    let at = start + min(column + NEXT, vec4u(width - 1));
    return vec4f(b_one(at.x), b_one(at.y), b_one(at.z), b_one(at.w));
}

// Rows row..row + 3 of op(A) at k..k + 3, one row in each column of the result; zero from k_end on.
fn load_a(start: u32, row: u32, k: u32, k_end: u32) -> mat4x4f {
    if (TRANSPOSE_A) {
        let at = start + min(k + NEXT, vec4u(params.k - 1)) * params.m;
        return transpose(mat4x4f(
            a_row(at.x, row, params.m),
            select(vec4f(), a_row(at.y, row, params.m), k + 1 < k_end),
            select(vec4f(), a_row(at.z, row, params.m), k + 2 < k_end),
            select(vec4f(), a_row(at.w, row, params.m), k + 3 < k_end),
        ));
    }
    let at = start + min(row + NEXT, vec4u(params.m - 1)) * params.k;
    return mat4x4f(a_along_k(at.x, k, k_end), a_along_k(at.y, k, k_end), a_along_k(at.z, k, k_end), a_along_k(at.w, k, k_end));
}

// One row of op(A) = A at k..k + 3; zero from k_end on, which with FOURS no four of k cross.
fn a_along_k(start: u32, k: u32, k_end: u32) -> vec4f {
    let v = a_row(start, k, params.k);
    if (FOURS) { return v; }
    return select(vec4f(), v, k + NEXT < vec4u(k_end));
}

// Rows k..k + 3 of op(B) at column..column + 3, one row in each column of the result: times four
// values of a row of op(A) it is what these add to four columns of c.
fn load_b(start: u32, k: u32, column: u32) -> mat4x4f {
    if (TRANSPOSE_B) {
        let at = start + min(column + NEXT, vec4u(params.n - 1)) * params.k;
        return transpose(mat4x4f(b_row(at.x, k, params.k), b_row(at.y, k, params.k), b_row(at.z, k, params.k), b_row(at.w, k, params.k)));
    }
    let at = start + min(k + NEXT, vec4u(params.k - 1)) * params.n;
    return mat4x4f(b_row(at.x, column, params.n), b_row(at.y, column, params.n), b_row(at.z, column, params.n), b_row(at.w, column, params.n));
}

fn load_bias(column: u32) -> vec4f {
    if (FOURS) { return bias[min(column, params.n - 4) / 4]; }
    let j = min(column + NEXT, vec4u(params.n - 1));
    return vec4f(bias[j.x / 4][j.x % 4], bias[j.y / 4][j.y % 4], bias[j.z / 4][j.z % 4], bias[j.w / 4][j.w % 4]);
}

// Four columns of a row of c[z]; those past n stay unwritten.
fn store(z: u32, row: u32, column: u32, value: vec4f) {
    let at = (z * params.m + row) * params.n + column;
    if (FOURS) {
        if (column < params.n) { c[at / 4] = value; }
        return;
    }
    if (column < params.n) { c[at / 4][at % 4] = value.x; }
    if (column + 1 < params.n) { c[(at + 1) / 4][(at + 1) % 4] = value.y; }
    if (column + 2 < params.n) { c[(at + 2) / 4][(at + 2) % 4] = value.z; }
    if (column + 3 < params.n) { c[(at + 3) / 4][(at + 3) % 4] = value.w; }
}

fn store_pre(z: u32, row: u32, column: u32, value: vec4f) {
    let at = (z * params.m + row) * params.n + column;
    if (FOURS) {
        if (column < params.n) { pre[at / 4] = value; }
        return;
    }
    if (column < params.n) { pre[at / 4][at % 4] = value.x; }
    if (column + 1 < params.n) { pre[(at + 1) / 4][(at + 1) % 4] = value.y; }
    if (column + 2 < params.n) { pre[(at + 2) / 4][(at + 2) % 4] = value.z; }
    if (column + 3 < params.n) { pre[(at + 3) / 4][(at + 3) % 4] = value.w; }
}

// Stores four rows by four columns of c[z] through the epilogue: row i is column i of `rows`.
fn finish_block(z: u32, row: u32, column: u32, rows: mat4x4f, shift: vec4f) {
    if (row < params.m) { finish(z, row, column, rows[0], shift); }
    if (row + 1 < params.m) { finish(z, row + 1, column, rows[1], shift); }
    if (row + 2 < params.m) { finish(z, row + 2, column, rows[2], shift); }
    if (row + 3 < params.m) { finish(z, row + 3, column, rows[3], shift); }
}
