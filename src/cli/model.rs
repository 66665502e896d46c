//! `--model` and how a pretrained model is kept and sees pictures.

use std::path::PathBuf;

use clap::Args;

use super::values::named;
use crate::caption::{CaptionError, Session};
use crate::cli::output::errln;
use crate::device::Device;
use crate::image::Tiling;
use crate::models::checkpoint::{self, KeepWeights, LoadOptions};
use crate::models::composition::missing_parts;
use crate::models::library;
use crate::ops::Encoding;

/// Encodings that weights can be converted to while they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// 16-bit bfloat.
    Bf16,
    /// 16-bit IEEE float.
    F16,
    /// 8 bits.
    Q8,
    /// 4 bits.
    Q4,
}

impl Quantization {
    fn encoding(self) -> Encoding {
        match self {
            Quantization::Bf16 => Encoding::Bf16,
            Quantization::F16 => Encoding::F16,
            Quantization::Q8 => Encoding::Q8_0,
            Quantization::Q4 => Encoding::Q4_0,
        }
    }
}

/// Choice of the model.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// Checkpoint folder, folder or GGUF file of a pretrained model, or a name of `seemore models`
    /// [default: the shipped captioner of photographs if its parts are here, else the shipped model
    /// of drawings, else the newest in runs/]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<PathBuf>,
    /// Image encoder of a GGUF model, if it is not the only mmproj file beside it
    #[arg(long, value_name = "FILE", help_heading = "Pretrained models")]
    mmproj: Option<PathBuf>,
    /// LoRA adapter in PEFT's files to apply to the model
    #[arg(long, value_name = "DIR", help_heading = "Pretrained models")]
    lora: Option<PathBuf>,
    /// Convert the weights of a pretrained model while they are read, to save memory and time
    #[arg(long, value_name = "TYPE", value_parser = named::<Quantization>(), help_heading = "Pretrained models")]
    quantize: Option<Quantization>,
    /// Compute exactly with weights of 16 bits or less, instead of rounding what they are multiplied
    /// with to bf16 on processors that multiply it faster
    #[arg(long, help_heading = "Pretrained models")]
    exact: bool,
    /// Tiles that a pretrained model sees a picture in: 1 for the picture alone, auto for as many
    /// as it was trained on, N for at most N along the longer edge
    #[arg(
        long,
        value_name = "TILES",
        default_value = "1",
        help_heading = "Pretrained models"
    )]
    tiles: Tiling,
}

impl ModelArgs {
    /// Whether pictures may become several tiles.
    pub fn cuts_pictures(&self) -> bool {
        self.tiles != Tiling::One
    }

    /// Folder or file of the model.
    pub fn folder(&self) -> anyhow::Result<PathBuf> {
        match &self.model {
            Some(name) => Ok(library::locate(name)?),
            None => super::default_model(),
        }
    }

    /// Loads the model and names it on standard error.
    pub fn load(&self, device: &Device) -> anyhow::Result<Session> {
        let dir = self.folder()?;
        errln!("model: {}", dir.display());
        if self.model.is_none() && checkpoint::shipped().as_ref() == Some(&dir) {
            errln!("note: this model knows drawings only");
            if let Some(photo) = checkpoint::shipped_photo() {
                let parts = missing_parts(&photo);
                let commands: Vec<String> = parts
                    .iter()
                    .map(|part| format!("`seemore get {part}`"))
                    .collect();
                errln!(
                    "hint: the captioner of photographs needs {}",
                    commands.join(" and ")
                );
            }
        }
        let keep = match self.quantize {
            Some(to) => KeepWeights::Converted(to.encoding()),
            None => KeepWeights::AsStored,
        };
        let options = LoadOptions {
            encoder: self.mmproj.as_deref(),
            adapter: self.lora.as_deref(),
            keep,
            ..LoadOptions::default()
        };
        let (model, tokenizer) = checkpoint::load_options(device, &dir, &options)?;
        let tokenizer =
            tokenizer.ok_or_else(|| CaptionError::NoTokenizer(dir.display().to_string()))?;
        if model.dialogue().is_none() {
            if self.quantize.is_some() {
                anyhow::bail!(
                    "--quantize is for pretrained models, and {} is none",
                    dir.display()
                );
            }
            if self.tiles != Tiling::One {
                anyhow::bail!(
                    "--tiles is for pretrained models, and {} is none",
                    dir.display()
                );
            }
        }
        let model = model.rounding(!self.exact);
        Ok(Session::with_tiling(device, model, tokenizer, self.tiles))
    }
}
