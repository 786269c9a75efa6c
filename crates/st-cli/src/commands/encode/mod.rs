//! `encode`: texts to embeddings.

mod features;
mod row;
mod run;
mod sink;
mod tally;

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use sentence_transformers::{EncodeOptions, Precision, Prompt, Prompts};

use super::model::{ModelArguments, at_least_one};
use crate::failure::{Failure, Result};
use crate::input::{self, InputFormat, OnError, Request, Rows, Texts};
use crate::output::{self, OutputFormat};

pub(super) use run::run;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sentence-transformers encode \"The weather is lovely today.\" --normalize
  sentence-transformers encode --input texts.txt --output embeddings.npy
  sentence-transformers encode --input corpus.jsonl --column body --output corpus.parquet --resume
  sentence-transformers encode --images --model sentence-transformers/clip-ViT-B-32 cat.jpg dog.png")]
pub(crate) struct Arguments {
    /// Texts to encode
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    texts: Vec<String>,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    input: InputArguments,
    #[command(flatten)]
    encode: EncodeArguments,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Input")]
struct InputArguments {
    /// File of texts, or - for standard input; .gz is unpacked
    #[arg(short, long, value_name = "FILE|-")]
    input: Option<PathBuf>,
    /// Format of the input [default: by its extension, else lines]
    #[arg(long, value_name = "FORMAT", value_parser = input_formats(), requires = "input")]
    input_format: Option<&'static InputFormat>,
    /// Column that holds the texts [default: text, or the only one]
    #[arg(long, value_name = "NAME", requires = "input")]
    column: Option<String>,
    /// What to do about a row that cannot be read: invalid UTF-8, malformed JSON, no text
    #[arg(long, value_enum, default_value_t = OnError::Replace, value_name = "WAY")]
    on_error: OnError,
    /// The texts are paths of images, PNG or JPEG, for a model that sees, such as CLIP
    #[arg(long, conflicts_with_all = ["prompts", "strict"])]
    images: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Encoding")]
struct EncodeArguments {
    /// Text to put in front of every text
    #[arg(long, value_name = "TEXT", group = "prompts")]
    prompt: Option<String>,
    /// The model's prompt of that name
    #[arg(long, value_name = "NAME", group = "prompts")]
    prompt_name: Option<String>,
    /// The texts are queries: use the prompt `query` if the model has one
    #[arg(long, group = "prompts")]
    query: bool,
    /// The texts are documents: use the prompt `document`, `passage` or `corpus` if the model has one
    #[arg(long, group = "prompts")]
    document: bool,
    /// Task of the texts, which chooses the route of a model with a Router
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Give every embedding unit length
    #[arg(long)]
    normalize: bool,
    /// Cut every embedding to its first components
    #[arg(long, value_name = "COUNT")]
    truncate_dim: Option<usize>,
    /// Number format of the embeddings
    #[arg(long, default_value = Precision::Float32.as_str(), value_parser = precisions(), value_name = "FORMAT")]
    precision: Precision,
    /// What to give out
    #[arg(long, value_enum, default_value_t = OutputValue::SentenceEmbedding, value_name = "WHAT")]
    output_value: OutputValue,
    /// Texts that go through the network together at most [default: as many as fit the processor's cache]
    #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
    batch_size: Option<usize>,
    /// Make a text that is longer than the model reads an error, instead of cutting it
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
struct OutputArguments {
    /// File of embeddings [default: JSON lines on standard output, an excerpt on a terminal]
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    /// Format of the output [default: by its extension]
    #[arg(long, value_name = "FORMAT", value_parser = output_formats())]
    format: Option<&'static OutputFormat>,
    /// Continue a run that did not come to its end; begin one that can be continued (into Parquet, every run can)
    #[arg(long, requires = "output")]
    resume: bool,
    /// Rows of a part of a run that can be continued, which are safe once written; in Parquet they become a row group
    #[arg(long, value_name = "COUNT", default_value_t = 4096, value_parser = at_least_one)]
    rows_per_part: usize,
}

/// What is made of each text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum OutputValue {
    /// One embedding per text
    SentenceEmbedding,
    /// One embedding per token (JSON lines only)
    TokenEmbeddings,
    /// Token ids, token embeddings and the sentence embedding (JSON lines only)
    All,
}

impl Arguments {
    fn texts(&self) -> Result<Texts> {
        let rows = match &self.input.input {
            Some(path) => {
                Rows::open(&Request { path, format: self.input.input_format, column: self.input.column.as_deref() })?
            }
            None if self.texts.is_empty() => {
                return Err(Failure::usage("there is nothing to encode")
                    .with_hint("give texts, or a file with --input FILE, or --input - for standard input"));
            }
            None => Rows::of_arguments(self.texts.clone()),
        };
        Ok(Texts::new(rows, self.input.on_error))
    }
}

impl EncodeArguments {
    fn options(&self, prompts: &Prompts) -> EncodeOptions {
        let prompt = match (&self.prompt, &self.prompt_name) {
            (Some(text), _) => Prompt::text(text),
            (_, Some(name)) => Prompt::named(name),
            _ => Prompt::Default,
        };
        let mut options = EncodeOptions::new().prompt(prompt).normalize(self.normalize);
        if let Some(cut) = self.truncate_dim {
            options = options.truncate_dim(cut);
        }
        if let Some(size) = self.batch_size {
            options = options.batch_size(size);
        }
        if let Some(task) = &self.task {
            options = options.task(task);
        }
        match (self.query, self.document) {
            (true, _) => options.for_query(prompts),
            (_, true) => options.for_document(prompts),
            _ => options,
        }
    }
}

pub(super) fn precisions() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::possible_values()).try_map(|name| name.parse::<Precision>())
}

fn input_formats() -> impl TypedValueParser<Value = &'static InputFormat> {
    PossibleValuesParser::new(input::FORMATS.iter().map(|format| format.name))
        .try_map(|name| input::format_named(&name).ok_or("no such format"))
}

pub(super) fn output_formats() -> impl TypedValueParser<Value = &'static OutputFormat> {
    PossibleValuesParser::new(output::FORMATS.iter().map(|format| format.name))
        .try_map(|name| output::format_named(&name).ok_or("no such format"))
}
