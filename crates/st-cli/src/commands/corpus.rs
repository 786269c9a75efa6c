//! The texts of a file and their embeddings, all in memory: for commands that compare all with all.

use std::path::PathBuf;

use clap::Args;
use sentence_transformers::{Embeddings, EncodeOptions, Prompt, SentenceTransformer};

use super::Surroundings;
use crate::failure::{Exit, Failure, Result};
use crate::input::{OnError, Request, Rows, Text, Texts};
use crate::interrupt::Watch;
use crate::render::Progress;

/// Which texts.
#[derive(Debug, Args)]
pub(super) struct CorpusArguments {
    /// File of texts, or - for standard input; the extension says the format, .gz is unpacked
    #[arg(value_name = "FILE|-")]
    input: PathBuf,
    /// Column that holds the texts [default: text, or the only one]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// What to do about a row that cannot be read
    #[arg(long, value_enum, default_value_t = OnError::Replace, value_name = "WAY")]
    on_error: OnError,
    /// Text to put in front of every text
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    prompt: Option<String>,
    /// The model's prompt of that name
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// Cut every embedding to its first components
    #[arg(long, value_name = "COUNT")]
    truncate_dim: Option<usize>,
}

/// Texts and, row by row, their embeddings.
pub(super) struct Corpus {
    pub(super) texts: Vec<Text>,
    pub(super) embeddings: Embeddings,
    damage: Option<String>,
}

impl CorpusArguments {
    /// Opens the file, so that what is wrong with it is said before a model is loaded.
    pub(super) fn open(&self) -> Result<Texts> {
        let rows = Rows::open(&Request { path: &self.input, format: None, column: self.column.as_deref() })?;
        Ok(Texts::new(rows, self.on_error))
    }

    pub(super) fn embed(
        &self,
        mut texts: Texts,
        model: &SentenceTransformer,
        watch: &Watch,
        surroundings: Surroundings,
    ) -> Result<Corpus> {
        let prompt = match (&self.prompt, &self.prompt_name) {
            (Some(text), _) => Prompt::text(text),
            (_, Some(name)) => Prompt::named(name),
            _ => Prompt::Default,
        };
        let mut options = EncodeOptions::new().prompt(prompt);
        if let Some(cut) = self.truncate_dim {
            options = options.truncate_dim(cut);
        }
        let progress = Progress::new(texts.extent(), surroundings.quiet);
        let (mut all, mut rows, mut width) = (Vec::new(), Vec::new(), 0);
        for chunk in model.encode_iter(texts.by_ref(), &options)? {
            watch.check()?;
            let chunk = chunk?;
            width = chunk.embeddings.dimension();
            rows.extend_from_slice(chunk.embeddings.as_slice());
            progress.advance(chunk.texts.len() as u64);
            all.extend(chunk.texts);
        }
        watch.check()?;
        texts.finish()?;
        progress.clear();
        if all.is_empty() {
            return Err(Failure::new(format!("{} holds no texts", self.input.display())));
        }
        let embeddings = Embeddings::new(rows, all.len(), width)?;
        Ok(Corpus { texts: all, embeddings, damage: texts.summary() })
    }
}

impl Corpus {
    /// Says what became of damaged rows; gives the exit code.
    pub(super) fn exit(&self) -> Exit {
        match &self.damage {
            None => Exit::Done,
            Some(summary) => {
                eprintln!("warning: {summary}");
                Exit::DamagedRows
            }
        }
    }
}
