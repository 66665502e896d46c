//! Encoding of pictures apart from the prompts they belong to.

use std::sync::OnceLock;

use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::Model;
use crate::nn::Context;

/// A recorded pass of the image encoder over a fixed number of tiles.
pub(crate) struct Encoding {
    plan: Plan,
    image: Var,
    rows: Var,
    /// Logits of the names of each set, `[tiles, names]`.
    names: Vec<Var>,
    /// Input of the encoder's last block `[tiles, rows, width]`, of models with names.
    last_block: Option<Var>,
    tiles: usize,
}

/// Output of the image encoder for a picture.
#[derive(Debug, Default)]
pub(crate) struct Encoded {
    /// Rows `[rows, width]` of all tiles.
    pub rows: Vec<f32>,
    /// Logits of a composition's names, by set; those of the last tile.
    pub names: Vec<Vec<f32>>,
    /// Input rows of the encoder's last block for each tile, of models with names.
    pub last_block: Vec<Vec<f32>>,
    /// Share of each patch of each tile in the name of a caption, once it was asked for.
    pub relevance: OnceLock<Vec<Vec<f32>>>,
}

impl Encoding {
    /// Records the pass for `tiles` tiles at a time.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    pub(crate) fn new(
        device: &Device,
        model: &Model,
        tiles: usize,
    ) -> Result<Encoding, DeviceError> {
        let side = model.info().image_size();
        let mut tape = model.tape(device);
        let image = tape.input(&[tiles, 3, side, side]);
        let mut c = Context::inference(&mut tape);
        c.name_logits = (!model.name_sets().is_empty()).then(Vec::new);
        let rows = model.encode(&mut c, image).rows;
        let names = c.name_logits.take().unwrap_or_default();
        let last_block = c.last_block_rows;
        tape.hold(rows);
        last_block.into_iter().for_each(|rows| tape.hold(rows));
        names.iter().for_each(|&logits| tape.hold(logits));
        Ok(Encoding {
            plan: Plan::new(device, tape)?,
            image,
            rows,
            names,
            last_block,
            tiles,
        })
    }

    /// Encodes tiles `[n, 3, side, side]`, normalised, with `n` from 1 to the recorded number.
    ///
    /// # Errors
    /// A failed device.
    pub(crate) fn run(&self, tiles: &[f32]) -> Result<Encoded, DeviceError> {
        let all: usize = self.plan.shape(self.image).iter().product();
        let count = tiles.len() / (all / self.tiles);
        let mut tiles = tiles.to_vec();
        tiles.resize(all, 0.0);
        self.plan.write(self.image, &tiles);
        let mut rows: Vec<f32> = self.plan.run_and_read(self.rows)?;
        rows.truncate(rows.len() / self.tiles * count);
        let names = self.names.iter().map(|&logits| {
            let all: Vec<f32> = self.plan.read(logits)?;
            let each = all.len() / self.tiles;
            Ok(all[each * (count - 1)..each * count].to_vec())
        });
        let last_block = match self.last_block {
            Some(rows) => self.plan.read(rows)?,
            None => vec![],
        };
        let each = (last_block.len() / self.tiles).max(1);
        Ok(Encoded {
            last_block: last_block
                .chunks(each)
                .take(count)
                .map(<[f32]>::to_vec)
                .collect(),
            rows,
            names: names.collect::<Result<_, DeviceError>>()?,
            relevance: OnceLock::new(),
        })
    }
}
