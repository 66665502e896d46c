//! Every kernel variant that the library records, for any device: programs are recorded on an
//! executor without a device, which pretends to have other capabilities each time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::ready;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::caption::{AttentionPass, Generator, RelevancePass, Search, SearchOptions};
use crate::device::executor::{Bound, Created, DeviceInfo, Executor, Prepared, Range, Read, Times};
use crate::device::{Device, DeviceError, Plan};
use crate::graph::{Always, Capabilities, Kernel, Precision, Tape, TensorId, Var};
use crate::models::{Model, ModelConfig, Preset, emoji, seemore};
use crate::ops::{
    Activation, Attention, Dropout, Encoding, GradScaler, MATMUL_VARIANTS, TablePart, shared,
    transposed,
};
use crate::train::{
    Moments, Objective, Optimizer, OptimizerConfig, ScoringPass, StepSizes, TrainStep,
};

/// An entry point with its override constants, as some device would compile it.
pub struct Variant {
    pub kernel: &'static Kernel,
    pub entry: String,
    pub constants: Vec<(&'static str, f64)>,
    /// Capabilities under which it was recorded.
    pub recorded_for: Vec<Capabilities>,
}

impl Variant {
    /// Returns file, entry point and constants, for messages.
    pub fn place(&self) -> String {
        let Variant {
            kernel,
            entry,
            constants,
            ..
        } = self;
        format!("shaders/{}.wgsl `{entry}` with {constants:?}", kernel.name)
    }

    /// Returns the valid module of the kernel, with the constants in place of its overrides and
    /// without other entry points.
    pub fn module(&self) -> (naga::Module, naga::valid::ModuleInfo) {
        let fail = |error: &dyn fmt::Display| -> ! { panic!("{}: {error}", self.place()) };
        let module = naga::front::wgsl::parse_str(self.kernel.source);
        let module = module.unwrap_or_else(|error| fail(&error));
        let info = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::all(),
        )
        .validate(&module);
        let info = info.unwrap_or_else(|error| fail(&error.emit_to_string(self.kernel.source)));
        let constants = self.constants.iter();
        let constants = constants
            .map(|&(name, value)| (name.to_owned(), value))
            .collect();
        let point = Some((naga::ShaderStage::Compute, self.entry.as_str()));
        let (module, info) =
            naga::back::pipeline_constants::process_overrides(&module, &info, point, &constants)
                .unwrap_or_else(|error| fail(&error));
        (module.into_owned(), info.into_owned())
    }
}

/// Capabilities of different kinds of devices. All workgroups have the 256 invocations that every
/// device has.
pub const DEVICES: [Capabilities; 8] = [
    // lavapipe, and at other vector widths
    device(Some(8), true, None),
    device(Some(4), true, None),
    device(Some(16), true, None),
    device(None, true, None),
    device(None, false, None),
    device(Some(32), false, None),
    // tensor cores on Vulkan
    device(Some(32), false, Some(16)),
    // simdgroup matrices on Metal, and some drivers of Vulkan
    device(Some(32), false, Some(8)),
];

const fn device(subgroup: Option<u32>, software: bool, cooperative: Option<u32>) -> Capabilities {
    Capabilities {
        subgroup,
        software,
        unrolls: software,
        cooperative,
        ..Capabilities::MINIMAL
    }
}

/// Source, entry point and constants by their bits.
type Key = (&'static str, String, Vec<(&'static str, u64)>);

/// Allocates nothing, computes nothing, and keeps the variants of all programs prepared on it.
struct Recorder {
    info: DeviceInfo,
    capabilities: Mutex<Capabilities>,
    ids: AtomicU64,
    variants: Mutex<BTreeMap<Key, Variant>>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("Recorder")
    }
}

impl Executor for Recorder {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn capabilities(&self) -> Capabilities {
        *self.capabilities.lock().unwrap()
    }

    fn max_bytes(&self) -> u64 {
        1 << 30
    }

    fn free_memory(&self) -> Option<u64> {
        None
    }

    fn created(&self) -> Created {
        Created::default()
    }

    fn allocate(&self, _bytes: u64) -> Result<TensorId, DeviceError> {
        Ok(TensorId(self.ids.fetch_add(1, Ordering::Relaxed)))
    }

    fn free(&self, _id: TensorId) {}

    fn write(&self, _id: TensorId, _offset: u64, _bytes: &[u8]) {}

    fn read(&self, range: Range) -> Read {
        Box::pin(ready(Ok(vec![0; range.bytes as usize / 4])))
    }

    fn prepare(
        &self,
        schedule: &[Bound],
        _parallel: bool,
    ) -> Result<Box<dyn Prepared>, DeviceError> {
        let capabilities = self.capabilities();
        let mut variants = self.variants.lock().unwrap();
        for bound in schedule {
            let dispatch = bound.dispatch;
            let constants = dispatch.constants.iter();
            let bits = constants.map(|&(name, value)| (name, value.to_bits()));
            let entry = dispatch.entry.name.clone();
            let key = (dispatch.kernel.source, entry.clone(), bits.collect());
            let variant = variants.entry(key).or_insert_with(|| Variant {
                kernel: dispatch.kernel,
                entry,
                constants: dispatch.constants.clone(),
                recorded_for: vec![],
            });
            if !variant.recorded_for.contains(&capabilities) {
                variant.recorded_for.push(capabilities);
            }
        }
        Ok(Box::new(Nothing))
    }
}

/// A program of a [`Recorder`].
struct Nothing;

impl Prepared for Nothing {
    fn submit(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn submit_and_read(&self, range: Range) -> Read {
        Box::pin(ready(Ok(vec![0; range.bytes as usize / 4])))
    }

    fn submit_some(&self, _dispatches: std::ops::Range<usize>) -> Result<(), DeviceError> {
        Ok(())
    }

    fn times(&self) -> Times<'_> {
        Box::pin(ready(Ok(None)))
    }
}

/// All variants, recorded once.
pub fn variants() -> &'static [Variant] {
    static VARIANTS: OnceLock<Vec<Variant>> = OnceLock::new();
    VARIANTS.get_or_init(record)
}

fn record() -> Vec<Variant> {
    let recorder = Arc::new(Recorder {
        info: DeviceInfo {
            name: "recorder".into(),
            line: "recorder".into(),
            timestamps: false,
            facts: vec![],
        },
        capabilities: Mutex::new(DEVICES[0]),
        ids: AtomicU64::new(0),
        variants: Mutex::default(),
    });
    let device = Device::with_executor(recorder.clone());
    let models: Vec<Model> = configs()
        .iter()
        .map(|config| Model::new(&device, config, 1).unwrap())
        .collect();
    for capabilities in DEVICES {
        *recorder.capabilities.lock().unwrap() = capabilities;
        for model in &models {
            programs(&device, model);
        }
        for variant in MATMUL_VARIANTS {
            // a tuner may choose any of them for any product
            let device = device.choosing(Arc::new(Always(variant)));
            products(&device);
            programs(&device, &models[0]);
        }
        others(&device);
    }
    std::mem::take(&mut *recorder.variants.lock().unwrap())
        .into_values()
        .collect()
}

/// The presets, a class head, and sizes that are multiples of nothing.
fn configs() -> Vec<ModelConfig> {
    let presets = [
        Preset::Tiny,
        Preset::Seemore,
        Preset::SeemoreOriginal,
        Preset::Llava,
        Preset::Fuyu,
        Preset::Emoji,
    ];
    let mut configs: Vec<ModelConfig> = presets.iter().map(|preset| preset.config()).collect();
    let classes = emoji::ClassHeadConfig {
        classes: 11,
        ..emoji::ClassHeadConfig::default()
    };
    configs.push(
        emoji::Config {
            class_head: classes.clone(),
            dropout: 0.1,
            ..emoji::Config::default()
        }
        .into(),
    );
    configs.push(
        emoji::Config {
            vision: emoji::VisionConfig {
                image_size: 30,
                patch_size: 10,
                width: 35,
                heads: 5,
                pool_width: 3,
                color_levels: 4,
                ..emoji::VisionConfig::default()
            },
            class_head: classes,
            text: emoji::TextConfig {
                vocab_size: 13,
                width: 21,
                heads: 3,
                ..emoji::TextConfig::default()
            },
            dropout: 0.1,
            ..emoji::Config::default()
        }
        .into(),
    );
    configs.push(
        seemore::Config {
            vision: seemore::VisionConfig {
                image_size: 21,
                patch_size: 7,
                width: 35,
                layers: 1,
                heads: 5,
                ..seemore::VisionConfig::default()
            },
            text: seemore::TextConfig {
                vocab_size: 13,
                context: 32,
                width: 21,
                layers: 1,
                heads: 3,
            },
            ..seemore::Config::llava()
        }
        .into(),
    );
    configs
}

/// Records training, captioning, evaluation and explanation.
fn programs(device: &Device, model: &Model) {
    for (accumulate, checkpoint, precision, moments) in [
        (1, false, Precision::F32, Moments::F32),
        (1, true, Precision::F16, Moments::Eight),
        (2, false, Precision::F32, Moments::F32),
    ] {
        let config = OptimizerConfig {
            ema: 0.99,
            moments,
            ..OptimizerConfig::default()
        };
        let scaler = GradScaler::default();
        let optimizer = Optimizer::new(device, model.store(), config, scaler, |_| true).unwrap();
        let sizes = StepSizes {
            batch: 5,
            length: 9,
            accumulate,
            checkpoint,
            precision,
            objective: Objective {
                classes: (model.info().classes > 0) as u32 as f32,
                smoothing: 0.1,
                ..Objective::CAPTIONS
            },
            shared: false,
            answers: None,
        };
        let step = TrainStep::record(device, model, &optimizer, &sizes, &|_| true);
        step.unwrap().plan(device).unwrap();
    }
    ScoringPass::new(device, model, 3, 9).unwrap();
    for beam in [1, 3] {
        let options = SearchOptions {
            batch: 2,
            prompt: 3,
            new: 5,
            beam,
            length_power: 0.0,
        };
        Search::new(device, model, options).unwrap();
    }
    Generator::new(device, model, 1, 1, 4).unwrap();
    AttentionPass::new(device, model, 5, 0).unwrap();
    if model
        .parameters()
        .iter()
        .any(|(name, _)| name.starts_with("vit."))
    {
        RelevancePass::new(device, model, 5, 0).unwrap();
    }
}

/// Prepares what `body` records, with everything that it returns held.
fn prepare(device: &Device, body: impl FnOnce(&mut Tape) -> Vec<Var>) {
    let mut tape = device.tape();
    let held = body(&mut tape);
    held.into_iter().for_each(|v| tape.hold(v));
    Plan::new(device, tape).unwrap();
}

/// Prepares `op` of inputs of these shapes, and its gradients.
fn op<const N: usize>(
    device: &Device,
    shapes: [&[usize]; N],
    op: impl FnOnce(&mut Tape, [Var; N]) -> Var,
) {
    prepare(device, |t| {
        let inputs = shapes.map(|shape| t.variable(shape));
        let out = op(t, inputs);
        [gradients(t, out, &inputs), vec![out]].concat()
    });
}

/// Returns the gradients of `inputs` after a backward pass from `out`.
fn gradients(t: &mut Tape, out: Var, inputs: &[Var]) -> Vec<Var> {
    let shape = t.shape(out).to_vec();
    let cotangent = t.input(&shape);
    t.backward(out, cotangent);
    inputs.iter().map(|&v| t.grad(v).unwrap()).collect()
}

/// Records products at sizes that lead to different constants.
fn products(device: &Device) {
    for m in [1, 2, 3, 4, 7, 12, 40, 600] {
        for (n, k) in [(8, 16), (7, 5), (512, 128), (30, 9000)] {
            for precision in [Precision::F32, Precision::F16] {
                prepare(device, |t| {
                    t.set_precision(precision);
                    let (a, b) = (t.variable(&[m, k]), t.variable(&[k, n]));
                    let (at, bt) = (t.variable(&[k, m]), t.variable(&[n, k]));
                    let mut held = vec![];
                    for (a, b, flips) in [
                        (a, b, [false, false]),
                        (a, bt, [false, true]),
                        (at, b, [true, false]),
                        (at, bt, [true, true]),
                    ] {
                        let side = |v: Var, flip: bool| match flip {
                            true => transposed(v),
                            false => v.into(),
                        };
                        let c = t.matmul(side(a, flips[0]), side(b, flips[1]));
                        held.push(c);
                    }
                    held.extend(gradients(t, held[0], &[a, b]));
                    held
                });
                prepare(device, |t| {
                    t.set_precision(precision);
                    let (x, weight) = (t.input(&[m, k]), t.input(&[n, k]));
                    let bias = t.input(&[n]);
                    let linear = |activation| t.linear(x, weight, Some(bias), activation);
                    let activations = [Activation::None, Activation::Relu, Activation::Gelu];
                    activations.map(linear).to_vec()
                });
            }
        }
    }
}

/// Records a layer with packed weights with its gradient, and a lookup in them.
fn packed(device: &Device, encoding: Encoding, words: usize, [m, n, k]: [usize; 3]) {
    prepare(device, |t| {
        let weight = t.input(&[words]);
        let (x, bias, ids) = (t.variable(&[m, k]), t.variable(&[n]), t.input(&[m]));
        let plain = t.packed_linear(x, weight, encoding, n, None, Activation::None);
        let biased = t.packed_linear(x, weight, encoding, n, Some(bias), Activation::None);
        let rows = t.packed_embedding(weight, encoding, k, ids, TablePart::whole(n));
        let all = t.unpack(weight, encoding, n, k);
        let all = t.scale(all, 1.0);
        let grads = [gradients(t, biased, &[x, bias]), gradients(t, plain, &[x])];
        [grads.concat(), vec![plain, biased, rows, all]].concat()
    });
}

/// Records what the models here do not: other sizes, and ops that no preset uses.
fn others(device: &Device) {
    for encoding in Encoding::ALL {
        for (m, n, k) in [
            (1, 3, 256),
            (2, 70, 1536),
            (3, 5, 2048),
            (4, 9, 256),
            (40, 9, 768),
        ] {
            let words = n * encoding.row_words(k).unwrap();
            packed(device, encoding, words, [m, n, k]);
        }
    }
    // widths that are no multiple of 32, or of 4
    for k in [48, 33] {
        packed(device, Encoding::F16, 5 * 32, [2, 5, k]);
    }
    // each power of two of lanes in attention
    for width in [4, 8, 12, 16, 24, 32, 40, 64, 100, 128] {
        for (precision, dropout) in [(Precision::F32, 0.1), (Precision::F16, 0.0)] {
            prepare(device, |t| {
                t.set_precision(precision);
                let qkv = t.variable(&[2, 9, 4 * width]);
                let (past, seed) = (t.input(&[1]), t.input(&[1]));
                let spec = Attention {
                    heads: 2,
                    kv_heads: 1,
                    scale: 1.0,
                    causal: true,
                    dropout,
                    rounded: false,
                };
                let out = t.attention(qkv, qkv, past, seed, &spec);
                let mut held = gradients(t, out, &[qkv]);
                held.extend([out, t.attention_probabilities(qkv, qkv, past, &spec)]);
                held
            });
        }
    }
    // rows for every workgroup size, and past the first dispatch of a sum
    for (rows, cols) in [
        (3, 8),
        (3, 7),
        (70, 300),
        (70, 301),
        (2, 40_000),
        (2, 40_001),
    ] {
        rows_of(device, rows, cols);
    }
    for width in [16, 6] {
        op(device, [&[2, 3, 5 * width]], |t, [x]| {
            let (table, past) = (t.input(&[9, width / 2, 2]), t.input(&[1]));
            t.rope(x, table, past, 4, width)
        });
    }
    for patch in [8, 7] {
        op(device, [&[1, 3, 3 * patch, 3 * patch]], |t, [image]| {
            t.patchify(image, patch)
        });
        prepare(device, |t| {
            let image = t.input(&[1, 3, 3 * patch, 3 * patch]);
            vec![t.ink(image)]
        });
    }
}

/// Prepares every op on `rows` rows of `cols` elements.
fn rows_of(device: &Device, rows: usize, cols: usize) {
    let (x, vector): (&[usize], &[usize]) = (&[1, rows, cols], &[cols]);
    let dropout = |t: &mut Tape, p| Dropout {
        p,
        seed: t.input(&[1]),
    };
    op(device, [x], |t, [x]| t.softmax(x));
    op(device, [x], |t, [x]| t.relu(x));
    op(device, [x], |t, [x]| t.gelu(x));
    op(device, [x], |t, [x]| t.gelu_tanh(x));
    op(device, [x], |t, [x]| t.quick_gelu(x));
    op(device, [x], |t, [x]| t.l2_normalize(x, 1.0));
    op(device, [x], |t, [x]| t.scale(x, 2.0));
    op(device, [x], |t, [x]| t.slice_rows(x, 1, 1));
    op(device, [x, x], |t, [a, b]| t.add(a, b));
    op(device, [x, vector], |t, [a, b]| t.add(a, b));
    op(device, [x, x], |t, [a, b]| t.concat_rows(a, b));
    op(device, [x, &[1, cols]], |t, [x, v]| t.add_vector(x, v));
    op(device, [x, vector, vector], |t, [x, weight, bias]| {
        t.layernorm(x, weight, bias, 1e-5)
    });
    op(device, [x, vector], |t, [x, weight]| {
        t.rmsnorm(x, weight, 1e-5)
    });
    op(device, [x, x, vector], |t, [x, branch, weight]| {
        let (h, y) = t.add_rmsnorm(x, branch, weight, 1e-5);
        t.add(h, y)
    });
    op(device, [&[rows, 2 * cols]], |t, [x]| t.swiglu(x));
    op(device, [x, &[2, cols]], |t, [x, rows]| {
        let at = t.input(&[2]);
        t.scatter_rows(x, rows, at)
    });
    op(device, [&[1, 36, cols]], |t, [x]| t.pixel_shuffle(x, 3));
    for p in [0.0, 0.1] {
        op(
            device,
            [x, x, vector, vector],
            |t, [x, branch, weight, bias]| {
                let dropout = dropout(t, p);
                let (h, y) = t.add_layernorm([x, branch], dropout, [weight, bias], 1e-5);
                t.add(h, y)
            },
        );
    }
    op(device, [x], |t, [x]| {
        let seed = t.input(&[1]);
        t.dropout(x, 0.1, seed)
    });
    op(device, [x, &[rows + 1, cols]], |t, [x, table]| {
        let start = t.input(&[1]);
        t.positions(x, table, start)
    });
    op(device, [&[13, cols]], |t, [table]| {
        let ids = t.input(&[rows]);
        t.embedding(table, ids)
    });
    op(device, [&[rows, cols]], |t, [logits]| {
        let (targets, scale) = (t.input(&[rows]), t.input(&[1]));
        t.cross_entropy(logits, targets, scale, 0.1)
    });
    prepare(device, |t| {
        let x = t.input(x);
        let most = t.argmax(x);
        let table = t.input(&[5, cols, 2]);
        let ids = t.chosen_ids(table, most);
        vec![ids, t.sum_rows(x, cols), t.fill(vector, 1.0)]
    });
}

/// Entry points of all files in `shaders/`, by the name of the file. Products have theirs in shared
/// files.
fn entry_points() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir("shaders").unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("@compute") {
                let next = lines.next().unwrap().strip_prefix("fn ").unwrap();
                let entry = next.split('(').next().unwrap().to_owned();
                found.insert((name.clone(), entry));
            }
        }
        if let Some(rest) = name.strip_prefix("matmul_") {
            assert!(MATMUL_VARIANTS.contains(&rest), "{name}");
            for entry in ["product", "product_bias", "product_bias_activation"] {
                found.insert((name.clone(), entry.to_owned()));
            }
        }
    }
    found
}

/// Without this, a kernel that nothing here records would pass all checks of variants.
#[test]
fn every_entry_point_is_recorded_in_every_form() {
    let mut forms: BTreeMap<(String, String), BTreeSet<&str>> = BTreeMap::new();
    for variant in variants() {
        let key = (variant.kernel.name.to_owned(), variant.entry.clone());
        forms.entry(key).or_default().insert(variant.kernel.source);
    }
    for key in entry_points() {
        let sources = forms.get(&key);
        let sources = sources.unwrap_or_else(|| panic!("{key:?} is not recorded"));
        let has = |part: &str| sources.iter().any(|source| source.contains(part));
        for pair in [
            [shared::WIDE, shared::NARROW],
            [shared::LANES_MEMORY, shared::LANES_SHUFFLE],
            [shared::OPERANDS_F32, shared::OPERANDS_F16],
            [shared::COOPERATIVE_8, shared::COOPERATIVE_16],
        ] {
            // products sum over lanes in memory alone
            let product = key.0.starts_with("matmul_") && pair[0] == shared::LANES_MEMORY;
            assert!(
                product || has(pair[0]) == has(pair[1]),
                "{key:?} is recorded in one of two forms, with {:?} alone",
                if has(pair[0]) { pair[0] } else { pair[1] }
            );
        }
    }
    let sources: BTreeSet<&str> = variants().iter().map(|v| v.kernel.source).collect();
    let attention = |source: &&&str| source.contains("fn keys_used");
    assert_eq!(sources.iter().filter(attention).count(), 6);
    for source in crate::ops::tuned_sources() {
        assert!(sources.contains(source), "a product is not recorded");
    }
}
