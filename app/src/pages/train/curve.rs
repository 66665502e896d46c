//! A number over the steps of a training, kept at a size that a frame can draw.

/// Most points that are kept. When there are more, every two become their mean.
const MOST: usize = 1000;

#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    points: Vec<[f64; 2]>,
    /// Values in a point.
    merged: u64,
    /// The sum of step and value, and the count, of those that do not fill a point yet.
    rest: ([f64; 2], u64),
    last: Option<[f64; 2]>,
}

impl Default for Curve {
    fn default() -> Curve {
        Curve {
            points: vec![],
            merged: 1,
            rest: ([0.0; 2], 0),
            last: None,
        }
    }
}

impl Curve {
    /// Takes in a value; one that is no number is passed over.
    pub fn push(&mut self, step: u64, value: f64) {
        if !value.is_finite() {
            return;
        }
        let point = [step as f64, value];
        self.last = Some(point);
        let (sum, count) = &mut self.rest;
        *sum = [sum[0] + point[0], sum[1] + point[1]];
        *count += 1;
        if *count < self.merged {
            return;
        }
        self.points.push(sum.map(|sum| sum / *count as f64));
        self.rest = ([0.0; 2], 0);
        if self.points.len() >= MOST {
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

    /// The value that came last.
    pub fn last(&self) -> Option<f64> {
        self.last.map(|[_, value]| value)
    }

    /// Step and value, or the value's logarithm to the base of 10; what has none is left out.
    pub fn points(&self, log: bool) -> Vec<[f64; 2]> {
        // the newest value is always there, though it fills no point yet
        let last = self.last.filter(|_| self.rest.1 > 0);
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
    fn a_long_curve_keeps_its_course_in_few_points() {
        let mut curve = Curve::default();
        (0..100_000).for_each(|step| curve.push(step, 3.0 - step as f64 * 2e-5));
        let points = curve.points(false);
        assert!(
            (MOST / 2..=MOST).contains(&points.len()),
            "{}",
            points.len()
        );
        assert!(
            points
                .iter()
                .all(|[x, y]| (3.0 - x * 2e-5 - y).abs() < 1e-9),
            "means do not lie on the line"
        );
        assert!(points.windows(2).all(|pair| pair[0][0] < pair[1][0]));
        assert_eq!(
            (points.last().unwrap()[0], curve.last()),
            (99_999.0, Some(3.0 - 99_999.0 * 2e-5))
        );
    }

    #[test]
    fn a_short_curve_is_kept_as_it_is() {
        let mut curve = Curve::default();
        for (step, value) in [(1, 10.0), (2, f64::NAN), (3, 0.0), (4, 100.0)] {
            curve.push(step, value);
        }
        assert_eq!(curve.points(false), [[1.0, 10.0], [3.0, 0.0], [4.0, 100.0]]);
        assert_eq!(curve.points(true), [[1.0, 1.0], [4.0, 2.0]]);
    }
}
