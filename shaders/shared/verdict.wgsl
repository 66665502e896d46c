// Verdict of grad_scaler.wgsl on a step.

struct Verdict {
    factor: f32,  // what gradients are multiplied by
    correction1: f32,
    correction2: f32,
    take: u32,    // 0: skip this step
    norm: f32,    // of the gradients of the loss, before clipping
    taken: u32,   // number of steps that were taken, this one included
}
