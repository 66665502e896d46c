//! Forward pass of a pretrained vision-language model.

use std::ops::Range;

use super::{Decoder, VisionTransformer};
use crate::device::Tensor;
use crate::graph::Var;
use crate::models::{Caches, ImageFeatures, VisionLanguage};
use crate::nn::{Context, LayerNorm, Linear};
use crate::ops::Activation;

/// From the rows of the vision transformer to those of the decoder: squares of `factor` by `factor`
/// patches become one row each, then fully connected layers.
pub struct Connector {
    /// Rows of the vision transformer in front of the patches, which are left out.
    pub skipped_rows: usize,
    /// Patches along the side of a square.
    pub factor: usize,
    /// Normalisation of the rows, if there is one.
    pub norm: Option<LayerNorm>,
    /// Layers to the width of the decoder, with a GELU after each but the last.
    pub layers: Vec<Linear>,
    /// Row of the whole picture behind those of its patches, if there is one.
    pub whole: Option<WholePicture>,
}

/// Layers from the picture as a whole to a row of the decoder: the vision transformer's last CLS row,
/// its projection to an embedding, as CLIP compares with texts, and from there to the decoder.
pub struct WholePicture {
    /// Number of blocks after which the rows of patches are taken; the CLS row is that of the last.
    pub patches_after: usize,
    /// Number of rows that the patches become, and their width.
    pub patch_rows: [usize; 2],
    /// Width of the embedding.
    pub width: usize,
    /// Projection of the vision transformer.
    pub embedding: Linear,
    /// Normalisation of the embedding.
    pub norm: LayerNorm,
    /// Layer to the width of the decoder.
    pub layer: Linear,
    /// Rows that answer questions about the picture.
    pub names: Vec<Names>,
}

/// Rows that answer a question about a picture: the tokens of the most probable of known names.
pub struct Names {
    /// Layer to the logits of the names.
    pub layer: Linear,
    /// Ids of the tokens of each name as digits, `[names, rows, 2]`.
    pub tokens: Tensor,
    /// Whether the logits depend on the sum of the patches' rows, too.
    pub patches: bool,
    /// Whether the logits depend on the sums of the patches' rows in thirds of the picture, too.
    pub thirds: bool,
    /// Whether the logits depend on the histogram of colours, too.
    pub colors: bool,
}

/// Values that names are told apart by, each kind a unit vector in a column `[images, values, 1]`.
struct Evidence {
    embedding: Var,
    /// Sum of the patches' rows, if a set needs it.
    patches: Option<Var>,
    /// Sums of the patches' rows in thirds of the picture, if a set needs them.
    thirds: Option<Var>,
    /// Histogram of colours, if a set needs it.
    colors: Option<Var>,
}

impl Names {
    /// Maps the evidence of images to rows `[images, rows, decoder width]`.
    fn forward(&self, c: &mut Context, evidence: &Evidence, decoder: &Decoder) -> Var {
        let further = [
            evidence.patches.filter(|_| self.patches),
            evidence.thirds.filter(|_| self.thirds),
            evidence.colors.filter(|_| self.colors),
        ];
        let column = further
            .into_iter()
            .flatten()
            .fold(evidence.embedding, |column, values| {
                c.tape.concat_rows(column, values)
            });
        let logits = self.logits(c, column);
        if let Some(all) = &mut c.name_logits {
            all.push(logits);
        }
        let name = c.tape.argmax(logits);
        let tokens = c.parameter(&self.tokens);
        let tokens = c.tape.chosen_ids(tokens, name);
        decoder.embed(c, tokens)
    }

    /// Maps a column of evidence `[images, values, 1]` to logits `[images, names]`.
    fn logits(&self, c: &mut Context, column: Var) -> Var {
        let images = c.tape.shape(column)[0];
        let values = c.tape.len(column) / images;
        let row = c.tape.view(column, &[images, 1, values]);
        let logits = self.layer.forward(c, row);
        let names = c.tape.len(logits) / images;
        c.tape.view(logits, &[images, names])
    }
}

impl Connector {
    /// A linear layer after the pixel shuffle.
    pub fn linear(factor: usize, projection: Linear) -> Connector {
        Connector {
            skipped_rows: 0,
            factor,
            norm: None,
            layers: vec![projection],
            whole: None,
        }
    }

    /// Sums the rows of patches in `squares: [images, squares, factor * factor * width]`.
    fn sum_of_patches(&self, c: &mut Context, squares: Var) -> Var {
        let &[images, squares_of_each, width] = c.tape.shape(squares) else {
            unreachable!("rows of images")
        };
        let patches = self.factor.pow(2);
        let shape = [images, squares_of_each * patches, width / patches];
        let one_by_one = c.tape.view(squares, &shape);
        c.tape.sum_each(one_by_one)
    }

    /// Sums the rows of patches in each [third](thirds) of the images, as one row.
    fn sums_of_thirds(&self, c: &mut Context, squares: Var) -> Var {
        let &[images, squares_of_each, _] = c.tape.shape(squares) else {
            unreachable!("rows of images")
        };
        let sums = thirds(squares_of_each).map(|third| {
            let part = c.tape.slice_rows(squares, third.start, third.len());
            let sum = self.sum_of_patches(c, part);
            in_column(c, sum)
        });
        let [upper, middle, lower] = sums;
        let first_two = c.tape.concat_rows(upper, middle);
        let all = c.tape.concat_rows(first_two, lower);
        let values = c.tape.len(all) / images;
        c.tape.view(all, &[images, 1, values])
    }
}

impl WholePicture {
    /// Takes the rows of patches, the embedding and the colours of images apart.
    fn apart(&self, c: &mut Context, rows: Var) -> (Var, Var, Option<Var>) {
        let images = c.tape.shape(rows)[0];
        let [count, width] = self.patch_rows;
        let column = in_column(c, rows);
        let mut first = 0;
        let mut next = |c: &mut Context, rows: usize, width: usize| {
            let values = c.tape.slice_rows(column, first, rows * width);
            first += rows * width;
            c.tape.view(values, &[images, rows, width])
        };
        let patches = next(c, count, width);
        let embedding = next(c, 1, self.width);
        let colors = self.has_colors().then(|| next(c, 1, COLOR_VALUES));
        (patches, embedding, colors)
    }

    /// Maps the vision transformer's last rows, CLS first, to the embedding `[images, 1, width]`.
    fn embedding_of(&self, c: &mut Context, last: Var) -> Var {
        let class = c.tape.slice_rows(last, 0, 1);
        self.embedding.forward(c, class)
    }

    /// Whether the histogram of colours stands behind the embedding.
    fn has_colors(&self) -> bool {
        self.names.iter().any(|names| names.colors)
    }
}

/// Index ranges of the squares of patches in the upper, middle and lower third of a square picture, as
/// nearly as whole rows allow. `squares` is their number in the picture, at least 9.
pub fn thirds(squares: usize) -> [Range<usize>; 3] {
    let side = squares.isqrt();
    let edge = |third: usize| side * (third * side / 3);
    [0, 1, 2].map(|third| edge(third)..edge(third + 1))
}

/// Levels of each channel in the histogram of a picture's colours.
const COLOR_LEVELS: usize = 8;

/// Number of values of the histogram of a picture's colours.
pub const COLOR_VALUES: usize = COLOR_LEVELS.pow(3);

/// Normalised values of channels that the histogram's levels are spread over: CLIP's go from -1.80 to
/// 1.93 (red), -1.76 to 2.08 (green) and -1.49 to 2.15 (blue).
const COLOR_RANGE: [f32; 2] = [-1.8, 2.15];

/// Unit vectors of rows, one of each image, as columns.
fn direction(c: &mut Context, rows: Var) -> Var {
    let unit = c.tape.l2_normalize(rows, 1.0);
    in_column(c, unit)
}

/// Views rows of images as a column of values of each.
fn in_column(c: &mut Context, rows: Var) -> Var {
    let images = c.tape.shape(rows)[0];
    let values = c.tape.len(rows) / images;
    c.tape.view(rows, &[images, values, 1])
}

/// Vision transformer, connector and decoder; or a decoder alone.
pub struct Network {
    /// Encoder of images, and what its rows pass to the decoder.
    pub vision: Option<(VisionTransformer, Connector)>,
    /// Language model.
    pub decoder: Decoder,
    /// Whether the rows of an image stand in front of the text; otherwise they take the places of
    /// its placeholder tokens.
    pub in_front: bool,
}

impl VisionLanguage for Network {
    fn encode(&self, c: &mut Context, image: Var) -> ImageFeatures {
        let rows = self.encoder_rows(c, image);
        self.project(c, rows)
    }

    fn encoder_rows(&self, c: &mut Context, image: Var) -> Var {
        let Some((vision, connector)) = &self.vision else {
            panic!("encode: the model takes no pictures")
        };
        let (mut rows, last) = match &connector.whole {
            Some(whole) => vision.forward_past(c, image, whole.patches_after),
            None => {
                let rows = vision.forward(c, image);
                c.keep(|| "vision.norm".into(), rows);
                (rows, rows)
            }
        };
        let skipped = connector.skipped_rows;
        if skipped > 0 {
            let patches = c.tape.shape(rows)[1] - skipped;
            rows = c.tape.slice_rows(rows, skipped, patches);
        }
        let rows = c.tape.pixel_shuffle(rows, connector.factor);
        c.keep(|| "pixel_shuffle".into(), rows);
        let Some(whole) = &connector.whole else {
            return rows;
        };
        let embedding = whole.embedding_of(c, last);
        c.keep(|| "embedding".into(), embedding);
        // rows of several widths, as one row of values
        let [rows, embedding] = [rows, embedding].map(|rows| in_column(c, rows));
        let mut all = c.tape.concat_rows(rows, embedding);
        let images = c.tape.shape(image)[0];
        if whole.has_colors() {
            let colors = c.tape.color_histogram(image, COLOR_LEVELS, COLOR_RANGE);
            let colors = c.tape.view(colors, &[images, COLOR_VALUES, 1]);
            all = c.tape.concat_rows(all, colors);
        }
        let values = c.tape.len(all) / images;
        c.tape.view(all, &[images, 1, values])
    }

    fn name_logits(&self, c: &mut Context, rows: Var, set: usize) -> Var {
        let found = self.vision.as_ref();
        let found = found.and_then(|(vision, connector)| Some((vision, connector.whole.as_ref()?)));
        let Some((vision, whole)) = found else {
            panic!("name_logits: the model has no names")
        };
        let last = vision.last_block(c, rows);
        let embedding = whole.embedding_of(c, last);
        let column = direction(c, embedding);
        whole.names[set].logits(c, column)
    }

    fn embed(&self, c: &mut Context, ids: Var) -> Var {
        self.decoder.embed(c, ids)
    }

    fn project(&self, c: &mut Context, rows: Var) -> ImageFeatures {
        let Some((_, connector)) = &self.vision else {
            panic!("project: the model takes no pictures")
        };
        let (rows, whole) = match &connector.whole {
            Some(whole) => {
                let (rows, embedding, colors) = whole.apart(c, rows);
                (rows, Some((whole, rows, embedding, colors)))
            }
            None => (rows, None),
        };
        let mut rows = match &connector.norm {
            Some(norm) => norm.forward(c, rows),
            None => rows,
        };
        for (number, layer) in connector.layers.iter().enumerate() {
            rows = match number + 1 < connector.layers.len() {
                true => layer.activated(c, rows, Activation::Gelu),
                false => layer.forward(c, rows),
            };
        }
        if let Some((whole, squares, embedding, colors)) = whole {
            let normed = whole.norm.forward(c, embedding);
            let last = whole.layer.forward(c, normed);
            rows = c.tape.concat_rows(rows, last);
            let evidence = Evidence {
                embedding: direction(c, embedding),
                patches: whole.names.iter().any(|names| names.patches).then(|| {
                    let sums = connector.sum_of_patches(c, squares);
                    direction(c, sums)
                }),
                thirds: whole.names.iter().any(|names| names.thirds).then(|| {
                    let sums = connector.sums_of_thirds(c, squares);
                    direction(c, sums)
                }),
                colors: colors.map(|colors| direction(c, colors)),
            };
            for names in &whole.names {
                let last = names.forward(c, &evidence, &self.decoder);
                rows = c.tape.concat_rows(rows, last);
            }
        }
        c.keep(|| "connector".into(), rows);
        ImageFeatures::of_rows(rows)
    }

    fn decode(
        &self,
        c: &mut Context,
        features: Option<ImageFeatures>,
        ids: Var,
        caches: Option<&Caches>,
    ) -> Var {
        let mut x = self.decoder.embed(c, ids);
        if let Some(features) = features {
            x = if self.in_front {
                c.tape.concat_rows(features.rows, x)
            } else {
                let places = c
                    .image_places
                    .expect("the places of the image's rows are an input of the pass");
                c.tape.scatter_rows(x, features.rows, places)
            };
        }
        c.keep(|| "inputs_embeds".into(), x);
        self.decoder.forward(c, x, caches)
    }

    fn output(&self, c: &mut Context, x: Var) -> Var {
        self.decoder.output(c, x)
    }
}
