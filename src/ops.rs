//! Ops: methods on [`Tape`](crate::graph::Tape) that record kernels and their gradients.
//!
//! Each op has a file with its recording, backward pass, f64 reference and checks, and a kernel in
//! `shaders/`. [`check`] is the harness of the checks, [`shared`] lists the WGSL that kernels have
//! in common.

pub mod check;
pub mod encoding;
pub mod native;
pub mod shared;
mod vector_width;

/// Declares the module of each op and lists its checks in [`CHECKS`]. `cargo fmt` does not look
/// into macros: CI formats `src/ops` by its files.
macro_rules! ops {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Checks of every op, by the op's name.
        pub const CHECKS: &[(&str, &[check::Check])] =
            &[$((stringify!($name), $name::checks::CHECKS)),+];
    };
}

ops! {
    accumulate
    activation
    adamw
    adamw_8bit
    add
    add_layernorm
    add_rmsnorm
    add_vector
    argmax
    attention
    cache_rows
    chosen_ids
    color_histogram
    concat
    cross_entropy
    dropout
    ema
    embedding
    fill
    grad_scaler
    half
    hog
    ink
    l2_normalize
    layernorm
    matmul
    packed_linear
    pad_heads
    patchify
    pixel_shuffle
    positions
    rmsnorm
    rope
    scale
    scatter_rows
    slice
    softmax
    sum_rows
    sum_squares
    swiglu
    unpack
}

pub use activation::Activation;
pub use adamw::AdamW;
pub use attention::{Attention, max_keys};
pub use check::self_test;
pub use chosen_ids::{id_digits, id_of};
pub use cross_entropy::IGNORE;
pub use dropout::Dropout;
pub use embedding::TablePart;
pub use encoding::{Encoding, EncodingError};
pub use grad_scaler::GradScaler;
pub use hog::hog_values;
pub use matmul::{MATMUL_VARIANTS, Matrix, transposed, tuned_sources};

#[cfg(test)]
mod tests {
    use super::CHECKS;

    #[test]
    fn every_op_is_listed_and_has_checks() {
        for entry in std::fs::read_dir("src/ops").unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir()
                || ["check", "encoding", "native", "shared", "vector_width"].contains(&name)
            {
                continue;
            }
            let (_, checks) = CHECKS
                .iter()
                .find(|(op, _)| *op == name)
                .unwrap_or_else(|| panic!("{name} is not among the ops of src/ops.rs"));
            assert!(!checks.is_empty(), "{name} has no checks");
        }
    }
}
