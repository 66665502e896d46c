//! Recorded passes: the programs that generation, evaluation, validation and explanations run. The
//! pass that scores captions is `train`'s, beside the loss.
//!
//! A pass records the model's forward pass once for fixed sizes; pictures, tokens and cache
//! positions are written before each run. Text lengths are rounded up to a [`text_bucket`] and
//! padded on the right: attention is causal, so padding never reaches the positions before it, and
//! tokens written later replace its cached keys and values.

mod attention;
mod decoding;
mod encoding;
mod name_relevance;
mod pictures;
mod pool;
mod relevance;

pub use attention::AttentionPass;
pub(crate) use decoding::{Decoding, DecodingSpec};
pub(crate) use encoding::{Encoded, Encoding};
pub(crate) use name_relevance::NameRelevancePass;
pub(crate) use pictures::places_of;
pub(crate) use pool::Pool;
pub use relevance::RelevancePass;

/// Text length to record a pass for, so that passes serve texts of several lengths: 1, 8, 16, 32
/// and so on, at most `room`.
///
/// A single begin-of-text token, the most frequent prompt, has a bucket of its own, so that it
/// costs no padding.
pub(crate) fn text_bucket(tokens: usize, room: usize) -> usize {
    match tokens {
        0 | 1 => 1,
        tokens => tokens.next_power_of_two().max(8),
    }
    .min(room)
    .max(tokens)
}

/// Text length to record a pass for that runs once per text or token: a multiple of 8, at most
/// `room`.
pub(crate) fn length_bucket(tokens: usize, room: usize) -> usize {
    tokens.next_multiple_of(8).min(room).max(tokens)
}

/// Batch size to record a pass for: a power of two up to 8, then a multiple of 8; at most `limit`.
pub(crate) fn batch_bucket(rows: usize, limit: usize) -> usize {
    match rows {
        0..=8 => rows.max(1).next_power_of_two(),
        rows => rows.next_multiple_of(8),
    }
    .min(limit)
    .max(rows)
}

/// Cache capacity to record passes for: a multiple of 64, at most `limit`.
pub(crate) fn capacity_bucket(positions: usize, limit: usize) -> usize {
    positions.next_multiple_of(64).min(limit).max(positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_what_they_are_for_and_stay_below_the_limit() {
        assert_eq!(
            [1, 2, 8, 9, 33, 60].map(|tokens| text_bucket(tokens, 60)),
            [1, 8, 8, 16, 60, 60]
        );
        assert_eq!(
            [1, 3, 8, 9, 20, 63].map(|rows| batch_bucket(rows, 63)),
            [1, 4, 8, 16, 24, 63]
        );
        assert_eq!(
            [1, 64, 65, 100].map(|positions| capacity_bucket(positions, 100)),
            [64, 64, 100, 100]
        );
    }
}
