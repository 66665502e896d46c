// grad_scaler: decides whether to take a step and how to scale its gradients, from the norm of all
// of them together
//
//   update   norm_squared[1], loss[1], state[64] -> state, verdict[8]
//
// Gradients are those of the loss times state.scale, so that small ones do not vanish in 16 bits
// (Micikevicius et al. 2018). If their norm and the loss are finite, the step is taken:
//   factor      = min(1, clip / (norm + 1e-6)) / scale, with norm = sqrt(norm_squared) / scale;
//                 no clipping if clip is 0
//   correction  = beta * correction + (1 - beta): Adam's 1 - beta^t after t steps taken
//   scale       = growth * scale after every `interval` steps taken in a row
// Otherwise the step is skipped, and
//   scale       = backoff * scale
// If the scale cannot shrink, the step is recorded as bad; with `freeze` no step is taken after it,
// so that parameters and moments keep their values until the host looks.
//
// The state tracks an exponentially weighted mean and variance of the loss (West 1979). A loss that
// exceeds the mean by six deviations and a twentieth of the mean, after the first 30, counts as a
// spike and moves both by no more than that bound.
//
// One invocation.

// rest = 1 - beta
struct Params {
    clip: f32, beta1: f32, beta2: f32, rest1: f32, rest2: f32,
    growth: f32, backoff: f32, interval: f32, least: f32, most: f32,
    freeze: u32,
}

// counts are exact up to 2^24
struct State {
    scale: f32,
    run: f32,     // steps taken since the scale last changed
    taken: f32,
    skipped: f32,
    correction1: f32,
    correction2: f32,
    bad: f32,     // number of the first bad step that the host has not seen, 0 if none
    streak: f32,  // bad steps in a row up to now
    mean: f32,    // of the loss
    variance: f32,
    seen: f32,    // number of losses in mean and variance
    spikes: f32,
    spike_step: f32,
    spike_loss: f32,
    spike_mean: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> norm_squared: array<f32>;     // [1]
@group(0) @binding(2) var<storage, read_write> state: State;           // [64]
@group(0) @binding(3) var<storage, read_write> verdict: Verdict;       // [8]
@group(0) @binding(4) var<storage, read> loss: array<f32>;             // [1]

const LARGEST = 3.4028234e38;

fn follow(loss: f32) {
    state.seen += 1.0;
    var change = loss - state.mean;
    let most = 6.0 * sqrt(state.variance) + 0.05 * abs(state.mean);
    if state.seen > 30.0 && change > most {
        state.spikes += 1.0;
        state.spike_step = state.taken + state.skipped;
        state.spike_loss = loss;
        state.spike_mean = state.mean;
        change = most;
    }
    let share = max(1.0 / state.seen, 0.02);
    // a loss may be so large that its square, or its distance from another, is infinite
    state.mean = clamp(state.mean + share * change, -LARGEST, LARGEST);
    state.variance = min((1.0 - share) * (state.variance + share * change * change), LARGEST);
}

@compute @workgroup_size(1)
fn update() {
    let squared = norm_squared[0];
    let scale = state.scale;
    let norm = sqrt(squared) / scale;
    verdict.norm = norm;
    if params.freeze != 0 && state.bad != 0.0 {
        verdict.factor = 0.0;
        verdict.take = 0;
        return;
    }
    // both are false for NaN
    if squared <= LARGEST && abs(loss[0]) <= LARGEST {
        verdict.factor = select(1.0, min(1.0, params.clip / (norm + 1e-6)), params.clip > 0.0) / scale;
        verdict.take = 1;
        state.taken += 1.0;
        state.streak = 0.0;
        follow(loss[0]);
        state.correction1 = params.beta1 * state.correction1 + params.rest1;
        state.correction2 = params.beta2 * state.correction2 + params.rest2;
        state.run += 1.0;
        if state.run >= params.interval {
            state.run = 0.0;
            state.scale = min(scale * params.growth, params.most);
        }
    } else {
        verdict.factor = 0.0;
        verdict.take = 0;
        state.skipped += 1.0;
        state.run = 0.0;
        state.scale = max(scale * params.backoff, params.least);
        if state.scale == scale {
            state.streak += 1.0;
            if state.bad == 0.0 {
                state.bad = state.taken + state.skipped;
            }
        }
    }
    verdict.taken = u32(state.taken);
    verdict.correction1 = state.correction1;
    verdict.correction2 = state.correction2;
}
