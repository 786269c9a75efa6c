//! `cluster`: groups of similar texts in a file.

use std::path::PathBuf;

use clap::Args;
use sentence_transformers::{CommunityOptions, SimilarityFunction, community_detection};
use serde_json::{Value, json};

use super::Surroundings;
use super::corpus::{Corpus, CorpusArguments};
use super::model::{ModelArguments, at_least_one};
use crate::failure::{Exit, Result};
use crate::interrupt::Watch;
use crate::output::{RecordFormat, Records};

/// The columns of a table: a row per text. Communities are counted from 1, the largest first.
const COLUMNS: &[&str] = &["community", "score", "number", "text"];
/// The columns of JSON lines: a line per community.
const GROUP_COLUMNS: &[&str] = &["community", "size", "members"];

#[derive(Debug, Args)]
#[command(
    after_help = "In tables every text of a community is one row: the community, its cosine with the community's \
centre, its line (or row) and the text; the centre comes first. In JSON lines every community is one line. Texts that belong \
to no community are left out.

Examples:
  sentence-transformers cluster questions.txt --threshold 0.8 --min-community-size 5
  sentence-transformers cluster corpus.parquet --output communities.jsonl"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    corpus: CorpusArguments,
    /// File of communities [default: standard output]
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    /// Format of the output [default: by its extension, else tsv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<RecordFormat>,
    /// Cosine from which on two texts are close
    #[arg(long, value_name = "COSINE", default_value_t = 0.75)]
    threshold: f32,
    /// Texts that make a community
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = at_least_one)]
    min_community_size: usize,
    #[command(flatten)]
    model: ModelArguments,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let format = RecordFormat::settle(arguments.format, arguments.output.as_deref())?;
    let texts = arguments.corpus.open()?;
    let model = arguments.model.load(surroundings)?;
    let watch = Watch::begin();
    let corpus = arguments.corpus.embed(texts, &model, &watch, surroundings)?;
    let options =
        CommunityOptions::new().threshold(arguments.threshold).min_community_size(arguments.min_community_size);
    let communities = community_detection(&corpus.embeddings, &options)?;
    watch.check()?;
    let grouped = format == RecordFormat::Jsonl;
    let columns = if grouped { GROUP_COLUMNS } else { COLUMNS };
    let mut records = Records::create(arguments.output.as_deref(), Some(format), columns)?;
    for (community, rows) in (1..).zip(&communities) {
        let scores = scores(&corpus, rows)?;
        if grouped {
            let member = |(&row, &score): (&usize, &f32)| {
                let text = &corpus.texts[row];
                json!({ "score": score, "number": text.number, "text": text.text })
            };
            let members: Vec<Value> = rows.iter().zip(&scores).map(member).collect();
            records.write(vec![community.into(), rows.len().into(), members.into()])?;
            continue;
        }
        for (&row, &score) in rows.iter().zip(&scores) {
            let text = &corpus.texts[row];
            records.write(vec![community.into(), json!(score), text.number.into(), text.text.as_str().into()])?;
        }
    }
    watch.check()?;
    records.finish()?;
    if !surroundings.quiet {
        let members: usize = communities.iter().map(Vec::len).sum();
        eprintln!("{} communities with {members} of {} texts", communities.len(), corpus.texts.len());
    }
    Ok(corpus.exit())
}

/// Cosines of the rows of a community with the first one, its centre.
fn scores(corpus: &Corpus, rows: &[usize]) -> Result<Vec<f32>> {
    let of = |rows: &[usize]| {
        sentence_transformers::Embeddings::from_rows(rows.iter().map(|&row| corpus.embeddings.row(row)))
    };
    let scores = SimilarityFunction::Cosine.similarity(&of(&rows[..1.min(rows.len())])?, &of(rows)?)?;
    Ok(scores.as_slice().to_vec())
}
