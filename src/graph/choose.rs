//! The choice between several kernels that compute the same.

use super::Tape;

/// The variants that an op can be recorded in.
pub struct Candidates<'a> {
    /// Key of the choice: the op and those of its sizes that decide which variant is fastest.
    pub class: &'a str,
    /// Names of the variants; the first is the one of the fixed rule.
    pub names: &'a [&'a str],
    /// Number of variants, from the first, that are worth measuring.
    pub plausible: usize,
    /// Records a representative op of this class in the variant of the given index.
    pub record: &'a dyn Fn(&mut Tape, usize),
}

/// Chooses the variant that an op is recorded in.
///
/// The answer for a class must never change: the results would change with it, bit for bit.
pub trait Choose: std::fmt::Debug + Send + Sync {
    /// Returns the index of one of the candidates.
    fn choose(&self, candidates: &Candidates) -> usize;
}

/// Chooses the variant of one name where an op has it, and otherwise follows the fixed rule.
#[derive(Debug)]
pub struct Always(pub &'static str);

impl Choose for Always {
    fn choose(&self, candidates: &Candidates) -> usize {
        candidates
            .names
            .iter()
            .position(|name| *name == self.0)
            .unwrap_or(0)
    }
}

/// Number format that the operands of matrix products and attention are rounded to. Sums and
/// results stay f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// No rounding.
    #[default]
    F32,
    /// Half precision: half the bytes, and tensor cores where the device has them.
    F16,
}
