//! One file per op: its kernel, its method on [`Tape`](crate::graph::Tape), its f64 reference and its test.

mod accumulate;
mod activation;
mod adamw;
mod add;
mod add_layernorm;
mod add_vector;
mod argmax;
mod attention;
mod cache_rows;
pub(crate) mod check;
mod color_histogram;
mod concat;
mod cross_entropy;
mod dropout;
mod ema;
mod embedding;
mod fill;
mod grad_scaler;
mod half;
mod hog;
mod ink;
mod l2_normalize;
mod layernorm;
mod matmul;
mod pad_heads;
mod patchify;
mod positions;
mod scale;
mod slice;
mod softmax;
mod sum_rows;
mod sum_squares;
mod vector_width;

pub use activation::Activation;
pub use adamw::AdamW;
pub use attention::{Attention, max_keys};
pub use cross_entropy::IGNORE;
pub use dropout::Dropout;
pub use grad_scaler::GradScaler;
pub use hog::hog_values;
pub use matmul::{MATMUL_VARIANTS, Matrix, transposed, tuned_sources};

/// Runs ops' tests, as [`CHECKS`], on a device; `after` is told each op, how many of its tests pass, and what the others say.
pub fn self_test(
    device: &crate::device::Device,
    checks: &[(&'static str, &[check::Check])],
    after: &mut dyn FnMut(&'static str, usize, &[String]),
) {
    check::on(device);
    // a failed test is told here, and not where it panics
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    for (op, checks) in checks {
        let failed = checks.iter().filter_map(|(name, check)| {
            let panic = std::panic::catch_unwind(check).err()?;
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied());
            Some(format!(
                "{name}: {}",
                text.unwrap_or("it failed without a message")
            ))
        });
        let failed: Vec<String> = failed.collect();
        after(op, checks.len() - failed.len(), &failed);
    }
    std::panic::set_hook(hook);
}

/// The tests of every op.
pub const CHECKS: [(&str, &[check::Check]); 31] = [
    ("accumulate", accumulate::tests::CHECKS),
    ("activation", activation::tests::CHECKS),
    ("adamw", adamw::tests::CHECKS),
    ("add", add::tests::CHECKS),
    ("add_layernorm", add_layernorm::tests::CHECKS),
    ("add_vector", add_vector::tests::CHECKS),
    ("argmax", argmax::tests::CHECKS),
    ("attention", attention::tests::CHECKS),
    ("cache_rows", cache_rows::tests::CHECKS),
    ("color_histogram", color_histogram::tests::CHECKS),
    ("concat", concat::tests::CHECKS),
    ("cross_entropy", cross_entropy::tests::CHECKS),
    ("dropout", dropout::tests::CHECKS),
    ("ema", ema::tests::CHECKS),
    ("embedding", embedding::tests::CHECKS),
    ("fill", fill::tests::CHECKS),
    ("grad_scaler", grad_scaler::tests::CHECKS),
    ("half", half::tests::CHECKS),
    ("hog", hog::tests::CHECKS),
    ("ink", ink::tests::CHECKS),
    ("l2_normalize", l2_normalize::tests::CHECKS),
    ("layernorm", layernorm::tests::CHECKS),
    ("matmul", matmul::tests::CHECKS),
    ("pad_heads", pad_heads::tests::CHECKS),
    ("patchify", patchify::tests::CHECKS),
    ("positions", positions::tests::CHECKS),
    ("scale", scale::tests::CHECKS),
    ("slice", slice::tests::CHECKS),
    ("softmax", softmax::tests::CHECKS),
    ("sum_rows", sum_rows::tests::CHECKS),
    ("sum_squares", sum_squares::tests::CHECKS),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_fails_is_told_with_what_it_says() {
        let mut told = vec![];
        let checks: [(&str, &[check::Check]); 2] = [
            ("good", &[("passes", || ())]),
            (
                "bad",
                &[("fails", || panic!("at 1 got 2")), ("passes", || ())],
            ),
        ];
        self_test(&check::device(), &checks, &mut |op, passed, failed| {
            told.push((op, passed, failed.to_vec()))
        });
        assert_eq!(
            told,
            [
                ("good", 1, vec![]),
                ("bad", 1, vec!["fails: at 1 got 2".to_owned()])
            ]
        );
    }

    #[test]
    fn every_op_with_tests_is_among_those_that_the_doctor_checks() {
        for entry in std::fs::read_dir("src/ops").unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let named = CHECKS.iter().find(|(op, _)| *op == name);
            let tests = text.matches("#[cfg_attr(test, test)]").count();
            assert_eq!(
                named.map_or(0, |(_, checks)| checks.len()),
                tests,
                "{name}: tests with #[cfg_attr(test, test)] are listed in its CHECKS"
            );
        }
    }
}
