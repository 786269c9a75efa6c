//! `save`: a model into a folder, in the layout that the original reads too.

use std::path::PathBuf;

use clap::Args;
use sentence_transformers::save::SaveOptions;
use sentence_transformers::{SentenceTransformer, SimilarityFunction};
use serde_json::json;

use super::download::files;
use super::model::{ModelArguments, similarity_functions};
use super::{Surroundings, View};
use crate::failure::{Exit, Failure, Result};
use crate::render::{Align, Table, print};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sentence-transformers save --model intfloat/e5-small-v2 e5 --prompt query='query: ' --prompt document='passage: '
  sentence-transformers save --model old-folder new-folder --similarity dot --max-seq-length 256")]
pub(crate) struct Arguments {
    /// Folder to save into; it takes its place whole, and files of an older one that the model does not have are kept
    #[arg(value_name = "FOLDER")]
    output: PathBuf,
    /// Sets or replaces a prompt
    #[arg(long, value_name = "NAME=TEXT", value_parser = name_and_text)]
    prompt: Vec<(String, String)>,
    /// Name of the prompt used when a call names none
    #[arg(long, value_name = "NAME")]
    default_prompt_name: Option<String>,
    /// Similarity function [default: the model's]
    #[arg(long, value_parser = similarity_functions(), value_name = "FUNCTION")]
    similarity: Option<SimilarityFunction>,
    /// What the card's usage example calls the model: its name on the Hub
    #[arg(long, value_name = "NAME")]
    model_name: Option<String>,
    /// Write no model card
    #[arg(long, conflicts_with_all = ["model_name", "new_card"])]
    no_card: bool,
    /// Make a new card instead of the one that the model came with
    #[arg(long)]
    new_card: bool,
    /// Data set that a new card names as training data, by its name on the Hub; may be repeated
    #[arg(long, value_name = "NAME", requires = "new_card")]
    train_dataset: Vec<String>,
    /// Store weights as pytorch_model.bin instead of model.safetensors
    #[arg(long)]
    pytorch: bool,
    /// How the result is shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let mut model = arguments.model.load(surroundings)?;
    for (name, text) in &arguments.prompt {
        model.prompts_mut().set(name, text);
    }
    if let Some(name) = &arguments.default_prompt_name {
        model.set_default_prompt_name(Some(name))?;
    }
    if let Some(function) = arguments.similarity {
        model.set_similarity_function(function);
    }
    if arguments.new_card {
        model.set_card(None);
    }
    let mut options = SaveOptions::new()
        .create_model_card(!arguments.no_card)
        .train_datasets(&arguments.train_dataset)
        .safe_serialization(!arguments.pytorch);
    if let Some(name) = &arguments.model_name {
        options = options.model_name(name);
    }
    model.save_pretrained_with(&arguments.output, &options)?;
    show(&model, arguments)?;
    Ok(Exit::Done)
}

fn show(model: &SentenceTransformer, arguments: &Arguments) -> Result<()> {
    let folder = &arguments.output;
    let mut sizes = Vec::new();
    for name in files(folder)? {
        let path = folder.join(&name);
        let bytes = path.metadata().map_err(|error| Failure::path("read", &path, &error))?.len();
        sizes.push((name.display().to_string(), bytes));
    }
    match arguments.format {
        View::Table => {
            let mut table = Table::new(vec![Align::Left, Align::Right]);
            sizes.into_iter().for_each(|(name, bytes)| table.row(vec![name, bytes.to_string()]));
            print(&table.lines())
        }
        View::Json => {
            let files: Vec<_> = sizes.iter().map(|(name, bytes)| json!({ "name": name, "bytes": bytes })).collect();
            let value = json!({
                "model": arguments.model.model,
                "folder": folder.display().to_string(),
                "dimension": model.dimension(),
                "files": files,
            });
            print(&format!("{value:#}\n"))
        }
    }
}

fn name_and_text(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, text)) if !name.is_empty() => Ok((name.to_owned(), text.to_owned())),
        _ => Err("should be NAME=TEXT".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_may_hold_equals_signs_and_nothing() {
        assert_eq!(name_and_text("q=a=b"), Ok(("q".to_owned(), "a=b".to_owned())));
        assert_eq!(name_and_text("q="), Ok(("q".to_owned(), String::new())));
        assert!(name_and_text("=x").is_err() && name_and_text("x").is_err());
    }
}
