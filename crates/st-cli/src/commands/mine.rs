//! `mine`: the pairs of similar texts in a file.

use std::path::PathBuf;

use clap::Args;
use sentence_transformers::{MiningOptions, SimilarityFunction, paraphrase_mining_embeddings};
use serde_json::json;

use super::Surroundings;
use super::corpus::CorpusArguments;
use super::model::{ModelArguments, at_least_one, similarity_functions};
use crate::failure::{Exit, Result};
use crate::interrupt::Watch;
use crate::output::{RecordFormat, Records};

/// The columns of the output. Numbers are lines or rows, from 1.
const COLUMNS: &[&str] = &["score", "number1", "number2", "text1", "text2"];

#[derive(Debug, Args)]
#[command(after_help = "Every pair is one row: its score, the two lines (or rows) and the two texts, best first.

Examples:
  sentence-transformers mine questions.txt --output pairs.tsv --min-score 0.8
  sentence-transformers mine corpus.jsonl --column title --format jsonl --top-k 10")]
pub(crate) struct Arguments {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// File of pairs [default: standard output]
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    /// Format of the output [default: by its extension, else tsv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<RecordFormat>,
    /// Similar texts that a text contributes
    #[arg(short = 'k', long, value_name = "COUNT", default_value_t = 100, value_parser = at_least_one)]
    top_k: usize,
    /// Most pairs to keep while mining
    #[arg(long, value_name = "COUNT", default_value_t = 500_000, value_parser = at_least_one)]
    max_pairs: usize,
    /// Leave out pairs with a lower score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// Similarity function
    #[arg(long, value_parser = similarity_functions(), value_name = "FUNCTION", default_value = "cosine")]
    similarity: SimilarityFunction,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    RecordFormat::settle(arguments.format, arguments.output.as_deref())?;
    let texts = arguments.corpus.open()?;
    let model = arguments.model.load(surroundings)?;
    let watch = Watch::begin();
    let corpus = arguments.corpus.embed(texts, &model, &watch, surroundings)?;
    let options =
        MiningOptions::new().top_k(arguments.top_k).max_pairs(arguments.max_pairs).score_function(arguments.similarity);
    let pairs = paraphrase_mining_embeddings(&corpus.embeddings, &options)?;
    watch.check()?;
    let mut records = Records::create(arguments.output.as_deref(), arguments.format, COLUMNS)?;
    for pair in &pairs {
        if arguments.min_score.is_some_and(|least| pair.score < least) {
            break;
        }
        let (first, second) = (&corpus.texts[pair.first], &corpus.texts[pair.second]);
        records.write(vec![
            json!(pair.score),
            first.number.into(),
            second.number.into(),
            first.text.as_str().into(),
            second.text.as_str().into(),
        ])?;
    }
    watch.check()?;
    records.finish()?;
    Ok(corpus.exit())
}
