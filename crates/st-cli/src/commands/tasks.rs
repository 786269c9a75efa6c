//! Evaluation tasks: what labelled data there may be, in which files, and the evaluator of each.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use sentence_transformers::hub::HubOptions;
use sentence_transformers::{Precision, SentenceTransformer, SimilarityFunction};
use st_eval::{
    BinaryClassificationEvaluator, EmbedOptions, EmbeddingSimilarityEvaluator, Evaluator,
    InformationRetrievalEvaluator, MseEvaluator, NanoBeirEvaluator, NanoBeirOptions, ParaphraseMiningEvaluator,
    RerankingEvaluator, RerankingSample, RetrievalData, SimilarityPairs, TranslationEvaluator, TripletEvaluator,
};

use crate::failure::{Failure, Result};
use crate::input::Table;

/// A kind of task.
pub(super) struct Task {
    /// What the command line calls it.
    pub(super) name: &'static str,
    /// Its data, for the help.
    pub(super) data: &'static str,
    build: fn(&Source<'_>) -> Result<Box<dyn Evaluator>>,
}

/// Every kind of task.
pub(super) const TASKS: &[Task] = &[
    Task { name: "sts", data: "file of sentence1, sentence2, score", build: sts },
    Task { name: "pairs", data: "file of sentence1, sentence2, label (0 or 1)", build: pairs },
    Task { name: "triplets", data: "file of anchor, positive, negative", build: triplets },
    Task { name: "beir", data: "folder of corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv", build: beir },
    Task { name: "nano-beir", data: "folder, or data set on the Hub, of NanoBEIR's data sets", build: nano_beir },
    Task { name: "reranking", data: "file of query, positive (a list), negative (a list)", build: reranking },
    Task { name: "paraphrases", data: "file of id, text, duplicates (a list of ids)", build: paraphrases },
    Task { name: "translation", data: "file of source, target", build: translation },
    Task { name: "mse", data: "file of source, target; --teacher embeds the sources", build: mse },
];

/// What all tasks of a run share.
#[derive(Debug, Default)]
pub(super) struct TaskOptions {
    /// The split: of an STS file's column `split`, of a BEIR folder's judgements.
    pub(super) split: Option<String>,
    pub(super) similarity: Vec<SimilarityFunction>,
    pub(super) batch_size: Option<usize>,
    pub(super) truncate_dim: Option<usize>,
    pub(super) precision: Option<Precision>,
    pub(super) query_prompt: Option<String>,
    pub(super) corpus_prompt: Option<String>,
    /// Data sets of NanoBEIR; all when empty.
    pub(super) datasets: Vec<String>,
    pub(super) write_predictions: bool,
    pub(super) hub: HubOptions,
    pub(super) teacher: Option<SentenceTransformer>,
}

/// A task that was asked for: `sts=dev.tsv`, or `sts:my-name=dev.tsv`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskRequest {
    kind: String,
    name: Option<String>,
    pub(super) path: PathBuf,
}

struct Source<'a> {
    path: &'a Path,
    name: String,
    options: &'a TaskOptions,
}

impl TaskRequest {
    /// Reads `TASK=PATH` or `TASK:NAME=PATH`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((task, path)) = text.split_once('=').filter(|(_, path)| !path.is_empty()) else {
            return Err("should be TASK=PATH or TASK:NAME=PATH".to_owned());
        };
        let (kind, name) = match task.split_once(':') {
            Some((kind, name)) => (kind, Some(name.to_owned())),
            None => (task, None),
        };
        if !TASKS.iter().any(|task| task.name == kind) {
            let known: Vec<&str> = TASKS.iter().map(|task| task.name).collect();
            return Err(format!("no task {kind:?}; there are {}", known.join(", ")));
        }
        Ok(Self { kind: kind.to_owned(), name, path: PathBuf::from(path) })
    }

    pub(super) fn needs_teacher(&self) -> bool {
        self.kind == "mse"
    }

    /// The name that its metrics carry: the one given, else the file's without its endings.
    pub(super) fn evaluator(&self, options: &TaskOptions) -> Result<Box<dyn Evaluator>> {
        let file = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_folder = self.path.is_dir();
        let stem = if is_folder { file } else { file.split('.').next().unwrap_or(file) };
        let name = self.name.clone().unwrap_or_else(|| stem.to_owned());
        let task = TASKS.iter().find(|task| task.name == self.kind);
        let task = task.ok_or_else(|| Failure::usage(format!("there is no task {:?}", self.kind)))?;
        (task.build)(&Source { path: &self.path, name, options })
    }
}

/// Sets what every evaluator has.
macro_rules! shared {
    ($evaluator:expr, $source:expr) => {{
        let mut evaluator = $evaluator.named(&$source.name).show_progress(false);
        if let Some(size) = $source.options.batch_size {
            evaluator = evaluator.batch_size(size);
        }
        if let Some(dimension) = $source.options.truncate_dim {
            evaluator = evaluator.truncate_dim(dimension);
        }
        evaluator
    }};
}

impl Source<'_> {
    fn functions(&self) -> impl Iterator<Item = SimilarityFunction> {
        self.options.similarity.iter().copied()
    }

    fn columns<const N: usize>(&self, roles: [&[&str]; N]) -> Result<(Table, [usize; N])> {
        let table = Table::read(self.path)?;
        let places = table.roles(roles)?;
        Ok((table, places))
    }

    fn texts<const N: usize>(&self, roles: [&[&str]; N]) -> Result<[Vec<String>; N]> {
        let (table, places) = self.columns(roles)?;
        let mut columns = places.into_iter().map(|place| table.texts(place)).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(std::array::from_fn(|_| columns.next().unwrap_or_default()))
    }
}

const FIRST: &[&str] = &["sentence1", "sentence_A", "text1", "premise"];
const SECOND: &[&str] = &["sentence2", "sentence_B", "text2", "hypothesis"];
const SOURCE: &[&str] = &["source", "english", "en"];
const TARGET: &[&str] = &["target", "non_english", "translation"];

fn sts(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let options = source.options;
    let name = source.path.to_string_lossy().to_lowercase();
    let is_tsv = [".tsv", ".tsv.gz"].iter().any(|end| name.ends_with(end));
    let data = if is_tsv {
        // Quotes mean nothing in the files of the STS benchmark.
        SimilarityPairs::read_tsv(source.path, options.split.as_deref())?
    } else {
        let (table, [first, second, score]) = source.columns([FIRST, SECOND, &["score", "label", "labels"]])?;
        SimilarityPairs {
            sentences1: table.texts(first)?,
            sentences2: table.texts(second)?,
            scores: table.numbers(score)?,
        }
    };
    let mut evaluator = EmbeddingSimilarityEvaluator::from_pairs(data)?.similarity_functions(source.functions());
    if let Some(precision) = options.precision {
        evaluator = evaluator.precision(precision);
    }
    Ok(Box::new(shared!(evaluator, source)))
}

fn pairs(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let (table, [first, second, label]) = source.columns([FIRST, SECOND, &["label", "labels", "score"]])?;
    let labels = table.numbers(label)?;
    if let Some(other) = labels.iter().find(|label| **label != 0.0 && **label != 1.0) {
        let message = format!("{}: the label {other} is neither 0 nor 1", table.name);
        return Err(Failure::new(message).with_hint("graded scores are evaluated as sts"));
    }
    let labels = labels.iter().map(|label| *label == 1.0).collect();
    let evaluator = BinaryClassificationEvaluator::new(table.texts(first)?, table.texts(second)?, labels)?;
    Ok(Box::new(shared!(evaluator.similarity_functions(source.functions()), source)))
}

fn triplets(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let roles: [&[&str]; 3] = [&["anchor", "query"], &["positive"], &["negative", "negative_1"]];
    let [anchors, positives, negatives] = source.texts(roles)?;
    let evaluator = TripletEvaluator::new(anchors, positives, negatives)?;
    Ok(Box::new(shared!(evaluator.similarity_functions(source.functions()), source)))
}

fn beir(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let options = source.options;
    let data = RetrievalData::read_beir(source.path, options.split.as_deref().unwrap_or("test"))?;
    let mut evaluator = InformationRetrievalEvaluator::new(data.queries, data.corpus, data.relevant)?
        .similarity_functions(source.functions())
        .write_predictions(options.write_predictions);
    if let Some(prompt) = &options.query_prompt {
        evaluator = evaluator.query_prompt(prompt);
    }
    if let Some(prompt) = &options.corpus_prompt {
        evaluator = evaluator.corpus_prompt(prompt);
    }
    Ok(Box::new(shared!(evaluator, source)))
}

fn nano_beir(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let options = source.options;
    let names: Vec<&str> = options.datasets.iter().map(String::as_str).collect();
    let names = (!names.is_empty()).then_some(names.as_slice());
    let prompts = |prompt: &Option<String>| -> HashMap<String, String> {
        let all = st_eval::NANO_BEIR.map(|(name, _)| name);
        let each = names.unwrap_or(&all).iter();
        prompt.iter().flat_map(|prompt| each.clone().map(|name| ((*name).to_owned(), prompt.clone()))).collect()
    };
    let nano = NanoBeirOptions {
        similarity_functions: source.functions().collect(),
        query_prompts: prompts(&options.query_prompt),
        corpus_prompts: prompts(&options.corpus_prompt),
        batch_size: options.batch_size.unwrap_or(32),
        truncate_dim: options.truncate_dim,
        write_predictions: options.write_predictions,
        ..NanoBeirOptions::default()
    };
    if source.path.is_dir() {
        return Ok(Box::new(NanoBeirEvaluator::from_folder(source.path, names, nano)?));
    }
    let id = source.path.to_string_lossy();
    Ok(Box::new(NanoBeirEvaluator::from_hub(&id, names, nano, &options.hub)?))
}

fn reranking(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let roles: [&[&str]; 3] = [&["query"], &["positive", "positives"], &["negative", "negatives"]];
    let (table, [query, positive, negative]) = source.columns(roles)?;
    let lists = table.lists(positive)?.into_iter().zip(table.lists(negative)?);
    let samples = table.texts(query)?.into_iter().zip(lists);
    let samples = samples.map(|(query, (positive, negative))| RerankingSample { query, positive, negative }).collect();
    Ok(Box::new(shared!(RerankingEvaluator::new(samples)?, source)))
}

fn paraphrases(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let roles: [&[&str]; 3] = [&["id", "_id"], &["text", "sentence"], &["duplicates"]];
    let (table, [id, text, duplicates]) = source.columns(roles)?;
    let ids = table.texts(id)?;
    // In tables of text a list of ids has spaces or commas between them.
    let split = |ids: Vec<String>| -> Vec<String> {
        ids.iter().flat_map(|ids| ids.split([' ', ','])).filter(|id| !id.is_empty()).map(str::to_owned).collect()
    };
    let known: HashSet<&String> = ids.iter().collect();
    let mut pairs = Vec::new();
    for (id, duplicates) in ids.iter().zip(table.lists(duplicates)?) {
        for other in split(duplicates) {
            if !known.contains(&other) {
                return Err(Failure::new(format!("{}: {id} has the duplicate {other}, which is no id", table.name)));
            }
            pairs.push((id.clone(), other));
        }
    }
    let sentences = ids.iter().cloned().zip(table.texts(text)?).collect();
    Ok(Box::new(shared!(ParaphraseMiningEvaluator::new(sentences, pairs, true)?, source)))
}

fn translation(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let [sources, targets] = source.texts([SOURCE, TARGET])?;
    Ok(Box::new(shared!(TranslationEvaluator::new(sources, targets)?, source)))
}

fn mse(source: &Source<'_>) -> Result<Box<dyn Evaluator>> {
    let Some(teacher) = &source.options.teacher else {
        return Err(Failure::usage("the task mse compares with a teacher").with_hint("name it with --teacher"));
    };
    let [sources, targets] = source.texts([SOURCE, TARGET])?;
    let options = EmbedOptions {
        batch_size: source.options.batch_size.unwrap_or(32),
        truncate_dim: source.options.truncate_dim,
        ..EmbedOptions::default()
    };
    Ok(Box::new(shared!(MseEvaluator::from_teacher(teacher, &sources, targets, &options)?, source)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn built(task: &str, file: &str, content: &str) -> Result<Box<dyn Evaluator>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        fs::write(&path, content).unwrap();
        TaskRequest::parse(&format!("{task}={}", path.display())).unwrap().evaluator(&TaskOptions::default())
    }

    #[test]
    fn tasks_are_named_after_their_files_or_as_asked() {
        let pairs = "sentence1\tsentence2\tlabel\na\tb\t1\n";
        assert_eq!(built("pairs", "dev.set.tsv", pairs).unwrap().name(), "dev");
        assert_eq!(built("pairs:mine", "dev.tsv", pairs).unwrap().name(), "mine");
        assert!(TaskRequest::parse("sts=").is_err() && TaskRequest::parse("sts").is_err());
        let error = TaskRequest::parse("stss=a").unwrap_err();
        assert!(error.starts_with("no task \"stss\"; there are sts, pairs, triplets, beir"), "{error}");
    }

    #[test]
    fn every_file_task_builds_its_evaluator() {
        for (task, file, content, class) in [
            ("sts", "a.tsv", "score\tsentence1\tsentence2\n1\ta\t\"b\n", "EmbeddingSimilarityEvaluator"),
            (
                "sts",
                "a.jsonl",
                "{\"sentence1\":\"a\",\"sentence2\":\"b\",\"score\":0.5}",
                "EmbeddingSimilarityEvaluator",
            ),
            ("pairs", "a.csv", "x,y,z\na,b,1\n", "BinaryClassificationEvaluator"),
            ("triplets", "a.csv", "anchor,positive,negative\na,b,c\n", "TripletEvaluator"),
            (
                "reranking",
                "a.jsonl",
                "{\"query\":\"q\",\"positive\":[\"a\"],\"negative\":[\"b\"]}",
                "RerankingEvaluator",
            ),
            ("paraphrases", "a.csv", "id,text,duplicates\n1,a,2 3\n2,b,\n3,c,\n", "ParaphraseMiningEvaluator"),
            ("translation", "a.tsv", "english\tnon_english\na\tb\n", "TranslationEvaluator"),
        ] {
            assert_eq!(built(task, file, content).unwrap().kind().class_name, class, "{task} {file}");
        }
        let error = built("mse", "a.tsv", "source\ttarget\na\tb\n").unwrap_err().to_string();
        assert!(error.contains("hint: name it with --teacher"), "{error}");
        let error = built("pairs", "a.csv", "x,y,z\na,b,0.5\n").unwrap_err().to_string();
        assert!(error.contains("the label 0.5 is neither 0 nor 1"), "{error}");
        let error = built("paraphrases", "a.csv", "id,text,duplicates\n1,a,7\n").unwrap_err().to_string();
        assert!(error.contains("1 has the duplicate 7, which is no id"), "{error}");
    }
}
