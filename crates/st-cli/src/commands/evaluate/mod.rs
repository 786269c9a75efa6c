//! `evaluate`: a model measured on labelled data.

mod results;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sentence_transformers::{Precision, SimilarityFunction};
use st_eval::evaluate;

use super::Surroundings;
use super::encode::precisions;
use super::model::{ModelArguments, at_least_one, similarity_functions};
use super::tasks::{TASKS, TaskOptions, TaskRequest};
use crate::failure::{Exit, Failure, Result};
use crate::interrupt::Watch;

pub(super) use results::write_whole;

#[derive(Debug, Args)]
#[command(after_help = after_help())]
pub(crate) struct Arguments {
    /// Tasks and their data, a file or a folder each; the name goes before the metrics [default: the file's]
    #[arg(value_name = "TASK[:NAME]=PATH", required = true, num_args = 1.., value_parser = TaskRequest::parse)]
    tasks: Vec<TaskRequest>,
    /// Split: of the column `split` of an STS file, of the judgements of a BEIR folder (there: test)
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Similarity function; may be repeated [default: the model's]
    #[arg(long, value_parser = similarity_functions(), value_name = "FUNCTION")]
    similarity: Vec<SimilarityFunction>,
    /// Data set of NanoBEIR; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    dataset: Vec<String>,
    /// Text to put in front of every query [default: the model's prompt `query`, if it has one]
    #[arg(long, value_name = "TEXT")]
    query_prompt: Option<String>,
    /// Text to put in front of every document [default: the model's prompt `document`, `passage` or `corpus`]
    #[arg(long, value_name = "TEXT")]
    document_prompt: Option<String>,
    /// Cut every embedding to its first components
    #[arg(long, value_name = "COUNT")]
    truncate_dim: Option<usize>,
    /// Evaluate embeddings stored in this number format (sts only)
    #[arg(long, value_parser = precisions(), value_name = "FORMAT")]
    precision: Option<Precision>,
    /// Texts that go through the network together at most
    #[arg(long, value_name = "COUNT", value_parser = at_least_one)]
    batch_size: Option<usize>,
    /// Model whose embeddings are the goal (mse only)
    #[arg(long, value_name = "FOLDER|NAME")]
    teacher: Option<String>,
    /// Folder for the CSV files of the original, to which runs are appended, and evaluation.json
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Write the hits of every query too
    #[arg(long, requires = "output")]
    write_predictions: bool,
    /// File for a new model card with the results
    #[arg(long, value_name = "FILE")]
    card: Option<PathBuf>,
    /// How the results are shown
    #[arg(long, value_enum, default_value_t = ResultView::Table, value_name = "VIEW")]
    format: ResultView,
    #[command(flatten)]
    model: ModelArguments,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ResultView {
    /// For people
    Table,
    /// For programs
    Json,
    /// A row per metric
    Csv,
}

fn after_help() -> String {
    let mut text = String::from("Tasks:\n");
    let width = TASKS.iter().map(|task| task.name.len()).max().unwrap_or(0);
    for task in TASKS {
        text.push_str(&format!("  {:width$}  {}\n", task.name, task.data));
    }
    text.push_str(
        "Files are CSV, TSV, JSON lines or Parquet with named columns; other names serve when there are just as many columns.

Examples:
  sentence-transformers evaluate sts=stsbenchmark.tsv.gz --split test
  sentence-transformers evaluate beir=scifact triplets=dev.jsonl --model my-model --output results
  sentence-transformers evaluate nano-beir=sentence-transformers/NanoBEIR-en --dataset nq --dataset scifact --format json",
    );
    text
}

pub(super) fn run(arguments: &Arguments, surroundings: Surroundings) -> Result<Exit> {
    let needs_teacher = arguments.tasks.iter().any(TaskRequest::needs_teacher);
    if arguments.teacher.is_some() && !needs_teacher {
        return Err(Failure::usage("no task compares with a teacher").with_hint("--teacher goes with the task mse"));
    }
    let mut options = arguments.options();
    if let Some(teacher) = &arguments.teacher {
        options.teacher = Some(arguments.model.load_named(teacher, surroundings)?);
    }
    // What is wrong with the data is said before the model is loaded.
    let evaluators = arguments.tasks.iter().map(|task| task.evaluator(&options)).collect::<Result<Vec<_>>>()?;
    let mut model = arguments.model.load(surroundings)?;
    let watch = Watch::begin();
    let mut evaluations = Vec::with_capacity(evaluators.len());
    for (evaluator, task) in evaluators.iter().zip(&arguments.tasks) {
        watch.check()?;
        if !surroundings.quiet && evaluators.len() > 1 {
            eprintln!("evaluating {}", task.path.display());
        }
        evaluations.push(evaluate(&mut model, evaluator.as_ref(), arguments.output.as_deref())?);
    }
    watch.check()?;
    if let Some(path) = &arguments.card {
        model.set_card(None);
        results::write_whole(path, &model.model_card(None)?)?;
    }
    let json = results::json(&arguments.model.model, &evaluations);
    if let Some(folder) = &arguments.output {
        results::write_whole(&folder.join("evaluation.json"), &format!("{json:#}\n"))?;
    }
    match arguments.format {
        ResultView::Table => results::table(&evaluations)?,
        ResultView::Json => crate::render::print(&format!("{json:#}\n"))?,
        ResultView::Csv => results::csv(&evaluations)?,
    }
    Ok(Exit::Done)
}

impl Arguments {
    fn options(&self) -> TaskOptions {
        TaskOptions {
            split: self.split.clone(),
            similarity: self.similarity.clone(),
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            precision: self.precision,
            query_prompt: self.query_prompt.clone(),
            corpus_prompt: self.document_prompt.clone(),
            datasets: self.dataset.clone(),
            write_predictions: self.write_predictions,
            hub: self.model.hub.options(),
            teacher: None,
        }
    }
}
