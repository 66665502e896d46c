//! Metadata and table of tensors of a file.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::source::Source;
use super::{Array, Damage, Gguf, GgufError, GgufTensor, Value, kind};
use crate::ops::Encoding;

/// Longest header. Those of real files are dominated by the vocabulary and have at most some 20 MB.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes that are read at once.
const BUFFER: u64 = 1 << 16;
/// Key of the alignment of tensors.
const ALIGNMENT_KEY: &str = "general.alignment";
/// Alignment of tensors in a file that does not give it.
const ALIGNMENT: u64 = 32;

/// Reads the header of a file.
pub(super) fn read(source: Source, path: String) -> Result<Gguf, GgufError> {
    let mut reader = Reader {
        source: &source,
        path: &path,
        position: 0,
        end: source.size().min(MAX_HEADER),
        buffer: vec![],
        start: 0,
    };
    let (version, metadata, tensors) = parse(&mut reader)?;
    Ok(Gguf {
        version,
        metadata,
        tensors,
        source,
        path,
    })
}

type Header = (u32, BTreeMap<String, Value>, BTreeMap<String, GgufTensor>);

fn parse(reader: &mut Reader) -> Result<Header, GgufError> {
    let magic = reader.number::<4>("the magic number");
    if !matches!(magic, Ok(magic) if magic == *b"GGUF") {
        return match magic {
            Err(error @ GgufError::Read { .. }) => Err(error),
            _ => Err(GgufError::NotGguf {
                path: reader.path.to_owned(),
            }),
        };
    }
    let version = u32::from_le_bytes(reader.number("the version")?);
    if ![2, 3].contains(&version) {
        let path = reader.path.to_owned();
        return Err(match version.swap_bytes() {
            1..=3 => GgufError::BigEndian { path },
            _ => GgufError::Version { path, version },
        });
    }
    let tensor_count = u64::from_le_bytes(reader.number("the number of tensors")?);
    let key_count = u64::from_le_bytes(reader.number("the number of keys")?);
    // length of the key, type, and a value of a byte
    reader.check_count(key_count, 13, "the number of keys")?;
    let mut metadata = BTreeMap::new();
    for index in 0..key_count {
        let key = reader.text(&|| format!("key {index}"))?;
        let place = || format!("key `{key}`");
        let kind = u32::from_le_bytes(reader.number_at(&place)?);
        let value = reader.value(kind, &place)?;
        match metadata.entry(key) {
            Entry::Vacant(entry) => _ = entry.insert(value),
            Entry::Occupied(entry) => {
                let place = format!("key `{}`", entry.key());
                return Err(reader.damaged(place, Damage::Twice));
            }
        }
    }
    let alignment = alignment(reader, &metadata)?;
    // length of the name, number of axes, format and offset
    reader.check_count(tensor_count, 24, "the number of tensors")?;
    let mut tensors = vec![];
    for index in 0..tensor_count {
        tensors.push(reader.tensor(index)?);
    }
    let tensors = place_tensors(reader, tensors, alignment)?;
    Ok((version, metadata, tensors))
}

fn alignment(reader: &Reader, metadata: &BTreeMap<String, Value>) -> Result<u64, GgufError> {
    let Some(value) = metadata.get(ALIGNMENT_KEY) else {
        return Ok(ALIGNMENT);
    };
    let Some(alignment) = value.as_integer() else {
        return Err(GgufError::KeyType {
            path: reader.path.to_owned(),
            key: ALIGNMENT_KEY.to_owned(),
            have: value.to_string(),
            want: "an integer",
        });
    };
    // of a negative number, a huge one that is no power of two
    match alignment as u64 {
        alignment if alignment.is_power_of_two() && alignment <= MAX_HEADER => Ok(alignment),
        alignment => {
            let place = format!("key `{ALIGNMENT_KEY}`");
            Err(reader.damaged(place, Damage::Alignment(alignment)))
        }
    }
}

/// A tensor with its place relative to the first.
struct Entered {
    name: String,
    axes: u8,
    sizes: [usize; 4],
    encoding: Encoding,
    row_bytes: usize,
    offset: u64,
    bytes: u64,
}

/// Adds the position of the first tensor to those of all, and checks that they are in the file and
/// apart from each other.
fn place_tensors(
    reader: &Reader,
    mut entered: Vec<Entered>,
    alignment: u64,
) -> Result<BTreeMap<String, GgufTensor>, GgufError> {
    let first = reader.position.next_multiple_of(alignment);
    let size = reader.source.size();
    entered.sort_by_key(|tensor| tensor.offset);
    let mut tensors: BTreeMap<String, GgufTensor> = BTreeMap::new();
    let mut end = (first, String::new());
    for tensor in entered {
        let damaged = |reason| reader.damaged(format!("tensor `{}`", tensor.name), reason);
        if !tensor.offset.is_multiple_of(alignment) {
            return Err(damaged(Damage::Unaligned(tensor.offset)));
        }
        let start = first.checked_add(tensor.offset);
        let range = start.and_then(|start| Some(start..start.checked_add(tensor.bytes)?));
        let Some(range) = range else {
            return Err(damaged(Damage::Size));
        };
        if range.end > size {
            return Err(damaged(Damage::Outside(range.end - size)));
        }
        if range.start < end.0 {
            return Err(damaged(Damage::Overlap(end.1)));
        }
        if tensors.contains_key(&tensor.name) {
            return Err(damaged(Damage::Twice));
        }
        end = (range.end, tensor.name.clone());
        let placed = GgufTensor {
            name: tensor.name.clone(),
            axes: tensor.axes,
            sizes: tensor.sizes,
            encoding: tensor.encoding,
            bytes: range,
            row_bytes: tensor.row_bytes,
        };
        tensors.insert(tensor.name, placed);
    }
    Ok(tensors)
}

/// Describes a part of the file, for errors.
type Place<'a> = &'a dyn Fn() -> String;

/// Reads the header from its start to its end.
struct Reader<'a> {
    source: &'a Source,
    path: &'a str,
    /// Position of the next byte in the file.
    position: u64,
    /// End of the file, or of the longest header.
    end: u64,
    /// Bytes of the file from `start` on.
    buffer: Vec<u8>,
    start: u64,
}

impl Reader<'_> {
    fn damaged(&self, place: String, reason: Damage) -> GgufError {
        GgufError::Damaged {
            path: self.path.to_owned(),
            place,
            reason,
        }
    }

    /// Error of a part that does not fit into the rest of the header.
    fn cut_off(&self, place: Place) -> GgufError {
        let reason = match self.end < self.source.size() {
            true => Damage::LongHeader(self.end),
            false => Damage::CutOff,
        };
        self.damaged(place(), reason)
    }

    fn left(&self) -> u64 {
        self.end - self.position
    }

    /// Checks that `count` parts of at least `least` bytes fit into the rest of the header.
    fn check_count(&self, count: u64, least: u64, place: &str) -> Result<(), GgufError> {
        match count > self.left() / least {
            true => Err(self.damaged(place.to_owned(), Damage::Count(count))),
            false => Ok(()),
        }
    }

    /// Returns the next bytes.
    fn bytes(&mut self, length: u64, place: Place) -> Result<&[u8], GgufError> {
        if length > self.left() {
            return Err(self.cut_off(place));
        }
        let held = self.start + self.buffer.len() as u64;
        if self.position + length > held {
            let wanted = length.max(BUFFER).min(self.left());
            self.buffer.resize(wanted as usize, 0);
            self.start = self.position;
            let read = self.source.read(self.position, &mut self.buffer);
            read.map_err(|reason| GgufError::Read {
                path: self.path.to_owned(),
                reason,
            })?;
        }
        let from = (self.position - self.start) as usize;
        self.position += length;
        Ok(&self.buffer[from..][..length as usize])
    }

    /// Returns the bytes of a number.
    fn number_at<const N: usize>(&mut self, place: Place) -> Result<[u8; N], GgufError> {
        let mut number = [0; N];
        number.copy_from_slice(self.bytes(N as u64, place)?);
        Ok(number)
    }

    fn number<const N: usize>(&mut self, place: &str) -> Result<[u8; N], GgufError> {
        self.number_at(&|| place.to_owned())
    }

    fn text(&mut self, place: Place) -> Result<String, GgufError> {
        let length = u64::from_le_bytes(self.number_at(place)?);
        let bytes = self.bytes(length, place)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.damaged(place(), Damage::NotText)),
        }
    }

    /// Returns a value of the type of a number.
    fn value(&mut self, kind: u32, place: Place) -> Result<Value, GgufError> {
        Ok(match kind {
            0 => Value::U8(u8::from_le_bytes(self.number_at(place)?)),
            1 => Value::I8(i8::from_le_bytes(self.number_at(place)?)),
            2 => Value::U16(u16::from_le_bytes(self.number_at(place)?)),
            3 => Value::I16(i16::from_le_bytes(self.number_at(place)?)),
            4 => Value::U32(u32::from_le_bytes(self.number_at(place)?)),
            5 => Value::I32(i32::from_le_bytes(self.number_at(place)?)),
            6 => Value::F32(f32::from_le_bytes(self.number_at(place)?)),
            7 => Value::Bool(self.number_at::<1>(place)? != [0]),
            8 => Value::Text(self.text(place)?),
            9 => {
                let kind = u32::from_le_bytes(self.number_at(place)?);
                let count = u64::from_le_bytes(self.number_at(place)?);
                Value::Array(self.array(kind, count, place)?)
            }
            10 => Value::U64(u64::from_le_bytes(self.number_at(place)?)),
            11 => Value::I64(i64::from_le_bytes(self.number_at(place)?)),
            12 => Value::F64(f64::from_le_bytes(self.number_at(place)?)),
            _ => return Err(self.damaged(place(), Damage::ValueType(kind))),
        })
    }

    fn array(&mut self, kind: u32, count: u64, place: Place) -> Result<Array, GgufError> {
        Ok(match kind {
            0 => Array::U8(self.numbers(count, u8::from_le_bytes, place)?),
            1 => Array::I8(self.numbers(count, i8::from_le_bytes, place)?),
            2 => Array::U16(self.numbers(count, u16::from_le_bytes, place)?),
            3 => Array::I16(self.numbers(count, i16::from_le_bytes, place)?),
            4 => Array::U32(self.numbers(count, u32::from_le_bytes, place)?),
            5 => Array::I32(self.numbers(count, i32::from_le_bytes, place)?),
            6 => Array::F32(self.numbers(count, f32::from_le_bytes, place)?),
            7 => Array::Bool(self.numbers(count, |byte| byte != [0], place)?),
            8 => {
                if count > self.left() / 8 {
                    return Err(self.damaged(place(), Damage::Count(count)));
                }
                let mut texts = Vec::with_capacity(count as usize);
                for _ in 0..count {
                    texts.push(self.text(place)?);
                }
                Array::Text(texts)
            }
            9 => return Err(self.damaged(place(), Damage::Nested)),
            10 => Array::U64(self.numbers(count, u64::from_le_bytes, place)?),
            11 => Array::I64(self.numbers(count, i64::from_le_bytes, place)?),
            12 => Array::F64(self.numbers(count, f64::from_le_bytes, place)?),
            _ => return Err(self.damaged(place(), Damage::ValueType(kind))),
        })
    }

    /// Returns an array of numbers of `N` bytes.
    fn numbers<const N: usize, T>(
        &mut self,
        count: u64,
        convert: fn([u8; N]) -> T,
        place: Place,
    ) -> Result<Vec<T>, GgufError> {
        if count > self.left() / N as u64 {
            return Err(self.damaged(place(), Damage::Count(count)));
        }
        let bytes = self.bytes(count * N as u64, place)?;
        Ok(bytes.as_chunks().0.iter().copied().map(convert).collect())
    }

    /// Reads an entry of the table of tensors.
    fn tensor(&mut self, index: u64) -> Result<Entered, GgufError> {
        let name = self.text(&|| format!("tensor {index}"))?;
        let place = || format!("tensor `{name}`");
        let axes = u32::from_le_bytes(self.number_at(&place)?);
        if axes > 4 {
            return Err(self.damaged(place(), Damage::Axes(axes)));
        }
        let mut sizes = [0; 4];
        // the file begins with the last axis
        for size in sizes[..axes as usize].iter_mut().rev() {
            let length = u64::from_le_bytes(self.number_at(&place)?);
            *size = match usize::try_from(length) {
                Ok(0) => return Err(self.damaged(place(), Damage::EmptyAxis)),
                Ok(length) => length,
                Err(_) => return Err(self.damaged(place(), Damage::Size)),
            };
        }
        let number = u32::from_le_bytes(self.number_at(&place)?);
        let offset = u64::from_le_bytes(self.number_at(&place)?);
        let encoding = match kind::encoding(number) {
            Ok(encoding) => encoding,
            Err(format) => {
                return Err(GgufError::Format {
                    path: self.path.to_owned(),
                    tensor: name,
                    format,
                });
            }
        };
        let (cols, rows) = match sizes[..axes as usize].split_last() {
            Some((cols, rows)) => (*cols, rows),
            None => (1, &[][..]),
        };
        // elements too: what counts them must not overflow either
        let size = (|| {
            let rows = rows.iter().try_fold(1usize, |all, &n| all.checked_mul(n))?;
            rows.checked_mul(cols)?.checked_mul(4)?;
            let block_bytes = encoding.block_bytes();
            let row_bytes = (cols / encoding.block()).checked_mul(block_bytes)?;
            rows.checked_mul(row_bytes)
        })();
        let Some(bytes) = size else {
            return Err(self.damaged(place(), Damage::Size));
        };
        match encoding.row_bytes(cols) {
            Ok(row_bytes) => Ok(Entered {
                axes: axes as u8,
                sizes,
                encoding,
                row_bytes,
                offset,
                bytes: bytes as u64,
                name,
            }),
            Err(reason) => Err(GgufError::Encoding {
                path: self.path.to_owned(),
                tensor: name,
                reason,
            }),
        }
    }
}
