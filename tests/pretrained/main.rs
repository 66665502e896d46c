//! Numbers recorded from Hugging Face's models and libraries; see tests/golden/hf/README.md.

mod golden;
mod preprocess;
mod resize;
