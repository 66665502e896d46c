//! Calibration: whether predicted probabilities match the accuracy.

/// Captions with a probability in one range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Start and end of the range; the end is exclusive, except for 1.
    pub range: (f64, f64),
    /// Number of captions.
    pub count: usize,
    /// Mean probability; 0 for an empty bin.
    pub probability: f64,
    /// Share of correct captions; 0 for an empty bin.
    pub accuracy: f64,
}

/// Probabilities of captions compared with their accuracy (Guo et al. 2017).
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// Expected calibration error: the mean distance between probability and accuracy of the bins,
    /// weighted by their counts.
    pub error: f64,
    /// Ten bins of equal width.
    pub bins: Vec<Bin>,
}

impl Calibration {
    const BINS: usize = 10;

    /// Computes the calibration of captions, each given by its probability and correctness.
    pub fn new(captions: &[(f64, bool)]) -> Calibration {
        let of =
            |probability: f64| ((probability * Self::BINS as f64) as usize).min(Self::BINS - 1);
        let bin = |index: usize| {
            let inside: Vec<_> = captions
                .iter()
                .filter(|(probability, _)| of(*probability) == index)
                .collect();
            Bin {
                range: (
                    index as f64 / Self::BINS as f64,
                    (index + 1) as f64 / Self::BINS as f64,
                ),
                count: inside.len(),
                probability: super::mean(inside.iter().map(|(probability, _)| *probability)),
                accuracy: super::mean(inside.iter().map(|(_, right)| *right as usize as f64)),
            }
        };
        let bins: Vec<Bin> = (0..Self::BINS).map(bin).collect();
        let off = bins
            .iter()
            .map(|bin| bin.count as f64 * (bin.probability - bin.accuracy).abs())
            .sum::<f64>();
        Calibration {
            error: off / captions.len().max(1) as f64,
            bins,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_the_weighted_mean_distance() {
        let captions = [
            (0.95, true),
            (0.97, false),
            (1.0, true),
            (0.4, false),
            (0.0, false),
        ];
        let Calibration { error, bins } = Calibration::new(&captions);
        let counts: Vec<usize> = bins.iter().map(|bin| bin.count).collect();
        assert_eq!(counts, [1, 0, 0, 0, 1, 0, 0, 0, 0, 3]);
        let most = bins[9];
        assert!(
            (most.probability - 2.92 / 3.0).abs() < 1e-12
                && (most.accuracy - 2.0 / 3.0).abs() < 1e-12
                && most.range == (0.9, 1.0)
        );
        let want = (3.0 * (2.92 / 3.0 - 2.0 / 3.0) + 0.4) / 5.0;
        assert!((error - want).abs() < 1e-12, "{error}");
    }

    #[test]
    fn calibrated_probabilities_have_no_error() {
        let captions: Vec<(f64, bool)> = (0..100).map(|i| (0.75, i % 4 != 0)).collect();
        assert!(Calibration::new(&captions).error < 1e-12);
        assert_eq!(Calibration::new(&[]).error, 0.0);
    }
}
