//! Weight matrices: trained in f32, or frozen in the encoding of their file.

use super::Context;
use crate::device::Tensor;
use crate::graph::Var;
use crate::ops::{Activation, Encoding, TablePart};

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

    /// Whether all values have fewer than 32 bits.
    pub fn is_packed(&self) -> bool {
        match self {
            Weight::Trained(_) => false,
            Weight::Frozen(blocks) => blocks.iter().all(|block| block.encoding != Encoding::F32),
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
    pub fn look_up(&self, c: &mut Context, ids: Var) -> Var {
        let blocks = match self {
            Weight::Trained(tensor) => {
                let table = c.parameter(tensor);
                return c.tape.embedding(table, ids);
            }
            Weight::Frozen(blocks) => blocks,
        };
        let mut part = TablePart::whole(self.rows());
        let mut sum = None;
        for block in blocks {
            let words = c.tape.bind(&block.words);
            let rows = c
                .tape
                .packed_embedding(words, block.encoding, block.cols, ids, part);
            // all parts but one are zero
            sum = Some(match sum {
                Some(sum) => c.tape.add(sum, rows),
                None => rows,
            });
            part.first += block.rows;
        }
        sum.expect("a table has rows")
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
pub(super) fn side_by_side(c: &mut Context, parts: &[Var]) -> Var {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Plan;
    use crate::ops::check::device;

    #[test]
    fn a_table_in_several_tensors_gives_the_rows_of_the_whole() {
        let device = device();
        let (rows, cols) = (10, 64);
        let ids = [9, 0, 4, 3, 6, 12, 9];
        for encoding in [Encoding::F32, Encoding::Bf16, Encoding::Q8_0] {
            let words = encoding.sample(rows, cols, 1).unwrap();
            let row_words = encoding.row_words(cols).unwrap();
            let block = |range: std::ops::Range<usize>| {
                let words = &words[range.start * row_words..range.end * row_words];
                FrozenRows {
                    words: Tensor::new(&device, &[words.len()], words).unwrap(),
                    encoding,
                    rows: range.len(),
                    cols,
                }
            };
            let whole = Weight::Frozen(vec![block(0..10)]);
            let split = Weight::Frozen(vec![block(0..4), block(4..9), block(9..10)]);
            let [want, got] = [whole, split].map(|weight| {
                let mut tape = device.tape();
                let places = tape.constant(&ids);
                let y = weight.look_up(&mut Context::inference(&mut tape), places);
                tape.hold(y);
                let plan = Plan::new(&device, tape).unwrap();
                plan.run().unwrap();
                plan.read::<f32>(y).unwrap()
            });
            assert_eq!(got, want, "{encoding}");
        }
    }
}
