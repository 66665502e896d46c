//! Linear layers with frozen packed weights.

pub(super) mod checks;
mod dots;
mod native;

use self::native::bodies;
use super::encoding::{BLOCK, PackedKernels, bind_packed, packed_kernels};
use super::matmul::LONGEST;
use crate::graph::{Capabilities, Kernel, Tape, Var};
use crate::ops::{Activation, Encoding};

static PACKED_LINEAR: PackedKernels = packed_kernels!("packed_linear", bodies);

/// Largest number of rows of `x` for which a GPU decodes weights in registers. For more it unpacks
/// them first.
const FEW: usize = 8;
/// Rows that share a decoded weight, and the most rows for which a software adapter decodes weights
/// in registers: 8 rows of a layer of 1536x576 take lavapipe 5.5 ms of CPU time so and 3 ms with
/// unpacked weights, 4 rows 2.7 and 2.5 ms.
const ROWS: usize = 4;
/// Longest sum over rows of weights in a backward pass without unpacking: some drivers end loops
/// after 65,535 rounds.
const MOST_ROWS: usize = 65_535;

/// Sizes of a product with packed weights.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    m: usize,
    n: usize,
    k: usize,
    encoding: Encoding,
    row_words: usize,
}

impl Tape {
    /// Records `y = activation(x · Wᵀ + bias)` with `x: [.., cols]`, `bias: [rows]` and the `rows` by
    /// `cols` weights that `weight` holds packed: [`row_words(cols)`](Encoding::row_words) words
    /// each row.
    ///
    /// Weights are decoded exactly, and sums are of f32; where the tape
    /// [allows it](Tape::round_operands), products of many rows may round both operands to bf16.
    /// Gradients flow to `x` and `bias`; the weights are frozen.
    ///
    /// # Panics
    /// If the shapes do not match.
    #[track_caller]
    pub fn packed_linear(
        &mut self,
        x: Var,
        weight: Var,
        encoding: Encoding,
        rows: usize,
        bias: Option<Var>,
        activation: Activation,
    ) -> Var {
        let (m, k) = self.rows_cols(x);
        let row_words = self.check_packed(weight, encoding, rows, k);
        if let Some(bias) = bias {
            assert!(
                self.shape(bias) == [rows],
                "packed_linear: {rows} rows and bias {:?}",
                self.shape(bias)
            );
        }
        let Some(kernel) = PACKED_LINEAR.of(encoding) else {
            let weight = self.view(weight, &[rows, k]);
            return self.linear(x, weight, bias, activation);
        };
        let sizes = Sizes {
            m,
            n: rows,
            k,
            encoding,
            row_words,
        };
        let Capabilities {
            native, software, ..
        } = self.capabilities();
        let few = if software { ROWS } else { FEW };
        if native || m <= few {
            // a gradient needs the values before the activation
            let trains = self.needs_grad(x) || bias.is_some_and(|bias| self.needs_grad(bias));
            let (inside, after) = match native && !trains {
                true => (activation, Activation::None),
                false => (Activation::None, activation),
            };
            let y = self.packed_forward(kernel, sizes, x, weight, bias, inside);
            let y = self.packed_gradient(kernel, sizes, y, x, weight, bias);
            return self.activation(y, after);
        }
        let unpacked = self.unpack(weight, encoding, rows, k);
        let (inside, after) = match bias {
            Some(bias) if k > LONGEST => (None, Some(bias)),
            bias => (bias, None),
        };
        let y = self.linear_without_gradient(x, unpacked, inside);
        let y = self.packed_gradient(kernel, sizes, y, x, weight, inside);
        let y = match after {
            Some(bias) => self.add(y, bias),
            None => y,
        };
        self.activation(y, activation)
    }

    /// Returns the words of a row, after a check of the length of packed weights.
    #[track_caller]
    pub(super) fn check_packed(
        &self,
        weight: Var,
        encoding: Encoding,
        rows: usize,
        cols: usize,
    ) -> usize {
        let row_words = match encoding.row_words(cols) {
            Ok(row_words) => row_words,
            Err(error) => panic!("packed weights: {error}"),
        };
        assert!(
            self.len(weight) == rows * row_words,
            "packed weights: {rows} rows of {cols} columns in {encoding} are {} words, not {:?}",
            rows * row_words,
            self.shape(weight)
        );
        row_words
    }

    fn packed_forward(
        &mut self,
        kernel: &'static Kernel,
        sizes: Sizes,
        x: Var,
        weight: Var,
        bias: Option<Var>,
        activation: Activation,
    ) -> Var {
        let Sizes { m, n, k, .. } = sizes;
        let (native, rounds) = (self.capabilities().native, self.rounds_operands());
        let shape = [&self.shape(x)[..self.shape(x).len() - 1], &[n]].concat();
        let y = self.output(&shape);
        let blocks = k.div_ceil(BLOCK);
        let workgroup = self.packed_workgroup();
        let lanes = match self.capabilities().software {
            true => 1,
            false => (blocks.next_power_of_two() as u32).min(16).min(workgroup),
        };
        let rows = m.clamp(1, ROWS);
        let columns = (workgroup / lanes) as usize;
        let entry = match bias {
            Some(_) => "forward_bias",
            None => "forward",
        };
        let mut call = bind_packed(self.call(kernel, entry), weight)
            .bind("x", x)
            .bind("y", y)
            .params(&sizes.params())
            .constant("WG", workgroup)
            .constant("LANES", lanes)
            .constant("ROWS", rows as u32)
            .constant("WHOLE", k.is_multiple_of(BLOCK) as u32);
        if let Some(bias) = bias {
            call = call.bind("bias", bias);
        }
        if native {
            call = call
                .constant("ROUND", rounds as u32)
                .constant("ACTIVATION", activation as u32);
        }
        call.rows(m.div_ceil(rows) * n.div_ceil(columns));
        y
    }

    /// Records the gradients of `y`, and returns it.
    fn packed_gradient(
        &mut self,
        kernel: &'static Kernel,
        sizes: Sizes,
        y: Var,
        x: Var,
        weight: Var,
        bias: Option<Var>,
    ) -> Var {
        let inputs: Vec<Var> = std::iter::once(x).chain(bias).collect();
        self.record(y, &inputs, move |t, dy| {
            if t.needs_grad(x) {
                let dx = t.packed_backward(kernel, sizes, dy, weight);
                let shape = t.shape(x).to_vec();
                let dx = t.view(dx, &shape);
                t.add_grad(x, dx);
            }
            if let Some(bias) = bias
                && t.needs_grad(bias)
            {
                let dbias = t.sum_rows(dy, sizes.n);
                t.add_grad(bias, dbias);
            }
        });
        y
    }

    /// Records `dx = dy · W`.
    fn packed_backward(
        &mut self,
        kernel: &'static Kernel,
        sizes: Sizes,
        dy: Var,
        weight: Var,
    ) -> Var {
        let Sizes { m, n, k, .. } = sizes;
        let few = m <= ROWS && n <= MOST_ROWS;
        if !self.capabilities().native && !few {
            let unpacked = self.unpack(weight, sizes.encoding, n, k);
            let dy = self.view(dy, &[m, n]);
            return self.matmul(dy, unpacked);
        }
        let dx = self.output(&[m, k]);
        let workgroup = self.packed_workgroup();
        let (native, rounds) = (self.capabilities().native, self.rounds_operands());
        let mut call = bind_packed(self.call(kernel, "backward"), weight)
            .bind("dy", dy)
            .bind("dx", dx)
            .params(&sizes.params())
            .constant("WG", workgroup)
            .constant("WHOLE", k.is_multiple_of(BLOCK) as u32);
        if native {
            call = call.constant("ROUND", rounds as u32);
        }
        call.rows(m * k.div_ceil(BLOCK));
        dx
    }

    /// Workgroup size, a power of two.
    fn packed_workgroup(&self) -> u32 {
        let capabilities = self.capabilities();
        let useful = if capabilities.software { 8 } else { 64 };
        useful.min(1 << capabilities.workgroup.ilog2())
    }
}

impl Sizes {
    fn params(self) -> [(&'static str, crate::graph::Param); 5] {
        [
            ("m", self.m.into()),
            ("n", self.n.into()),
            ("k", self.k.into()),
            ("blocks", self.k.div_ceil(BLOCK).into()),
            ("row_quads", (self.row_words / 4).into()),
        ]
    }
}
