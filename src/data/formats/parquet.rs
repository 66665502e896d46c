//! Parquet tables of pictures and captions, as the Hugging Face Hub keeps data sets: a column of
//! pictures with their bytes, or of their names, and one of captions.

use super::{Definition, Input};
use crate::file_kind::FileKind;

#[cfg(feature = "parquet")]
mod reader;

pub const DEFINITION: Definition = Definition {
    name: "parquet",
    description: "Parquet tables",
    detect: |input: &Input| input.binary().is_some() && input.kind == Some(FileKind::Parquet),
    #[cfg(feature = "parquet")]
    read: reader::read,
    #[cfg(not(feature = "parquet"))]
    read: |input, _| {
        Err(super::super::error::DataError::Format {
            path: input.name(),
            what: "is a Parquet table, and this program was built without the feature `parquet`: convert it to JSON Lines".into(),
        })
    },
    #[cfg(feature = "parquet")]
    write: Some(reader::write),
    #[cfg(not(feature = "parquet"))]
    write: None,
};
