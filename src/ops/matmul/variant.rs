//! Kernel variants of matrix products, and the choice between them.

use super::native::BODIES;
use crate::graph::Capabilities;
use crate::graph::Kernel;
use crate::graph::{Candidates, Precision, Tape};
use crate::kernel;
use crate::ops::shared;

/// Operation on the sums of a product before they are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Epilogue {
    /// Nothing.
    Plain,
    /// Adds a bias.
    Bias,
    /// Adds a bias, stores the result, and applies an activation.
    BiasActivation,
}

impl Epilogue {
    /// Name of the entry point.
    pub fn entry(self) -> &'static str {
        match self {
            Epilogue::Plain => "product",
            Epilogue::Bias => "product_bias",
            Epilogue::BiasActivation => "product_bias_activation",
        }
    }
}

/// A variant's kernels, one for each epilogue.
pub(super) struct Epilogues {
    plain: Kernel,
    bias: Kernel,
    bias_activation: Kernel,
}

impl Epilogues {
    /// Returns the kernel with an epilogue.
    pub fn of(&self, epilogue: Epilogue) -> &Kernel {
        match epilogue {
            Epilogue::Plain => &self.plain,
            Epilogue::Bias => &self.bias,
            Epilogue::BiasActivation => &self.bias_activation,
        }
    }
}

macro_rules! epilogues {
    ($name:literal $(, $shared:expr)+) => {
        Epilogues {
            plain: kernel!($name, shared::PRODUCT $(, $shared)+, shared::PRODUCT_PLAIN)
                .unchecked()
                .native(BODIES),
            bias: kernel!($name, shared::PRODUCT $(, $shared)+, shared::PRODUCT_BIAS)
                .unchecked()
                .native(BODIES),
            bias_activation: kernel!(
                $name,
                shared::PRODUCT
                $(, $shared)+,
                shared::PRODUCT_BIAS_ACTIVATION,
                shared::ACTIVATION
            )
            .unchecked()
            .native(BODIES),
        }
    };
}

/// A variant that reads its operands as f32 or as halves.
struct Operands {
    f32: Epilogues,
    f16: Epilogues,
}

macro_rules! operands {
    ($name:literal $(, $shared:expr)*) => {
        Operands {
            f32: epilogues!($name $(, $shared)*, shared::OPERANDS_F32),
            f16: epilogues!($name $(, $shared)*, shared::OPERANDS_F16, shared::HALVES),
        }
    };
}

static TILED: Operands = operands!("matmul_tiled", shared::INVOCATION);
static SHUFFLE: Operands = operands!("matmul_shuffle", shared::BLOCKS);
static DIRECT: Operands = operands!("matmul_direct", shared::INVOCATION, shared::BLOCKS);
static VECTOR: Operands = operands!("matmul_vector", shared::BLOCKS, shared::LANES_MEMORY);

/// For halves only: with matrices of 8 by 8, and of 16 by 16.
static COOPERATIVE: [Epilogues; 2] = [
    epilogues!("matmul_cooperative", shared::COOPERATIVE_8),
    epilogues!("matmul_cooperative", shared::COOPERATIVE_16),
];

/// All kernels.
fn kernels() -> impl Iterator<Item = (&'static Kernel, Epilogue)> {
    [&TILED, &SHUFFLE, &VECTOR, &DIRECT]
        .into_iter()
        .flat_map(|operands| [&operands.f32, &operands.f16])
        .chain(&COOPERATIVE)
        .flat_map(|kernels| {
            [Epilogue::Plain, Epilogue::Bias, Epilogue::BiasActivation]
                .map(|epilogue| (kernels.of(epilogue), epilogue))
        })
}

/// Kernel variants. All compute the same product; each is the fastest on some adapters and sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Variant {
    /// Tiles in workgroup memory, for GPUs.
    Tiled,
    /// Broadcasts within subgroups of 4, 8 or 16, for software adapters.
    Shuffle,
    /// Products of at most four rows, as in decoding.
    Vector,
    /// Neither workgroup memory nor subgroups, for any adapter.
    Direct,
    /// Cooperative matrices (tensor cores), for operands in half precision.
    Cooperative,
}

/// Everything about a product `op(a)[m, k] · op(b)[k, n]` that the choice of a variant depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Number of products.
    pub batch: usize,
    /// Whether `a` and `b` are transposed.
    pub flips: [bool; 2],
    pub precision: Precision,
    /// Whether the sum over k must not be split.
    pub whole: bool,
}

/// A variant with its constants and grid for one product.
pub(super) struct Form {
    pub kernels: &'static Epilogues,
    /// Override constants.
    pub constants: Vec<(&'static str, u32)>,
    /// Number of workgroups.
    pub groups: usize,
    /// Parts that the sum over k is split into.
    pub splits: usize,
    /// Length of a part.
    pub chunk: usize,
}

/// Longest sum in one dispatch, which keeps loops below lavapipe's limit of 65,535 rounds.
pub(in crate::ops) const LONGEST: usize = 32_768;

/// Largest number of rows of [`Variant::Vector`].
const FEW: usize = 4;

/// Names of the variants of matrix products, for [`Always`](crate::graph::Always).
pub const MATMUL_VARIANTS: [&str; 5] = ["tiled", "shuffle", "vector", "direct", "cooperative"];

/// Returns the sources of all kernels that a tuner chooses between.
pub fn tuned_sources() -> Vec<&'static str> {
    kernels().map(|(kernel, _)| kernel.source).collect()
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Variant::Tiled => "tiled",
            Variant::Shuffle => "shuffle",
            Variant::Vector => "vector",
            Variant::Direct => "direct",
            Variant::Cooperative => "cooperative",
        }
    }

    fn kernels(self, precision: Precision, capabilities: &Capabilities) -> &'static Epilogues {
        let operands = match self {
            Variant::Tiled => &TILED,
            Variant::Shuffle => &SHUFFLE,
            Variant::Vector => &VECTOR,
            Variant::Direct => &DIRECT,
            Variant::Cooperative => {
                return &COOPERATIVE[(capabilities.cooperative == Some(16)) as usize];
            }
        };
        match precision {
            Precision::F32 => &operands.f32,
            Precision::F16 => &operands.f16,
        }
    }
}

impl Product {
    /// Whether the last dimensions of a, b and c are multiples of four.
    fn fours(self) -> bool {
        let Product { m, n, k, flips, .. } = self;
        let fours = |sizes: &[usize]| sizes.iter().all(|size| size.is_multiple_of(4));
        match flips {
            [false, _] => fours(&[k, n]),
            [true, false] => fours(&[m, n]),
            [true, true] => fours(&[m, n, k]),
        }
    }

    /// Returns the variants that can compute this product, the default first, and how many of them,
    /// from the first, are worth measuring: the others have never come close on such an adapter.
    fn variants(self, capabilities: &Capabilities) -> (Vec<Variant>, usize) {
        use Variant::{Cooperative, Direct, Shuffle, Tiled, Vector};
        if capabilities.native {
            // all have the same Rust body
            return (vec![Direct], 1);
        }
        let shuffle = matches!(capabilities.subgroup, Some(4 | 8 | 16));
        let cooperative = capabilities.cooperative.is_some() && self.precision == Precision::F16;
        let few = self.m <= FEW;
        let (mut variants, plausible) = match (capabilities.software, few) {
            (true, true) => (vec![Vector], 1),
            // 592x512x2048 on lavapipe, GFLOP per CPU-second of A B, A Bt and At B: with subgroups
            // of 4 the shuffles reach 18.8, 18.7 and 16.2, of 8 28.8, 31.5 and 28.0, of 16 24.7,
            // 21.1 and 24.2, the direct form 11 to 13. On SwiftShader, 592x512x512: 1.2, direct 2.4
            (true, false) if shuffle && capabilities.unrolls => (vec![Shuffle, Direct], 2),
            (true, false) => (vec![Direct], 1),
            (false, true) => (vec![Vector, Tiled], 2),
            (false, false) if cooperative => (vec![Tiled, Cooperative, Direct], 3),
            (false, false) => (vec![Tiled, Direct], 2),
        };
        let rest = [
            (Shuffle, shuffle),
            (Tiled, true),
            (Direct, true),
            (Cooperative, cooperative),
        ];
        variants.extend(
            rest.into_iter()
                .filter(|(_, applies)| *applies)
                .map(|(variant, _)| variant),
        );
        let mut seen = vec![];
        variants.retain(|variant| {
            !seen.contains(variant) && {
                seen.push(*variant);
                true
            }
        });
        (variants, plausible)
    }

    /// Returns the names of the variants that can compute this product.
    pub fn names(self, capabilities: &Capabilities) -> Vec<&'static str> {
        self.variants(capabilities)
            .0
            .into_iter()
            .map(Variant::name)
            .collect()
    }

    /// Returns the form to record on `t`: the default variant, or the one that the tape's chooser
    /// picks.
    pub fn form(self, t: &Tape) -> Form {
        let capabilities = t.capabilities();
        let (variants, plausible) = self.variants(&capabilities);
        let Some(chooser) = t.chooser() else {
            return self.form_of(variants[0], &capabilities);
        };
        let names: Vec<&str> = variants.iter().map(|variant| variant.name()).collect();
        let stand_in = self.stand_in(&capabilities);
        let record = |t: &mut Tape, index: usize| {
            let form = stand_in.form_of(variants[index], &t.capabilities());
            t.stand_in(stand_in, &form);
        };
        let chosen = chooser.choose(&Candidates {
            class: &stand_in.class(),
            names: &names,
            plausible,
            record: &record,
        });
        self.form_of(variants[chosen], &capabilities)
    }

    /// Returns the product that is measured for all products like this one: its sizes are rounded
    /// to a few values.
    fn stand_in(self, capabilities: &Capabilities) -> Product {
        let fours = self.fours();
        let alike = |size: usize| {
            if fours {
                size.next_multiple_of(4)
            } else {
                size | 1
            }
        };
        let few = |m: usize| m.next_power_of_two();
        if capabilities.software {
            // each measured kernel takes up to a second to compile, and larger sizes hardly change
            // the order
            let m = if self.m <= FEW {
                few(self.m)
            } else {
                alike(if self.m <= 16 { 16 } else { 256 })
            };
            return Product {
                m,
                n: alike(256),
                k: alike(256),
                batch: 1,
                ..self
            };
        }
        // 2, 8, 32, 128 ... 2048
        let typical = |size: usize| alike((2usize << (size.ilog2() / 2 * 2)).min(2048));
        let m = if self.m <= FEW {
            few(self.m)
        } else {
            typical(self.m).max(FEW + 1)
        };
        Product {
            m,
            n: typical(self.n),
            k: typical(self.k),
            batch: self.batch.min(4),
            ..self
        }
    }

    fn class(self) -> String {
        let Product {
            m,
            n,
            k,
            batch,
            flips: [a, b],
            precision,
            ..
        } = self;
        let side = |name: &str, flip| format!("{name}{}", if flip { "t" } else { "" });
        let batch = if batch > 1 {
            format!(" x{batch}")
        } else {
            String::new()
        };
        format!(
            "matmul {precision:?} {} {} {m}x{n}x{k}{batch}",
            side("A", a),
            side("B", b)
        )
    }

    /// Returns constants and grid of a variant for this product.
    fn form_of(self, variant: Variant, capabilities: &Capabilities) -> Form {
        let Product { m, n, k, batch, .. } = self;
        let kernels = variant.kernels(self.precision, capabilities);
        let software = capabilities.software;
        // splits of the sum if `groups` workgroups are too few to keep a GPU busy
        let splits = |groups: usize| {
            let spread = if software {
                1
            } else {
                (256 / groups).min(k / 256).max(1)
            };
            if self.whole || capabilities.native {
                1
            } else {
                spread.max(k.div_ceil(LONGEST))
            }
        };
        let form = |constants, groups: usize, splits: usize| Form {
            kernels,
            constants,
            groups: groups * splits,
            splits,
            chunk: k.div_ceil(splits).next_multiple_of(4),
        };
        let fours = ("FOURS", self.fours() as u32);
        match variant {
            Variant::Shuffle => {
                let subgroup = capabilities.subgroup.unwrap_or(8);
                let part = 4 * subgroup as usize;
                // a larger tile is a fifth to a half faster, but takes 2 s instead of 0.4 s to
                // compile, and code much longer than of these no longer fits the first cache
                let (most, parts) = match (m * n * k * batch >= 1 << 24, subgroup) {
                    (false, _) => (32, 1),
                    (true, 4) => (32, 4),
                    (true, _) => (64, 2),
                };
                // tiles of equal height: rows past the last cost as much as real ones
                let tiles = m.div_ceil(most).max(1);
                let rows = m.div_ceil(tiles).next_multiple_of(16);
                let columns = parts.min(n.div_ceil(part));
                let constants = vec![
                    ("SG", subgroup),
                    ("ROWS", rows as u32),
                    ("COLUMNS", columns as u32),
                    fours,
                ];
                let splits = if self.whole { 1 } else { k.div_ceil(LONGEST) };
                form(
                    constants,
                    m.div_ceil(rows) * n.div_ceil(columns * part) * batch,
                    splits,
                )
            }
            Variant::Tiled => {
                let tiles = |tile: usize| m.div_ceil(tile) * n.div_ceil(tile) * batch;
                // small tiles, then splits, if there are too few workgroups to keep a GPU busy
                let tile = if software || tiles(64) >= 128 { 64 } else { 32 };
                form(
                    vec![("TILE", tile as u32)],
                    tiles(tile),
                    splits(tiles(tile)),
                )
            }
            Variant::Direct => {
                let workgroup: u32 = if software { 8 } else { 32 };
                let rows = if m <= 8 { 8 } else { 16 };
                let groups = m.div_ceil(rows) * n.div_ceil(8 * workgroup as usize) * batch;
                form(
                    vec![("WG", workgroup), ("ROWS", rows as u32), fours],
                    groups,
                    splits(groups),
                )
            }
            Variant::Cooperative => {
                let tile = 4 * capabilities.cooperative.unwrap_or(16) as usize;
                let groups = m.div_ceil(tile) * n.div_ceil(tile) * batch;
                form(
                    vec![("SG", capabilities.subgroup.unwrap_or(32)), fours],
                    groups,
                    splits(groups),
                )
            }
            Variant::Vector => {
                let (workgroup, lanes) = if software {
                    (8, 1)
                } else {
                    (64, k.div_ceil(4).next_power_of_two().min(32))
                };
                let workgroup = workgroup.min(1 << capabilities.workgroup.ilog2());
                let lanes = lanes.min(workgroup as usize);
                let groups = n.div_ceil(4 * (workgroup as usize / lanes)) * batch;
                let constants = vec![
                    ("WG", workgroup),
                    ("LANES", lanes as u32),
                    ("ROWS", m as u32),
                    fours,
                ];
                form(constants, groups, splits(groups))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capabilities(software: bool, subgroup: Option<u32>) -> Capabilities {
        Capabilities {
            subgroup,
            native: false,
            software,
            unrolls: true,
            workgroup: 256,
            cooperative: None,
        }
    }

    fn product(m: usize, n: usize, k: usize) -> Product {
        Product {
            m,
            n,
            k,
            batch: 1,
            flips: [false, true],
            precision: Precision::F32,
            whole: false,
        }
    }

    #[test]
    fn default_variant_depends_on_adapter_and_sizes() {
        let first = |m, n, k, software, subgroup| {
            product(m, n, k)
                .variants(&capabilities(software, subgroup))
                .0[0]
        };
        assert_eq!(first(592, 512, 2048, true, Some(8)), Variant::Shuffle);
        assert_eq!(first(592, 66, 127, true, Some(8)), Variant::Shuffle);
        assert_eq!(first(592, 512, 2048, true, None), Variant::Direct);
        assert_eq!(first(592, 512, 2048, true, Some(4)), Variant::Shuffle);
        assert_eq!(first(592, 512, 2048, true, Some(16)), Variant::Shuffle);
        assert_eq!(first(592, 512, 2048, true, Some(32)), Variant::Direct);
        let loops = Capabilities {
            unrolls: false,
            ..capabilities(true, Some(4))
        };
        assert_eq!(
            product(592, 512, 2048).variants(&loops).0[0],
            Variant::Direct
        );
        assert_eq!(first(1, 66, 128, true, Some(8)), Variant::Vector);
        assert_eq!(first(592, 512, 2048, false, Some(32)), Variant::Tiled);
        assert_eq!(first(1, 512, 128, false, Some(32)), Variant::Vector);
    }

    /// Includes kernels that this adapter cannot run.
    #[test]
    fn every_kernel_is_valid() {
        for (kernel, epilogue) in kernels() {
            assert!(kernel.entry(epilogue.entry()).bindings.len() >= 4);
        }
    }

    #[test]
    fn candidates_are_distinct_and_similar_products_share_a_class() {
        for software in [false, true] {
            let here = capabilities(software, Some(8));
            for m in [1, 4, 5, 592] {
                let (variants, plausible) = product(m, 512, 2048).variants(&here);
                assert!((1..=variants.len()).contains(&plausible));
                assert!(
                    variants
                        .iter()
                        .all(|v| variants.iter().filter(|w| *w == v).count() == 1),
                    "{variants:?}"
                );
            }
            let class = |m, n, k| product(m, n, k).stand_in(&here).class();
            assert_eq!(class(592, 512, 2048), class(576, 512, 2044));
            assert_ne!(class(592, 512, 2048), class(4, 512, 2048));
            assert_ne!(class(592, 512, 2048), class(592, 511, 2048));
            assert_eq!(class(592, 512, 2048) == class(592, 32, 2048), software);
        }
    }
}
