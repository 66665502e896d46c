//! Storage of a model's parameters.
//!
//! Parameters lie one after another in a few large tensors, so that the optimizer and everything
//! else that treats all parameters alike needs one dispatch instead of one per parameter.

use std::ops::Range;

use super::{FrozenRows, ParameterInfo, Role};
use crate::device::{Device, DeviceError, Tensor};
use crate::graph::TensorRef;
use crate::ops::Encoding;

/// Alignment of parameters, in elements (256 bytes): every adapter can bind a buffer at these
/// offsets.
pub const BLOCK: usize = 64;

/// Treatment of a parameter by the optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterGroup {
    /// Whether the optimizer updates the parameter.
    pub trains: bool,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// Bit of [`ParameterStore::groups`] that marks a block with weight decay.
const DECAYS: u32 = 256;

/// Position of a parameter in the flat tensors.
#[derive(Clone)]
struct Place {
    /// Index of the flat tensor.
    flat: usize,
    /// Elements of the flat tensor.
    range: Range<usize>,
}

/// All parameters of a model, by name, and the flat tensors that they are parts of.
#[derive(Clone)]
pub struct ParameterStore {
    infos: Vec<ParameterInfo>,
    /// One for each of `infos`.
    places: Vec<Place>,
    /// Name and tensor of each of `infos`; empty while counting.
    tensors: Vec<(String, Tensor)>,
    /// Each `[len]`, a multiple of [`BLOCK`].
    flats: Vec<Tensor>,
    /// Elements of each flat tensor in use.
    lens: Vec<usize>,
    /// Largest flat tensor, in elements.
    max_len: usize,
    /// Weight matrices that are not trained, each in tensors of its own.
    frozen: Vec<FrozenParameter>,
    /// Stands for every parameter while they are counted.
    placeholder: Option<Tensor>,
}

/// A weight matrix that is not trained, and where its rows lie.
#[derive(Clone)]
pub struct FrozenParameter {
    /// Name, shape and role.
    pub info: ParameterInfo,
    /// How the words of its tensors hold the values.
    pub encoding: Encoding,
    /// Words of consecutive rows, `[rows * row words]` each; empty while counting.
    pub blocks: Vec<Tensor>,
}

impl FrozenParameter {
    /// Number of rows: the length of the first axis.
    pub fn rows(&self) -> usize {
        self.info.shape[0]
    }

    /// Number of values of a row.
    pub fn cols(&self) -> usize {
        self.info.shape[1..].iter().product()
    }
}

impl ParameterStore {
    /// Creates a store that only counts the parameters added to it.
    pub(super) fn counting(device: &Device) -> Result<ParameterStore, DeviceError> {
        Ok(ParameterStore {
            infos: vec![],
            places: vec![],
            tensors: vec![],
            flats: vec![],
            lens: vec![],
            max_len: device.max_elements() / BLOCK * BLOCK,
            frozen: vec![],
            placeholder: Some(Tensor::zeros(device, &[1])?),
        })
    }

    pub(super) fn is_counting(&self) -> bool {
        self.placeholder.is_some()
    }

    /// Creates an empty store with room for the parameters that this one has counted.
    pub(super) fn allocated(self, device: &Device) -> Result<ParameterStore, DeviceError> {
        let flats = self
            .lens
            .iter()
            .map(|&len| Tensor::zeros(device, &[len]))
            .collect::<Result<_, DeviceError>>()?;
        Ok(ParameterStore {
            infos: vec![],
            places: vec![],
            tensors: vec![],
            flats,
            lens: vec![],
            max_len: self.max_len,
            frozen: vec![],
            placeholder: None,
        })
    }

    /// Adds parameters of one role without a gap between them, and returns the tensor of all of
    /// them. Each has a name and a length of its first axis; `rest` are the other axes.
    pub(super) fn add(
        &mut self,
        members: &[(String, usize)],
        rest: &[usize],
        role: Role,
    ) -> Result<Tensor, DeviceError> {
        let row: usize = rest.iter().product();
        let rows: usize = members.iter().map(|(_, rows)| rows).sum();
        let len = rows * row;
        if self
            .lens
            .last()
            .is_none_or(|used| used + len > self.max_len)
        {
            self.lens.push(0);
        }
        let flat = self.lens.len() - 1;
        let first = self.lens[flat];
        self.lens[flat] = (first + len).next_multiple_of(BLOCK);
        let mut begin = first;
        for (name, rows) in members {
            let shape = [&[*rows], rest].concat();
            let range = begin..begin + rows * row;
            begin = range.end;
            if !self.is_counting() {
                let tensor = self.flats[flat].part(range.start, &shape);
                self.tensors.push((name.clone(), tensor));
            }
            self.infos.push(ParameterInfo {
                name: name.clone(),
                shape,
                role,
            });
            self.places.push(Place { flat, range });
        }
        let whole = [&[rows], rest].concat();
        if let Some(placeholder) = &self.placeholder {
            return Ok(placeholder.placeholder(&whole));
        }
        Ok(self.flats[flat].part(first, &whole))
    }

    /// Returns what stands for a tensor of this shape while parameters are counted.
    pub(super) fn placeholder(&self, shape: &[usize]) -> Option<Tensor> {
        Some(self.placeholder.as_ref()?.placeholder(shape))
    }

    /// Adds weight matrices that are not trained and share an encoding. They lie one after the
    /// other in one tensor if they have at most `most` rows; otherwise each has tensors of its own
    /// with at most as many.
    pub(super) fn add_frozen(
        &mut self,
        device: &Device,
        members: &[(String, usize)],
        rest: &[usize],
        role: Role,
        encoding: Encoding,
        most: usize,
    ) -> Result<Vec<FrozenRows>, DeviceError> {
        let cols: usize = rest.iter().product();
        let words = encoding.row_words(cols).expect("rows are whole blocks");
        let all: usize = members.iter().map(|(_, rows)| rows).sum();
        let mut blocks = vec![];
        let mut block = |rows: usize| -> Result<Tensor, DeviceError> {
            let tensor = match &self.placeholder {
                Some(placeholder) => placeholder.placeholder(&[rows * words]),
                None => Tensor::zeros(device, &[rows * words])?,
            };
            blocks.push(FrozenRows {
                words: tensor.clone(),
                encoding,
                rows,
                cols,
            });
            Ok(tensor)
        };
        let shared = (all <= most).then(|| block(all)).transpose()?;
        let mut first = 0;
        for (name, rows) in members {
            let own = match &shared {
                Some(_) if self.placeholder.is_some() => vec![],
                Some(whole) => vec![whole.part(first * words, &[rows * words])],
                None => {
                    let starts = (0..*rows).step_by(most);
                    let lengths = starts.map(|start| most.min(rows - start));
                    lengths.map(&mut block).collect::<Result<_, _>>()?
                }
            };
            first += rows;
            self.frozen.push(FrozenParameter {
                info: ParameterInfo {
                    name: name.clone(),
                    shape: [&[*rows], rest].concat(),
                    role,
                },
                encoding,
                blocks: own,
            });
        }
        Ok(blocks)
    }

    /// Weight matrices that are not trained, in the order of their creation.
    pub fn frozen(&self) -> &[FrozenParameter] {
        &self.frozen
    }

    /// Names and tensors of all trained parameters, in the order of their creation.
    pub fn named(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// Names, shapes and roles of all parameters, in the order of their creation.
    pub fn infos(&self) -> &[ParameterInfo] {
        &self.infos
    }

    /// Iterates over all parameters, in the order of their creation.
    pub fn iter(&self) -> impl Iterator<Item = (&ParameterInfo, &Tensor)> {
        self.infos
            .iter()
            .zip(self.tensors.iter().map(|(_, tensor)| tensor))
    }

    /// Returns the tensor of the parameter called `name`.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        let found = self.tensors.iter().find(|(known, _)| known == name);
        found.map(|(_, tensor)| tensor)
    }

    /// The flat tensors that hold all parameters, with padding between them.
    pub fn flats(&self) -> &[Tensor] {
        &self.flats
    }

    /// Builds the optimizer's table for each flat tensor: `[len / BLOCK]` of `u32`.
    ///
    /// An entry is the number of elements of the block that train, which are its first ones, plus
    /// 256 if weight decay applies to them. `group` decides for each parameter; parameters that
    /// share a block, those of a fused group, are treated as the first of them.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold the tables.
    pub fn groups(
        &self,
        device: &Device,
        group: impl Fn(&ParameterInfo) -> ParameterGroup,
    ) -> Result<Vec<Tensor>, DeviceError> {
        let mut tables: Vec<Vec<u32>> = self
            .flats
            .iter()
            .map(|flat| vec![0; flat.len() / BLOCK])
            .collect();
        for (info, Place { flat, range }) in self.infos.iter().zip(&self.places) {
            let ParameterGroup {
                trains: true,
                decays,
            } = group(info)
            else {
                continue;
            };
            let mut at = range.start;
            while at < range.end {
                let next = range.end.min((at / BLOCK + 1) * BLOCK);
                let entry = &mut tables[*flat][at / BLOCK];
                *entry = (*entry + (next - at) as u32) | if decays { DECAYS } else { 0 };
                at = next;
            }
        }
        tables
            .iter()
            .map(|table| Tensor::new(device, &[table.len()], table))
            .collect()
    }

    /// Allocates zeros in the layout of the parameters, for gradients or moments.
    ///
    /// # Errors
    /// Returns an error when the device cannot hold them.
    pub fn zeros(&self, device: &Device) -> Result<Vec<Tensor>, DeviceError> {
        self.flats
            .iter()
            .map(|flat| Tensor::zeros(device, flat.shape()))
            .collect()
    }

    /// Returns the part of `flats`, made by [`zeros`](Self::zeros), that belongs to each parameter,
    /// by the parameter's name.
    pub fn named_in(&self, flats: &[Tensor]) -> Vec<(String, Tensor)> {
        let part = |(info, place): (&ParameterInfo, &Place)| {
            let part = flats[place.flat].part(place.range.start, &info.shape);
            (info.name.clone(), part)
        };
        self.infos.iter().zip(&self.places).map(part).collect()
    }

    /// Returns the part of `flats`, made by [`zeros`](Self::zeros), that belongs to `parameter`, or
    /// to a part of it.
    pub fn counterpart(&self, parameter: &TensorRef, flats: &[Tensor]) -> Option<Tensor> {
        let place = |(flat, other): (&Tensor, &Tensor)| {
            Some(other.part(parameter.offset_in(flat.reference())?, &parameter.shape))
        };
        self.flats.iter().zip(flats).find_map(place)
    }

    /// Iterates over the parameters that lie in none of `tensors`.
    pub fn not_covered(&self, tensors: &[TensorRef]) -> impl Iterator<Item = &ParameterInfo> {
        let covers = move |tensor: &TensorRef, place: &Place| {
            let first = tensor.offset_in(self.flats[place.flat].reference());
            first.is_some_and(|first| {
                first <= place.range.start && place.range.end <= first + tensor.len()
            })
        };
        self.infos
            .iter()
            .zip(&self.places)
            .filter(move |(_, place)| !tensors.iter().any(|tensor| covers(tensor, place)))
            .map(|(info, _)| info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::device;

    fn offset(part: &Tensor, whole: &Tensor) -> Option<usize> {
        part.reference().offset_in(whole.reference())
    }

    /// Three parameters and a group of two, in flat tensors of at most `max_len` elements.
    fn store(max_len: usize) -> (ParameterStore, Tensor) {
        let device = device();
        let fill = |mut store: ParameterStore| {
            let mut add = |members: &[(&str, usize)], rest: &[usize], role| {
                let members = members.iter().map(|&(name, rows)| (name.into(), rows));
                store.add(&members.collect::<Vec<_>>(), rest, role).unwrap()
            };
            add(&[("a", 5)], &[], Role::ENCODER);
            add(&[("b", 2)], &[64], Role::DECODER);
            let group = add(&[("q", 3), ("k", 3)], &[11], Role::DECODER);
            add(&[("c", 1)], &[], Role::DECODER);
            (store, group)
        };
        let (mut counted, group) = fill(ParameterStore {
            max_len,
            ..ParameterStore::counting(&device).unwrap()
        });
        assert_eq!(group.shape(), [6, 11]);
        counted.max_len = max_len;
        fill(counted.allocated(&device).unwrap())
    }

    #[test]
    fn parameters_are_aligned_and_groups_are_contiguous() {
        let (store, group) = store(10_000);
        let [flat] = store.flats() else {
            panic!("more than one flat tensor")
        };
        assert_eq!(flat.shape(), [64 + 128 + 128 + 64]);
        let table = |group: &dyn Fn(&ParameterInfo) -> ParameterGroup| {
            store.groups(&device(), group).unwrap()[0]
                .read::<u32>()
                .unwrap()
        };
        assert_eq!(
            table(&|_| ParameterGroup {
                trains: true,
                decays: false
            }),
            [5, 64, 64, 64, 2, 1]
        );
        let matrices = |info: &ParameterInfo| ParameterGroup {
            trains: info.name != "c",
            decays: info.is_matrix(),
        };
        assert_eq!(
            table(&matrices),
            [5, 256 + 64, 256 + 64, 256 + 64, 256 + 2, 0]
        );
        let names: Vec<&str> = store
            .named()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["a", "b", "q", "k", "c"]);
        group.write(&(0..66).map(|x| x as f32).collect::<Vec<_>>());
        assert_eq!(store.named()[3].1.read::<f32>().unwrap()[..2], [33.0, 34.0]);
        assert_eq!(store.named()[3].1.shape(), [3, 11]);
        assert_eq!(flat.read::<f32>().unwrap()[64 + 128 + 65], 65.0);
    }

    #[test]
    fn parameters_beyond_the_largest_tensor_go_into_another() {
        let (store, group) = store(192);
        assert_eq!(
            store
                .flats()
                .iter()
                .map(|flat| flat.len())
                .collect::<Vec<_>>(),
            [192, 192]
        );
        let zeros = store.zeros(&device()).unwrap();
        let place = store.counterpart(group.reference(), &zeros).unwrap();
        assert_eq!(
            (offset(&place, &zeros[1]), offset(&place, &zeros[0])),
            (Some(0), None)
        );
        assert_eq!(offset(&store.named_in(&zeros)[4].1, &zeros[1]), Some(128));
    }

    #[test]
    fn uncovered_parameters_are_named() {
        let (store, group) = store(192);
        let tensor = |index: usize| store.named()[index].1.reference().clone();
        let missing = |tensors: &[TensorRef]| {
            store
                .not_covered(tensors)
                .map(|info| info.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            missing(&[tensor(0), tensor(1), group.reference().clone()]),
            ["c"]
        );
        assert_eq!(missing(&[tensor(0), tensor(1), tensor(2)]), ["k", "c"]);
        assert_eq!(
            missing(&[tensor(0), tensor(1), group.reference().clone(), tensor(4)]),
            [""; 0]
        );
    }
}
