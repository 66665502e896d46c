//! The sum of the gradients of all parts of a batch, over all ranks, in the order of the parts.

use std::ops::Range;
use std::time::Instant;

use half::f16;

use super::transport::Tag;
use super::{RankError, Ranks};
use crate::device::{DeviceError, Tensor};
use crate::graph::Precision;
use crate::train::TrainError;

/// Elements of a bucket: 4 MB of floats, so that sums begin long before all gradients are there.
const BUCKET: usize = 1 << 20;

/// Sums gradients over ranks as accumulation does over parts.
///
/// Gradients are cut into buckets, and each bucket into as many segments as there are ranks. Rank `r`
/// owns segment `r`: every rank sends it that segment of its part's gradients, and it adds them in the
/// order of the parts. After the last part it sends the sum to all. Each rank sends and receives
/// `2 (N - 1) / N` times the gradients a step, as in a ring, but each sum is that of one process:
/// `MPI_Allreduce` promises no order.
pub struct GradientSum {
    ranks: Ranks,
    /// Pieces of the gradients, and the loss.
    buckets: Vec<Tensor>,
    /// Format of messages.
    format: Precision,
}

/// Sums of the segments that a rank owns, one for each bucket, over the parts so far.
#[derive(Default)]
pub struct Sums(Vec<Vec<f32>>);

impl GradientSum {
    /// Prepares the sum of `tensors`, which hold a part's values when a round begins, and the sums
    /// after the last one.
    pub fn new(ranks: &Ranks, tensors: &[Tensor], format: Precision) -> GradientSum {
        let buckets = tensors.iter().flat_map(|tensor| tensor.pieces(BUCKET));
        GradientSum {
            ranks: ranks.clone(),
            buckets: buckets.collect(),
            format,
        }
    }

    /// Number of this rank, and of all.
    pub fn rank(&self) -> (usize, usize) {
        (self.ranks.rank(), self.ranks.size())
    }

    /// Elements of a bucket that a rank owns.
    fn segment(&self, bucket: &Tensor, rank: usize) -> Range<usize> {
        let (len, size) = (bucket.len(), self.ranks.size());
        len * rank / size..len * (rank + 1) / size
    }

    /// Sends the part that this rank has just computed, and adds those of a round: of ranks below
    /// `active`. After the `last` round all tensors hold the sums.
    ///
    /// # Errors
    /// A device that failed, or a rank that is lost.
    pub fn round(&self, sums: &mut Sums, active: usize, last: bool) -> Result<(), TrainError> {
        let (start, rank) = (Instant::now(), self.ranks.rank());
        let mut bytes = 0;
        let mut own = vec![];
        if rank < active {
            for bucket in &self.buckets {
                own.push(self.send_part(bucket, &mut bytes)?);
            }
        }
        sums.0.resize(self.buckets.len(), vec![]);
        for (index, (bucket, sum)) in self.buckets.iter().zip(&mut sums.0).enumerate() {
            let segment = self.segment(bucket, rank);
            if segment.is_empty() {
                continue;
            }
            for from in 0..active {
                if from == rank {
                    add(sum, std::mem::take(&mut own[index]));
                } else {
                    let words = self.ranks.receive(from, Tag::Part)?;
                    add(sum, self.unpacked(words, segment.len(), from)?);
                }
            }
            if last {
                self.send_sum(bucket, std::mem::take(sum), &mut bytes);
            }
        }
        if last {
            self.take_sums()?;
        }
        self.ranks.count(bytes, start);
        Ok(())
    }

    /// Sends each rank its segment of a bucket; returns this rank's own.
    fn send_part(&self, bucket: &Tensor, bytes: &mut u64) -> Result<Vec<f32>, DeviceError> {
        let values: Vec<f32> = bucket.read()?;
        let rank = self.ranks.rank();
        // the next rank first, so that not all send to rank 0 at once
        for other in (1..self.ranks.size()).map(|step| (rank + step) % self.ranks.size()) {
            let segment = &values[self.segment(bucket, other)];
            if !segment.is_empty() {
                let words = self.packed(segment);
                *bytes += 4 * words.len() as u64;
                self.ranks.send(other, Tag::Part, words);
            }
        }
        Ok(values[self.segment(bucket, rank)].to_vec())
    }

    /// Sends all ranks the sum of this rank's segment of a bucket, and keeps it, as they receive it.
    fn send_sum(&self, bucket: &Tensor, sum: Vec<f32>, bytes: &mut u64) {
        let (rank, size) = (self.ranks.rank(), self.ranks.size());
        let segment = self.segment(bucket, rank);
        let words = self.packed(&sum);
        for other in (1..size).map(|step| (rank + step) % size) {
            *bytes += 4 * words.len() as u64;
            self.ranks.send(other, Tag::Sum, words.clone());
        }
        let sum = self.unpack(words, segment.len());
        bucket.part(segment.start, &[segment.len()]).write(&sum);
    }

    /// Takes in the sums of the other ranks' segments.
    fn take_sums(&self) -> Result<(), RankError> {
        for bucket in &self.buckets {
            for from in (0..self.ranks.size()).filter(|&from| from != self.ranks.rank()) {
                let segment = self.segment(bucket, from);
                if segment.is_empty() {
                    continue;
                }
                let words = self.ranks.receive(from, Tag::Sum)?;
                let sum = self.unpacked(words, segment.len(), from)?;
                bucket.part(segment.start, &[segment.len()]).write(&sum);
            }
        }
        Ok(())
    }

    fn packed(&self, values: &[f32]) -> Vec<u32> {
        match self.format {
            Precision::F32 => bytemuck::cast_slice(values).to_vec(),
            Precision::F16 => halves(values),
        }
    }

    fn unpack(&self, words: Vec<u32>, len: usize) -> Vec<f32> {
        match self.format {
            Precision::F32 => bytemuck::cast_vec(words),
            Precision::F16 => of_halves(&words, len),
        }
    }

    /// Values of a message of `len` elements.
    fn unpacked(&self, words: Vec<u32>, len: usize, from: usize) -> Result<Vec<f32>, RankError> {
        let want = match self.format {
            Precision::F32 => len,
            Precision::F16 => 1 + len.div_ceil(2),
        };
        if words.len() != want {
            return Err(RankError {
                rank: from,
                place: String::new(),
                what: format!(
                    "sends {} words of gradients where {want} are due: its model or its settings differ",
                    words.len()
                ),
            });
        }
        Ok(self.unpack(words, len))
    }
}

/// Adds a part's values; the first ones are the sum so far.
fn add(sum: &mut Vec<f32>, values: Vec<f32>) {
    if sum.is_empty() {
        *sum = values;
        return;
    }
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Packs values as 16-bit floats behind their common factor, a power of two that brings the largest
/// to the upper end of the range of 16 bits. Non-finite values stay so.
fn halves(values: &[f32]) -> Vec<u32> {
    let largest = values.iter().fold(0.0f32, |most, value| {
        let size = value.abs();
        if size.is_finite() && size > most {
            size
        } else {
            most
        }
    });
    // at most 2^15, and normal numbers on both sides
    let exponent = match largest {
        0.0 => 0,
        _ => (14 - largest.log2().floor() as i32).clamp(-110, 110),
    };
    let factor = 2.0f32.powi(exponent);
    let half = |value: f32| u32::from(f16::from_f32(value * factor).to_bits());
    let pairs = values.chunks(2);
    let pairs = pairs.map(|pair| half(pair[0]) | half(pair.get(1).copied().unwrap_or(0.0)) << 16);
    std::iter::once(factor.to_bits()).chain(pairs).collect()
}

/// Returns the values of [`halves`].
fn of_halves(words: &[u32], len: usize) -> Vec<f32> {
    let Some((&factor, words)) = words.split_first() else {
        return vec![];
    };
    let back = 1.0 / f32::from_bits(factor);
    let value = |bits: u32| f16::from_bits(bits as u16).to_f32() * back;
    let values = words
        .iter()
        .flat_map(|&word| [value(word), value(word >> 16)]);
    values.take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_keep_eleven_bits_at_any_size() {
        for size in [1e-30f32, 1e-3, 1.0, 3e4, 1e30] {
            let values: Vec<f32> = (1..100).map(|i| size * (i as f32 - 50.5) / 49.0).collect();
            let back = of_halves(&halves(&values), values.len());
            for (value, back) in values.iter().zip(back) {
                assert!(
                    (value - back).abs() <= size * 2f32.powi(-11),
                    "{value} {back}"
                );
            }
        }
        let odd = of_halves(&halves(&[f32::NAN, f32::INFINITY, 2.0]), 3);
        assert!(odd[0].is_nan() && odd[1] == f32::INFINITY && odd[2] == 2.0);
        assert_eq!(of_halves(&halves(&[0.0, -0.0]), 2), [0.0, 0.0]);
    }
}
