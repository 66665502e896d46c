//! A value over the steps of a training, with a bounded number of points so that it draws fast.

/// Maximum number of points. At this number, every two are merged into their mean.
const CAPACITY: usize = 1000;

/// A value over the steps of a training.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    points: Vec<[f64; 2]>,
    /// Number of values per point.
    merged: u64,
    /// Sums of step and value, and the count, of the values that do not fill a point yet.
    partial: ([f64; 2], u64),
    last: Option<[f64; 2]>,
}

impl Default for Curve {
    fn default() -> Curve {
        Curve {
            points: vec![],
            merged: 1,
            partial: ([0.0; 2], 0),
            last: None,
        }
    }
}

impl Curve {
    /// Adds a value. Non-finite values are ignored.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let point = [step as f64, value];
        self.last = Some(point);
        let (sum, count) = &mut self.partial;
        *sum = [sum[0] + point[0], sum[1] + point[1]];
        *count += 1;
        if *count < self.merged {
            return;
        }
        self.points.push(sum.map(|sum| sum / *count as f64));
        self.partial = ([0.0; 2], 0);
        if self.points.len() >= CAPACITY {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| {
                    [0, 1].map(|i| pair.iter().map(|p| p[i]).sum::<f64>() / pair.len() as f64)
                })
                .collect();
            self.merged *= 2;
        }
    }

    /// Returns the first and the last step.
    pub fn steps(&self) -> Option<[f64; 2]> {
        let first = self.points.first().or(self.last.as_ref())?;
        Some([first[0], self.last?[0]])
    }

    /// Removes the values after a step, which a resumed training repeats.
    pub fn truncate(&mut self, step: u64) {
        self.points.retain(|point| point[0] <= step as f64);
        self.partial = ([0.0; 2], 0);
        self.last = self.points.last().copied();
    }

    /// Returns the last value.
    pub fn last(&self) -> Option<f64> {
        self.last.map(|[_, value]| value)
    }

    /// Returns steps and values, or steps and decimal logarithms of the positive values.
    pub fn points(&self, log: bool) -> Vec<[f64; 2]> {
        // the last value is always shown, even if it does not fill a point yet
        let last = self.last.filter(|_| self.partial.1 > 0);
        let points = self.points.iter().copied().chain(last);
        if log {
            points
                .filter(|p| p[1] > 0.0)
                .map(|[x, y]| [x, y.log10()])
                .collect()
        } else {
            points.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_curves_are_merged_without_changing_shape() {
        let mut curve = Curve::default();
        (0..100_000).for_each(|step| curve.push(step, 3.0 - step as f64 * 2e-5));
        let points = curve.points(false);
        assert!(
            (CAPACITY / 2..=CAPACITY).contains(&points.len()),
            "{}",
            points.len()
        );
        assert!(
            points
                .iter()
                .all(|[x, y]| (3.0 - x * 2e-5 - y).abs() < 1e-9),
            "merged points are off the line"
        );
        assert!(points.windows(2).all(|pair| pair[0][0] < pair[1][0]));
        assert_eq!(
            (points.last().unwrap()[0], curve.last()),
            (99_999.0, Some(3.0 - 99_999.0 * 2e-5))
        );
    }

    #[test]
    fn curves_are_cut_where_a_training_resumes() {
        let mut curve = Curve::default();
        (1..=10).for_each(|step| curve.push(step, step as f64));
        curve.truncate(7);
        assert_eq!((curve.steps(), curve.last()), (Some([1.0, 7.0]), Some(7.0)));
        curve.push(8, 0.5);
        assert_eq!(curve.points(false).len(), 8);
    }

    #[test]
    fn short_curves_keep_every_finite_value() {
        let mut curve = Curve::default();
        for (step, value) in [(1, 10.0), (2, f64::NAN), (3, 0.0), (4, 100.0)] {
            curve.push(step, value);
        }
        assert_eq!(curve.points(false), [[1.0, 10.0], [3.0, 0.0], [4.0, 100.0]]);
        assert_eq!(curve.points(true), [[1.0, 1.0], [4.0, 2.0]]);
    }
}
