//! `mine-negatives`: texts that are near a query but no answer to it, as training data.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sentence_transformers::{
    EncodeOptions, HardNegativeMiner, HardNegativeOptions, MinedNegatives, NegativeSampling, Prompt,
};
use serde_json::{Value, json};

use super::Surroundings;
use super::model::{ModelArguments, at_least_one};
use crate::failure::{Exit, Failure, Result};
use crate::input::{OnError, Request, Rows, Table, Texts};
use crate::output::{RecordFormat, Records};

#[derive(Debug, Args)]
#[command(
    after_help = "The file has a query and a text that answers it in every row: the first two columns, unless named.

Examples:
  sentence-transformers mine-negatives pairs.jsonl --output triplets.jsonl --num-negatives 3
  sentence-transformers mine-negatives qa.csv --corpus passages.txt --layout n-tuple --relative-margin 0.05 --range-min 10"
)]
pub(crate) struct Arguments {
    /// File of pairs: .csv, .tsv, .jsonl or .parquet
    #[arg(value_name = "FILE")]
    input: PathBuf,
    /// Column of the queries [default: the first]
    #[arg(long, value_name = "NAME")]
    anchor_column: Option<String>,
    /// Column of the answers [default: the second]
    #[arg(long, value_name = "NAME")]
    positive_column: Option<String>,
    /// File of more texts among which negatives are sought
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
    /// Column of the corpus that holds the texts [default: text, or the only one]
    #[arg(long, value_name = "NAME", requires = "corpus")]
    corpus_column: Option<String>,
    #[command(flatten)]
    choice: ChoiceArguments,
    /// Text to put in front of every query [default: the model's prompt `query`, if it has one]
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Text to put in front of every text [default: the model's prompt `document`, `passage` or `corpus`]
    #[arg(long, value_name = "TEXT")]
    corpus_prompt: Option<String>,
    /// Folder that keeps the embeddings for a later run
    #[arg(long, value_name = "FOLDER")]
    embeddings_cache: Option<PathBuf>,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE|-")]
    output: Option<PathBuf>,
    /// Format of the output [default: by its extension, else tsv]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<RecordFormat>,
    /// What a row is
    #[arg(long, value_enum, default_value_t = Layout::Triplet, value_name = "LAYOUT")]
    layout: Layout,
    /// Write the scores too
    #[arg(long)]
    output_scores: bool,
    #[command(flatten)]
    model: ModelArguments,
}

/// Queries and their answers.
type Pairs = Vec<(String, String)>;

/// Which candidates become negatives.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choice")]
struct ChoiceArguments {
    /// Negatives for a query
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = at_least_one)]
    num_negatives: usize,
    /// Nearest candidates to pass over
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    range_min: usize,
    /// Nearest candidates to look at [default: as many as the other options need]
    #[arg(long, value_name = "COUNT")]
    range_max: Option<usize>,
    /// Pass over candidates with a higher score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    max_score: Option<f32>,
    /// Pass over candidates with a lower score
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    min_score: Option<f32>,
    /// Pass over candidates whose score is not so much below that of the answer
    #[arg(long, value_name = "DIFFERENCE")]
    absolute_margin: Option<f32>,
    /// Pass over candidates whose score is not this part below that of the answer
    #[arg(long, value_name = "PART")]
    relative_margin: Option<f32>,
    /// Take random candidates instead of the nearest, with this seed
    #[arg(long, value_name = "SEED")]
    random: Option<u64>,
    /// Let answers be candidates too (n-tuple only)
    #[arg(long)]
    include_positives: bool,
}

/// What a row of the output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// A query, an answer and a negative
    Triplet,
    /// A query, an answer and all its negatives; queries with fewer are left out
    NTuple,
    /// A query and a text, labelled 1 for an answer and 0 for a negative
    LabeledPair,
    /// A query, a list of texts and a list of labels
    LabeledList,
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    RecordFormat::settle(arguments.format, arguments.output.as_deref())?;
    if arguments.choice.include_positives && arguments.layout != Layout::NTuple {
        return Err(Failure::usage("--include-positives goes with --layout n-tuple only")
            .with_hint("in other layouts an answer would stand as a negative"));
    }
    let (names, pairs) = arguments.pairs()?;
    let (corpus, exit) = arguments.corpus()?;
    let model = arguments.model.load(surroundings)?;
    let prompted = |prompt: &Option<String>| match prompt {
        Some(text) => EncodeOptions::new().prompt(Prompt::text(text)),
        None => EncodeOptions::new(),
    };
    let mut miner = HardNegativeMiner::new(&model)
        .options(arguments.choice.options())
        .query_options(prompted(&arguments.query_prompt))
        .document_options(prompted(&arguments.corpus_prompt))
        .corpus(corpus);
    if let Some(folder) = &arguments.embeddings_cache {
        miner = miner.cache_folder(folder);
    }
    let mined = miner.mine(&pairs)?;
    arguments.write(&mined, &names)?;
    if !surroundings.quiet {
        eprintln!("{}", mined.statistics().to_string().trim_end());
    }
    Ok(exit)
}

impl Arguments {
    /// The names of the two columns, and the pairs.
    fn pairs(&self) -> Result<([String; 2], Pairs)> {
        let table = Table::read(&self.input)?;
        let place = |asked: &Option<String>, usual: usize| match asked {
            Some(name) => table.find(&[name]),
            None => (usual < table.columns.len()).then_some(usual),
        };
        let places = [place(&self.anchor_column, 0), place(&self.positive_column, 1)];
        let [Some(anchor), Some(positive)] = places else {
            return Err(Failure::usage(format!("{} has no such two columns", table.name))
                .with_hint(format!("its columns are {}", table.columns.join(", "))));
        };
        let names = [anchor, positive].map(|place| table.columns[place].clone());
        Ok((names, table.texts(anchor)?.into_iter().zip(table.texts(positive)?).collect()))
    }

    fn corpus(&self) -> Result<(Vec<String>, Exit)> {
        let Some(path) = &self.corpus else { return Ok((Vec::new(), Exit::Done)) };
        let rows = Rows::open(&Request { path, format: None, column: self.corpus_column.as_deref() })?;
        let mut texts = Texts::new(rows, OnError::Skip);
        let all = texts.by_ref().map(|text| text.text).collect();
        texts.finish()?;
        let exit = if texts.damaged > 0 { Exit::DamagedRows } else { Exit::Done };
        Ok((all, exit))
    }

    fn write(&self, mined: &MinedNegatives, [anchor, positive]: &[String; 2]) -> Result<()> {
        let scores = self.output_scores;
        let numbered: Vec<String> =
            (1..=self.choice.num_negatives).map(|number| format!("negative_{number}")).collect();
        let mut columns: Vec<&str> = vec![anchor, positive];
        match self.layout {
            Layout::Triplet => columns.push("negative"),
            Layout::NTuple => columns.extend(numbered.iter().map(String::as_str)),
            Layout::LabeledPair => columns.push(if scores { "score" } else { "label" }),
            Layout::LabeledList => columns.push(if scores { "scores" } else { "labels" }),
        }
        if scores && matches!(self.layout, Layout::Triplet | Layout::NTuple) {
            columns.push("scores");
        }
        let mut records = Records::create(self.output.as_deref(), self.format, &columns)?;
        let optional = |scores: Value| self.output_scores.then_some(scores);
        match self.layout {
            Layout::Triplet => mined.triplets().try_for_each(|row| {
                let texts = [row.anchor, row.positive, row.negative].map(Value::from);
                records.write(texts.into_iter().chain(optional(json!(row.scores))).collect())
            })?,
            Layout::NTuple => mined.tuples().try_for_each(|row| {
                let texts = [row.anchor, row.positive].into_iter().chain(row.negatives).map(Value::from);
                records.write(texts.chain(optional(json!(row.scores))).collect())
            })?,
            Layout::LabeledPair => mined.labeled_pairs().try_for_each(|row| {
                let last = if scores { json!(row.score) } else { row.label.into() };
                records.write(vec![row.anchor.into(), row.passage.into(), last])
            })?,
            Layout::LabeledList => mined.labeled_lists().try_for_each(|row| {
                let last = if scores { json!(row.scores) } else { json!(row.labels) };
                records.write(vec![row.anchor.into(), json!(row.passages), last])
            })?,
        }
        records.finish()
    }
}

impl ChoiceArguments {
    fn options(&self) -> HardNegativeOptions {
        let mut options = HardNegativeOptions::new()
            .num_negatives(self.num_negatives)
            .range_min(self.range_min)
            .include_positives(self.include_positives);
        options.range_max = self.range_max;
        options.max_score = self.max_score;
        options.min_score = self.min_score;
        options.absolute_margin = self.absolute_margin;
        options.relative_margin = self.relative_margin;
        if let Some(seed) = self.random {
            options.sampling = NegativeSampling::Random { seed };
        }
        options
    }
}
