//! safetensors files: named tensors, with a checksum and notes.

mod reader;
mod writer;

use std::collections::BTreeMap;

use crate::device::{DeviceError, Tensor};

pub use reader::{TensorFile, parse, read_values};
pub use writer::{step_note, write_halves, write_tensors, write_tensors_and_words, write_values};

/// Tensors of a file by name, each with its shape.
pub type Values = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Notes of a file beside its tensors.
pub type Metadata = BTreeMap<String, String>;

/// Note that holds the checksum of the tensors.
const CHECKSUM: &str = "crc32";

/// Note that holds the training step.
const STEP: &str = "step";

/// Key of the file's metadata that holds all notes, as JSON. With one key per note their order
/// would differ from time to time, and saving the same model twice would not give the same file.
const NOTES: &str = "seemore";

/// Number of elements that are read or written at once: large enough for full speed, and small
/// beside a model.
const PIECE: usize = 1 << 18;

/// CRC-32 of names, shapes and bytes of tensors, in the order of their names.
#[derive(Default)]
struct Checksum(crc32fast::Hasher);

impl Checksum {
    /// Adds the name and shape of a tensor, whose bytes follow.
    fn start(&mut self, name: &str, shape: &[usize]) {
        self.0.update(name.as_bytes());
        for &length in shape {
            self.0.update(&(length as u64).to_le_bytes());
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns eight hexadecimal digits.
    fn finish(self) -> String {
        format!("{:08x}", self.0.finalize())
    }
}

/// Returns the first of the named tensors with a non-finite value, and that value.
///
/// # Errors
/// Returns an error when the device is lost.
pub fn first_not_finite(named: &[(String, Tensor)]) -> Result<Option<(&str, f32)>, DeviceError> {
    for (name, tensor) in named {
        for piece in tensor.pieces(PIECE) {
            let values: Vec<f32> = piece.read()?;
            if let Some(&value) = values.iter().find(|value| !value.is_finite()) {
                return Ok(Some((name, value)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;
    use crate::device::Device;
    use crate::models::checkpoint::CheckpointError;

    /// Tensors with a scalar, an empty one, and one of more than a piece; not in the order of their
    /// names.
    fn values() -> Values {
        let large = (0..PIECE + 3).map(|x| x as f32 * 0.1 - 5.0).collect();
        Values::from([
            ("m.weight".into(), (vec![1, PIECE + 3], large)),
            ("a.bias".into(), (vec![2], vec![-0.0, f32::MIN_POSITIVE])),
            ("scalar".into(), (vec![], vec![2.5])),
            ("empty".into(), (vec![0, 4], vec![])),
        ])
    }

    fn on(device: &Device, values: &Values) -> Vec<(String, Tensor)> {
        let tensor = |(name, (shape, data)): (&String, &(Vec<usize>, Vec<f32>))| {
            (name.clone(), Tensor::new(device, shape, data).unwrap())
        };
        values.iter().rev().map(tensor).collect()
    }

    fn notes() -> Metadata {
        Metadata::from([("training".into(), r#"{"a": "\"é"}"#.into())])
    }

    /// The bytes of a file, assembled in memory by the `safetensors` crate.
    fn assembled(values: &Values) -> Vec<u8> {
        let mut sum = Checksum::default();
        let views = values.iter().map(|(name, (shape, data))| {
            let bytes: &[u8] = bytemuck::cast_slice(data);
            sum.start(name, shape);
            sum.update(bytes);
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        let views: Vec<_> = views.collect();
        let mut notes = notes();
        notes.insert(CHECKSUM.into(), sum.finish());
        let notes = serde_json::to_string(&notes).unwrap();
        safetensors::serialize(views, Some([(NOTES.into(), notes)].into())).unwrap()
    }

    fn device() -> Device {
        Device::open(Some("cpu")).unwrap()
    }

    #[test]
    fn tensors_are_written_as_the_safetensors_crate_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let values = values();
        write_tensors(&path, &on(&device(), &values), notes()).unwrap();
        assert!(std::fs::read(&path).unwrap() == assembled(&values));
        assert!(read_values(&path).unwrap() == values);
        let from_memory = dir.path().join("y.safetensors");
        write_values(&from_memory, &values, Some(7)).unwrap();
        assert!(read_values(&from_memory).unwrap() == values);
        assert_eq!(TensorFile::open(&from_memory).unwrap().step(), Some(7));
    }

    #[test]
    fn tensors_are_restored_from_32_and_16_bit_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let mut values = values();
        for halves in [false, true] {
            if halves {
                // what 16-bit floats hold exactly
                for (_, data) in values.values_mut() {
                    data.iter_mut()
                        .for_each(|x| *x = half::f16::from_f32(*x).to_f32());
                }
                write_halves(&path, &values, Metadata::new()).unwrap();
            } else {
                write_values(&path, &values, None).unwrap();
            }
            let device = device();
            let zeros = values
                .iter()
                .map(|(name, (shape, data))| (name.clone(), (shape.clone(), vec![0.0; data.len()])))
                .collect();
            let named = on(&device, &zeros);
            TensorFile::open(&path).unwrap().restore(&named).unwrap();
            for (name, tensor) in &named {
                assert!(tensor.read::<f32>().unwrap() == values[name].1, "{name}");
            }
        }
    }

    #[test]
    fn damage_is_told_from_a_file_of_another_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let (device, values) = (device(), values());
        write_values(&path, &values, None).unwrap();
        let mut other = on(&device, &values);
        other.pop();
        let restore = |named: &[(String, Tensor)]| {
            let mut file = TensorFile::open(&path).unwrap();
            file.restore(named).unwrap_err()
        };
        assert!(matches!(restore(&other), CheckpointError::Unknown { .. }));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        for named in [other, on(&device, &values)] {
            assert!(matches!(restore(&named), CheckpointError::Damaged { .. }));
        }
        assert!(matches!(
            read_values(&path),
            Err(CheckpointError::Damaged { .. })
        ));
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let path = Path::new("nowhere/x.safetensors");
        let error = write_tensors(path, &on(&device(), &values()), notes()).unwrap_err();
        assert!(matches!(error, CheckpointError::Write { .. }), "{error}");
        assert!(error.to_string().contains("nowhere"), "{error}");
    }

    #[test]
    fn non_finite_values_are_found() {
        let mut values = values();
        let found = |values: &Values| {
            let named = on(&device(), values);
            let found = first_not_finite(&named).unwrap();
            found.map(|(name, value)| (name.to_owned(), value))
        };
        assert_eq!(found(&values), None);
        values.get_mut("m.weight").unwrap().1[PIECE + 1] = f32::INFINITY;
        assert_eq!(found(&values), Some(("m.weight".into(), f32::INFINITY)));
    }
}
