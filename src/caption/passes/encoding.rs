//! Encoding of pictures apart from the prompts they belong to.

use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::models::Model;
use crate::nn::Context;

/// A recorded pass of the image encoder over a fixed number of tiles.
pub(crate) struct Encoding {
    plan: Plan,
    image: Var,
    rows: Var,
    tiles: usize,
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
        let rows = model.encode(&mut Context::inference(&mut tape), image).rows;
        tape.hold(rows);
        Ok(Encoding {
            plan: Plan::new(device, tape)?,
            image,
            rows,
            tiles,
        })
    }

    /// Returns the rows `[rows, width]` of tiles `[n, 3, side, side]`, normalised, with `n` at most
    /// the recorded number.
    ///
    /// # Errors
    /// A failed device.
    pub(crate) fn run(&self, tiles: &[f32]) -> Result<Vec<f32>, DeviceError> {
        let all: usize = self.plan.shape(self.image).iter().product();
        let count = tiles.len() / (all / self.tiles);
        let mut tiles = tiles.to_vec();
        tiles.resize(all, 0.0);
        self.plan.write(self.image, &tiles);
        let mut rows: Vec<f32> = self.plan.run_and_read(self.rows)?;
        rows.truncate(rows.len() / self.tiles * count);
        Ok(rows)
    }
}
