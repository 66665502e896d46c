//! Concepts: the classes of the class loss.

use std::collections::BTreeMap;

use crate::data::{Dataset, Sample};

/// The distinct concepts of a data set, numbered in alphabetical order. Without a concept of its
/// own, a picture shows what its caption says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concepts(BTreeMap<String, u32>);

impl Concepts {
    /// Collects the concepts of a data set.
    pub fn new(dataset: &Dataset) -> Concepts {
        let mut numbers: BTreeMap<String, u32> = dataset
            .samples
            .iter()
            .map(|sample| (name(sample).to_owned(), 0))
            .collect();
        numbers
            .values_mut()
            .zip(0..)
            .for_each(|(number, next)| *number = next);
        Concepts(numbers)
    }

    /// Returns the number of concepts.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no concepts.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns their names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the number of a sample's concept, if it is one of these.
    pub fn of(&self, sample: &Sample) -> Option<u32> {
        self.0.get(name(sample)).copied()
    }
}

/// Whether a sample is a variant of its concept, such as a skin tone.
pub(super) fn is_variant(sample: &Sample) -> bool {
    sample
        .concept
        .as_ref()
        .is_some_and(|concept| *concept != sample.caption)
}

fn name(sample: &Sample) -> &str {
    sample.concept.as_deref().unwrap_or(&sample.caption)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_concepts_in_order() {
        let sample = |caption: &str, concept: Option<&str>| Sample {
            concept: concept.map(str::to_owned),
            ..Sample::new("", vec![], caption)
        };
        let samples = vec![
            sample("zebra", None),
            sample("hand: dark skin tone", Some("hand")),
            sample("hand", Some("hand")),
            sample("bee", None),
        ];
        let concepts = Concepts::new(&Dataset {
            side: 0,
            samples: samples.clone(),
        });
        assert_eq!(concepts.len(), 3);
        assert_eq!(
            samples
                .iter()
                .map(|sample| concepts.of(sample))
                .collect::<Vec<_>>(),
            [Some(2), Some(1), Some(1), Some(0)]
        );
        assert_eq!(concepts.of(&sample("ant", None)), None);
        assert_eq!(
            samples.iter().map(is_variant).collect::<Vec<_>>(),
            [false, true, false, false]
        );
    }
}
