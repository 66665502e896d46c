//! Parameter values from another checkpoint.

use std::path::Path;

use crate::models::{Model, Part, load as checkpoint};
use crate::train::{Note, Observer, TrainError};

/// Fills the model with the values that the checkpoint in `dir` has under the same name and shape.
/// Empty `parts` mean all.
pub fn load(
    dir: &Path,
    parts: &[Part],
    model: &Model,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let path = dir.join("model.safetensors");
    let values = checkpoint::read_values(&path)?;
    let wanted = |part: Part| parts.is_empty() || parts.contains(&part);
    let (mut tensors, mut fresh) = (0, vec![]);
    let parameters = model.store().iter();
    for (info, tensor) in parameters.filter(|(info, _)| wanted(info.role.part)) {
        let name = &info.name;
        match values.get(name) {
            Some((shape, data)) if shape == tensor.shape() => {
                tensor.write(data);
                tensors += 1;
            }
            Some((shape, _)) => fresh.push(format!(
                "{name} ({shape:?} there, {:?} here)",
                tensor.shape()
            )),
            None => fresh.push(format!("{name} (missing)")),
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
