//! `similarity`: texts compared with one another.

use clap::Args;
use sentence_transformers::{EncodeOptions, Prompt, SimilarityFunction, SimilarityMatrix};
use serde_json::json;

use super::model::{ModelArguments, similarity_functions};
use super::{Surroundings, View};
use crate::failure::{Exit, Result};
use crate::render::{Align, Table, print, shorten};

/// Columns of a text in the table.
const TEXT: usize = 48;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Texts to compare
    #[arg(value_name = "TEXT", required = true, num_args = 1..)]
    texts: Vec<String>,
    /// Similarity function [default: the model's]
    #[arg(long, value_parser = similarity_functions(), value_name = "FUNCTION")]
    similarity: Option<SimilarityFunction>,
    /// Text to put in front of every text
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_name")]
    prompt: Option<String>,
    /// The model's prompt of that name
    #[arg(long, value_name = "NAME")]
    prompt_name: Option<String>,
    /// How the scores are shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let model = arguments.model.load(surroundings)?;
    let prompt = match (&arguments.prompt, &arguments.prompt_name) {
        (Some(text), _) => Prompt::text(text),
        (_, Some(name)) => Prompt::named(name),
        _ => Prompt::Default,
    };
    let embeddings = model.encode_with(&arguments.texts, &EncodeOptions::new().prompt(prompt))?;
    let function = arguments.similarity.unwrap_or(model.similarity_function());
    let scores = function.similarity(&embeddings, &embeddings)?;
    match arguments.format {
        View::Table => print(&table(&arguments.texts, &scores))?,
        View::Json => {
            let rows: Vec<&[f32]> = scores.rows_iter().collect();
            let value = json!({
                "model": arguments.model.model,
                "similarity": function.as_str(),
                "texts": arguments.texts,
                "scores": rows,
            });
            print(&format!("{value}\n"))?;
        }
    }
    Ok(Exit::Done)
}

fn table(texts: &[String], scores: &SimilarityMatrix) -> String {
    let mut table = Table::new([vec![Align::Right, Align::Left], vec![Align::Right; texts.len()]].concat());
    let numbers = (1..=texts.len()).map(|number| number.to_string());
    table.row([String::new(), String::new()].into_iter().chain(numbers).collect());
    for (number, (text, row)) in texts.iter().zip(scores.rows_iter()).enumerate() {
        let scores = row.iter().map(|score| format!("{score:.4}"));
        table.row([(number + 1).to_string(), shorten(text, TEXT)].into_iter().chain(scores).collect());
    }
    table.lines()
}
