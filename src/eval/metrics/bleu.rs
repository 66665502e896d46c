//! BLEU (Papineni et al. 2002).

use super::{Case, ngrams};

/// Constants of pycocoevalcap that avoid a division by zero and the root of zero.
const SMALL: f64 = 1e-9;
const TINY: f64 = 1e-15;

/// Computes BLEU-1 to BLEU-4 of all cases together.
///
/// BLEU-n is the geometric mean of the clipped 1-gram to n-gram precisions, times a penalty if the
/// candidates are shorter in total than their references. The reference closest in length counts,
/// or the shorter of two equally close ones.
pub fn bleu(cases: &[Case]) -> [f64; 4] {
    let (mut written, mut length, mut right, mut all) = (0, 0, [0; 4], [0; 4]);
    for Case {
        candidate,
        references,
    } in cases
    {
        written += candidate.len();
        length += references
            .iter()
            .map(Vec::len)
            .min_by_key(|&words| (words.abs_diff(candidate.len()), words))
            .unwrap_or(0);
        let truths: Vec<_> = references
            .iter()
            .map(|reference| ngrams::<4>(reference))
            .collect();
        for (n, counts) in ngrams::<4>(candidate).into_iter().enumerate() {
            all[n] += candidate.len().saturating_sub(n);
            for (run, count) in counts {
                let most = truths
                    .iter()
                    .map(|truth| truth[n].get(run).copied().unwrap_or(0))
                    .max()
                    .unwrap_or(0);
                right[n] += count.min(most);
            }
        }
    }
    let ratio = (written as f64 + TINY) / (length as f64 + SMALL);
    let penalty = if ratio < 1.0 {
        (1.0 - 1.0 / ratio).exp()
    } else {
        1.0
    };
    let mut product = 1.0;
    std::array::from_fn(|n| {
        product *= (right[n] as f64 + TINY) / (all[n] as f64 + SMALL);
        product.powf(1.0 / (n + 1) as f64) * penalty
    })
}
