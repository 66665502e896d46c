//! Pretrained models with their real weights against what transformers recorded of them:
//! `make test-weights`, which writes the weights and names their folder in `SEEMORE_WEIGHTS`.

mod clip;
mod decoder;
#[path = "../pretrained/golden.rs"]
#[allow(dead_code)] // each test program uses a part of it
mod golden;
mod photo;
mod recorded;
mod tokenizers;
mod weights;
