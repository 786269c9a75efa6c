//! `search`: the texts of a file that fit a query best, with flat memory.

use std::cmp::Ordering;
use std::path::PathBuf;

use clap::Args;
use sentence_transformers::{EncodeOptions, Prompt, SearchOptions, SimilarityFunction, semantic_search};
use serde_json::{Value, json};

use super::model::{ModelArguments, at_least_one, similarity_functions};
use super::{Surroundings, View};
use crate::failure::{Exit, Failure, Result};
use crate::input::{OnError, Request, Rows, Texts};
use crate::interrupt::Watch;
use crate::render::{Align, Progress, Table, print, shorten};

/// Columns of a text in the table.
const TEXT: usize = 100;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Queries
    #[arg(value_name = "QUERY", conflicts_with = "queries")]
    query: Vec<String>,
    /// File of the texts to search, or - for standard input; the extension says the format
    #[arg(long, value_name = "FILE|-")]
    corpus: PathBuf,
    /// Column of the corpus that holds the texts [default: text, or the only one]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// File of queries
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// Column of the queries [default: text, or the only one]
    #[arg(long, value_name = "NAME", requires = "queries")]
    query_column: Option<String>,
    /// What to do about a row that cannot be read
    #[arg(long, value_enum, default_value_t = OnError::Replace, value_name = "WAY")]
    on_error: OnError,
    /// Texts to find for each query
    #[arg(short = 'k', long, value_name = "COUNT", default_value_t = 5, value_parser = at_least_one)]
    top_k: usize,
    /// Similarity function [default: the model's]
    #[arg(long, value_parser = similarity_functions(), value_name = "FUNCTION")]
    similarity: Option<SimilarityFunction>,
    /// Text to put in front of every query [default: the model's prompt `query`, if it has one]
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Text to put in front of every text of the corpus [default: the model's prompt `document`, `passage` or `corpus`]
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
    /// How the hits are shown
    #[arg(long, value_enum, default_value_t = View::Table, value_name = "VIEW")]
    format: View,
    #[command(flatten)]
    model: ModelArguments,
}

/// A text that was found.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    score: f32,
    /// Its place among the texts of the corpus, from 0.
    index: u64,
    /// Its line or row, from 1.
    number: u64,
    text: String,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let open = |path, column: &Option<String>| -> Result<Texts> {
        let rows = Rows::open(&Request { path, format: None, column: column.as_deref() })?;
        Ok(Texts::new(rows, arguments.on_error))
    };
    let mut damaged = 0;
    let mut queries = arguments.query.clone();
    if let Some(path) = &arguments.queries {
        let mut texts = open(path, &arguments.query_column)?;
        queries.extend(texts.by_ref().map(|text| text.text));
        texts.finish()?;
        damaged += texts.damaged;
    }
    if queries.is_empty() {
        return Err(Failure::usage("there is nothing to search for").with_hint("give queries, or --queries FILE"));
    }
    let mut corpus = open(&arguments.corpus, &arguments.column)?;
    let model = arguments.model.load(surroundings)?;
    let options = |prompt: &Option<String>| match prompt {
        Some(text) => EncodeOptions::new().prompt(Prompt::text(text)),
        None => EncodeOptions::new(),
    };
    let query_rows = model.encode_query(&queries, &options(&arguments.query_prompt))?;
    let function = arguments.similarity.unwrap_or(model.similarity_function());
    let search = SearchOptions::new().top_k(arguments.top_k).score_function(function);

    let watch = Watch::begin();
    let progress = Progress::new(corpus.extent(), surroundings.quiet);
    let mut best: Vec<Vec<Found>> = vec![Vec::new(); queries.len()];
    let mut count = 0;
    let corpus_options = options(&arguments.document_prompt).for_document(model.prompts());
    for chunk in model.encode_iter(corpus.by_ref(), &corpus_options)? {
        watch.check()?;
        let chunk = chunk?;
        for (best, hits) in best.iter_mut().zip(semantic_search(&query_rows, &chunk.embeddings, &search)?) {
            best.extend(hits.into_iter().filter_map(|hit| {
                let text = chunk.texts.get(hit.corpus_id)?;
                let index = (chunk.start + hit.corpus_id) as u64;
                Some(Found { score: hit.score, index, number: text.number, text: text.text.clone() })
            }));
            keep_best(best, arguments.top_k);
        }
        count += chunk.texts.len();
        progress.advance(chunk.texts.len() as u64);
    }
    watch.check()?;
    corpus.finish()?;
    progress.clear();
    damaged += corpus.damaged;
    if count == 0 {
        return Err(Failure::new(format!("{} holds no texts", arguments.corpus.display())));
    }
    match arguments.format {
        View::Table => print(&tables(&queries, &best))?,
        View::Json => print(&format!("{}\n", json(&queries, &best)))?,
    }
    if damaged > 0 {
        eprintln!("warning: {damaged} rows were damaged");
        return Ok(Exit::DamagedRows);
    }
    Ok(Exit::Done)
}

/// By decreasing score, equal ones in the order of the corpus.
fn keep_best(found: &mut Vec<Found>, most: usize) {
    found.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal).then(a.index.cmp(&b.index)));
    found.truncate(most);
}

fn tables(queries: &[String], best: &[Vec<Found>]) -> String {
    let mut out = String::new();
    for (query, found) in queries.iter().zip(best) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("{}\n", shorten(query, TEXT)));
        let mut table = Table::new(vec![Align::Right, Align::Right, Align::Left]);
        for found in found {
            table.row(vec![format!("  {:.4}", found.score), found.number.to_string(), shorten(&found.text, TEXT)]);
        }
        out.push_str(&table.lines());
    }
    out
}

fn json(queries: &[String], best: &[Vec<Found>]) -> Value {
    let hits = |found: &[Found]| -> Vec<Value> {
        let hit =
            |hit: &Found| json!({ "score": hit.score, "index": hit.index, "number": hit.number, "text": hit.text });
        found.iter().map(hit).collect()
    };
    queries.iter().zip(best).map(|(query, found)| json!({ "query": query, "hits": hits(found) })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_ties_go_by_place() {
        let found = |score, index| Found { score, index, number: index + 1, text: String::new() };
        let mut all = vec![found(0.1, 0), found(0.9, 3), found(0.9, 2), found(0.5, 1)];
        keep_best(&mut all, 3);
        assert_eq!(all.iter().map(|found| found.index).collect::<Vec<_>>(), [2, 3, 1]);
    }
}
