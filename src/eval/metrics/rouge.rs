//! ROUGE-L (Lin 2004).

use super::Case;

/// Weight of recall relative to precision, as in the COCO evaluation.
const BETA: f64 = 1.2;

/// Computes ROUGE-L: the F-measure of the longest common subsequence of candidate and references.
/// Precision and recall are each the largest over all references.
pub fn rouge_l(case: &Case) -> f64 {
    // an empty caption counts as one empty word, which equals only another empty word
    let empty = [String::new()];
    let words = |words: &'_ [String]| {
        if words.is_empty() {
            empty.to_vec()
        } else {
            words.to_vec()
        }
    };
    let candidate = words(&case.candidate);
    let (mut precision, mut recall) = (0.0f64, 0.0f64);
    for reference in &case.references {
        let reference = words(reference);
        let common = common(&candidate, &reference) as f64;
        precision = precision.max(common / candidate.len() as f64);
        recall = recall.max(common / reference.len() as f64);
    }
    if precision == 0.0 {
        0.0
    } else {
        (1.0 + BETA * BETA) * precision * recall / (recall + BETA * BETA * precision)
    }
}

/// Returns the length of the longest common subsequence.
fn common(a: &[String], b: &[String]) -> usize {
    // lengths for the words of `a` so far and the first `j` words of `b`
    let mut lengths = vec![0; b.len() + 1];
    for word in a {
        let mut before = 0;
        for (j, other) in b.iter().enumerate() {
            let diagonal = std::mem::replace(&mut before, lengths[j + 1]);
            lengths[j + 1] = if word == other {
                diagonal + 1
            } else {
                lengths[j + 1].max(lengths[j])
            };
        }
    }
    lengths[b.len()]
}
