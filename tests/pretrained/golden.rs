//! Folders of recorded numbers.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

/// Folder of the repository's own recordings.
const OWN: &str = "tests/golden/hf";

/// Variable that names another folder of the same layout.
const OTHER: &str = "SEEMORE_GOLDEN_HF";

/// Returns the recordings of a name, such as `smolvlm_tiny` or `nanovlm_tiny/tiled`.
pub fn folders(name: &str) -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from(OWN)];
    if let Some(other) = std::env::var_os(OTHER) {
        let other = PathBuf::from(other);
        assert!(other.is_dir(), "{OTHER}={}: not a folder", other.display());
        roots.push(other);
    }
    let folders = roots.into_iter().map(|root| root.join(name));
    folders.filter(|folder| folder.exists()).collect()
}

/// Calls `hold` with every folder of a name. `hold` compares and returns the number of comparisons,
/// 0 where the folder lacks what it compares with.
#[track_caller]
pub fn each(name: &str, hold: impl Fn(&Path) -> usize) {
    let held: usize = folders(name).iter().map(|folder| hold(folder)).sum();
    assert!(
        held > 0,
        "there is nothing to compare with in {OWN}/{name} or {OTHER}"
    );
}

/// Reads a JSON file.
#[track_caller]
pub fn json(path: impl AsRef<Path>) -> Value {
    let path = path.as_ref();
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the elements of a JSON list.
#[track_caller]
pub fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {value}"))
}

/// Returns a JSON string.
#[track_caller]
pub fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
}

/// Returns a JSON number as a size.
#[track_caller]
pub fn size(value: &Value) -> usize {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("not a size: {value}")) as usize
}

/// Returns a JSON pair of sizes, such as width and height.
#[track_caller]
pub fn pair(value: &Value) -> (usize, usize) {
    (size(&value[0]), size(&value[1]))
}

/// A file of recorded tensors.
pub struct Recorded(Vec<u8>);

impl Recorded {
    /// Reads a safetensors file.
    #[track_caller]
    pub fn open(path: impl AsRef<Path>) -> Recorded {
        let path = path.as_ref();
        Recorded(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// Names of all tensors.
    pub fn names(&self) -> Vec<String> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        tensors.names().into_iter().map(str::to_owned).collect()
    }

    /// Whether the file has a tensor.
    pub fn holds(&self, name: &str) -> bool {
        SafeTensors::deserialize(&self.0)
            .unwrap()
            .tensor(name)
            .is_ok()
    }

    /// Returns the shape and the values of a tensor, whose elements have the size of `T`.
    #[track_caller]
    pub fn tensor<T: bytemuck::Pod>(&self, name: &str) -> (Vec<usize>, Vec<T>) {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = tensors
            .tensor(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let shape = tensor.shape().to_vec();
        let count: usize = shape.iter().product();
        assert_eq!(tensor.data().len(), count * size_of::<T>(), "{name}");
        (shape, bytemuck::pod_collect_to_vec(tensor.data()))
    }
}

/// Checks that numbers differ by at most `tolerance`.
#[track_caller]
pub fn close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let off = (got - want).abs();
        assert!(off <= tolerance, "{name}, number {i}: {got} is not {want}");
    }
}
