//! Prefill and decode step with a key/value cache.

use crate::device::{Device, DeviceError, Plan};
use crate::explain::AttentionMap;
use crate::graph::Var;
use crate::models::{Caches, Logits, Model};
use crate::nn::{Context, LayerAttention};

use super::pictures::Pictures;

/// Sizes of a [`Decoding`], and what its passes compute besides logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecodingSpec {
    /// Number of pictures.
    pub(crate) rows: usize,
    /// Number of hypotheses per picture.
    pub(crate) beam: usize,
    /// Positions that the caches hold, visual tokens included.
    pub(crate) capacity: usize,
    /// Rows of images that prompts have room for, all together; 0 for models whose prefill encodes
    /// the pictures itself.
    pub(crate) image_rows: usize,
    /// Whether the likeliest tokens are chosen on the device.
    pub(crate) argmax: bool,
    /// Whether attention maps can be read: of all layers, or of the last one for models that encode
    /// pictures apart.
    pub(crate) maps: bool,
}

/// One recorded pass over new positions of every text.
pub(crate) struct Pass {
    pub(crate) plan: Plan,
    /// In a prefill of a model that takes pictures.
    pictures: Option<Pictures>,
    /// `[rows, tokens]`.
    ids: Var,
    /// `[rows]`: positions already cached, in a step. A prefill begins at 0.
    past: Option<Var>,
    /// `[rows]`: index of each text's last row among all rows of the batch, where texts are padded.
    last: Option<Var>,
    /// `[rows, 1, vocab]`.
    pub(crate) logits: Var,
    maps: Vec<LayerAttention>,
    /// The likeliest token of each text and the negative logarithm of its probability, `[rows]`
    /// each.
    choice: Option<(Var, Var)>,
}

impl Pass {
    fn new(
        device: &Device,
        model: &Model,
        caches: &Caches,
        [rows, tokens]: [usize; 2],
        prefill: bool,
        spec: &DecodingSpec,
    ) -> Result<Pass, DeviceError> {
        let info = model.info();
        let mut tape = model.tape(device);
        let pictures = match prefill {
            true => Pictures::new(&mut tape, info, rows, spec.image_rows),
            false => None,
        };
        let ids = tape.input(&[rows, tokens]);
        let past = (!prefill).then(|| tape.input(&[rows]));
        let last = (tokens > 1).then(|| tape.input(&[rows]));
        let mut c = Context::inference(&mut tape);
        c.past = past.unwrap_or(c.past);
        c.maps = spec.maps.then(Vec::new);
        let at = last.map_or(Logits::Last, Logits::Rows);
        // the encoder's maps are not recorded, and of the decoder's the last one is read
        c.last_map_only = info.encodes_apart();
        let features = pictures.map(|pictures| pictures.features(&mut c, model));
        let logits = model.decode(&mut c, features, ids, Some(caches), at);
        let maps = c.maps.take().unwrap_or_default();
        tape.hold(logits);
        let one = spec.argmax.then(|| tape.input(&[1]));
        let choice = one.map(|one| {
            let token = tape.argmax(logits);
            let loss = tape.cross_entropies(logits, token, one);
            [token, loss].into_iter().for_each(|v| tape.hold(v));
            (token, loss)
        });
        let plan = Plan::new(device, tape)?;
        if let Some(one) = one {
            plan.write(one, &[1f32]);
        }
        Ok(Pass {
            plan,
            pictures,
            ids,
            past,
            last,
            logits,
            maps,
            choice,
        })
    }
}

/// Copies batch elements from caches to caches.
struct CacheCopy {
    plan: Plan,
    elements: Var,
}

impl CacheCopy {
    /// Fills `count` elements of `to`, which may be `from`.
    fn new(
        device: &Device,
        to: &Caches,
        from: &Caches,
        count: usize,
    ) -> Result<CacheCopy, DeviceError> {
        let mut tape = device.tape();
        let (elements, start) = (tape.input(&[count]), tape.input(&[1]));
        to.gather(&mut tape, from, elements, start);
        let plan = Plan::new(device, tape)?;
        plan.write(start, &[0u32]);
        Ok(CacheCopy { plan, elements })
    }

    fn run(&self, elements: &[u32]) -> Result<(), DeviceError> {
        self.plan.write(self.elements, elements);
        self.plan.run()
    }
}

/// The pass over pictures and prompts padded to `tokens`. With a beam it fills caches of its own,
/// which every hypothesis copies.
struct Prefill {
    tokens: usize,
    pass: Pass,
    spread: Option<CacheCopy>,
}

/// Recorded passes that write texts of a fixed number of pictures: a prefill for each prompt length
/// in use, and one decode step that all of them share.
pub(crate) struct Decoding {
    spec: DecodingSpec,
    caches: Caches,
    prefills: Vec<Prefill>,
    /// Index of the prefill that was written last.
    current: usize,
    step: Pass,
    reorder: Option<CacheCopy>,
    /// Whether the last pass that ran or was written is the decode step.
    stepping: bool,
    /// Positions that each row of the caches holds.
    past: Vec<u32>,
    visual: usize,
}

impl Decoding {
    /// Records the decode step.
    ///
    /// # Errors
    /// Insufficient device memory for the caches or passes.
    pub(crate) fn new(
        device: &Device,
        model: &Model,
        spec: DecodingSpec,
    ) -> Result<Decoding, DeviceError> {
        let info = model.info();
        let rows = spec.rows * spec.beam;
        let caches = model.caches(device, rows, spec.capacity)?;
        let reorder = (spec.beam > 1)
            .then(|| CacheCopy::new(device, &caches, &caches, rows))
            .transpose()?;
        Ok(Decoding {
            step: Pass::new(device, model, &caches, [rows, 1], false, &spec)?,
            spec,
            caches,
            prefills: vec![],
            current: 0,
            reorder,
            stepping: false,
            past: vec![0; rows],
            visual: info.visual_tokens,
        })
    }

    pub(crate) fn spec(&self) -> &DecodingSpec {
        &self.spec
    }

    /// Records a prefill for prompts of at most `tokens` tokens, unless one of that length is
    /// recorded.
    ///
    /// # Errors
    /// Insufficient device memory for the pass.
    pub(crate) fn prepare(
        &mut self,
        device: &Device,
        model: &Model,
        tokens: usize,
    ) -> Result<(), DeviceError> {
        if self.prefills.iter().any(|prefill| prefill.tokens == tokens) {
            return Ok(());
        }
        let DecodingSpec { rows, beam, .. } = self.spec;
        let roots = (beam > 1)
            .then(|| model.caches(device, rows, self.visual + tokens))
            .transpose()?;
        let caches = roots.as_ref().unwrap_or(&self.caches);
        let pass = Pass::new(device, model, caches, [rows, tokens], true, &self.spec)?;
        let spread = roots
            .as_ref()
            .map(|roots| CacheCopy::new(device, &self.caches, roots, rows * beam))
            .transpose()?;
        self.prefills.push(Prefill {
            tokens,
            pass,
            spread,
        });
        Ok(())
    }

    /// Writes pictures and their prompts for the shortest recorded prefill that takes them, at most
    /// as many as there are rows; missing rows get an empty picture and token 0.
    ///
    /// `images` are pictures `[n, 3, side, side]` or, for models that [encode
    /// apart](crate::models::ModelInfo::encodes_apart), the encoded rows of all pictures, in the
    /// order of their places in the prompts.
    ///
    /// # Panics
    /// With more prompts than rows, another number of pictures, an empty prompt, or one longer than
    /// was prepared for.
    pub(crate) fn start(&mut self, images: &[f32], prompts: &[&[u32]]) {
        let DecodingSpec { rows, beam, .. } = self.spec;
        let longest = prompts.iter().map(|prompt| prompt.len()).max().unwrap_or(1);
        assert!(
            prompts.len() <= rows && prompts.iter().all(|prompt| !prompt.is_empty()),
            "{} prompts for {rows} rows",
            prompts.len()
        );
        let fitting = self
            .prefills
            .iter()
            .enumerate()
            .filter(|(_, prefill)| prefill.tokens >= longest);
        let Some((current, prefill)) = fitting.min_by_key(|(_, prefill)| prefill.tokens) else {
            panic!("no pass is recorded for a prompt of {longest} tokens")
        };
        self.current = current;
        let tokens = prefill.tokens;

        if let Some(pictures) = prefill.pass.pictures {
            pictures.write(&prefill.pass.plan, images, prompts, tokens);
        }
        let prompts = || {
            prompts
                .iter()
                .copied()
                .chain(std::iter::repeat(&[0][..]))
                .take(rows)
        };
        let padded = |prompt: &[u32]| {
            let mut ids = prompt.to_vec();
            ids.resize(tokens, 0);
            ids
        };
        let ids: Vec<u32> = prompts().flat_map(padded).collect();
        let pass = &prefill.pass;
        pass.plan.write(pass.ids, &ids);
        if let Some(last) = pass.last {
            // with the visual tokens in front, where they are positions of their own
            let all = self.visual + tokens;
            let rows = prompts()
                .enumerate()
                .map(|(row, prompt)| (row * all + self.visual + prompt.len() - 1) as u32);
            pass.plan.write(last, &rows.collect::<Vec<_>>());
        }
        self.past = prompts()
            .flat_map(|prompt| std::iter::repeat_n((self.visual + prompt.len()) as u32, beam))
            .collect();
        self.stepping = false;
    }

    /// Writes the next token of every row for the decode step, at the position behind those it has.
    pub(crate) fn feed(&mut self, tokens: &[u32]) {
        let past = self.step.past.expect("a step has a past");
        self.step.plan.write(self.step.ids, tokens);
        self.step.plan.write(past, &self.past);
        self.past.iter_mut().for_each(|past| *past += 1);
        self.stepping = true;
    }

    /// The pass that was written last.
    fn pass(&self) -> &Pass {
        if self.stepping {
            &self.step
        } else {
            &self.prefills[self.current].pass
        }
    }

    /// Runs the pass that was written last and returns its logits, `vocab` for each row.
    pub(crate) fn logits(&self) -> Result<Vec<f32>, DeviceError> {
        let pass = self.pass();
        pass.plan.run_and_read(pass.logits)
    }

    /// Runs the pass that was written last and returns the likeliest token of each row with the
    /// logarithm of its probability.
    pub(crate) fn likeliest(&self) -> Result<(Vec<u32>, Vec<f64>), DeviceError> {
        let pass = self.pass();
        let (token, loss) = pass.choice.expect("recorded with argmax");
        let tokens = pass.plan.run_and_read(token)?;
        let losses: Vec<f32> = pass.plan.read(loss)?;
        Ok((
            tokens,
            losses.into_iter().map(|loss| -loss as f64).collect(),
        ))
    }

    /// Attention probabilities of the pass that ran last, by layer; empty unless recorded.
    pub(crate) fn maps(&self) -> Result<Vec<AttentionMap>, DeviceError> {
        let pass = self.pass();
        pass.maps
            .iter()
            .map(|recorded| {
                let probabilities = recorded.probabilities;
                Ok(AttentionMap {
                    layer: recorded.layer.clone(),
                    part: recorded.part,
                    shape: pass.plan.shape(probabilities).to_vec(),
                    values: pass.plan.read(probabilities)?,
                })
            })
            .collect()
    }

    /// Copies the prefill's caches to hypotheses: hypothesis `i` continues picture `pictures[i]`.
    pub(crate) fn spread(&self, pictures: &[u32]) -> Result<(), DeviceError> {
        let spread = self.prefills[self.current].spread.as_ref();
        spread.expect("recorded with a beam").run(pictures)
    }

    /// Replaces hypothesis `i` by hypothesis `parents[i]`. Both must be of the same picture.
    pub(crate) fn reorder(&self, parents: &[u32]) -> Result<(), DeviceError> {
        self.reorder
            .as_ref()
            .expect("recorded with a beam")
            .run(parents)
    }

    /// Number of positions that a row of the caches holds.
    pub(crate) fn past(&self, row: usize) -> usize {
        self.past[row] as usize
    }

    /// Number of tokens that the texts of a picture may still get: one more than fits into the
    /// caches, since the last is not fed back.
    pub(crate) fn room(&self, picture: usize) -> usize {
        (self.spec.capacity + 1).saturating_sub(self.past(picture * self.spec.beam))
    }

    /// The prefill's recorded plan, for measurements.
    ///
    /// # Panics
    /// When none is recorded.
    pub(crate) fn prefill_plan(&self) -> &Plan {
        &self.prefills[self.current].pass.plan
    }

    /// The decode step's recorded plan, for measurements.
    pub(crate) fn step_plan(&self) -> &Plan {
        &self.step.plan
    }
}
