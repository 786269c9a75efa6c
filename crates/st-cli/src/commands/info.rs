//! `info`: what a model is.

use clap::Args;
use sentence_transformers::SentenceTransformer;
use serde_json::{Map, Value, json};

use super::model::ModelArguments;
use super::{Surroundings, View};
use crate::failure::{Exit, Result};
use crate::render::{Align, Table, print};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How it is shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let model = arguments.model.load(surroundings)?;
    let info = describe(&arguments.model.model, &model);
    match arguments.format {
        View::Table => print(&table(&info, &model))?,
        View::Json => print(&format!("{:#}\n", Value::Object(info)))?,
    }
    Ok(Exit::Done)
}

/// Everything there is to say, in the order in which it is said.
fn describe(name: &str, model: &SentenceTransformer) -> Map<String, Value> {
    let modules: Vec<Value> = model
        .pipeline()
        .modules()
        .map(|(name, module)| json!({ "name": name, "type": module.kind().name, "config": module.config() }))
        .collect();
    let prompts: Map<String, Value> =
        model.prompts().iter().map(|(name, text)| (name.to_owned(), Value::from(text))).collect();
    let mut info = Map::new();
    let mut say = |name: &str, value: Value| info.insert(name.to_owned(), value);
    say("model", name.into());
    say("found_in", model.origin().into());
    say("folder", model.path().display().to_string().into());
    say("dimension", model.dimension().into());
    say("max_seq_length", model.max_seq_length().into());
    say("similarity", model.similarity_function().as_str().into());
    say("prompts", prompts.into());
    say("default_prompt_name", model.default_prompt_name().into());
    if let Some(encoder) = model.encoder() {
        say("architecture", encoder.architecture.into());
        say("parameters", encoder.parameters.into());
        say("layers", encoder.layers.into());
        say("hidden", encoder.hidden.into());
        say("vocabulary", encoder.vocabulary.into());
        say("stored_as", encoder.stored.to_string().into());
        say("weights", encoder.weights.as_str().into());
        say("backend", encoder.backend.into());
        say("instructions", encoder.instructions.into());
    }
    say("threads", model.threads().into());
    say("modules", modules.into());
    info
}

/// The same for people: an entry a line, and the modules as the original prints them.
fn table(info: &Map<String, Value>, model: &SentenceTransformer) -> String {
    let mut table = Table::new(vec![Align::Left, Align::Left]);
    for (name, value) in info.iter().filter(|(name, _)| name.as_str() != "modules") {
        let label = name.replace('_', " ");
        match value {
            Value::Object(entries) => {
                let empty = if entries.is_empty() { Some("none".to_owned()) } else { None };
                let shown = entries.iter().map(|(name, text)| format!("{name}: {text}"));
                for (row, shown) in shown.chain(empty).enumerate() {
                    table.row(vec![if row == 0 { label.clone() } else { String::new() }, shown]);
                }
            }
            Value::Null => table.row(vec![label, "none".to_owned()]),
            Value::String(text) => table.row(vec![label, text.clone()]),
            Value::Number(number) => table.row(vec![label, with_commas(&number.to_string())]),
            other => table.row(vec![label, other.to_string()]),
        }
    }
    format!("{}\n{model:?}\n", table.lines())
}

/// Thousands set apart.
fn with_commas(digits: &str) -> String {
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(["7", "384", "22713216"].map(with_commas), ["7", "384", "22,713,216"]);
    }
}
