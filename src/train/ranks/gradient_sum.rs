//! The sum of the gradients of all parts of a batch, over all ranks, in the order of the parts.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Instant;

use half::f16;

use super::transport::Tag;
use super::words::Words;
use super::{RankError, Ranks};
use crate::device::{Plan, Reading, Tensor};
use crate::graph::Precision;
use crate::train::TrainError;

/// Least elements of a bucket, and of a rank's segment of it: small, so that sums begin before all
/// gradients are there, and large enough that messages take longer than their latency.
const BUCKET: usize = 1 << 18;
const SEGMENT: usize = 1 << 14;
/// Number of buckets of large models: each costs a submission and a read of the device.
const BUCKETS: usize = 64;

/// Sums gradients over ranks as accumulation does over parts.
///
/// Gradients are cut into buckets, and each bucket into as many segments as there are ranks. Rank
/// `r` owns segment `r`: every rank sends it that segment of its part's gradients, and it adds them
/// in the order of the parts. After the last part it sends the sum to all. Each rank sends and
/// receives `2 (N - 1) / N` times the gradients a step, as in a ring, but each sum is that of one
/// process: `MPI_Allreduce` promises no order.
///
/// A bucket is sent as soon as the backward pass has written it, while the pass computes the others.
pub struct GradientSum {
    ranks: Ranks,
    buckets: Vec<Bucket>,
    /// Format of messages.
    format: Precision,
}

/// A piece of the gradients, or the loss.
struct Bucket {
    tensor: Tensor,
    /// Number of dispatches of the pass after which it is complete.
    complete: usize,
}

/// The sums of a step: for each bucket that of the segment that this rank owns.
#[derive(Default)]
pub struct Sums(Vec<Sum>);

/// Sum of a segment over the parts so far.
#[derive(Default)]
struct Sum {
    values: Vec<f32>,
    /// Ranks whose part of the round is added.
    added: usize,
    /// This rank's part, until its turn comes.
    own: Option<Words>,
}

/// One round: each of the first `active` ranks computes a part.
#[derive(Clone, Copy)]
pub struct Round {
    pub active: usize,
    /// Whether all parts are computed after it.
    pub last: bool,
}

impl GradientSum {
    /// Prepares the sum of `tensors`, in which `pass` leaves a part's values, and which hold the
    /// sums after the last round.
    ///
    /// # Errors
    /// A rank that is lost.
    pub fn new(
        ranks: &Ranks,
        tensors: &[Tensor],
        pass: &Plan,
        format: Precision,
    ) -> Result<GradientSum, RankError> {
        let all: usize = tensors.iter().map(Tensor::len).sum();
        let size = BUCKET
            .max(ranks.size() * SEGMENT)
            .max(all.div_ceil(BUCKETS));
        let pieces = tensors.iter().flat_map(|tensor| tensor.pieces(size));
        let mut buckets: Vec<Option<Bucket>> = pieces
            .map(|tensor| {
                Some(Bucket {
                    complete: pass.written_after(&tensor),
                    tensor,
                })
            })
            .collect();
        let complete = |index: &u32| buckets[*index as usize].as_ref().map(|it| it.complete);
        let mut order: Vec<u32> = (0..buckets.len() as u32).collect();
        order.sort_by_key(complete);
        // ranks may have chosen different kernels, but send in one order
        let order = ranks.sent_by_first(order)?;
        let buckets = order
            .iter()
            .filter_map(|&index| buckets.get_mut(index as usize)?.take())
            .collect();
        Ok(GradientSum {
            ranks: ranks.clone(),
            buckets,
            format,
        })
    }

    /// Number of this rank, and of all.
    pub fn rank(&self) -> (usize, usize) {
        (self.ranks.rank(), self.ranks.size())
    }

    /// Elements of a bucket that a rank owns.
    fn segment(&self, bucket: &Bucket, rank: usize) -> Range<usize> {
        let (len, size) = (bucket.tensor.len(), self.ranks.size());
        len * rank / size..len * (rank + 1) / size
    }

    /// Runs `pass`, unless this rank has no part in the round, and adds the parts of all ranks.
    /// After the last round all tensors hold the sums.
    ///
    /// # Errors
    /// A device that failed, or a rank that is lost.
    pub fn round(&self, pass: &Plan, sums: &mut Sums, round: Round) -> Result<(), TrainError> {
        let mut bytes = 0;
        sums.0.resize_with(self.buckets.len(), Sum::default);
        sums.0.iter_mut().for_each(|sum| sum.added = 0);
        let mut summed = 0;
        if self.ranks.rank() < round.active {
            let mut reading: VecDeque<(usize, Reading)> = VecDeque::new();
            let mut done = 0;
            for (index, bucket) in self.buckets.iter().enumerate() {
                let until = bucket.complete.max(done);
                pass.run_some(done..until)?;
                done = until;
                let spare = self.ranks.spare(bucket.tensor.len());
                reading.push_back((index, bucket.tensor.begin_read(spare)));
                while let Some((index, read)) = reading.front_mut() {
                    let (index, Some(words)) = (*index, read.look()?) else {
                        break;
                    };
                    reading.pop_front();
                    self.send_part(index, words, sums, &mut bytes);
                }
                self.add_arrived(&mut summed, sums, round, &mut bytes)?;
            }
            pass.run_some(done..pass.dispatches())?;
            for (index, read) in reading {
                self.send_part(index, read.wait()?, sums, &mut bytes);
                self.add_arrived(&mut summed, sums, round, &mut bytes)?;
            }
        }
        // nothing is computed any more
        let start = Instant::now();
        while summed < self.buckets.len() {
            self.add_next(summed, sums, round, &mut bytes)?;
            summed += 1;
        }
        if round.last {
            self.take_sums()?;
        }
        self.ranks.count(bytes, start);
        Ok(())
    }

    /// Sends each rank its segment of a bucket, and keeps this rank's own.
    fn send_part(&self, index: usize, words: Vec<u32>, sums: &mut Sums, bytes: &mut u64) {
        let (rank, size) = self.rank();
        let bucket = &self.buckets[index];
        let words = self.ranks.words(words);
        // the next rank first, so that not all send to rank 0 at once
        for other in (1..size).map(|step| (rank + step) % size) {
            let segment = self.segment(bucket, other);
            if !segment.is_empty() {
                let words = self.packed(words.part(segment));
                *bytes += 4 * words.len() as u64;
                self.ranks.send(other, Tag::Part, words);
            }
        }
        sums.0[index].own = Some(words.part(self.segment(bucket, rank)));
    }

    /// Adds what has come of buckets from number `summed` on, without waiting.
    fn add_arrived(
        &self,
        summed: &mut usize,
        sums: &mut Sums,
        round: Round,
        bytes: &mut u64,
    ) -> Result<(), RankError> {
        while *summed < self.buckets.len() && self.add(*summed, sums, round, false, bytes)? {
            *summed += 1;
        }
        Ok(())
    }

    /// Adds the parts of a bucket, waiting for them.
    fn add_next(
        &self,
        index: usize,
        sums: &mut Sums,
        round: Round,
        bytes: &mut u64,
    ) -> Result<(), RankError> {
        self.add(index, sums, round, true, bytes).map(drop)
    }

    /// Adds the parts of a bucket in order, as far as they have come unless it `waits`. Returns
    /// whether all are added; the sum then leaves after the last round.
    fn add(
        &self,
        index: usize,
        sums: &mut Sums,
        round: Round,
        waits: bool,
        bytes: &mut u64,
    ) -> Result<bool, RankError> {
        let (bucket, sum) = (&self.buckets[index], &mut sums.0[index]);
        let segment = self.segment(bucket, self.ranks.rank());
        if segment.is_empty() {
            return Ok(true);
        }
        while sum.added < round.active {
            let from = sum.added;
            let part = if from == self.ranks.rank() {
                sum.own.take()
            } else {
                let words = match waits {
                    true => Some(self.ranks.receive(from, Tag::Part)?),
                    false => self.ranks.try_receive(from, Tag::Part)?,
                };
                words
                    .map(|words| self.unpacked(words, segment.len(), from))
                    .transpose()?
            };
            let Some(part) = part else {
                return Ok(false);
            };
            self.add_part(&mut sum.values, bytemuck::cast_slice(&part));
            sum.added += 1;
        }
        if round.last {
            let values = std::mem::take(&mut sum.values);
            self.send_sum(bucket, values, bytes);
        }
        Ok(true)
    }

    /// Adds a part's values; the first ones are the sum so far.
    fn add_part(&self, sum: &mut Vec<f32>, values: &[f32]) {
        if sum.is_empty() {
            *sum = bytemuck::cast_vec(self.ranks.spare(values.len()));
            sum.copy_from_slice(values);
            return;
        }
        for (sum, value) in sum.iter_mut().zip(values) {
            *sum += value;
        }
    }

    /// Sends all ranks the sum of this rank's segment of a bucket, and keeps it, as they receive
    /// it.
    fn send_sum(&self, bucket: &Bucket, sum: Vec<f32>, bytes: &mut u64) {
        let ((rank, size), len) = (self.rank(), sum.len());
        let words = self.packed(self.ranks.words(bytemuck::cast_vec(sum)));
        for other in (1..size).map(|step| (rank + step) % size) {
            *bytes += 4 * words.len() as u64;
            self.ranks.send(other, Tag::Sum, words.clone());
        }
        self.write(bucket, rank, &self.unpack(words, len));
    }

    /// Takes in the sums of the other ranks' segments.
    fn take_sums(&self) -> Result<(), RankError> {
        let rank = self.ranks.rank();
        for bucket in &self.buckets {
            for from in (0..self.ranks.size()).filter(|&from| from != rank) {
                let segment = self.segment(bucket, from);
                if segment.is_empty() {
                    continue;
                }
                let words = self.ranks.receive(from, Tag::Sum)?;
                self.write(bucket, from, &self.unpacked(words, segment.len(), from)?);
            }
        }
        Ok(())
    }

    /// Writes the values of a rank's segment of a bucket.
    fn write(&self, bucket: &Bucket, rank: usize, values: &[u32]) {
        let segment = self.segment(bucket, rank);
        let place = bucket.tensor.part(segment.start, &[segment.len()]);
        place.write(values);
    }

    /// Returns values in the format of messages.
    fn packed(&self, values: Words) -> Words {
        match self.format {
            Precision::F32 => values,
            Precision::F16 => halves(bytemuck::cast_slice(&values)).into(),
        }
    }

    /// Returns the values of [`packed`](Self::packed).
    fn unpack(&self, words: Words, len: usize) -> Words {
        match self.format {
            Precision::F32 => words,
            Precision::F16 => bytemuck::cast_vec(of_halves(&words, len)).into(),
        }
    }

    /// Values of a message of `len` elements.
    fn unpacked(&self, words: Words, len: usize, from: usize) -> Result<Words, RankError> {
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
