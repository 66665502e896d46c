//! Weights of a pretrained model: one or several safetensors files, or GGUF, read a piece at a time
//! into the encodings that the device keeps.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use safetensors::tensor::Dtype;
use serde::Deserialize;

use super::folder::listed;
use super::gguf::rotary_source;
use super::{CheckpointError, Gguf, GgufTensor, TensorFile};
use crate::device::Tensor;
use crate::nn::{FrozenParameter, ParameterStore, Storage};
use crate::ops::Encoding;

/// Bytes of a file that are read at once: enough for full speed, and little beside a model.
const PIECE: usize = 1 << 20;

/// Rows that a thread converts at a time.
const TOGETHER: usize = 16;

/// What the files of a family's models have beside the tensors of its layers.
#[derive(Debug, Clone, Default)]
pub struct WeightRules {
    /// Name of the embeddings, and of the output layer that is the same matrix: a file has one of
    /// them or both.
    pub tied: Option<(String, String)>,
    /// Beginnings of names that the model does not need.
    pub ignored: &'static [&'static str],
}

/// Ends of names of tables that are computed here.
const COMPUTED: &[&str] = &[".inv_freq", ".position_ids"];

/// A file with weights.
enum Source {
    Safetensors(TensorFile),
    Gguf(Gguf),
}

impl Source {
    fn path(&self) -> &str {
        match self {
            Source::Safetensors(file) => file.path(),
            Source::Gguf(file) => file.path(),
        }
    }
}

/// Where a tensor lies, and how.
#[derive(Debug, Clone)]
struct Entry {
    /// Index of the file.
    file: usize,
    /// Name in the file.
    name: String,
    shape: Vec<usize>,
    encoding: Encoding,
    /// Rows of a head whose halves are interleaved in the file.
    interleaved: Option<usize>,
}

impl Entry {
    fn cols(&self) -> usize {
        self.shape[1..].iter().product()
    }

    fn rows(&self) -> usize {
        self.shape[0]
    }

    fn row_bytes(&self) -> usize {
        row_bytes(self.encoding, self.cols())
    }
}

/// Open files with the weights of a model.
pub(in crate::models) struct WeightFiles {
    files: Vec<Source>,
    /// By the name of the model's parameter.
    entries: BTreeMap<String, Entry>,
    /// The folder or file, for errors.
    path: String,
    /// Returns where a tensor would be that is absent.
    place: Place,
    /// Encoding to convert matrices to while they are read.
    quantize: Option<Encoding>,
}

/// Name in the files, and index of the file, of a tensor of the model.
type Place = Box<dyn Fn(&str) -> Option<(String, usize)>>;

/// `model.safetensors.index.json`: which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Opens the safetensors files of a folder: `model.safetensors`, or those that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// Names the file that is absent, damaged or in another format.
    pub(in crate::models) fn open(
        dir: &Path,
        rules: &WeightRules,
        quantize: Option<Encoding>,
    ) -> Result<WeightFiles, CheckpointError> {
        let index = dir.join("model.safetensors.index.json");
        let names: Vec<String> = match dir.join("model.safetensors").is_file() {
            true => vec!["model.safetensors".into()],
            false if index.is_file() => shards(&index)?,
            false => return Err(no_weights(dir)),
        };
        let several = !dir.join("model.safetensors").is_file();
        let mut files = vec![];
        let mut entries = BTreeMap::new();
        for name in names {
            let file = dir.join(&name);
            if !file.is_file() {
                return Err(CheckpointError::MissingShard {
                    path: index.display().to_string(),
                    shard: name,
                });
            }
            let file = TensorFile::open(&file)?;
            for (name, shape, dtype) in file.tensors() {
                if COMPUTED.iter().any(|end| name.ends_with(end))
                    || rules.ignored.iter().any(|begin| name.starts_with(begin))
                {
                    continue;
                }
                let encoding = encoding_of(file.path(), name, dtype)?;
                let entry = Entry {
                    file: files.len(),
                    name: name.to_owned(),
                    shape: shape.to_vec(),
                    encoding,
                    interleaved: None,
                };
                if let Some(Entry { file: other, .. }) = entries.insert(name.to_owned(), entry) {
                    let other: &Source = &files[other];
                    return Err(CheckpointError::Damaged {
                        path: file.path().to_owned(),
                        reason: format!("it has a tensor `{name}`, and so has {}", other.path()),
                    });
                }
            }
            files.push(Source::Safetensors(file));
        }
        let mut weights = WeightFiles {
            files,
            entries,
            path: match several {
                true => index.display().to_string(),
                false => dir.join("model.safetensors").display().to_string(),
            },
            place: Box::new(|_| None),
            quantize,
        };
        if let Some((embedding, head)) = &rules.tied {
            weights.tie(embedding, head)?;
        }
        Ok(weights)
    }

    /// Takes the tensors of open GGUF files. `name` returns the name of a tensor in the model, and
    /// how many rows a head has if their halves are interleaved in the file; `place` its name in the
    /// files, and the index of its file, for errors.
    ///
    /// # Errors
    /// Names a tensor that the model does not have.
    pub(in crate::models) fn of_gguf(
        files: Vec<Gguf>,
        name: impl Fn(&GgufTensor) -> Option<(String, Option<usize>)>,
        place: impl Fn(&str) -> Option<(String, usize)> + 'static,
        quantize: Option<Encoding>,
    ) -> Result<WeightFiles, CheckpointError> {
        let mut entries = BTreeMap::new();
        for (index, file) in files.iter().enumerate() {
            for tensor in file.tensors() {
                let Some((ours, interleaved)) = name(tensor) else {
                    return Err(CheckpointError::Unknown {
                        path: file.path().to_owned(),
                        names: tensor.name().to_owned(),
                    });
                };
                let entry = Entry {
                    file: index,
                    name: tensor.name().to_owned(),
                    shape: tensor.shape().to_vec(),
                    encoding: tensor.encoding(),
                    interleaved,
                };
                entries.insert(ours, entry);
            }
        }
        let path = files.first().map_or("", Gguf::path).to_owned();
        Ok(WeightFiles {
            files: files
                .into_iter()
                .map(|file| Source::Gguf(file.without_metadata()))
                .collect(),
            entries,
            path,
            place: Box::new(place),
            quantize,
        })
    }

    /// Opens a safetensors file, whose tensors have the names that `name` returns; those without
    /// are surplus.
    ///
    /// # Errors
    /// Names the file, and the tensor that is surplus or holds other values than floats.
    pub(in crate::models) fn open_file(
        path: &Path,
        name: impl Fn(&str) -> Option<String>,
        original: impl Fn(&str) -> String + 'static,
    ) -> Result<WeightFiles, CheckpointError> {
        let file = TensorFile::open(path)?;
        let mut entries = BTreeMap::new();
        for (theirs, shape, dtype) in file.tensors() {
            let Some(ours) = name(theirs) else {
                return Err(CheckpointError::Unknown {
                    path: file.path().to_owned(),
                    names: theirs.to_owned(),
                });
            };
            let entry = Entry {
                file: 0,
                name: theirs.to_owned(),
                shape: shape.to_vec(),
                encoding: encoding_of(file.path(), theirs, dtype)?,
                interleaved: None,
            };
            entries.insert(ours, entry);
        }
        Ok(WeightFiles {
            path: file.path().to_owned(),
            files: vec![Source::Safetensors(file)],
            entries,
            place: Box::new(move |name| Some((original(name), 0))),
            quantize: None,
        })
    }

    /// Leaves out the tensors whose names `wanted` refuses.
    pub(in crate::models) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        self.entries.retain(|name, _| wanted(name));
    }

    /// Adds the tensors of other files, in place of those of the same names. Absent tensors whose
    /// names `belongs` accepts are said to be absent there.
    pub(in crate::models) fn and(
        mut self,
        other: WeightFiles,
        belongs: fn(&str) -> bool,
    ) -> WeightFiles {
        let first = self.files.len();
        let moved = |(name, entry): (String, Entry)| {
            let file = entry.file + first;
            (name, Entry { file, ..entry })
        };
        self.entries.extend(other.entries.into_iter().map(moved));
        self.files.extend(other.files);
        let (ours, theirs) = (self.place, other.place);
        self.place = Box::new(move |name| match belongs(name) {
            true => {
                let placed = theirs(name).unwrap_or((name.to_owned(), 0));
                Some((placed.0, placed.1 + first))
            }
            false => ours(name),
        });
        self
    }

    /// Keeps one of two names of the same matrix.
    fn tie(&mut self, embedding: &str, head: &str) -> Result<(), CheckpointError> {
        let Some(head) = self.entries.remove(head) else {
            return Ok(());
        };
        let Some(embedding) = self.entries.get(embedding).cloned() else {
            self.entries.insert(embedding.to_owned(), head);
            return Ok(());
        };
        let same = embedding.shape == head.shape
            && embedding.encoding == head.encoding
            && self.same_bytes(&embedding, &head)?;
        match same {
            true => Ok(()),
            false => Err(CheckpointError::Mismatch {
                path: self.path.clone(),
                name: head.name,
                have: format!("differs from `{}`", embedding.name),
                want: "the same matrix, as its config.json says (tie_word_embeddings)".into(),
            }),
        }
    }

    fn same_bytes(&mut self, a: &Entry, b: &Entry) -> Result<bool, CheckpointError> {
        for rows in pieces(a) {
            if self.read(a, rows.clone())? != self.read(b, rows)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns how to keep the weight matrix of a name, if it is not trained.
    pub(in crate::models) fn storage(&self) -> BTreeMap<String, Storage> {
        let of = |(name, entry): (&String, &Entry)| {
            let encoding = match self.quantize {
                Some(wanted)
                    if entry.shape.len() > 1 && entry.cols().is_multiple_of(wanted.block()) =>
                {
                    wanted
                }
                _ => entry.encoding,
            };
            (name.clone(), Storage::Frozen(encoding))
        };
        self.entries.iter().map(of).collect()
    }

    /// Checks that the files have exactly the parameters of a model, in their shapes; without those
    /// of adapters if these are new.
    ///
    /// # Errors
    /// Names the first tensor that is absent, surplus or has another shape.
    pub(in crate::models) fn check(
        &self,
        store: &ParameterStore,
        new_adapters: bool,
    ) -> Result<(), CheckpointError> {
        let frozen = store.frozen().iter().map(|parameter| &parameter.info);
        let mut surplus: BTreeMap<&String, &Entry> = self.entries.iter().collect();
        for info in store.infos().iter().chain(frozen) {
            if new_adapters && info.is_adapter() {
                continue;
            }
            let Some(entry) = surplus.remove(&info.name) else {
                return Err(self.missing(&info.name));
            };
            if entry.shape != info.shape {
                return Err(CheckpointError::Mismatch {
                    path: self.files[entry.file].path().to_owned(),
                    name: entry.name.clone(),
                    have: format!("has shape {:?}", entry.shape),
                    want: format!("{:?}", info.shape),
                });
            }
        }
        let Some(first) = surplus.values().map(|entry| entry.file).min() else {
            return Ok(());
        };
        let of_first = surplus.into_values().filter(|entry| entry.file == first);
        let names: Vec<&str> = of_first.map(|entry| entry.name.as_str()).collect();
        Err(CheckpointError::Unknown {
            path: self.files[first].path().to_owned(),
            names: listed(names.into_iter()),
        })
    }

    /// Names of the tensors, in order, with the paths of their files.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), self.files[entry.file].path()))
    }

    /// Returns the shape of a tensor and how its file holds the values.
    ///
    /// # Panics
    /// Without such a tensor.
    pub(super) fn layout(&self, name: &str) -> (&[usize], Encoding) {
        let entry = &self.entries[name];
        (&entry.shape, entry.encoding)
    }

    /// Calls `on` with the values of a tensor, some whole rows at a time, and the number of the first
    /// of these rows.
    ///
    /// # Errors
    /// A file that cannot be read, a value that is not finite, or an error of `on`.
    ///
    /// # Panics
    /// Without such a tensor.
    pub(super) fn each_rows(
        &mut self,
        name: &str,
        on: &mut dyn FnMut(usize, Vec<f32>) -> Result<(), CheckpointError>,
    ) -> Result<(), CheckpointError> {
        let entry = self.entries[name].clone();
        for rows in pieces(&entry) {
            let bytes = self.read(&entry, rows.clone())?;
            let values = decode(&bytes, entry.encoding, entry.cols());
            self.check_finite(&entry, &values)?;
            on(rows.start, values)?;
        }
        Ok(())
    }

    /// Returns the error of a tensor that is absent, under its name in the files.
    fn missing(&self, name: &str) -> CheckpointError {
        let (name, file) = match (self.place)(name) {
            Some((name, file)) => (name, self.files.get(file)),
            None => (name.to_owned(), None),
        };
        CheckpointError::Missing {
            path: file.map_or(self.path.clone(), |file| file.path().to_owned()),
            name,
        }
    }

    /// Writes the values of the files to the parameters of a store that was [checked](Self::check).
    ///
    /// # Errors
    /// Names a file that cannot be read, or a tensor with a value that is not finite.
    pub(in crate::models) fn fill(
        &mut self,
        store: &ParameterStore,
        new_adapters: bool,
    ) -> Result<(), CheckpointError> {
        for (info, tensor) in store.iter() {
            if !(new_adapters && info.is_adapter()) {
                self.fill_trained(&info.name, tensor)?;
            }
        }
        for parameter in store.frozen() {
            self.fill_frozen(parameter)?;
        }
        Ok(())
    }

    fn fill_trained(&mut self, name: &str, tensor: &Tensor) -> Result<(), CheckpointError> {
        let entry = self.entries[name].clone();
        let cols = entry.cols();
        for rows in pieces(&entry) {
            let bytes = self.read(&entry, rows.clone())?;
            let values = decode(&bytes, entry.encoding, cols);
            self.check_finite(&entry, &values)?;
            let part = tensor.part(rows.start * cols, &[values.len()]);
            part.write(&values);
        }
        Ok(())
    }

    fn fill_frozen(&mut self, parameter: &FrozenParameter) -> Result<(), CheckpointError> {
        let entry = self.entries[&parameter.info.name].clone();
        let (cols, encoding) = (entry.cols(), parameter.encoding);
        let row_words = encoding.row_words(cols).expect(WHOLE_BLOCKS);
        let mut first = 0;
        for block in &parameter.blocks {
            let end = first + block.len() / row_words;
            for rows in pieces_of(first..end, entry.row_bytes()) {
                let bytes = self.read(&entry, rows.clone())?;
                let mut packed = vec![0u32; rows.len() * row_words];
                let each = packed
                    .par_chunks_mut(TOGETHER * row_words)
                    .zip(bytes.par_chunks(TOGETHER * entry.row_bytes()));
                let finite = each.map(|(words, bytes)| {
                    let values = match encoding == entry.encoding {
                        true => {
                            let packed = encoding.from_ggml(bytes, cols, words);
                            packed.expect(WHOLE_BLOCKS);
                            let mut values = vec![0.0; words.len() / row_words * cols];
                            let decoded = encoding.decode(words, cols, &mut values);
                            decoded.expect(WHOLE_BLOCKS);
                            values
                        }
                        false => {
                            let values = decode(bytes, entry.encoding, cols);
                            let packed = encoding.encode(&values, cols, words);
                            packed.expect(WHOLE_BLOCKS);
                            values
                        }
                    };
                    values.iter().all(|value| value.is_finite())
                });
                if !finite.reduce(|| true, |a, b| a && b) {
                    return Err(self.not_finite(&entry));
                }
                let part = block.part((rows.start - first) * row_words, &[packed.len()]);
                part.write(&packed);
            }
            first = end;
        }
        Ok(())
    }

    /// Reads whole rows as they are in the file, in the order of the model.
    fn read(&mut self, entry: &Entry, rows: Range<usize>) -> Result<Vec<u8>, CheckpointError> {
        let row = entry.row_bytes();
        let Some(head) = entry.interleaved else {
            return self.read_in_order(entry, rows);
        };
        // whole heads, whose rows are then picked
        let first = rows.start / head * head;
        let last = rows.end.next_multiple_of(head).min(entry.rows());
        let heads = self.read_in_order(entry, first..last)?;
        let mut bytes = Vec::with_capacity(rows.len() * row);
        for to in rows {
            let from = rotary_source(head, to) - first;
            bytes.extend_from_slice(&heads[from * row..][..row]);
        }
        Ok(bytes)
    }

    fn read_in_order(
        &mut self,
        entry: &Entry,
        rows: Range<usize>,
    ) -> Result<Vec<u8>, CheckpointError> {
        let row = entry.row_bytes();
        let mut bytes = vec![0; rows.len() * row];
        match &mut self.files[entry.file] {
            Source::Safetensors(file) => {
                file.read_bytes(&entry.name, rows.start * row, &mut bytes)?;
            }
            Source::Gguf(file) => {
                let tensor = file.tensor(&entry.name)?;
                // a row of the model is everything but its first axis, one of the file only the last
                let rows = match entry.shape.len() {
                    1 => {
                        assert_eq!(rows.len(), entry.rows(), "vectors are read as a whole");
                        0..1
                    }
                    _ => {
                        let each = tensor.rows() / entry.rows();
                        rows.start * each..rows.end * each
                    }
                };
                file.read_rows(tensor, rows, &mut bytes)?;
            }
        }
        Ok(bytes)
    }

    fn check_finite(&self, entry: &Entry, values: &[f32]) -> Result<(), CheckpointError> {
        match values.iter().all(|value| value.is_finite()) {
            true => Ok(()),
            false => Err(self.not_finite(entry)),
        }
    }

    fn not_finite(&self, entry: &Entry) -> CheckpointError {
        CheckpointError::not_finite(self.files[entry.file].path().to_owned(), entry.name.clone())
    }
}

/// Returns how a tensor of a safetensors file holds its values.
fn encoding_of(path: &str, name: &str, dtype: Dtype) -> Result<Encoding, CheckpointError> {
    match dtype {
        Dtype::F32 => Ok(Encoding::F32),
        Dtype::F16 => Ok(Encoding::F16),
        Dtype::BF16 => Ok(Encoding::Bf16),
        other => Err(CheckpointError::Mismatch {
            path: path.to_owned(),
            name: name.to_owned(),
            have: format!("holds {other:?} values"),
            want: "F32, F16 or BF16".into(),
        }),
    }
}

/// Ranges of rows with some [`PIECE`] bytes each.
fn pieces(entry: &Entry) -> impl Iterator<Item = Range<usize>> + use<> {
    pieces_of(0..entry.rows(), entry.row_bytes())
}

fn pieces_of(rows: Range<usize>, row_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let count = (PIECE / row_bytes.max(1)).max(1);
    let end = rows.end;
    rows.step_by(count)
        .map(move |first| first..end.min(first + count))
}

/// Rows of matrices are whole blocks of their encoding: checked when a file is opened, and when an
/// encoding is chosen.
const WHOLE_BLOCKS: &str = "rows are whole blocks";

fn row_bytes(encoding: Encoding, cols: usize) -> usize {
    encoding.row_bytes(cols).expect(WHOLE_BLOCKS)
}

/// Returns the values of whole rows.
fn decode(bytes: &[u8], encoding: Encoding, cols: usize) -> Vec<f32> {
    let rows = bytes.len() / row_bytes(encoding, cols).max(1);
    let mut packed = vec![0u32; rows * encoding.row_words(cols).expect(WHOLE_BLOCKS)];
    let mut values = vec![0.0; rows * cols];
    encoding
        .from_ggml(bytes, cols, &mut packed)
        .expect(WHOLE_BLOCKS);
    encoding
        .decode(&packed, cols, &mut values)
        .expect(WHOLE_BLOCKS);
    values
}

/// Returns the names of the files that an index lists, in order.
fn shards(index: &Path) -> Result<Vec<String>, CheckpointError> {
    let path = || index.display().to_string();
    let text = std::fs::read(index).map_err(|reason| CheckpointError::Read {
        path: path(),
        reason,
    })?;
    let damaged = |reason: String| CheckpointError::Damaged {
        path: path(),
        reason,
    };
    let read: Index = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let mut names: Vec<String> = read.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    let plain = |name: &String| Path::new(name).file_name() == Some(name.as_ref());
    match names.iter().find(|name| !plain(name)) {
        Some(name) => Err(damaged(format!(
            "`{name}` is not the name of a file beside it"
        ))),
        None => Ok(names),
    }
}

/// Returns what a folder without safetensors files has instead.
fn no_weights(dir: &Path) -> CheckpointError {
    let is_pickle = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // beside a model there may be pickles of its training
        let of_model = ["pytorch_model", "model", "consolidated"];
        of_model.iter().any(|begin| name.starts_with(begin))
            && matches!(ending, Some("bin" | "pt" | "pth" | "ckpt"))
            && path.is_file()
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    match files.filter(is_pickle).min() {
        Some(path) => CheckpointError::Pickle {
            path: path.display().to_string(),
        },
        None => CheckpointError::NotACheckpoint {
            path: dir.display().to_string(),
            missing: "model.safetensors",
        },
    }
}
