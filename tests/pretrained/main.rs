//! Numbers recorded from Hugging Face's models and libraries, of this repository and of the folder
//! named by `SEEMORE_GOLDEN_HF`; see tests/golden/hf/README.md.

mod composition;
mod golden;
mod looks;
mod lora;
mod models;
mod pass;
mod preprocess;
mod prompts;
mod recorded;
mod refusals;
mod resize;
mod tokenizers;
mod tuning;
