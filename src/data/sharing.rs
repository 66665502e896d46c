//! Decoding of pictures by several processes, each of which then has all of them.

use rayon::prelude::*;

use super::error::{DataError, Problem};
use super::record::Record;
use super::sample::Sample;

/// Processes that read one data set together.
pub trait Sharing: Sync {
    /// Number of this process, and of all.
    fn place(&self) -> (usize, usize);

    /// Returns the bytes of every process, in the order of their numbers, on every process.
    ///
    /// # Errors
    /// A process that is lost, for [`DataError::Sharing`].
    fn exchange(
        &self,
        bytes: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>>;
}

/// Pictures that a process decodes between two exchanges, so that messages need little memory.
const BLOCK: usize = 1024;

/// Decodes record `i` on process `i` modulo their number, and returns all samples on all of them.
/// A problem loses its hint on the way.
pub(super) fn decode(
    records: Vec<Record>,
    sharing: &dyn Sharing,
    decode: &(dyn Fn(Record) -> Result<Sample, Problem> + Sync),
) -> Result<Vec<Result<Sample, Problem>>, DataError> {
    let (this, count) = sharing.place();
    let mut all = Vec::with_capacity(records.len());
    let mut records = records.into_iter();
    loop {
        let block: Vec<Record> = records.by_ref().take(BLOCK * count).collect();
        if block.is_empty() {
            return Ok(all);
        }
        let decoded = block.into_par_iter().enumerate();
        let decoded: Vec<Share> = decoded
            .map(|(index, record)| match index % count == this {
                true => Share::Own(decode(record)),
                false => Share::Other(record),
            })
            .collect();
        let mut bytes = vec![];
        for share in &decoded {
            if let Share::Own(result) = share {
                write(&mut bytes, result);
            }
        }
        let parts = sharing.exchange(bytes).map_err(DataError::Sharing)?;
        let mut parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        for (index, share) in decoded.into_iter().enumerate() {
            all.push(match share {
                Share::Own(result) => result,
                Share::Other(record) => {
                    let pixels = read(&mut parts[index % count]).ok_or_else(|| {
                        DataError::Sharing("processes exchange other pictures than due".into())
                    })?;
                    pixels.map(|pixels| record.with_pixels(pixels))
                }
            });
        }
    }
}

/// A record of a block.
enum Share {
    /// Decoded by this process.
    Own(Result<Sample, Problem>),
    /// Decoded by another one.
    Other(Record),
}

/// Appends the pixels of a sample, or the place and text of a problem.
fn write(bytes: &mut Vec<u8>, result: &Result<Sample, Problem>) {
    let fields: &[&[u8]] = match result {
        Ok(sample) => &[&sample.rgb],
        Err(problem) => &[problem.place.as_bytes(), problem.what.as_bytes()],
    };
    bytes.push(fields.len() as u8);
    for field in fields {
        bytes.extend((field.len() as u64).to_le_bytes());
        bytes.extend(*field);
    }
}

/// Takes what [`write`] has written off the front, or returns `None` if it is not that.
fn read(bytes: &mut &[u8]) -> Option<Result<Vec<u8>, Problem>> {
    let (&fields, rest) = bytes.split_first()?;
    *bytes = rest;
    let mut field = || {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        Some(field.to_vec())
    };
    match fields {
        1 => Some(Ok(field()?)),
        2 => {
            let mut text = || Some(String::from_utf8_lossy(&field()?).into_owned());
            Some(Err(Problem::new(text()?, text()?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_and_problems_round_trip() {
        let sample = Sample::new("a", vec![1, 2, 3], "a cat");
        let results = [Ok(sample), Err(Problem::new("b.csv row 2", "it is empty"))];
        let mut bytes = vec![];
        results.iter().for_each(|result| write(&mut bytes, result));
        let whole = bytes.clone();
        let mut rest = whole.as_slice();
        for result in results {
            assert_eq!(read(&mut rest), Some(result.map(|sample| sample.rgb)));
        }
        assert_eq!(read(&mut rest), None);
        for length in 0..12 {
            assert_eq!(read(&mut &whole[..length]), None, "of {length} bytes");
        }
    }
}
