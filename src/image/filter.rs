//! Resampling filters, and the weights that they give inputs along one axis.

use std::f64::consts::PI;
use std::ops::Range;

/// Resampling filter, as defined by Pillow. When shrinking, a filter is widened by the factor, so
/// that every input counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filter {
    /// Triangle over 2 inputs.
    Bilinear,
    /// Cubic convolution over 4 inputs with a = -0.5 (Keys 1981).
    Bicubic,
    /// Sinc windowed by a wider sinc, over 6 inputs (Duchon 1979).
    Lanczos,
}

impl Filter {
    /// All filters.
    pub const ALL: [Filter; 3] = [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos];

    /// Returns the filter that has this number in Pillow's `Image.Resampling`, which is also the
    /// number in the field `resample` of `preprocessor_config.json`: 1 Lanczos, 2 bilinear, 3
    /// bicubic.
    pub fn from_pillow(number: u64) -> Option<Filter> {
        match number {
            1 => Some(Filter::Lanczos),
            2 => Some(Filter::Bilinear),
            3 => Some(Filter::Bicubic),
            _ => None,
        }
    }

    /// Distance from the centre beyond which weights are 0, in inputs.
    fn support(self) -> f64 {
        match self {
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
            Filter::Lanczos => 3.0,
        }
    }

    /// Weight at a distance from the centre, not yet normalised. The arithmetic follows Pillow's
    /// term by term, so that weights agree in all their bits.
    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let sinc = |x: f64| {
            if x == 0.0 {
                1.0
            } else {
                (x * PI).sin() / (x * PI)
            }
        };
        match self {
            Filter::Bilinear => (1.0 - x.abs()).max(0.0),
            Filter::Bicubic => match x.abs() {
                x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
                x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
                _ => 0.0,
            },
            Filter::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Filter::Lanczos => 0.0,
        }
    }
}

/// Weights of the inputs of each output along one axis.
#[derive(Debug, Clone)]
pub(super) struct Taps<T> {
    /// First input of each output.
    firsts: Vec<usize>,
    /// End of each output's weights in `weights`.
    ends: Vec<usize>,
    weights: Vec<T>,
}

impl Taps<f64> {
    /// Computes the weights for resampling `input` values to `output` values, for a part of the
    /// outputs. The weights of an output sum to 1.
    pub fn new(input: usize, output: usize, part: Range<usize>, filter: Filter) -> Taps<f64> {
        let scale = input as f64 / output as f64;
        let widening = scale.max(1.0);
        let support = filter.support() * widening;
        let mut taps = Taps {
            firsts: Vec::with_capacity(part.len()),
            ends: Vec::with_capacity(part.len()),
            weights: vec![],
        };
        for place in part {
            let centre = (place as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let start = taps.weights.len();
            let weight = |i: usize| filter.weight((i as f64 - centre + 0.5) * (1.0 / widening));
            taps.weights.extend((first..end).map(weight));
            let total: f64 = taps.weights[start..].iter().sum();
            if total != 0.0 {
                taps.weights[start..]
                    .iter_mut()
                    .for_each(|weight| *weight /= total);
            }
            taps.firsts.push(first);
            taps.ends.push(taps.weights.len());
        }
        taps
    }
}

impl<T> Taps<T> {
    /// Converts the weights to another number format.
    pub fn map<U>(self, convert: impl Fn(T) -> U) -> Taps<U> {
        Taps {
            firsts: self.firsts,
            ends: self.ends,
            weights: self.weights.into_iter().map(convert).collect(),
        }
    }

    /// Returns the range of inputs that outputs need.
    pub fn inputs(&self) -> Range<usize> {
        let ends = (0..self.len()).map(|output| {
            let (first, weights) = self.of(output);
            first + weights.len()
        });
        let first = self.firsts.iter().copied().min().unwrap_or(0);
        first..ends.max().unwrap_or(0)
    }

    /// Counts inputs from `first` on.
    pub fn counted_from(mut self, first: usize) -> Taps<T> {
        self.firsts.iter_mut().for_each(|input| *input -= first);
        self
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.firsts.len()
    }

    /// Number of weights of all outputs.
    pub fn weight_count(&self) -> usize {
        self.weights.len()
    }

    /// Returns the first input of an output, and the weights of the inputs from there.
    #[inline(always)]
    pub fn of(&self, output: usize) -> (usize, &[T]) {
        let start = if output == 0 {
            0
        } else {
            self.ends[output - 1]
        };
        (self.firsts[output], &self.weights[start..self.ends[output]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        for filter in Filter::ALL {
            for (input, output) in [(1, 1), (1, 9), (9, 1), (7, 5), (5, 7), (300, 7), (2, 301)] {
                let taps = Taps::new(input, output, 0..output, filter);
                assert_eq!(taps.len(), output);
                for place in 0..output {
                    let (first, weights) = taps.of(place);
                    assert!(!weights.is_empty() && first + weights.len() <= input);
                    assert!(taps.inputs().contains(&first));
                    let part = Taps::new(input, output, place..output, filter);
                    assert_eq!(part.of(0), (first, weights));
                    let total: f64 = weights.iter().sum();
                    assert!((total - 1.0).abs() < 1e-12, "{filter:?} {input} {output}");
                }
            }
        }
    }

    #[test]
    fn filters_have_pillows_numbers() {
        let numbers = (0..6).map(Filter::from_pillow).collect::<Vec<_>>();
        let [bilinear, bicubic, lanczos] = Filter::ALL.map(Some);
        assert_eq!(numbers, [None, lanczos, bilinear, bicubic, None, None]);
    }
}
