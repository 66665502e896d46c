//! `seemore chat`: talks with a pretrained model, about pictures if it takes them.

use std::io::{BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::bail;
use clap::Args;

use super::caption::{Speed, sampling};
use super::devices::DeviceArgs;
use super::model::ModelArgs;
use super::output::{self, say};
use crate::caption::{CaptionOptions, Session};
use crate::image::Picture;
use crate::text::chat::{Message, Part, Role};

/// Arguments of `seemore chat`.
#[derive(Args)]
pub struct ChatArgs {
    /// Pictures to talk about, shown with the first question
    #[arg(value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// Ask one question and end; without it, questions are read from standard input, a line each
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Task that the model is given before the first question
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Maximum length of a reply, in tokens
    #[arg(long, default_value_t = 256, value_name = "TOKENS")]
    max_tokens: usize,
    /// Randomness of the choice of tokens; 0 takes the likeliest every time
    #[arg(long, default_value_t = 0.0)]
    temperature: f32,
    /// Random seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &ChatArgs) -> anyhow::Result<()> {
    let options = CaptionOptions {
        max_tokens: args.max_tokens,
        sampling: sampling(args.temperature, 0, 1.0, args.seed)?,
        ..CaptionOptions::default()
    };
    let pictures = args.images.iter().map(|path| Picture::open(path));
    let pictures: Vec<Picture> = pictures.collect::<Result<_, _>>()?;
    let session = args.model.load(&args.device.open()?)?;
    if session.model().dialogue().is_none() {
        bail!(
            "this model writes captions only: use `seemore caption`, or give a pretrained model to --model"
        );
    }
    if !pictures.is_empty() {
        session.check_pictures()?;
    }
    let mut messages: Vec<Message> = args
        .system
        .iter()
        .map(|task| Message::text(Role::System, task))
        .collect();
    if let Some(question) = &args.prompt {
        return reply(&session, &mut messages, question, &pictures, &options).map(drop);
    }
    let asking = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if asking {
            let _ = write!(std::io::stderr(), "> ");
        }
        let Some(question) = lines.next().transpose()? else {
            return Ok(());
        };
        if !question.trim().is_empty() {
            let printed = reply(&session, &mut messages, &question, &pictures, &options)?;
            if printed.is_break() {
                return Ok(());
            }
        }
    }
}

/// Asks a question after the messages so far and prints the reply, which joins them.
fn reply(
    session: &Session,
    messages: &mut Vec<Message>,
    question: &str,
    pictures: &[Picture],
    options: &CaptionOptions,
) -> anyhow::Result<ControlFlow<()>> {
    // pictures stand in front of the first question
    let first = !messages.iter().any(|message| message.role == Role::User);
    let shown = if first { pictures.len() } else { 0 };
    let parts = std::iter::repeat_n(Part::Image, shown).chain([Part::text(question)]);
    messages.push(Message::new(Role::User, parts.collect()));
    let mut speed = Speed::start();
    let mut printed = ControlFlow::Continue(());
    let reply = session.reply(messages, pictures, options, &mut |token| {
        speed.token();
        printed = output::print(&output::printable(&token.text));
        printed
    })?;
    if printed.is_continue() {
        say("");
    }
    speed.report();
    messages.push(Message::text(Role::Assistant, reply.text.trim()));
    Ok(printed)
}
