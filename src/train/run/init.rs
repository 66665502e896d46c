//! Parameter values from another checkpoint.

use std::collections::BTreeMap;
use std::path::Path;

use crate::models::checkpoint::TensorFile;
use crate::models::{Model, Part};
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
    let mut file = TensorFile::open(&path)?;
    let wanted = |part: Part| parts.is_empty() || parts.contains(&part);
    let (mut taken, mut fresh) = (BTreeMap::new(), vec![]);
    let parameters = model.store().iter();
    for (info, tensor) in parameters.filter(|(info, _)| wanted(info.role.part)) {
        let name = &info.name;
        match file.shape(name) {
            Some(shape) if shape == tensor.shape() => {
                taken.insert(name.as_str(), tensor);
            }
            Some(shape) => fresh.push(format!(
                "{name} ({shape:?} there, {:?} here)",
                tensor.shape()
            )),
            None => fresh.push(format!("{name} (missing)")),
        }
    }
    file.read_into(&taken)?;
    if taken.is_empty() {
        return Err(TrainError::NothingToLoad { path });
    }
    observer.note(&Note::Loaded {
        tensors: taken.len(),
        path,
        fresh,
    });
    Ok(())
}
