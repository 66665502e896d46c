//! Features of pictures on disk: the rows that a frozen image encoder passes to the projector, as
//! 16-bit floats, one file for each picture.
//!
//! Files are named by the content of the picture, and lie in a folder that is named by the encoder's
//! weights and the preprocessing: what is found there never has to be computed again, whichever run
//! wrote it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use half::f16;
use sha2::{Digest, Sha256};

use crate::atomic_file;
use crate::device::{Device, DeviceError, Plan};
use crate::graph::Var;
use crate::image::{Picture, TileGrid, Tiling};
use crate::models::Model;
use crate::models::checkpoint::{self, CheckpointError};
use crate::nn::{Context, Part};
use crate::train::TrainError;

/// Content of a picture: SHA-256 of its size and pixels.
pub type Key = [u8; 32];

/// Returns the key of a picture.
pub fn key(picture: &Picture) -> Key {
    let mut hash = Sha256::new();
    for length in [picture.width, picture.height] {
        hash.update((length as u64).to_le_bytes());
    }
    hash.update(&picture.rgb);
    hash.finalize().into()
}

/// How a picture is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Number of tiles.
    pub tiles: usize,
    /// Grid of tiles.
    pub grid: TileGrid,
}

/// Begin of a file: what it is, and the number of tiles, rows and columns of the grid.
const MAGIC: &[u8; 4] = b"SMF1";
const HEADER: usize = 16;

/// The image encoder of a model, for one tile at a time.
struct Encoder {
    plan: Plan,
    image: Var,
    rows: Var,
}

/// Features of pictures, on disk.
pub struct FeatureCache {
    folder: PathBuf,
    /// Values of a tile.
    values: usize,
    encoder: Mutex<Encoder>,
    encoded: AtomicU64,
}

impl FeatureCache {
    /// Opens the features of a model's encoder in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// A folder that cannot be written, or a device that failed.
    pub fn open(
        root: &Path,
        device: &Device,
        model: &Model,
        tiling: Tiling,
    ) -> Result<FeatureCache, TrainError> {
        let folder = root.join(identity(model, tiling)?);
        checkpoint::make_folder(&folder)?;
        let side = model.info().image_size();
        let mut tape = model.tape(device);
        let image = tape.input(&[1, 3, side, side]);
        let rows = model.encoder_rows(&mut Context::inference(&mut tape), image);
        tape.hold(rows);
        let (count, width) = model.info().encoder_row_shape();
        Ok(FeatureCache {
            folder,
            values: count * width,
            encoder: Mutex::new(Encoder {
                plan: Plan::new(device, tape)?,
                image,
                rows,
            }),
            encoded: AtomicU64::new(0),
        })
    }

    /// Folder with the files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of pictures that were encoded, and not found.
    pub fn encoded(&self) -> u64 {
        self.encoded.load(Ordering::Relaxed)
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(&name[..2]).join(format!("{name}.f16"))
    }

    /// Returns how a picture is shown, after encoding it unless its features are there.
    ///
    /// # Errors
    /// A file that cannot be written, or a device that failed.
    pub fn add(
        &self,
        key: &Key,
        picture: &Picture,
        model: &Model,
        tiling: Tiling,
    ) -> Result<Shown, TrainError> {
        let path = self.path(key);
        if let Some(shown) = self.header(&path) {
            return Ok(shown);
        }
        let dialogue = model.dialogue().expect("a pretrained model");
        let tiled = dialogue.tiles(picture, tiling);
        let shown = Shown {
            tiles: tiled.tiles.len(),
            grid: tiled.grid,
        };
        let mut bytes = MAGIC.to_vec();
        for number in [shown.tiles, shown.grid.rows, shown.grid.columns] {
            bytes.extend((number as u32).to_le_bytes());
        }
        for tile in &tiled.tiles {
            let rows = self.encode(&tile.input)?;
            if let Some(value) = rows.iter().find(|value| !value.is_finite()) {
                return Err(TrainError::Nothing(format!(
                    "the image encoder gives {value} for a picture: its weights are damaged"
                )));
            }
            let halves = rows.iter().map(|&value| {
                // beyond the range of 16 bits, as no encoder should be
                f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()))
            });
            bytes.extend(halves.flat_map(|half| half.to_le_bytes()));
        }
        self.encoded.fetch_add(1, Ordering::Relaxed);
        if let Some(parent) = path.parent() {
            checkpoint::make_folder(parent)?;
        }
        // ranks of a training make the features at the same time
        atomic_file::write_shared(&path, &bytes).map_err(|reason| CheckpointError::Write {
            path: path.display().to_string(),
            reason,
        })?;
        Ok(shown)
    }

    fn encode(&self, tile: &[f32]) -> Result<Vec<f32>, DeviceError> {
        let encoder = self
            .encoder
            .lock()
            .unwrap_or_else(|error| error.into_inner());
        encoder.plan.write(encoder.image, tile);
        encoder.plan.run_and_read(encoder.rows)
    }

    /// Returns how a picture is shown whose features are whole.
    fn header(&self, path: &Path) -> Option<Shown> {
        let mut file = File::open(path).ok()?;
        let mut header = [0; HEADER];
        file.read_exact(&mut header).ok()?;
        let shown = shown(&header)?;
        let length = HEADER + 2 * self.values * shown.tiles;
        (file.metadata().ok()?.len() == length as u64).then_some(shown)
    }

    /// Reads the features of a picture: `[tiles, rows, width]`.
    ///
    /// # Errors
    /// A missing or damaged file.
    pub fn get(&self, key: &Key) -> Result<Vec<f32>, String> {
        let path = self.path(key);
        let bytes = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let whole =
            shown(&bytes).filter(|shown| bytes.len() == HEADER + 2 * self.values * shown.tiles);
        if whole.is_none() {
            return Err(format!(
                "{} is damaged: remove it, and it is made again",
                path.display()
            ));
        }
        let halves = bytes[HEADER..].chunks_exact(2);
        Ok(halves
            .map(|pair| f16::from_le_bytes([pair[0], pair[1]]).to_f32())
            .collect())
    }

    /// Bytes of the features of pictures with so many tiles.
    pub fn bytes(&self, tiles: usize) -> u64 {
        2 * (self.values * tiles) as u64
    }
}

fn shown(header: &[u8]) -> Option<Shown> {
    let number = |index: usize| -> Option<usize> {
        let bytes = header.get(4 * index..4 * index + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    (header.get(..4)? == MAGIC).then_some(())?;
    Some(Shown {
        tiles: number(1)?,
        grid: TileGrid {
            rows: number(2)?,
            columns: number(3)?,
        },
    })
}

/// Returns a name for everything that decides the features of a picture: the encoder's weights and
/// sizes, and the preprocessing.
fn identity(model: &Model, tiling: Tiling) -> Result<String, DeviceError> {
    let mut hash = Sha256::new();
    let dialogue = model.dialogue().expect("a pretrained model");
    hash.update(dialogue.preprocessing());
    hash.update(tiling.to_string());
    hash.update([model.rounds() as u8]);
    hash.update(format!(
        "{:?}",
        (
            model.info().encoder,
            model.info().image_tokens,
            model.info().encoder_row_shape()
        )
    ));
    let is_encoder = |part: Part| part == Part::Encoder;
    let store = model.store();
    for (info, tensor) in store.iter().filter(|(info, _)| is_encoder(info.role.part)) {
        hash.update(&info.name);
        let values: Vec<f32> = tensor.read()?;
        hash.update(bytemuck::cast_slice::<f32, u8>(&values));
    }
    let frozen = store.frozen().iter();
    for matrix in frozen.filter(|matrix| is_encoder(matrix.info.role.part)) {
        hash.update(format!("{} {}", matrix.info.name, matrix.encoding));
        for block in &matrix.blocks {
            let words: Vec<u32> = block.read()?;
            hash.update(bytemuck::cast_slice::<u32, u8>(&words));
        }
    }
    let digest = hash.finalize();
    let name: String = digest[..12]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(format!("encoder-{name}"))
}
