//! Parameter values from another checkpoint.

use std::path::Path;

use crate::models::checkpoint;
use crate::models::seemore::{Part, Vlm};
use crate::train::{Note, Observer, TrainError};

/// Fills the model with the values that the checkpoint in `dir` has under the same name and shape. Empty `parts` mean all.
pub fn load(
    dir: &Path,
    parts: &[Part],
    model: &Vlm,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let path = dir.join("model.safetensors");
    let values = checkpoint::read_values(&path)?;
    let wanted = |name: &str| parts.is_empty() || parts.contains(&Part::of(name));
    let (mut tensors, mut fresh) = (0, vec![]);
    for (name, tensor) in model.parameters().iter().filter(|(name, _)| wanted(name)) {
        match values.get(name) {
            Some((shape, data)) if shape == tensor.shape() => {
                tensor.write(data);
                tensors += 1;
            }
            Some((shape, _)) => fresh.push(format!(
                "{name} ({shape:?} there, {:?} here)",
                tensor.shape()
            )),
            None => fresh.push(format!("{name} (not there)")),
        }
    }
    if tensors == 0 {
        return Err(TrainError::NothingToLoad { path });
    }
    observer.note(&Note::Loaded {
        tensors,
        path,
        fresh,
    });
    Ok(())
}
