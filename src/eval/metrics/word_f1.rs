//! Word F1: agreement of words in any order.

use std::collections::BTreeMap;

use super::Case;

/// Computes the harmonic mean of word precision and word recall, counting repetitions. The
/// reference with the highest score counts. Two empty captions score 1.
pub fn word_f1(case: &Case) -> f64 {
    case.references
        .iter()
        .map(|reference| f1(&case.candidate, reference))
        .fold(0.0, f64::max)
}

fn f1(candidate: &[String], reference: &[String]) -> f64 {
    if candidate.is_empty() && reference.is_empty() {
        return 1.0;
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    reference
        .iter()
        .for_each(|word| *left.entry(word).or_default() += 1);
    let common = candidate.iter().filter(|word| {
        let left = left.get_mut(word.as_str()).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    });
    2.0 * common.count() as f64 / (candidate.len() + reference.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::words;

    #[test]
    fn counts_repetitions_and_uses_the_best_reference() {
        let f1 = |candidate: &str, references: &[&str]| {
            word_f1(&Case {
                candidate: words(candidate),
                references: references.iter().map(|text| words(text)).collect(),
            })
        };
        assert_eq!(f1("heart red", &["red heart"]), 1.0);
        // 1 of 2 candidate words, 1 of 3 reference words
        assert_eq!(f1("red red", &["a red heart"]), 2.0 / 5.0);
        assert_eq!(
            f1("red heart", &["moon", "red", "a red heart on red"]),
            2.0 / 3.0
        );
        assert_eq!(
            (f1("", &["red"]), f1("red", &["moon"]), f1("", &[""])),
            (0.0, 0.0, 1.0)
        );
    }
}
