//! Low-rank adapters (Hu et al. 2022): `y = W x + b + s B A x` with small trained matrices `A` and
//! `B` beside a frozen layer.

mod targets;

use std::collections::BTreeMap;

use super::weight::side_by_side;
use super::{Context, Init, Parameters};
use crate::device::{DeviceError, Tensor};
use crate::graph::Var;
use crate::ops::Activation;
pub use targets::Targets;

/// Ends of the names of an adapter's parameters, behind the name of its layer.
pub(crate) const LORA_A: &str = "lora_A.weight";
pub(crate) const LORA_B: &str = "lora_B.weight";

/// Which layers have adapters, and what size these are. Layers are named by their module paths, as
/// in PEFT.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Number of rows of `A`, for layers that `rank_pattern` does not name.
    pub rank: usize,
    /// Numerator of the scale, for layers that `alpha_pattern` does not name.
    pub alpha: f64,
    /// Whether the scale is `alpha / sqrt(rank)` (Kalajdzievski 2023) instead of `alpha / rank`.
    pub rslora: bool,
    /// Probability that dropout zeroes an input of `A` during training.
    pub dropout: f32,
    /// Layers with adapters.
    pub targets: Targets,
    /// Layers without, although they are among the targets.
    pub excluded: Option<Targets>,
    /// Numbers of the blocks with adapters, for targets that are listed; empty for all.
    pub layers: Vec<usize>,
    /// Names of the lists of blocks that `layers` counts; empty for any.
    pub layers_pattern: Vec<String>,
    /// Ranks by regular expressions, which are matched from a dot on to the end of a layer's name.
    pub rank_pattern: BTreeMap<String, usize>,
    /// As `rank_pattern`, for `alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
}

impl LoraConfig {
    /// Adapters of rank 8 and alpha 16, without dropout.
    pub fn new(targets: Targets) -> LoraConfig {
        LoraConfig {
            rank: 8,
            alpha: 16.0,
            rslora: false,
            dropout: 0.0,
            targets,
            excluded: None,
            layers: vec![],
            layers_pattern: vec![],
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
        }
    }

    /// Checks ranges and regular expressions.
    ///
    /// # Errors
    /// Describes the first value that cannot be used.
    pub fn check(&self) -> Result<(), String> {
        let ranks = self.rank_pattern.values().chain([&self.rank]);
        if let Some(rank) = ranks.copied().find(|&rank| rank == 0 || rank > 4096) {
            return Err(format!("rank {rank} is not from 1 to 4096"));
        }
        let alphas = self.alpha_pattern.values().chain([&self.alpha]);
        if let Some(alpha) = alphas.copied().find(|alpha| !alpha.is_finite()) {
            return Err(format!("alpha {alpha} is not a number"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err(format!(
                "dropout {} is not at least 0 and below 1",
                self.dropout
            ));
        }
        let patterns = self.rank_pattern.keys().chain(self.alpha_pattern.keys());
        let patterns = patterns.chain(&self.layers_pattern);
        patterns
            .map(|pattern| targets::compiled(pattern))
            .try_for_each(|it| it.map(drop))?;
        self.targets.check()?;
        self.excluded.as_ref().map_or(Ok(()), Targets::check)
    }

    /// Whether a layer has an adapter. `is_head` marks the output layer, which
    /// [`Targets::AllLinear`] leaves out.
    pub fn takes(&self, module: &str, is_head: bool) -> bool {
        if self
            .excluded
            .as_ref()
            .is_some_and(|it| it.matches(module, is_head))
        {
            return false;
        }
        self.targets.matches(module, is_head)
            && (self.layers.is_empty()
                || targets::block(module, &self.layers_pattern)
                    .is_some_and(|block| self.layers.contains(&block)))
    }

    /// Rank of a layer's adapter.
    pub fn rank_of(&self, module: &str) -> usize {
        targets::by_pattern(&self.rank_pattern, module).unwrap_or(self.rank)
    }

    /// Factor of a layer's adapter.
    pub fn scale_of(&self, module: &str) -> f64 {
        let alpha = targets::by_pattern(&self.alpha_pattern, module).unwrap_or(self.alpha);
        let rank = self.rank_of(module) as f64;
        match self.rslora {
            true => alpha / rank.sqrt(),
            false => alpha / rank,
        }
    }
}

/// Adapter of one of the layers that a fused layer consists of.
struct Adapter {
    /// `[rank, inputs]`.
    a: Tensor,
    /// `[outputs, rank]`.
    b: Tensor,
    scale: f32,
}

/// Adapters of the members of a fused layer, of which some may have none.
pub(super) struct Adapters {
    /// One for each member, with the number of its outputs.
    members: Vec<(usize, Option<Adapter>)>,
    dropout: f32,
}

impl Adapters {
    /// Creates the parameters `member.lora_A.weight` and `member.lora_B.weight` of the members that
    /// have adapters. Returns `None` if there are none.
    pub(super) fn new(
        p: &mut Parameters,
        members: &[(&str, usize)],
        inputs: usize,
        is_head: bool,
    ) -> Result<Option<Adapters>, DeviceError> {
        let Some(config) = p.lora() else {
            return Ok(None);
        };
        let mut found = vec![];
        for &(name, outputs) in members {
            let module = p.module(name);
            if !config.takes(&module, is_head) {
                found.push((outputs, None));
                continue;
            }
            let rank = config.rank_of(&module);
            let adapter = p.scope_of(name, |p| -> Result<Adapter, DeviceError> {
                Ok(Adapter {
                    a: p.create_adapter(LORA_A, &[rank, inputs], Init::Uniform { inputs })?,
                    b: p.create_adapter(LORA_B, &[outputs, rank], Init::Zeros)?,
                    scale: config.scale_of(&module) as f32,
                })
            })?;
            found.push((outputs, Some(adapter)));
        }
        let any = found.iter().any(|(_, adapter)| adapter.is_some());
        Ok(any.then(|| Adapters {
            members: found,
            dropout: config.dropout,
        }))
    }

    /// Adds the adapters' outputs for `x: [.., inputs]` to `y: [.., outputs]`.
    pub(super) fn add(&self, c: &mut Context, x: Var, y: Var) -> Var {
        let x = match c.training && self.dropout > 0.0 {
            true => c.tape.dropout(x, self.dropout, c.seed),
            false => x,
        };
        let (a, b) = match &self.members[..] {
            [(_, Some(adapter))] => (c.parameter(&adapter.a), adapter.scaled(c)),
            members => stacked(c, members),
        };
        // ANCHOR: add
        let inner = c.tape.linear(x, a, None, Activation::None);
        let z = c.tape.linear(inner, b, None, Activation::None);
        c.tape.add(y, z)
        // ANCHOR_END: add
    }
}

/// Records the matrices of all members as two: those of `A` below each other, `[ranks, inputs]`, and
/// those of `B`, scaled, along the diagonal of `[outputs, ranks]`. Two products then serve a fused
/// layer, and what is put together is as small as the adapters.
fn stacked(c: &mut Context, members: &[(usize, Option<Adapter>)]) -> (Var, Var) {
    let adapters = members.iter().filter_map(|(_, adapter)| adapter.as_ref());
    let ranks: usize = adapters.clone().map(Adapter::rank).sum();
    let parts: Vec<Var> = adapters.map(|adapter| c.parameter(&adapter.a)).collect();
    let a = below(c, &parts);
    let (mut rows, mut before) = (vec![], 0);
    for (outputs, adapter) in members {
        let Some(adapter) = adapter else {
            rows.push(c.tape.fill(&[*outputs, ranks], 0.0));
            continue;
        };
        let after = ranks - before - adapter.rank();
        let mut columns = vec![];
        if before > 0 {
            columns.push(c.tape.fill(&[*outputs, before], 0.0));
        }
        columns.push(adapter.scaled(c));
        if after > 0 {
            columns.push(c.tape.fill(&[*outputs, after], 0.0));
        }
        before += adapter.rank();
        rows.push(side_by_side(c, &columns));
    }
    (a, below(c, &rows))
}

/// Records matrices `[n, columns]` below each other.
fn below(c: &mut Context, parts: &[Var]) -> Var {
    let columns = c.tape.shape(parts[0])[1];
    let mut whole: Option<Var> = None;
    for &part in parts {
        let rows = c.tape.shape(part)[0];
        let part = c.tape.view(part, &[1, rows, columns]);
        whole = Some(match whole {
            Some(before) => c.tape.concat_rows(before, part),
            None => part,
        });
    }
    let whole = whole.expect("there are parts");
    let rows = c.tape.len(whole) / columns;
    c.tape.view(whole, &[rows, columns])
}

impl Adapter {
    fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    /// Records `s B`.
    fn scaled(&self, c: &mut Context) -> Var {
        let b = c.parameter(&self.b);
        match self.scale == 1.0 {
            true => b,
            false => c.tape.scale(b, self.scale),
        }
    }
}
