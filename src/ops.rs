//! One file per op: its kernel, its method on [`Tape`](crate::graph::Tape), its f64 reference and its test.

pub mod check;
mod vector_width;

/// Declares the module of each op and lists its checks in [`CHECKS`].
macro_rules! ops {
    ($($name:ident)+) => {
        $(mod $name;)+

        /// Checks of every op, by the op's name.
        pub const CHECKS: &[(&str, &[check::Check])] =
            &[$((stringify!($name), $name::checks::CHECKS)),+];
    };
}

ops! {
    accumulate
    activation
    adamw
    add
    add_layernorm
    add_vector
    argmax
    attention
    cache_rows
    color_histogram
    concat
    cross_entropy
    dropout
    ema
    embedding
    fill
    grad_scaler
    half
    hog
    ink
    l2_normalize
    layernorm
    matmul
    pad_heads
    patchify
    positions
    scale
    slice
    softmax
    sum_rows
    sum_squares
}

pub use activation::Activation;
pub use adamw::AdamW;
pub use attention::{Attention, max_keys};
pub use cross_entropy::IGNORE;
pub use dropout::Dropout;
pub use grad_scaler::GradScaler;
pub use hog::hog_values;
pub use matmul::{MATMUL_VARIANTS, Matrix, transposed, tuned_sources};

/// Runs `checks`, usually [`CHECKS`], on a device. Calls `after` for each op with the number of checks that passed and a
/// line for each that failed.
pub fn self_test(
    device: &crate::device::Device,
    checks: &[(&'static str, &[check::Check])],
    mut after: impl FnMut(&'static str, usize, &[String]),
) {
    for (op, checks) in checks {
        let failures: Vec<String> = checks
            .iter()
            .filter_map(|check| {
                let failure = (check.run)(device).err()?;
                Some(format!("{}: {failure}", check.name))
            })
            .collect();
        after(op, checks.len() - failures.len(), &failures);
    }
}

#[cfg(test)]
mod tests {
    use super::check::{Check, Failure};
    use super::*;

    #[test]
    fn self_test_reports_what_a_failed_check_says() {
        const PASSES: Check = Check {
            name: "passes",
            run: |_| Ok(()),
        };
        const FAILS: Check = Check {
            name: "fails",
            run: |_| Err(Failure::new("at 1 got 2")),
        };
        let mut reported = vec![];
        let checks: [(&str, &[Check]); 2] = [("good", &[PASSES]), ("bad", &[FAILS, PASSES])];
        self_test(&check::device(), &checks, |op, passed, failures| {
            reported.push((op, passed, failures.to_vec()))
        });
        assert_eq!(
            reported,
            [
                ("good", 1, vec![]),
                ("bad", 1, vec!["fails: at 1 got 2".to_owned()])
            ]
        );
    }

    #[test]
    fn every_op_is_listed_and_has_checks() {
        for entry in std::fs::read_dir("src/ops").unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if path.is_dir() || ["check", "vector_width"].contains(&name) {
                continue;
            }
            let (_, checks) = CHECKS
                .iter()
                .find(|(op, _)| *op == name)
                .unwrap_or_else(|| panic!("{name} is not among the ops of src/ops.rs"));
            assert!(!checks.is_empty(), "{name} has no checks");
        }
    }
}
