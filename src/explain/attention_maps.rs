//! All attention of one pass over a picture and its caption, and what can be read from it.
//!
//! A map is `[heads, queries, keys]`, each row of it a distribution over the keys. Attention tells where a layer moved information from;
//! it does not explain why a caption was written (Jain & Wallace 2019).

use crate::caption::Map;
use crate::device::Plan;
use crate::device::{Device, DeviceError};
use crate::graph::Var;
use crate::models::seemore::{Logits, VisualTokens, Vlm};
use crate::nn::Context;

/// A recorded pass over one picture and a text, without caches, that keeps the attention of every layer.
pub struct AttentionPass {
    plan: Plan,
    image: Var,
    ids: Var,
    maps: Vec<(String, Var)>,
    length: usize,
    /// Keys before the patches in the encoder, and visual tokens before the text in the decoder.
    first: usize,
    cls: bool,
    visual: usize,
}

impl AttentionPass {
    /// For texts of at most `length` positions.
    pub fn new(device: &Device, model: &Vlm, length: usize) -> Result<AttentionPass, DeviceError> {
        let config = model.config();
        let mut tape = device.tape();
        let image = tape.input(&[1, 3, config.image_size, config.image_size]);
        let ids = tape.input(&[1, length]);
        let mut c = Context::inference(&mut tape);
        c.maps = Some(vec![]);
        let logits = model.forward(&mut c, Some(image), ids, None, Logits::Text);
        let maps = c.maps.take().unwrap_or_default();
        tape.hold(logits);
        let first = config.encoder_rows() - config.patches();
        let (cls, visual) = (config.visual_tokens == VisualTokens::Cls, config.visual());
        Ok(AttentionPass {
            plan: Plan::new(device, tape)?,
            image,
            ids,
            maps,
            length,
            first,
            cls,
            visual,
        })
    }

    /// The attention over a text, from its first token on.
    ///
    /// # Panics
    /// With a text longer than this was made for.
    pub fn run(&self, image: &[f32], text: &[u32]) -> Result<AttentionMaps, DeviceError> {
        assert!(
            text.len() <= self.length,
            "a text of {} positions, at most {} were asked for",
            text.len(),
            self.length
        );
        // what follows the text does not count: positions see only those before them
        let mut ids = text.to_vec();
        ids.resize(self.length, 0);
        self.plan.write(self.image, image);
        self.plan.write(self.ids, &ids);
        self.plan.run()?;
        let (mut encoder, mut decoder) = (vec![], vec![]);
        for (layer, var) in &self.maps {
            let shape = self.plan.shape(*var).to_vec();
            let map = Map {
                layer: layer.clone(),
                shape,
                values: self.plan.read(*var)?,
            };
            match layer.starts_with("vit.") {
                true => encoder.push(map),
                false => decoder.push(cut(&map, self.visual + text.len())),
            }
        }
        Ok(AttentionMaps {
            encoder,
            decoder,
            first: self.first,
            cls: self.cls,
            visual: self.visual,
        })
    }
}

/// The first `length` queries and keys of a map.
fn cut(map: &Map, length: usize) -> Map {
    let (heads, queries, keys) = (map.shape[1], map.shape[2], map.shape[3]);
    let rows =
        (0..heads).flat_map(|head| (0..length).map(move |query| (head * queries + query) * keys));
    let values = rows
        .flat_map(|at| map.values[at..at + length].iter().copied())
        .collect();
    Map {
        layer: map.layer.clone(),
        shape: vec![1, heads, length, length],
        values,
    }
}

/// The attention of every layer over one picture and one text.
#[derive(Debug, Clone)]
pub struct AttentionMaps {
    /// Of the image encoder's layers, first to last: `[1, heads, rows, rows]`.
    pub encoder: Vec<Map>,
    /// Of the decoder's layers: `[1, heads, positions, positions]`, the visual tokens first, then the text.
    pub decoder: Vec<Map>,
    /// Encoder rows before the patches: 1 with a CLS token, else 0.
    pub first: usize,
    /// Whether the CLS row is what the decoder sees.
    pub cls: bool,
    /// Visual tokens before the text.
    pub visual: usize,
}

/// Which of a layer's heads are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heads {
    One(usize),
    Mean,
    /// The greatest of all heads, for each key.
    Max,
}

/// Attention `[rows, rows]` of one layer, over the heads that were chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    pub rows: usize,
    pub values: Vec<f32>,
}

impl Matrix {
    pub fn new(map: &Map, heads: Heads) -> Matrix {
        let (count, rows, keys) = (map.shape[1], map.shape[2], map.shape[3]);
        assert_eq!(rows, keys, "self-attention has as many queries as keys");
        let of = |index: usize| (0..count).map(move |head| map.values[head * rows * rows + index]);
        let value = |index| match heads {
            Heads::One(head) => map.values[head * rows * rows + index],
            Heads::Mean => of(index).sum::<f32>() / count as f32,
            Heads::Max => of(index).fold(0.0, f32::max),
        };
        Matrix {
            rows,
            values: (0..rows * rows).map(value).collect(),
        }
    }

    /// What a query looks at.
    pub fn row(&self, query: usize) -> &[f32] {
        &self.values[query * self.rows..][..self.rows]
    }

    /// How much each key is looked at, by the mean query.
    pub fn received(&self) -> Vec<f32> {
        let mut sums = vec![0.0; self.rows];
        for row in self.values.chunks(self.rows) {
            sums.iter_mut()
                .zip(row)
                .for_each(|(sum, value)| *sum += value);
        }
        sums.iter().map(|sum| sum / self.rows as f32).collect()
    }

    /// Rows that many queries look at whatever they look for: those that get more than [`SINK`] times the even share of the mean query
    /// (the "attention sinks" of Xiao et al. 2023, the "registers" of Darcet et al. 2023).
    pub fn sinks(&self) -> Vec<bool> {
        self.received()
            .iter()
            .map(|&share| share > SINK / self.rows as f32)
            .collect()
    }

    /// The mean over queries of a row's entropy, in nats: 0 looks at one key, `ln(rows)` at all alike.
    pub fn entropy(&self) -> f64 {
        let term = |&p: &f32| {
            if p > 0.0 {
                -(p as f64) * (p as f64).ln()
            } else {
                0.0
            }
        };
        self.values.iter().map(term).sum::<f64>() / self.rows as f64
    }

    /// The mean over the patches of how far they look, in patch widths (Dosovitskiy et al. 2021, figure 7); rows before `first` do not
    /// count.
    pub fn distance(&self, first: usize) -> f64 {
        let patches = self.rows - first;
        let grid = (patches as f64).sqrt() as usize;
        let place = |patch: usize| ((patch % grid) as f64, (patch / grid) as f64);
        let mut sum = 0.0;
        for query in 0..patches {
            let (row, (x, y)) = (&self.row(first + query)[first..], place(query));
            let total: f64 = row
                .iter()
                .map(|&p| p as f64)
                .sum::<f64>()
                .max(f64::MIN_POSITIVE);
            let far = |(key, &p): (usize, &f32)| {
                p as f64 / total * (place(key).0 - x).hypot(place(key).1 - y)
            };
            sum += row.iter().enumerate().map(far).sum::<f64>();
        }
        sum / patches as f64
    }
}

/// How many times its even share a sink gets.
pub const SINK: f32 = 5.0;

impl AttentionMaps {
    /// Attention followed through all layers of the encoder, from its last rows to the patches it began with: each layer's mean over heads,
    /// half of it the residual, multiplied up (Abnar & Zuidema 2020). `None` without layers.
    pub fn rollout(&self) -> Option<Matrix> {
        let halved = |map| {
            let mut matrix = Matrix::new(map, Heads::Mean);
            let rows = matrix.rows;
            matrix.values.iter_mut().for_each(|value| *value *= 0.5);
            (0..rows).for_each(|i| matrix.values[i * rows + i] += 0.5);
            matrix
        };
        let product = |below: Matrix, above: Matrix| {
            let rows = above.rows;
            let mut values = vec![0.0; rows * rows];
            for (row, out) in above.values.chunks(rows).zip(values.chunks_mut(rows)) {
                for (&weight, from) in row.iter().zip(below.values.chunks(rows)) {
                    out.iter_mut()
                        .zip(from)
                        .for_each(|(out, value)| *out += weight * value);
                }
            }
            Matrix { rows, values }
        };
        self.encoder.iter().map(halved).reduce(product)
    }

    /// What the encoder's picture is made of, patch by patch, according to attention between its rows: of a CLS model the CLS row, else
    /// what `query` looks at, or the mean patch where it is none.
    pub fn over_patches(&self, matrix: &Matrix, query: Option<usize>) -> Vec<f32> {
        let row = match query {
            Some(patch) => matrix.row(self.first + patch).to_vec(),
            None if self.cls => matrix.row(0).to_vec(),
            None => matrix.received(),
        };
        row[self.first..].to_vec()
    }

    /// What the decoder looked at in the picture while it wrote token `token` of a caption after a prompt of `prompt` tokens: one value for
    /// each visual token.
    pub fn of_token(&self, matrix: &Matrix, prompt: usize, token: usize) -> Vec<f32> {
        matrix.row(self.position(prompt, token))[..self.visual].to_vec()
    }

    /// The position that chose a token: the one before it.
    fn position(&self, prompt: usize, token: usize) -> usize {
        self.visual + prompt + token - 1
    }

    /// How much each of `count` tokens looked at one visual token while it was written.
    pub fn by_token(&self, matrix: &Matrix, prompt: usize, count: usize, patch: usize) -> Vec<f32> {
        (0..count)
            .map(|token| matrix.row(self.position(prompt, token))[patch])
            .collect()
    }
}

/// A map without its sinks: they are 0, and the rest sums to what it did.
pub fn without_sinks(heat: &[f32], sinks: &[bool]) -> Vec<f32> {
    let total: f32 = heat.iter().sum();
    let kept: f32 = heat
        .iter()
        .zip(sinks)
        .filter(|(_, sink)| !**sink)
        .map(|(value, _)| value)
        .sum();
    let scale = if kept > 0.0 { total / kept } else { 0.0 };
    heat.iter()
        .zip(sinks)
        .map(|(value, sink)| if *sink { 0.0 } else { value * scale })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caption::Captioner;
    use crate::caption::Sampling;
    use crate::image::Picture;
    use crate::ops::check::device;

    fn map(heads: usize, rows: usize, values: &[f32]) -> Map {
        Map {
            layer: "vit.blocks.0.attn".into(),
            shape: vec![1, heads, rows, rows],
            values: values.to_vec(),
        }
    }

    #[test]
    fn heads_are_taken_one_by_one_or_together() {
        let map = map(2, 2, &[1.0, 0.0, 0.5, 0.5, 0.0, 1.0, 0.75, 0.25]);
        assert_eq!(Matrix::new(&map, Heads::One(1)).row(1), [0.75, 0.25]);
        assert_eq!(
            Matrix::new(&map, Heads::Mean).values,
            [0.5, 0.5, 0.625, 0.375]
        );
        assert_eq!(Matrix::new(&map, Heads::Max).values, [1.0, 1.0, 0.75, 0.5]);
    }

    #[test]
    fn rollout_multiplies_layers_with_half_of_their_residual() {
        let identity = map(1, 2, &[1.0, 0.0, 0.0, 1.0]);
        let swap = map(1, 2, &[0.0, 1.0, 1.0, 0.0]);
        let all = map(1, 2, &[1.0, 0.0, 1.0, 0.0]);
        let rollout = |encoder| {
            AttentionMaps {
                encoder,
                decoder: vec![],
                first: 0,
                cls: false,
                visual: 2,
            }
            .rollout()
        };
        assert_eq!(rollout(vec![]), None);
        assert_eq!(
            rollout(vec![identity, swap.clone()]).unwrap().values,
            [0.5; 4]
        );
        // above: half of row 0 as it is, half from row 1; below: row 1 is half of row 0
        assert_eq!(
            rollout(vec![all, swap]).unwrap().values,
            [0.75, 0.25, 0.75, 0.25]
        );
    }

    #[test]
    fn entropy_distance_and_sinks_of_known_rows() {
        let even = Matrix {
            rows: 4,
            values: vec![0.25; 16],
        };
        assert!((even.entropy() - 4f64.ln()).abs() < 1e-6);
        // of each corner of a square of four: itself, two at 1, one at the root of 2
        assert!((even.distance(0) - (2.0 + 2f64.sqrt()) / 4.0).abs() < 1e-6);
        let own = Matrix {
            rows: 4,
            values: (0..16).map(|i| (i % 5 == 0) as u8 as f32).collect(),
        };
        assert_eq!((own.entropy(), own.distance(0)), (0.0, 0.0));
        assert_eq!(even.sinks(), [false; 4]);
        let sunk = Matrix {
            rows: 9,
            values: (0..81)
                .map(|i| if i % 9 == 4 { 0.6 } else { 0.05 })
                .collect(),
        };
        assert_eq!(sunk.sinks().iter().position(|&sink| sink), Some(4));
        assert_eq!(
            without_sinks(&[0.2, 0.6, 0.2], &[false, true, false]),
            [0.5, 0.0, 0.5]
        );
    }

    #[test]
    fn a_cls_row_and_a_patch_are_read_over_the_patches() {
        let matrix = Matrix {
            rows: 5,
            values: (0..25).map(|i| i as f32).collect(),
        };
        let maps = |first| AttentionMaps {
            encoder: vec![],
            decoder: vec![],
            first,
            cls: first == 1,
            visual: 4,
        };
        assert_eq!(maps(1).over_patches(&matrix, None), [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(
            maps(1).over_patches(&matrix, Some(2)),
            [16.0, 17.0, 18.0, 19.0]
        );
        assert_eq!(
            maps(0).over_patches(&matrix, None),
            [10.0, 11.0, 12.0, 13.0, 14.0]
        );
    }

    #[test]
    fn every_kind_of_visual_tokens_has_its_maps() {
        use crate::models::seemore::{Config, Preset};
        let device = device();
        for (tokens, first, visual, layers) in [
            (VisualTokens::Cls, 1, 1, 1),
            (VisualTokens::Patches, 1, 16, 1),
            (VisualTokens::Fuyu, 0, 16, 0),
        ] {
            let tiny = Preset::Tiny.config();
            let config = Config {
                visual_tokens: tokens,
                vocab_size: 7,
                image_size: 4 * tiny.patch_size,
                vision_layers: layers,
                ..tiny
            };
            let model = Vlm::new(&device, &config, 5).unwrap();
            let image: Vec<f32> = (0..3 * config.image_size.pow(2))
                .map(|i| (i % 13) as f32 / 6.5 - 1.0)
                .collect();
            let maps = AttentionPass::new(&device, &model, 6)
                .unwrap()
                .run(&image, &[1, 2, 3])
                .unwrap();
            assert_eq!(
                (maps.visual, maps.encoder.len()),
                (visual, layers),
                "{tokens:?}"
            );
            assert!(
                maps.decoder.iter().all(|map| map.shape[2] == visual + 3),
                "{tokens:?}"
            );
            for row in maps
                .encoder
                .iter()
                .chain(&maps.decoder)
                .flat_map(|map| map.values.chunks(map.shape[3]))
            {
                assert!(
                    (row.iter().sum::<f32>() - 1.0).abs() < 1e-4,
                    "{tokens:?}: {row:?}"
                );
            }
            if let Some(map) = maps.encoder.first() {
                assert_eq!(maps.first, first, "{tokens:?}");
                let heat = maps.over_patches(&Matrix::new(map, Heads::Mean), None);
                assert!(
                    heat.len() == 16 && heat.iter().all(|&share| share > 0.0),
                    "{tokens:?}: {heat:?}"
                );
            }
        }
    }

    /// The model with patch tokens that is shipped: what one pass over a whole caption sees is what was seen when each word was due.
    #[test]
    fn one_pass_sees_what_every_token_saw_when_it_was_written() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/checkpoints/emoji-patches");
        let mut captioner = Captioner::load(&device(), &folder).unwrap();
        let inside = |i: usize| ((i % 48) as f32 - 24.0).hypot((i / 48) as f32 - 20.0) < 15.0;
        let rgb = (0..48 * 48)
            .flat_map(|i| if inside(i) { [250, 200, 40] } else { [255; 3] })
            .collect();
        let picture = Picture {
            width: 48,
            height: 48,
            rgb,
        };
        let caption = "face with tears of joy";
        let tokens = captioner.tokenizer().encode(caption);
        let (maps, relevance) = captioner.attention(&picture, "", &tokens).unwrap();
        assert_eq!(
            (
                maps.first,
                maps.cls,
                maps.visual,
                tokens.len(),
                relevance.len()
            ),
            (0, false, 36, 5, 5)
        );
        let last = Matrix::new(maps.decoder.last().unwrap(), Heads::Mean);
        for (token, (at, _)) in std::iter::once((0, ""))
            .chain(caption.match_indices(' '))
            .enumerate()
        {
            let then = captioner
                .caption(
                    &picture,
                    &caption[..at],
                    1,
                    Sampling::GREEDY,
                    true,
                    &mut |_| true,
                )
                .unwrap();
            let now = maps.of_token(&last, 1, token);
            for (now, then) in now.iter().zip(&then[0].heat) {
                assert!(
                    (now - then).abs() < 1e-5,
                    "token {token}: {now} now, {then} then"
                );
            }
            assert_eq!(maps.by_token(&last, 1, tokens.len(), 7)[token], now[7]);
        }
    }
}
