// attention: out[i] = sum over keys j of P[i, j] v[j], P = softmax over j of scale * q[i] . k[j], for each batch element
// and head b. Causal: query i uses key j if j <= past[b] + i; otherwise it uses every key. `group` heads in a row share their
// keys and values (Ainslie et al. 2023), 1 of them in plain multi-head attention.
//
//   forward        q[b, tq, q_stride], kv[b, capacity, kv_stride] -> out[b, tq, heads, 4 HD4], lse[tiles, b heads, 4]
//   backward_q     q, kv, y = out, dout, lse -> dq like q, delta like lse
//                  dq[i] = sum_j dS[i, j] k[j], dS = scale P (dout[i] . v[j] - delta[i]), delta[i] = out[i] . dout[i]
//   backward_kv    q, kv, dout, lse, delta -> dkv like kv     dk[j] = sum_i dS[i, j] q[i], dv[j] = sum_i P[i, j] dout[i]
//                  over MEMBERS heads of each group from `member` on; added to dkv unless member is 0
//   probabilities  q, kv -> p[b, heads, tq, capacity]
//
// Rows are packed. Of a row of q the first heads HD4 vec4s are the query, of a row of kv those from k_at on are the key and
// those behind it the value. q and kv may be one array of rows q | k | v; then dq and dkv are one array too, of which
// backward_q writes the queries of each row and backward_kv the rest.
//
// P is never stored, except by `probabilities`: lse[i] = log of the sum over j of exp(scale q[i] . k[j]) gives it again.
// LANES invocations own a tile of four rows (queries; keys in backward_kv) and walk over the other side four rows at a
// time. Each invocation has COLS vec4 columns of everything, those of its own rows in registers; the scores, sums over all
// columns, are completed by `over_lanes`, of which there are two forms. No row of the other side is loaded twice for a tile.
// Batch and head vary fastest from tile to tile: the tiles of a workgroup lie at one position of the sequence and skip
// the same masked rows.
//
// q, kv and dout, at bindings 1, 2 and 8, are read through shared/attention_f32.wgsl or, as halves, attention_f16.wgsl: rows
// of as many fours, so strides and offsets count the same. All that is computed and written is f32.

struct Params {
    heads: u32,
    slices: u32,       // b heads
    tq: u32,
    capacity: u32,
    q_stride: u32,     // fours from row to row of q
    kv_stride: u32,    // of kv
    k_at: u32,         // fours of a row of kv before its key
    causal: u32,
    scale: f32,
    site: u32,         // names this dropout among those that share a seed
    dropout: f32,
    past_stride: u32,  // 1 with a past for each batch element, 0 with one for all
    group: u32,        // heads that share a key and a value
    member: u32,       // first head of each group in backward_kv
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> past: array<u32>;              // [b] or [1]: keys before the first query
@group(0) @binding(4) var<uniform> seed: u32;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;       // [b, tq, heads, HD4]
@group(0) @binding(6) var<storage, read_write> lse: array<vec4f>;       // [tiles, slices], four queries each
@group(0) @binding(7) var<storage, read> y: array<vec4f>;               // out, as an input
@group(0) @binding(9) var<storage, read> norm: array<vec4f>;            // lse, as an input
@group(0) @binding(10) var<storage, read_write> delta: array<vec4f>;    // [tiles, slices]
@group(0) @binding(11) var<storage, read> shift: array<vec4f>;          // delta, as an input
@group(0) @binding(12) var<storage, read_write> dq: array<vec4f>;       // [b, tq, q_stride]
@group(0) @binding(13) var<storage, read_write> dkv: array<vec4f>;      // [b, capacity, kv_stride]
@group(0) @binding(14) var<storage, read_write> p: array<f32>;          // [b, heads, tq, capacity]

override WG: u32 = 32;
override HD4: u32 = 16;          // vec4s in a head
override LANES: u32 = 8;         // invocations of a tile, a power of two that divides WG
override COLS: u32 = 2;          // vec4 columns of an invocation, 1 or 2; LANES COLS >= HD4
override DROPOUT: bool = false;
override MEMBERS: u32 = 1;       // heads of each group in backward_kv
override ROUND: bool = false;    // for the Rust bodies alone: whether operands may be rounded to bf16

const LOWEST = -3.4028234e38;
const FOUR = vec4u(0, 1, 2, 3);

// What an invocation works on.
struct Place {
    tile: u32,   // index into lse and delta
    slice: u32,  // batch element and head; the first head of a group in backward_kv
    first: u32,  // first row of the tile; not below tq past the last tile
    lane: u32,   // 0..LANES; has the columns lane, lane + LANES, ..
    local: u32,  // number in the workgroup, as over_lanes counts
}

// The place among tiles of which each is of `heads` slices.
fn place(i: Invocation, heads: u32) -> Place {
    let tile = (i.group.x + i.group.y * i.groups.x) * (WG / LANES) + i.local / LANES;
    let sets = params.slices / heads;
    return Place(tile, tile % sets * heads, 4 * (tile / sets), i.local % LANES, i.local);
}

// Where a slice's columns begin in its batch element's first row, in an array of `rows` rows each; `group` heads share columns.
fn head_at(slice: u32, rows: u32, stride: u32, group: u32) -> u32 {
    return slice / params.heads * rows * stride + slice % params.heads / group * HD4;
}

fn query_head(slice: u32) -> u32 { return head_at(slice, params.tq, params.q_stride, 1); }
fn key_head(slice: u32) -> u32 { return head_at(slice, params.capacity, params.kv_stride, params.group) + params.k_at; }
fn out_head(slice: u32) -> u32 { return head_at(slice, params.tq, params.heads * HD4, 1); }

// Where a head that begins at `head` lies in the four rows from `first` on; rows from `end` on repeat the last.
fn rows_at(head: u32, first: u32, end: u32, stride: u32) -> vec4u {
    return head + min(first + FOUR, vec4u(end - 1)) * stride;
}

fn query_rows(head: u32, first: u32) -> vec4u { return rows_at(head, first, params.tq, params.q_stride); }
fn key_rows(head: u32, first: u32, end: u32) -> vec4u { return rows_at(head, first, end, params.kv_stride); }
fn out_rows(head: u32, first: u32) -> vec4u { return rows_at(head, first, params.tq, params.heads * HD4); }

// From a key to its value.
fn value_offset() -> u32 { return params.heads / params.group * HD4; }

// Whether the invocation has an `n`-th column.
fn has(me: Place, n: u32) -> bool {
    return n < COLS && (LANES * COLS == HD4 || me.lane + n * LANES < HD4);
}

fn q_at(at: vec4u) -> mat4x4f {
    return mat4x4f(q_four(at.x), q_four(at.y), q_four(at.z), q_four(at.w));
}

fn kv_at(at: vec4u) -> mat4x4f {
    return mat4x4f(kv_four(at.x), kv_four(at.y), kv_four(at.z), kv_four(at.w));
}

fn y_at(at: vec4u) -> mat4x4f {
    return mat4x4f(y[at.x], y[at.y], y[at.z], y[at.w]);
}

fn dout_at(at: vec4u) -> mat4x4f {
    return mat4x4f(dout_four(at.x), dout_four(at.y), dout_four(at.z), dout_four(at.w));
}

// Four rows' columns of one invocation; a column that it does not have is zero.
struct Rows {
    c0: mat4x4f,
    c1: mat4x4f,
}

fn load_q(me: Place, rows: vec4u) -> Rows {
    let at = rows + me.lane;
    var x = Rows();
    if has(me, 0) { x.c0 = q_at(at); }
    if has(me, 1) { x.c1 = q_at(at + LANES); }
    return x;
}

fn load_kv(me: Place, rows: vec4u) -> Rows {
    let at = rows + me.lane;
    var x = Rows();
    if has(me, 0) { x.c0 = kv_at(at); }
    if has(me, 1) { x.c1 = kv_at(at + LANES); }
    return x;
}

fn load_y(me: Place, rows: vec4u) -> Rows {
    let at = rows + me.lane;
    var x = Rows();
    if has(me, 0) { x.c0 = y_at(at); }
    if has(me, 1) { x.c1 = y_at(at + LANES); }
    return x;
}

fn load_dout(me: Place, rows: vec4u) -> Rows {
    let at = rows + me.lane;
    var x = Rows();
    if has(me, 0) { x.c0 = dout_at(at); }
    if has(me, 1) { x.c1 = dout_at(at + LANES); }
    return x;
}

// m[x][y] = own[x] . other[y], over this invocation's columns.
fn products(own: Rows, other: Rows) -> mat4x4f {
    var m = transpose(other.c0) * own.c0;
    if COLS > 1 { m += transpose(other.c1) * own.c1; }
    return m;
}

// sum[x] + the sum over y of weights[x][y] other[y]
fn add_weighted(sum: Rows, other: Rows, weights: mat4x4f) -> Rows {
    var s = sum;
    s.c0 += other.c0 * weights;
    if COLS > 1 { s.c1 += other.c1 * weights; }
    return s;
}

fn scaled(m: mat4x4f, by: vec4f) -> mat4x4f {
    return mat4x4f(m[0] * by.x, m[1] * by.y, m[2] * by.z, m[3] * by.w);
}

fn rows_scaled(x: Rows, by: vec4f) -> Rows {
    var y = x;
    y.c0 = scaled(x.c0, by);
    if COLS > 1 { y.c1 = scaled(x.c1, by); }
    return y;
}

// Product by element.
fn times(a: mat4x4f, b: mat4x4f) -> mat4x4f {
    return mat4x4f(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]);
}

fn highest(m: mat4x4f) -> vec4f {
    let t = transpose(m);
    return max(max(t[0], t[1]), max(t[2], t[3]));
}

fn total(m: mat4x4f) -> vec4f {
    let t = transpose(m);
    return (t[0] + t[1]) + (t[2] + t[3]);
}

// Dropout's factors of four elements of [b, heads, tq, capacity].
fn kept(at: vec4u) -> vec4f {
    return vec4f(
        keep(seed, params.site, at.x, params.dropout),
        keep(seed, params.site, at.y, params.dropout),
        keep(seed, params.site, at.z, params.dropout),
        keep(seed, params.site, at.w, params.dropout),
    );
}

// The number of keys that precede the first query of a slice's batch element.
fn past_of(slice: u32) -> u32 {
    return past[slice / params.heads * params.past_stride];
}

// The last key that each of a tile's queries uses.
fn last_keys(me: Place) -> vec4u {
    let last = select(params.capacity - 1, past_of(me.slice), params.causal == 1);
    let query = select(vec4u(), min(me.first + FOUR, vec4u(params.tq - 1)), params.causal == 1);
    return min(last + query, vec4u(params.capacity - 1));
}

// The number of keys that the tiles of the workgroup use, the same in all of its invocations: the most of any tile. Tiles with
// fewer repeat their last key, masked, so that rows of the cache behind it are never read.
fn keys_used(group: vec3u, groups: vec3u) -> u32 {
    let tiles = WG / LANES;
    let first_tile = (group.x + group.y * groups.x) * tiles;
    if 4 * (first_tile / params.slices) >= params.tq {
        return 0;
    }
    if params.causal == 0 {
        return params.capacity;
    }
    let queries = min(4 * ((first_tile + tiles - 1) / params.slices) + 4, params.tq);
    // the batch elements that the workgroup's consecutive slices belong to
    let batch = params.slices / params.heads;
    let element = first_tile % params.slices / params.heads;
    let elements = select(1, min((tiles + params.heads - 2) / params.heads + 1, batch), params.past_stride == 1);
    var most = 0u;
    for (var n = 0u; n < elements; n++) {
        most = max(most, past[(element + n) % batch * params.past_stride]);
    }
    return min(most + queries, params.capacity);
}

// The scores of four queries with keys j..j+4; the lowest number where a key is not used.
fn scores(me: Place, own: Rows, keys: Rows, j: u32, last: vec4u) -> mat4x4f {
    let s = over_lanes(me.local, products(own, keys));
    return mat4x4f(
        select(vec4f(LOWEST), params.scale * s[0], j + FOUR <= vec4u(last.x)),
        select(vec4f(LOWEST), params.scale * s[1], j + FOUR <= vec4u(last.y)),
        select(vec4f(LOWEST), params.scale * s[2], j + FOUR <= vec4u(last.z)),
        select(vec4f(LOWEST), params.scale * s[3], j + FOUR <= vec4u(last.w)),
    );
}

// exp(scores - top), by query.
fn exp_below(s: mat4x4f, top: vec4f) -> mat4x4f {
    return mat4x4f(exp(s[0] - top.x), exp(s[1] - top.y), exp(s[2] - top.z), exp(s[3] - top.w));
}

// Dropout's factors of four queries with keys j..j+4.
fn kept_keys(me: Place, j: u32) -> mat4x4f {
    let at = (me.slice * params.tq + me.first) * params.capacity + j + FOUR;
    return mat4x4f(kept(at), kept(at + params.capacity), kept(at + 2 * params.capacity), kept(at + 3 * params.capacity));
}

// The key and value of the one new row, from behind its query into the cache at row past[b]. Each invocation copies the columns
// that it reads, and those that read the same columns in this dispatch copy the same values.
fn append(me: Place) {
    let row = head_at(me.slice, params.tq, params.q_stride, params.group) + params.heads * HD4 + me.lane;
    let to = key_head(me.slice) + min(past_of(me.slice), params.capacity - 1) * params.kv_stride + me.lane;
    for (var n = 0u; n < 2; n++) {
        if has(me, n) && me.first < params.tq {
            append_four(to + n * LANES, q_four(row + n * LANES));
            append_four(to + n * LANES + value_offset(), q_four(row + n * LANES + value_offset()));
        }
    }
}

@compute @workgroup_size(WG)
fn forward(invocation: Invocation) {
    let me = place(invocation, 1);
    if APPENDS { append(me); }
    let own = load_q(me, query_rows(query_head(me.slice), me.first));
    let last = last_keys(me);
    let end = keys_used(invocation.group, invocation.groups);
    var top = vec4f(LOWEST);
    var sum = vec4f();
    var o = Rows();
    let head = key_head(me.slice);
    for (var j = 0u; j < end; j += 4) {
        let keys = key_rows(head, j, last.w + 1);
        let s = scores(me, own, load_kv(me, keys), j, last);
        let now = max(top, highest(s));
        var weights = exp_below(s, now);
        let decay = exp(top - now);
        top = now;
        sum = sum * decay + total(weights);
        if DROPOUT {
            weights = times(weights, kept_keys(me, j));
        }
        o = add_weighted(rows_scaled(o, decay), load_kv(me, keys + value_offset()), weights);
    }
    if me.lane == 0 && me.first < params.tq {
        lse[me.tile] = top + log(sum);
    }
    o = rows_scaled(o, 1.0 / sum);
    let rows = out_rows(out_head(me.slice), me.first);
    for (var x = 0u; x < 4 && me.first + x < params.tq; x++) {
        let at = rows[x] + me.lane;
        if has(me, 0) { out[at] = o.c0[x]; }
        if has(me, 1) { out[at + LANES] = o.c1[x]; }
    }
}

@compute @workgroup_size(WG)
fn backward_q(invocation: Invocation) {
    let me = place(invocation, 1);
    let rows = query_rows(query_head(me.slice), me.first);
    let own = load_q(me, rows);
    let own_out = out_rows(out_head(me.slice), me.first);
    let own_dout = load_dout(me, own_out);
    let with_out = over_lanes(me.local, products(own_dout, load_y(me, own_out)));
    let inner = vec4f(with_out[0].x, with_out[1].y, with_out[2].z, with_out[3].w);
    if me.lane == 0 && me.first < params.tq {
        delta[me.tile] = inner;
    }
    let last = last_keys(me);
    let end = keys_used(invocation.group, invocation.groups);
    let log_sum = norm[me.tile];
    var g = Rows();
    let head = key_head(me.slice);
    for (var j = 0u; j < end; j += 4) {
        let at = key_rows(head, j, last.w + 1);
        let keys = load_kv(me, at);
        let s = over_lanes(me.local, products(own, keys));
        var e = over_lanes(me.local, products(own_dout, load_kv(me, at + value_offset())));
        if DROPOUT {
            e = times(e, kept_keys(me, j));
        }
        let ds = mat4x4f(
            select(vec4f(), exp(params.scale * s[0] - log_sum.x), j + FOUR <= vec4u(last.x)) * (e[0] - inner.x),
            select(vec4f(), exp(params.scale * s[1] - log_sum.y), j + FOUR <= vec4u(last.y)) * (e[1] - inner.y),
            select(vec4f(), exp(params.scale * s[2] - log_sum.z), j + FOUR <= vec4u(last.z)) * (e[2] - inner.z),
            select(vec4f(), exp(params.scale * s[3] - log_sum.w), j + FOUR <= vec4u(last.w)) * (e[3] - inner.w),
        );
        g = add_weighted(g, keys, ds);
    }
    g = rows_scaled(g, vec4f(params.scale));
    for (var x = 0u; x < 4 && me.first + x < params.tq; x++) {
        let at = rows[x] + me.lane;
        if has(me, 0) { dq[at] = g.c0[x]; }
        if has(me, 1) { dq[at + LANES] = g.c1[x]; }
    }
}

// Gradients of four keys and values.
struct Gradients {
    k: Rows,
    v: Rows,
}

// Adds the part of the queries i.. of one slice.
fn add_slice(me: Place, slice: u32, first: u32, own_k: Rows, own_v: Rows, before: Gradients) -> Gradients {
    let free = vec4<bool>(params.causal == 0);
    let head = query_head(slice);
    let head_out = out_head(slice);
    var g = before;
    for (var i = first; i < params.tq; i += 4) {
        let queries = load_q(me, query_rows(head, i));
        let gradients = load_dout(me, out_rows(head_out, i));
        let log_sum = norm[i / 4 * params.slices + slice];
        let inner = shift[i / 4 * params.slices + slice];
        let s = over_lanes(me.local, products(own_k, queries));
        var e = over_lanes(me.local, products(own_v, gradients));
        let real = i + FOUR < vec4u(params.tq);
        let weights = mat4x4f(
            select(vec4f(), exp(params.scale * s[0] - log_sum), real & (free | (i + FOUR >= vec4u(me.first)))),
            select(vec4f(), exp(params.scale * s[1] - log_sum), real & (free | (i + FOUR >= vec4u(me.first + 1)))),
            select(vec4f(), exp(params.scale * s[2] - log_sum), real & (free | (i + FOUR >= vec4u(me.first + 2)))),
            select(vec4f(), exp(params.scale * s[3] - log_sum), real & (free | (i + FOUR >= vec4u(me.first + 3)))),
        );
        var dropped = weights;
        if DROPOUT {
            let index = (slice * params.tq + i + FOUR) * params.capacity + me.first;
            let factors = mat4x4f(kept(index), kept(index + 1), kept(index + 2), kept(index + 3));
            dropped = times(weights, factors);
            e = times(e, factors);
        }
        g.v = add_weighted(g.v, gradients, dropped);
        g.k = add_weighted(g.k, queries, times(weights, e - mat4x4f(inner, inner, inner, inner)));
    }
    return g;
}

// Writes a part of dk or dv, or adds it to that of the group's earlier heads.
fn store(at: u32, value: vec4f) {
    if params.member == 0 {
        dkv[at] = value;
    } else {
        dkv[at] += value;
    }
}

@compute @workgroup_size(WG)
fn backward_kv(invocation: Invocation) {
    let me = place(invocation, params.group);
    let rows = key_rows(key_head(me.slice), me.first, params.capacity);
    let own_k = load_kv(me, rows);
    let own_v = load_kv(me, rows + value_offset());
    // the first key of the workgroup, the same in all of its invocations
    let first_tile = (invocation.group.x + invocation.group.y * invocation.groups.x) * (WG / LANES);
    let first_key = 4 * (first_tile / (params.slices / params.group));
    let first = select(0, first_key, params.causal == 1);
    let slice = me.slice + params.member;
    var g = add_slice(me, slice, first, own_k, own_v, Gradients());
    for (var member = 1u; member < MEMBERS; member++) {
        g = add_slice(me, slice + member, first, own_k, own_v, g);
    }
    g.k = rows_scaled(g.k, vec4f(params.scale));
    for (var x = 0u; x < 4 && me.first + x < params.capacity; x++) {
        let key = rows[x] + me.lane;
        let value = key + value_offset();
        if has(me, 0) { store(key, g.k.c0[x]); store(value, g.v.c0[x]); }
        if has(me, 1) { store(key + LANES, g.k.c1[x]); store(value + LANES, g.v.c1[x]); }
    }
}

@compute @workgroup_size(WG)
fn probabilities(invocation: Invocation) {
    let me = place(invocation, 1);
    let own = load_q(me, query_rows(query_head(me.slice), me.first));
    let last = last_keys(me);
    let end = keys_used(invocation.group, invocation.groups);
    var top = vec4f(LOWEST);
    var sum = vec4f();
    let head = key_head(me.slice);
    for (var j = 0u; j < end; j += 4) {
        let s = scores(me, own, load_kv(me, key_rows(head, j, last.w + 1)), j, last);
        let now = max(top, highest(s));
        sum = sum * exp(top - now) + total(exp_below(s, now));
        top = now;
    }
    for (var j = 0u; j < params.capacity; j += 4) {
        var weights = mat4x4f();
        if j < end {
            let s = scores(me, own, load_kv(me, key_rows(head, j, last.w + 1)), j, last);
            weights = scaled(exp_below(s, top), 1.0 / sum);
        }
        for (var x = me.lane; x < 4 && me.first + x < params.tq; x += LANES) {
            for (var n = 0u; n < min(4, params.capacity - j); n++) {
                p[(me.slice * params.tq + me.first + x) * params.capacity + j + n] = weights[x][n];
            }
        }
    }
}
