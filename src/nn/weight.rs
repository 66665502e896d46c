//! Weight matrices: trained in f32, or frozen in the encoding of their file.

use super::Context;
use crate::device::Tensor;
use crate::graph::Var;
use crate::ops::{Activation, Encoding};

/// How a parameter is kept on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// In f32, together with the other trained parameters: it may get a gradient.
    Trained,
    /// In an encoding, which is f32 or smaller: it never gets a gradient.
    Frozen(Encoding),
}

/// Consecutive rows of a frozen matrix, in one tensor.
#[derive(Clone)]
pub struct FrozenRows {
    /// `[rows * encoding.row_words(cols)]` words of 32 bits.
    pub words: Tensor,
    /// How the words hold the values.
    pub encoding: Encoding,
    /// Number of rows.
    pub rows: usize,
    /// Number of values of a row.
    pub cols: usize,
}

/// Matrix `[rows, cols]` of a layer.
#[derive(Clone)]
pub enum Weight {
    /// A parameter that may be trained. Further axes count as columns.
    Trained(Tensor),
    /// Rows that are never trained, in one tensor or, where the device binds only smaller ones or
    /// their encodings differ, in several.
    Frozen(Vec<FrozenRows>),
}

impl Weight {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Weight::Trained(tensor) => tensor.shape()[0],
            Weight::Frozen(blocks) => blocks.iter().map(|block| block.rows).sum(),
        }
    }

    /// Number of values of a row.
    pub fn cols(&self) -> usize {
        match self {
            Weight::Trained(tensor) => tensor.len() / tensor.shape()[0].max(1),
            Weight::Frozen(blocks) => blocks.first().map_or(0, |block| block.cols),
        }
    }

    /// Records `y = activation(x W^T + bias)`: `x: [.., cols]` to `[.., rows]`.
    pub fn product(
        &self,
        c: &mut Context,
        x: Var,
        bias: Option<Var>,
        activation: Activation,
    ) -> Var {
        match self {
            Weight::Trained(tensor) => {
                let weight = c.parameter(tensor);
                let weight = c.tape.view(weight, &[self.rows(), self.cols()]);
                c.tape.linear(x, weight, bias, activation)
            }
            Weight::Frozen(blocks) => match &blocks[..] {
                [block] => block.product(c, x, bias, activation),
                blocks => {
                    let parts = blocks
                        .iter()
                        .map(|block| block.product(c, x, None, Activation::None));
                    let parts: Vec<Var> = parts.collect();
                    let y = side_by_side(c, &parts);
                    let y = match bias {
                        Some(bias) => c.tape.add_vector(y, bias),
                        None => y,
                    };
                    c.tape.activation(y, activation)
                }
            },
        }
    }

    /// Records the rows `ids: [..]` as `[.., cols]`.
    ///
    /// # Panics
    /// If the rows are in several tensors: a table is created by
    /// [`Parameters::table`](super::Parameters::table).
    pub fn look_up(&self, c: &mut Context, ids: Var) -> Var {
        match self {
            Weight::Trained(tensor) => {
                let table = c.parameter(tensor);
                c.tape.embedding(table, ids)
            }
            Weight::Frozen(blocks) => match &blocks[..] {
                [block] => {
                    let words = c.tape.bind(&block.words);
                    c.tape
                        .packed_embedding(words, block.encoding, block.cols, ids)
                }
                _ => panic!("look_up: a table of embeddings is in one tensor"),
            },
        }
    }
}

impl FrozenRows {
    fn product(&self, c: &mut Context, x: Var, bias: Option<Var>, activation: Activation) -> Var {
        let words = c.tape.bind(&self.words);
        match self.encoding {
            Encoding::F32 => {
                let weight = c.tape.view(words, &[self.rows, self.cols]);
                c.tape.linear(x, weight, bias, activation)
            }
            encoding => c
                .tape
                .packed_linear(x, words, encoding, self.rows, bias, activation),
        }
    }
}

/// Records values `[.., n]` side by side along the last axis.
fn side_by_side(c: &mut Context, parts: &[Var]) -> Var {
    let shape = c.tape.shape(parts[0]).to_vec();
    let leading = &shape[..shape.len() - 1];
    let rows: usize = leading.iter().product();
    let mut whole: Option<Var> = None;
    for &part in parts {
        let columns = c.tape.len(part) / rows;
        let part = c.tape.view(part, &[rows, columns, 1]);
        whole = Some(match whole {
            Some(before) => c.tape.concat_rows(before, part),
            None => part,
        });
    }
    let whole = whole.expect("there are parts");
    let columns = c.tape.len(whole) / rows;
    c.tape.view(whole, &[leading, &[columns]].concat())
}
