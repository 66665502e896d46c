// Activations and their derivatives. `kind` is 0 none, 1 relu, 2 gelu (erf), 3 gelu (tanh), 4 quick
// gelu, as `Activation` of src/ops/activation.rs. Callers pass a constant, so that the compiler
// keeps one branch.

// 1 - Phi(a) for a in [0, 14], Phi the normal distribution; gaussian = exp(-a*a/2). A polynomial in
// t - 1/2 with t = 1 / (1 + z/2), z = a / sqrt(2), for exp(z^2) erfc(z) / t, interpolated at
// Chebyshev nodes in f64: relative error 5e-8, 4e-7 with f32 rounding, even far out, where 1 + erf
// would cancel.
fn upper_tail(a: vec4f, gaussian: vec4f) -> vec4f {
    let t = 1.0 / (1.0 + a * 0.35355339);
    let u = t - 0.5;
    var p = vec4f(-2.98230070e-02);
    p = p * u + 2.44293697e-02;
    p = p * u + 4.76566292e-02;
    p = p * u - 5.15520165e-02;
    p = p * u - 8.59263390e-02;
    p = p * u + 7.28733840e-02;
    p = p * u + 2.79469192e-01;
    p = p * u + 3.43580455e-01;
    p = p * u + 2.55395680e-01;
    return p * t * gaussian;
}

// exp(-x*x/2); past 14 it is 0 in f32, and clamping keeps the square finite.
fn gaussian(x: vec4f) -> vec4f {
    let a = min(abs(x), vec4f(14.0));
    return exp(-0.5 * a * a);
}

// Phi(x)
fn normal_distribution(x: vec4f, gaussian: vec4f) -> vec4f {
    let tail = upper_tail(min(abs(x), vec4f(14.0)), gaussian);
    return select(tail, 1.0 - tail, x >= vec4f(0.0));
}

// (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)) with u = sqrt(2/pi) (x + 0.044715 x^3). Clamping x keeps
// exp finite.
fn tanh_gate(x: vec4f) -> vec4f {
    let a = clamp(x, vec4f(-10.0), vec4f(10.0));
    return 1.0 / (1.0 + exp(-1.5957691 * a * (1.0 + 0.044715 * a * a)));
}

// 1 / (1 + exp(-u)) for u in [-87, 87], where exp is finite.
fn logistic(u: vec4f) -> vec4f {
    return 1.0 / (1.0 + exp(-u));
}

// 1.702 x, clamped to where `logistic` takes it.
fn quick_argument(x: vec4f) -> vec4f {
    return clamp(1.702 * x, vec4f(-87.0), vec4f(87.0));
}

// y = activation(x). NaN stays NaN.
fn activate(kind: u32, x: vec4f) -> vec4f {
    switch kind {
        case 1u: { return select(x, vec4f(0.0), x < vec4f(0.0)); }
        case 2u: { return x * normal_distribution(x, gaussian(x)); }
        case 3u: { return x * tanh_gate(x); }
        case 4u: { return x * logistic(quick_argument(x)); }
        default: { return x; }
    }
}

// dy/dx; that of relu at 0 is 0.
fn activation_derivative(kind: u32, x: vec4f) -> vec4f {
    switch kind {
        case 1u: { return vec4f(x > vec4f(0.0)); }
        case 2u: {
            let density = gaussian(x);
            return normal_distribution(x, density) + x * density * 0.39894228;
        }
        case 3u: {
            let a = clamp(x, vec4f(-10.0), vec4f(10.0));
            let gate = tanh_gate(x);
            return gate + a * gate * (1.0 - gate) * 1.5957691 * (1.0 + 0.134145 * a * a);
        }
        case 4u: {
            let u = quick_argument(x);
            let gate = logistic(u);
            return gate + u * gate * (1.0 - gate);
        }
        default: { return vec4f(1.0); }
    }
}
