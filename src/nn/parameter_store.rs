//! Where the parameters of a model lie: one after another in few large tensors, so that the optimizer and everything else
//! that treats all parameters alike needs one dispatch, not one for each.

use std::ops::Range;

use crate::device::{Device, DeviceError, Tensor};
use crate::graph::TensorRef;

/// Parameters begin at multiples of so many elements, 256 bytes: what lies there can be bound by itself on every adapter.
pub const BLOCK: usize = 64;

/// What the optimizer does with a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterGroup {
    pub trains: bool,
    /// Whether weight decay takes its share.
    pub decays: bool,
}

/// The bit of [`ParameterStore::groups`] that says that a block decays.
const DECAYS: u32 = 256;

#[derive(Clone)]
struct Named {
    name: String,
    shape: Vec<usize>,
    flat: usize,
    /// In elements.
    range: Range<usize>,
}

/// The parameters of a model by name, and the tensors that they are parts of.
#[derive(Clone)]
pub struct ParameterStore {
    named: Vec<Named>,
    /// As `named`, with the tensors.
    tensors: Vec<(String, Tensor)>,
    /// Each `[len]`, a multiple of [`BLOCK`].
    flats: Vec<Tensor>,
    lens: Vec<usize>,
    most: usize,
    /// Stands for every parameter while they are counted.
    nothing: Option<Tensor>,
}

impl ParameterStore {
    /// A storage that only counts what is added to it.
    pub(super) fn counting(device: &Device) -> Result<ParameterStore, DeviceError> {
        let most = device.max_elements() / BLOCK * BLOCK;
        let nothing = Some(Tensor::zeros(device, &[1])?);
        Ok(ParameterStore {
            named: vec![],
            tensors: vec![],
            flats: vec![],
            lens: vec![],
            most,
            nothing,
        })
    }

    pub(super) fn is_counting(&self) -> bool {
        self.nothing.is_some()
    }

    /// An empty storage with room for what this one has counted.
    pub(super) fn allocated(self, device: &Device) -> Result<ParameterStore, DeviceError> {
        let flats = self
            .lens
            .iter()
            .map(|&len| Tensor::zeros(device, &[len]))
            .collect::<Result<_, DeviceError>>()?;
        Ok(ParameterStore {
            named: vec![],
            tensors: vec![],
            flats,
            lens: vec![],
            most: self.most,
            nothing: None,
        })
    }

    /// Adds parameters of one shape, which follow each other without a gap: their tensor.
    pub(super) fn add(&mut self, names: &[String], shape: &[usize]) -> Result<Tensor, DeviceError> {
        let each: usize = shape.iter().product();
        let len = names.len() * each;
        if self.lens.last().is_none_or(|used| used + len > self.most) {
            self.lens.push(0);
        }
        let flat = self.lens.len() - 1;
        let first = self.lens[flat];
        self.lens[flat] = (first + len).next_multiple_of(BLOCK);
        for (index, name) in names.iter().enumerate() {
            let begin = first + index * each;
            self.named.push(Named {
                name: name.clone(),
                shape: shape.to_vec(),
                flat,
                range: begin..begin + each,
            });
            if !self.is_counting() {
                self.tensors
                    .push((name.clone(), self.flats[flat].part(begin, shape)));
            }
        }
        let whole = [&[names.len() * shape[0]], &shape[1..]].concat();
        if let Some(nothing) = &self.nothing {
            return Ok(nothing.placeholder(&whole));
        }
        Ok(self.flats[flat].part(first, &whole))
    }

    /// All parameters by name, in the order of their creation.
    pub fn named(&self) -> &[(String, Tensor)] {
        &self.tensors
    }

    /// The large tensors.
    pub fn flats(&self) -> &[Tensor] {
        &self.flats
    }

    /// What the optimizer must know of each flat, `[len / BLOCK]` of `u32`: how many elements of each block are parameters that train
    /// (what lies behind them is padding, whose contents mean nothing), plus 256 where they decay. `treat` decides by name and shape;
    /// parameters that lie in one block, those of a group, are treated as the first of them.
    pub fn groups(
        &self,
        device: &Device,
        treat: impl Fn(&str, &[usize]) -> ParameterGroup,
    ) -> Result<Vec<Tensor>, DeviceError> {
        let mut tables: Vec<Vec<u32>> = self
            .flats
            .iter()
            .map(|flat| vec![0; flat.len() / BLOCK])
            .collect();
        for Named {
            name,
            shape,
            flat,
            range,
        } in &self.named
        {
            let ParameterGroup {
                trains: true,
                decays,
            } = treat(name, shape)
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

    /// Zeros for every parameter, laid out in the same way: gradients, moments.
    pub fn zeros(&self, device: &Device) -> Result<Vec<Tensor>, DeviceError> {
        self.flats
            .iter()
            .map(|flat| Tensor::zeros(device, flat.shape()))
            .collect()
    }

    /// The parts of `flats`, which [`zeros`](Self::zeros) made, that belong to the parameters, by the parameters' names.
    pub fn named_in(&self, flats: &[Tensor]) -> Vec<(String, Tensor)> {
        self.named
            .iter()
            .map(|named| {
                (
                    named.name.clone(),
                    flats[named.flat].part(named.range.start, &named.shape),
                )
            })
            .collect()
    }

    /// The part of `flats` that belongs to `parameter`, a part of these parameters.
    pub fn counterpart(&self, parameter: &TensorRef, flats: &[Tensor]) -> Option<Tensor> {
        let place = |(flat, other): (&Tensor, &Tensor)| {
            Some(other.part(parameter.offset_in(flat.reference())?, &parameter.shape))
        };
        self.flats.iter().zip(flats).find_map(place)
    }

    /// The names of the parameters that do not lie in any of `tensors`, parts of these parameters.
    pub fn not_covered(&self, tensors: &[TensorRef]) -> impl Iterator<Item = &str> {
        let covers = move |tensor: &TensorRef, named: &Named| {
            let first = tensor.offset_in(self.flats[named.flat].reference());
            first.is_some_and(|first| {
                first <= named.range.start && named.range.end <= first + tensor.len()
            })
        };
        self.named
            .iter()
            .filter(move |named| !tensors.iter().any(|tensor| covers(tensor, named)))
            .map(|named| named.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::check::device;

    fn offset(part: &Tensor, whole: &Tensor) -> Option<usize> {
        part.reference().offset_in(whole.reference())
    }

    /// Three parameters and a group of two, in flats of at most `most` elements.
    fn storage(most: usize) -> (ParameterStore, Tensor) {
        let device = device();
        let fill = |mut storage: ParameterStore| {
            storage.add(&["a".into()], &[5]).unwrap();
            storage.add(&["b".into()], &[2, 64]).unwrap();
            let group = storage.add(&["q".into(), "k".into()], &[3, 11]).unwrap();
            storage.add(&["c".into()], &[1]).unwrap();
            (storage, group)
        };
        let (mut counted, group) = fill(ParameterStore {
            most,
            ..ParameterStore::counting(&device).unwrap()
        });
        assert_eq!(group.shape(), [6, 11]);
        counted.most = most;
        fill(counted.allocated(&device).unwrap())
    }

    #[test]
    fn parameters_lie_at_blocks_and_groups_without_a_gap() {
        let (storage, group) = storage(10_000);
        let [flat] = storage.flats() else {
            panic!("more than one flat")
        };
        assert_eq!(flat.shape(), [64 + 128 + 128 + 64]);
        let table = |treat: &dyn Fn(&str, &[usize]) -> ParameterGroup| {
            storage.groups(&device(), treat).unwrap()[0]
                .read::<u32>()
                .unwrap()
        };
        assert_eq!(
            table(&|_, _| ParameterGroup {
                trains: true,
                decays: false
            }),
            [5, 64, 64, 64, 2, 1]
        );
        let matrices = |name: &str, shape: &[usize]| ParameterGroup {
            trains: name != "c",
            decays: shape.len() > 1,
        };
        assert_eq!(
            table(&matrices),
            [5, 256 + 64, 256 + 64, 256 + 64, 256 + 2, 0]
        );
        let names: Vec<&str> = storage
            .named()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["a", "b", "q", "k", "c"]);
        group.write(&(0..66).map(|x| x as f32).collect::<Vec<_>>());
        assert_eq!(
            storage.named()[3].1.read::<f32>().unwrap()[..2],
            [33.0, 34.0]
        );
        assert_eq!(storage.named()[3].1.shape(), [3, 11]);
        assert_eq!(flat.read::<f32>().unwrap()[64 + 128 + 65], 65.0);
    }

    #[test]
    fn what_does_not_fit_into_one_tensor_goes_on_in_the_next() {
        let (storage, group) = storage(192);
        assert_eq!(
            storage
                .flats()
                .iter()
                .map(|flat| flat.len())
                .collect::<Vec<_>>(),
            [192, 192]
        );
        let zeros = storage.zeros(&device()).unwrap();
        let place = storage.counterpart(group.reference(), &zeros).unwrap();
        assert_eq!(
            (offset(&place, &zeros[1]), offset(&place, &zeros[0])),
            (Some(0), None)
        );
        assert_eq!(offset(&storage.named_in(&zeros)[4].1, &zeros[1]), Some(128));
    }

    #[test]
    fn a_parameter_without_a_gradient_is_named() {
        let (storage, group) = storage(192);
        let tensor = |index: usize| storage.named()[index].1.reference().clone();
        let missing = |tensors: &[TensorRef]| {
            storage
                .not_covered(tensors)
                .map(str::to_owned)
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
