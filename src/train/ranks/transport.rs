//! How ranks send each other words, and where they run.

use super::words::Words;

/// Kinds of messages. Those of one kind between two ranks arrive in the order that they were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tag {
    /// A sign of life, with the place of the rank.
    Life,
    /// The error that a rank ends with.
    Farewell,
    /// From a rank to rank 0.
    ToFirst,
    /// From rank 0, passed on.
    FromFirst,
    /// Gradients of a part of a batch.
    Part,
    /// Gradients of all parts.
    Sum,
}

impl Tag {
    /// All kinds, in the order of their numbers.
    #[cfg(feature = "mpi")]
    pub const ALL: [Tag; 6] = [
        Tag::Life,
        Tag::Farewell,
        Tag::ToFirst,
        Tag::FromFirst,
        Tag::Part,
        Tag::Sum,
    ];
}

/// A message of a rank.
pub struct Message {
    pub from: usize,
    pub tag: Tag,
    pub words: Words,
}

/// The connection of a rank with all others, used by one thread.
pub trait Transport {
    /// Number of this rank.
    fn rank(&self) -> usize;

    /// Number of ranks.
    fn size(&self) -> usize;

    /// Name of the machine.
    fn host(&self) -> String;

    /// Begins to send a message.
    ///
    /// # Errors
    /// The message of the library.
    fn send(&mut self, to: usize, tag: Tag, words: Words) -> Result<(), String>;

    /// Moves messages as far as that takes no waiting, and hands over those that came. Returns
    /// whether anything moved.
    ///
    /// # Errors
    /// The message of the library.
    fn progress(&mut self, take: &mut dyn FnMut(Message)) -> Result<bool, String>;

    /// Whether all messages have left.
    fn is_idle(&self) -> bool;

    /// Whether [`abort`](Self::abort) ends this process.
    fn ends_process(&self) -> bool;

    /// Ends all ranks, if the library can.
    fn abort(&mut self, code: i32);
}

/// Returns bytes as words: their number, at most 4 GiB, then the bytes.
pub fn words_of_bytes(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_le_bytes(word)
    });
    std::iter::once(bytes.len() as u32).chain(words).collect()
}

/// Returns the bytes of [`words_of_bytes`].
pub fn bytes_of(words: &[u32]) -> Vec<u8> {
    let Some((&length, words)) = words.split_first() else {
        return vec![];
    };
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    bytes.truncate(length as usize);
    bytes
}

/// Returns a text as words.
pub fn words_of(text: &str) -> Vec<u32> {
    words_of_bytes(text.as_bytes())
}

/// Returns the text of [`words_of`].
pub fn text(words: &[u32]) -> String {
    String::from_utf8_lossy(&bytes_of(words)).into_owned()
}

/// Returns number and count of the ranks that a launcher started, as it tells each of them: Open
/// MPI, MPICH and Intel MPI, or Slurm with PMI or PMIx.
pub fn launched() -> Option<(usize, usize)> {
    let number = |name: &str| std::env::var(name).ok()?.trim().parse::<usize>().ok();
    let pairs = [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
        ("PMI_RANK", "PMI_SIZE"),
        ("PMIX_RANK", "SLURM_NTASKS"),
    ];
    let mut known = pairs.iter();
    known.find_map(|(rank, size)| Some((number(rank)?, number(size)?)))
}

/// Returns the cores that this process may run on, as the system lists them; empty where it does
/// not.
pub fn allowed_cores() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines();
    let cores = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores.unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_round_trip() {
        for one in ["", "a", "four", "rank 3: größer"] {
            assert_eq!(text(&words_of(one)), one);
        }
    }
}
