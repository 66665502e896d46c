//! Rows of a table that give several captions to one picture.

use std::collections::BTreeMap;

use super::super::error::Problem;
use super::super::record::{Encoded, Record};
use super::Rows;
use super::picture_files::Pictures;

/// Collects rows; those that name the same picture file become one record with several captions.
pub struct Merge<'a> {
    pub rows: Rows,
    pub pictures: Pictures<'a>,
    /// Index of the record of each picture by its name; `None` for a missing picture, which is
    /// reported once.
    known: BTreeMap<String, Option<usize>>,
}

impl<'a> Merge<'a> {
    pub fn new(pictures: Pictures<'a>) -> Merge<'a> {
        Merge {
            rows: Rows::default(),
            pictures,
            known: BTreeMap::new(),
        }
    }

    /// Adds captions of the picture that `image` stands for.
    ///
    /// # Panics
    /// Panics if there is no caption.
    pub fn add(
        &mut self,
        id: &str,
        place: &str,
        image: &str,
        captions: Vec<String>,
        concept: Option<String>,
    ) {
        let image = image.trim();
        match self.known.get(image) {
            Some(&Some(index)) => {
                let record: &mut Record = &mut self.rows.records[index];
                record.others.extend(captions);
                record.concept = record.concept.take().or(concept);
                return;
            }
            Some(None) => return,
            None => {}
        }
        match self.pictures.interpret(place, image) {
            Ok(found) => {
                // embedded pictures stay rows of their own, and would be long keys
                if matches!(found, Encoded::File(_)) {
                    let next = self.rows.records.len();
                    self.known.insert(image.to_owned(), Some(next));
                }
                self.rows.records.push(Record {
                    concept,
                    ..Record::new(id, place, found, captions)
                });
            }
            Err(problem) => {
                self.known.insert(image.to_owned(), None);
                self.problem(problem);
            }
        }
    }

    pub fn problem(&mut self, problem: Problem) {
        self.rows.problems.push(problem);
    }

    /// Ends the collection.
    pub fn finish(mut self) -> Rows {
        let Rows { used, notes, .. } = &mut self.rows;
        self.pictures.finish(used, notes);
        self.rows
    }
}
