// Reductions over a workgroup of WG invocations, a power of two (1 included) declared by the
// kernel. All invocations must call them, in uniform control flow; all get the result. The order is
// fixed.

var<workgroup> partial: array<f32, WG>;

fn reduce_sum(lane: u32, value: f32) -> f32 {
    if WG == 1 { return value; }
    partial[lane] = value;
    workgroupBarrier();
    for (var stride = WG / 2; stride > 0; stride /= 2) {
        if lane < stride { partial[lane] += partial[lane + stride]; }
        workgroupBarrier();
    }
    let result = partial[0];
    // the next reduction writes `partial` again
    workgroupBarrier();
    return result;
}

fn reduce_max(lane: u32, value: f32) -> f32 {
    if WG == 1 { return value; }
    partial[lane] = value;
    workgroupBarrier();
    for (var stride = WG / 2; stride > 0; stride /= 2) {
        if lane < stride { partial[lane] = max(partial[lane], partial[lane + stride]); }
        workgroupBarrier();
    }
    let result = partial[0];
    workgroupBarrier();
    return result;
}
