//! SmolLM2-135M-Instruct, from safetensors in f16 and from GGUF in Q4_1.

use std::collections::BTreeMap;
use std::path::PathBuf;

use seemore::caption::{Generator, Sampling};
use seemore::device::{Device, Plan};
use seemore::models::checkpoint::{self, KeepWeights};
use seemore::models::{Logits, Model};
use seemore::nn::Context;
use seemore::text::Tokenizer;
use seemore::text::chat::{Message, Role};
use serde_json::Value;

use crate::golden;
use crate::recorded::{self, TOLERANCE, hold, hold_each, norm};
use crate::weights;

/// The folder of the safetensors file, which is also that of the GGUF file.
const FOLDER: &str = "smollm2-135m-instruct";

const GGUF: &str = "smollm2-135m-instruct/smollm2-135m-instruct-q4_1.gguf";

/// Names of the files in the recordings, and where they lie.
fn sources() -> [(&'static str, PathBuf); 2] {
    [
        ("safetensors_f16", weights::path(FOLDER)),
        ("gguf_q4_1", weights::path(GGUF)),
    ]
}

/// Loads the model of a folder or GGUF file with its weights as they are stored.
#[track_caller]
pub fn load(device: &Device, path: &std::path::Path) -> (Model, Tokenizer) {
    match checkpoint::load_with(device, path, KeepWeights::AsStored) {
        Ok((model, tokenizer)) => (model, tokenizer.expect("pretrained models have one")),
        Err(error) => panic!("{error}"),
    }
}

/// Loads the tokenizers of the folder and of the GGUF file.
#[track_caller]
pub fn load_tokenizers() -> [Tokenizer; 2] {
    let device = weights::device("cpu");
    sources().map(|(_, path)| load(&device, &path).1)
}

/// What a pass over one text computes.
struct Pass {
    /// Intermediate values `[tokens, width]` by name.
    states: BTreeMap<String, Vec<f32>>,
    /// A row of logits for each token.
    logits: Vec<Vec<f32>>,
}

impl Pass {
    /// Runs a model over a text without caches.
    fn run(device: &Device, model: &Model, ids: &[u32]) -> Pass {
        let mut tape = device.tape();
        let input = tape.input(&[1, ids.len()]);
        let mut c = Context::inference(&mut tape);
        c.states = Some(vec![]);
        let logits = model.forward(&mut c, None, input, None, Logits::All);
        let states = c.states.take().unwrap();
        tape.hold(logits);
        let plan = Plan::new(device, tape).unwrap();
        plan.write(input, ids);
        plan.run().unwrap();
        let states = states.into_iter();
        let logits: Vec<f32> = plan.read(logits).unwrap();
        let vocabulary = model.info().vocab_size;
        Pass {
            states: states
                .map(|(name, state)| (name, plan.read(state).unwrap()))
                .collect(),
            logits: logits.chunks(vocabulary).map(<[f32]>::to_vec).collect(),
        }
    }

    /// Norm of the last token's row of an intermediate value.
    fn last_norm(&self, state: &str) -> f32 {
        let values = &self.states[state];
        norm(&values[values.len() - values.len() / self.logits.len()..])
    }
}

/// Returns the ids of the largest logits with them, the largest first.
fn largest(logits: &[f32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
    order.truncate(count);
    let values = order.iter().map(|&id| logits[id as usize]).collect();
    (order, values)
}

/// Natural logarithm of the probability of a token.
fn log_probability(logits: &[f32], token: u32) -> f64 {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(logits[token as usize] - most) - sum.ln()
}

/// Reads the messages of a recorded conversation.
fn messages(list: &Value) -> Vec<Message> {
    let message = |message: &Value| {
        let role = match golden::text(&message["role"]) {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            role => panic!("unknown role {role}"),
        };
        Message::text(role, golden::text(&message["content"]))
    };
    golden::list(list).iter().map(message).collect()
}

/// Holds everything that is recorded of a prompt, and returns the text that follows it.
fn hold_prompt(
    name: &str,
    device: &Device,
    (model, tokenizer): (&Model, &Tokenizer),
    prompt: &Value,
    want: &Value,
) -> String {
    let ids = recorded::ids(&prompt["ids"]);
    let string = golden::text(&prompt["string"]);
    assert_eq!(tokenizer.encode(string), ids, "{name}");
    let dialogue = model.dialogue().expect("the model is a pretrained one");
    if prompt["messages"].is_array() {
        let text = dialogue.text(&messages(&prompt["messages"]), &[]);
        assert_eq!(text.unwrap(), string, "{name}");
    }

    let pass = Pass::run(device, model, &ids);
    let last = pass.logits.last().unwrap();
    let (best, logits) = largest(last, 10);
    assert_eq!(best, recorded::ids(&want["top10_ids"]), "{name}");
    let each = |part: &str| format!("{name}: {part}");
    let floats = |part: &str| recorded::floats(&want[part]);
    hold(
        &each("best logits"),
        &logits,
        &floats("top10_logits"),
        TOLERANCE,
    );
    let first = floats("logits_of_first_32_ids");
    hold(
        &each("first logits"),
        &last[..first.len()],
        &first,
        TOLERANCE,
    );
    let number = |part: &str| want[part].as_f64().unwrap() as f32;
    let logits_norm = number("logits_norm");
    hold_each(
        &each("norm of all logits"),
        &[norm(last)],
        &[logits_norm],
        TOLERANCE,
    );
    let layers = (0..model.info().decoder.layers - 1).map(|layer| format!("text.layer{layer}"));
    let states = std::iter::once("inputs_embeds".to_owned()).chain(layers);
    let norms: Vec<f32> = states
        .chain(["text.norm".to_owned()])
        .map(|state| pass.last_norm(&state))
        .collect();
    let theirs = floats("hidden_norm_of_last_token_per_layer");
    hold_each(&each("norms of layers"), &norms, &theirs, TOLERANCE);
    let probabilities = pass.logits.iter().zip(&ids[1..]);
    let sum: f64 = probabilities
        .map(|(logits, &token)| log_probability(logits, token))
        .sum();
    let mean = (sum / (ids.len() - 1) as f64) as f32;
    let theirs = number("mean_log_prob_of_prompt");
    hold_each(&each("log-probability"), &[mean], &[theirs], TOLERANCE);

    // with caches, a token at a time
    let tokens = recorded::ids(&want["greedy_ids"]);
    let mut generator = Generator::new(device, model, 1, ids.len(), tokens.len()).unwrap();
    let written = generator.complete(&[], &[&ids], None, Sampling::GREEDY);
    let written: Vec<u32> = written.unwrap()[0]
        .iter()
        .map(|choice| choice.token)
        .collect();
    assert_eq!(written, tokens, "{name}");
    let margins: Vec<f32> = {
        let whole: Vec<u32> = ids.iter().chain(&tokens).copied().collect();
        let pass = Pass::run(device, model, &whole[..whole.len() - 1]);
        let rows = pass.logits[ids.len() - 1..].iter().zip(&tokens);
        rows.map(|(logits, &token)| {
            let (best, values) = largest(logits, 2);
            assert_eq!(best[0], token, "{name}");
            values[0] - values[1]
        })
        .collect()
    };
    // a margin is the difference of two logits
    let allowed = 2.0 * TOLERANCE * logits[0].abs();
    golden::close(&each("margins"), &margins, &floats("top2_margins"), allowed);
    // transformers ends at this token
    if tokens.len() < 24 {
        assert!(dialogue.ends().contains(tokens.last().unwrap()), "{name}");
    }
    tokenizer.decode(&tokens)
}

/// Holds all prompts of both files on a device.
fn hold_device(name: &str) {
    let device = weights::device(name);
    let record = recorded::open("smollm2.json");
    let prompts = golden::list(&record["prompts"]);
    for (source, path) in sources() {
        let (model, tokenizer) = load(&device, &path);
        let wanted = golden::list(&record["sources"][source]);
        assert_eq!(wanted.len(), prompts.len());
        let mut capital = 0;
        for (prompt, want) in prompts.iter().zip(wanted) {
            let string = golden::text(&prompt["string"]);
            let name = format!("{source} on {}, {string:?}", device.name());
            let text = hold_prompt(&name, &device, (&model, &tokenizer), prompt, want);
            if string == "The capital of France is" {
                assert!(text.starts_with(" Paris"), "{name}: {text}");
                capital += 1;
            }
        }
        assert_eq!(capital, 1, "the question about France is recorded once");
    }
}

#[test]
fn the_decoders_files_are_the_recorded_ones() {
    let record = recorded::open("smollm2.json");
    let files = record["weights_sha256"].as_object().unwrap();
    assert_eq!(files.len(), 2);
    for (name, want) in files {
        let path = weights::path(FOLDER).join(name);
        assert_eq!(weights::sha256(&path), golden::text(want), "{name}");
    }
}

#[test]
fn smollm2_computes_what_transformers_does_on_the_cpu() {
    hold_device("cpu");
}

#[test]
fn smollm2_computes_what_transformers_does_on_a_graphics_adapter() {
    hold_device("0");
}
