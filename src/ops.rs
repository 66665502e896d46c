//! One file per op: its kernel, its method on [`Tape`](crate::tape::Tape), its f64 reference and its test.

mod accumulate;
mod activation;
mod adamw;
mod add;
mod add_layernorm;
mod add_vector;
mod argmax;
mod attention;
mod cache_rows;
#[cfg(test)]
pub(crate) mod check;
mod color_histogram;
mod concat;
mod cross_entropy;
mod dropout;
mod ema;
mod embedding;
mod fill;
mod grad_scaler;
mod half;
mod hog;
mod ink;
mod l2_normalize;
mod lanes;
mod layernorm;
mod matmul;
mod pad_heads;
mod patchify;
mod positions;
mod scale;
mod slice;
mod softmax;
mod sum_rows;
mod sum_squares;

pub use activation::Activation;
pub use adamw::AdamW;
pub use attention::{Attention, most_keys};
pub use cross_entropy::IGNORE;
pub use dropout::Dropout;
pub use grad_scaler::GradScaler;
pub use hog::hog_values;
pub use matmul::{MATMUL_VARIANTS, Matrix, transposed, tuned_sources};
