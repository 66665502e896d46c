//! Attention of one pass over a picture and its caption.
//!
//! Attention tells where a layer moved information from; it does not explain why a caption was
//! written (Jain & Wallace 2019).

use super::{AttentionMap, Heads, Matrix, RowLayout};

/// The attention of every layer over one picture and one text, as an
/// [`AttentionPass`](crate::caption::AttentionPass) reads it.
#[derive(Debug, Clone)]
pub struct AttentionMaps {
    /// Maps of the image encoder's layers, first to last: `[1, heads, rows, rows]`. Empty for models
    /// that encode pictures apart, whose maps would take hundreds of megabytes.
    pub encoder: Vec<AttentionMap>,
    /// Maps of the decoder's layers: `[1, heads, positions, positions]`.
    pub decoder: Vec<AttentionMap>,
    /// Number of encoder rows before the patches: 1 with a CLS token, else 0.
    pub first: usize,
    /// Whether the decoder takes in the CLS row.
    pub cls: bool,
    /// Number of decoder positions before the text.
    pub front: usize,
    /// Decoder positions of the visual tokens, in the order of the picture's rows.
    pub visual: Vec<usize>,
    /// Where the visual tokens lie on the picture; `None` where they are its patches row by row, or
    /// one token for all of it.
    pub layout: Option<RowLayout>,
}

impl AttentionMaps {
    /// Attention rollout through the encoder, from its last rows back to its first: the product
    /// over layers of the mean over heads averaged with the identity, which stands for the residual
    /// connection (Abnar & Zuidema 2020). `None` without layers.
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

    /// Attention to each patch in an encoder matrix: that of patch `query` if given, else of the
    /// CLS row of a CLS model, else the mean over rows.
    pub fn over_patches(&self, matrix: &Matrix, query: Option<usize>) -> Vec<f32> {
        let row = match query {
            Some(patch) => matrix.row(self.first + patch).to_vec(),
            None if self.cls => matrix.row(0).to_vec(),
            None => matrix.received(),
        };
        row[self.first..].to_vec()
    }

    /// Attention rollout through the decoder, from the position that chose a token of a caption
    /// after a prompt of `prompt` tokens back to the visual tokens, over the picture as
    /// [`on_picture`](Self::on_picture) gives it; see [`rollout`](Self::rollout).
    ///
    /// Attention is causal, so that every position passes on what stands before it, and early
    /// positions gather most of it.
    pub fn token_rollout(&self, prompt: usize, token: usize) -> Vec<f32> {
        let query = self.position(prompt, token);
        let mut shares = vec![0.0; query + 1];
        shares[query] = 1.0;
        for map in self.decoder.iter().rev() {
            let mut below: Vec<f32> = shares.iter().map(|share| 0.5 * share).collect();
            for (row, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
                let attended = map.row(row, Heads::Mean);
                let pairs = below.iter_mut().zip(attended);
                pairs.for_each(|(sum, value)| *sum += 0.5 * share * value);
            }
            shares = below;
        }
        self.on_picture(&self.over_visual(&shares))
    }

    /// Attention to each visual token in a row of a decoder matrix; 0 behind the end of the row.
    pub fn over_visual(&self, row: &[f32]) -> Vec<f32> {
        let share = |position: &usize| row.get(*position).copied().unwrap_or(0.0);
        self.visual.iter().map(share).collect()
    }

    /// Spreads the shares of visual tokens over the picture: a square map over the picture stretched
    /// to a square, row by row.
    pub fn on_picture(&self, shares: &[f32]) -> Vec<f32> {
        match &self.layout {
            Some(layout) => layout.spread(shares),
            None => shares.to_vec(),
        }
    }

    /// Attention over the picture, in a decoder matrix, at the position that chose token `token` of
    /// a caption after a prompt of `prompt` tokens; as [`on_picture`](Self::on_picture) gives it.
    pub fn of_token(&self, matrix: &Matrix, prompt: usize, token: usize) -> Vec<f32> {
        let row = matrix.row(self.position(prompt, token));
        self.on_picture(&self.over_visual(row))
    }

    /// The decoder position whose output chose a token: the one before it.
    pub fn position(&self, prompt: usize, token: usize) -> usize {
        self.front + prompt + token - 1
    }

    /// Decoder positions of text: all behind the visual tokens in front, without those that visual
    /// tokens take.
    pub fn text(&self) -> Vec<usize> {
        let positions = self.decoder.first().map_or(0, |map| map.shape[2]);
        (self.front..positions)
            .filter(|position| self.visual.binary_search(position).is_err())
            .collect()
    }

    /// Attention to one place of the picture, in a decoder matrix, at the positions that chose each
    /// of `count` tokens. `patch` is an index of the map that [`of_token`](Self::of_token) returns.
    pub fn by_token(&self, matrix: &Matrix, prompt: usize, count: usize, patch: usize) -> Vec<f32> {
        (0..count)
            .map(|token| self.of_token(matrix, prompt, token)[patch])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::caption::{AttentionPass, CaptionOptions, Session};
    use crate::image::Picture;
    use crate::models::Model;
    use crate::nn::Part;
    use crate::ops::check::device;

    fn map(heads: usize, rows: usize, values: &[f32]) -> AttentionMap {
        AttentionMap {
            part: Part::Encoder,
            layer: "vit.blocks.0.attn".into(),
            shape: vec![1, heads, rows, rows],
            values: values.to_vec(),
        }
    }

    #[test]
    fn rollout_multiplies_layers_averaged_with_the_residual() {
        let identity = map(1, 2, &[1.0, 0.0, 0.0, 1.0]);
        let swap = map(1, 2, &[0.0, 1.0, 1.0, 0.0]);
        let all = map(1, 2, &[1.0, 0.0, 1.0, 0.0]);
        let rollout = |encoder| {
            AttentionMaps {
                encoder,
                decoder: vec![],
                first: 0,
                cls: false,
                front: 2,
                visual: vec![0, 1],
                layout: None,
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
    fn visual_tokens_may_stand_within_the_text() {
        let rows = [
            [1.0, 0.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0],
            [0.25, 0.25, 0.5, 0.0],
            [0.1, 0.2, 0.3, 0.4],
        ];
        let layer = map(1, 4, &rows.concat());
        let maps = AttentionMaps {
            encoder: vec![],
            decoder: vec![layer.clone(), layer.clone()],
            first: 0,
            cls: false,
            front: 0,
            visual: vec![1, 2],
            layout: None,
        };
        assert_eq!(maps.text(), [0, 3]);
        let matrix = Matrix::new(&layer, Heads::Mean);
        // position 3 chose the token after a prompt of 4
        assert_eq!(maps.of_token(&matrix, 4, 0), [0.2, 0.3]);
        assert_eq!(maps.by_token(&matrix, 3, 2, 1), [0.5, 0.3]);
        // the product of the layers, averaged with the identity
        let whole = AttentionMaps {
            encoder: vec![layer.clone(), layer],
            ..maps.clone()
        };
        let rollout = whole.rollout().unwrap();
        let shares = maps.token_rollout(4, 0);
        for (share, want) in shares.iter().zip(&rollout.row(3)[1..3]) {
            assert!((share - want).abs() < 1e-6, "{shares:?}");
        }
        // the first position sees no visual token
        assert_eq!(maps.token_rollout(1, 0), [0.0, 0.0]);
    }

    #[test]
    fn reads_a_cls_row_a_patch_and_the_mean_over_the_patches() {
        let matrix = Matrix {
            rows: 5,
            values: (0..25).map(|i| i as f32).collect(),
        };
        let maps = |first| AttentionMaps {
            encoder: vec![],
            decoder: vec![],
            first,
            cls: first == 1,
            front: 4,
            visual: (0..4).collect(),
            layout: None,
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
    fn every_kind_of_visual_tokens_has_maps() {
        use crate::models::seemore::{Config, TextConfig, VisionConfig, VisualTokens};
        let device = device();
        for (tokens, first, visual, layers) in [
            (VisualTokens::Cls, 1, 1, 1),
            (VisualTokens::Patches, 1, 16, 1),
            (VisualTokens::Fuyu, 0, 16, 0),
        ] {
            let tiny = Config::tiny();
            let config = Config {
                visual_tokens: tokens,
                vision: VisionConfig {
                    image_size: 4 * tiny.vision.patch_size,
                    layers,
                    ..tiny.vision
                },
                text: TextConfig {
                    vocab_size: 7,
                    ..tiny.text
                },
                ..tiny
            };
            let model = Model::new(&device, &config, 5).unwrap();
            let image: Vec<f32> = (0..3 * config.vision.image_size.pow(2))
                .map(|i| (i % 13) as f32 / 6.5 - 1.0)
                .collect();
            let maps = AttentionPass::new(&device, &model, 6, 0)
                .unwrap()
                .run(&image, &[1, 2, 3])
                .unwrap();
            assert_eq!(
                (maps.visual.len(), maps.front, maps.encoder.len()),
                (visual, visual, layers),
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

    /// With the shipped patch-token model.
    #[test]
    fn one_pass_gives_the_attention_of_every_decode_step() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/checkpoints/emoji-patches");
        let session = Session::load(&device(), &folder).unwrap();
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
        let tokens = session.tokenizer().encode(caption);
        let (maps, relevance) = session.attention(&picture, "", &tokens).unwrap();
        assert_eq!(
            (
                maps.first,
                maps.cls,
                maps.visual.len(),
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
            let options = CaptionOptions {
                prompt: caption[..at].into(),
                max_tokens: 1,
                heat: true,
                ..CaptionOptions::default()
            };
            let mut then = vec![];
            session
                .stream(&picture, &options, &mut |token| {
                    then.push(token.clone());
                    ControlFlow::Continue(())
                })
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
