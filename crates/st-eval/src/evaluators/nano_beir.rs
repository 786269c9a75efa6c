//! [`NanoBeirEvaluator`].

use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

use sentence_transformers::hub::{HubDataset, HubOptions, Selection};
use serde_json::Value;
use st_vectors::SimilarityFunction;

use super::cutoffs::{Cutoffs, RetrievalScores};
use super::retrieval::InformationRetrievalEvaluator;
use crate::evaluator::{Functions, check_main};
use crate::report::Report;
use crate::{Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, RetrievalData};

/// The data sets of NanoBEIR: their short names, and the names that files and metrics carry after `Nano`.
///
/// ```
/// assert!(st_eval::NANO_BEIR.contains(&("msmarco", "MSMARCO")));
/// ```
pub const NANO_BEIR: [(&str, &str); 13] = [
    ("climatefever", "ClimateFEVER"),
    ("dbpedia", "DBPedia"),
    ("fever", "FEVER"),
    ("fiqa2018", "FiQA2018"),
    ("hotpotqa", "HotpotQA"),
    ("msmarco", "MSMARCO"),
    ("nfcorpus", "NFCorpus"),
    ("nq", "NQ"),
    ("quoraretrieval", "QuoraRetrieval"),
    ("scidocs", "SCIDOCS"),
    ("arguana", "ArguAna"),
    ("scifact", "SciFact"),
    ("touche2020", "Touche2020"),
];

/// The repository of the Hub that holds them in English.
pub const NANO_BEIR_ID: &str = "sentence-transformers/NanoBEIR-en";

/// Options of [`NanoBeirEvaluator`].
///
/// ```
/// let options = st_eval::NanoBeirOptions { truncate_dim: Some(64), ..Default::default() };
/// assert_eq!(options.aggregate_key, "mean");
/// ```
#[derive(Debug, Clone)]
pub struct NanoBeirOptions {
    /// The cut-offs of the measures.
    pub cutoffs: Cutoffs,
    /// The similarity functions; none: the model's.
    pub similarity_functions: Vec<SimilarityFunction>,
    /// The function whose NDCG is the primary metric; none: the one that was best in the first evaluation.
    pub main_similarity: Option<SimilarityFunction>,
    /// How the values of the data sets become one.
    pub aggregate: fn(&[f64]) -> f64,
    /// The name of that, part of the metrics and of the CSV file's name.
    pub aggregate_key: String,
    /// Prompts before queries, per data set as it is named in the call.
    pub query_prompts: HashMap<String, String>,
    /// Prompts before documents, per data set as it is named in the call.
    pub corpus_prompts: HashMap<String, String>,
    /// Texts that the model takes at a time.
    pub batch_size: usize,
    /// Evaluates only the first components of the embeddings.
    pub truncate_dim: Option<usize>,
    /// Whether CSV files are written when there is an output folder.
    pub write_csv: bool,
    /// Whether the hits of every query are written too.
    pub write_predictions: bool,
    /// Whether the model shows its progress.
    pub show_progress: bool,
}

impl Default for NanoBeirOptions {
    fn default() -> Self {
        Self {
            cutoffs: Cutoffs::default(),
            similarity_functions: Vec::new(),
            main_similarity: None,
            aggregate: |values| values.iter().sum::<f64>() / values.len() as f64,
            aggregate_key: "mean".to_owned(),
            query_prompts: HashMap::new(),
            corpus_prompts: HashMap::new(),
            batch_size: 32,
            truncate_dim: None,
            write_csv: true,
            write_predictions: false,
            show_progress: false,
        }
    }
}

/// Retrieval on the small versions of BEIR's data sets, and its mean.
///
/// # Metrics
/// Those of [`InformationRetrievalEvaluator`] per data set after `Nano…[_dimension]_`, and aggregated after
/// `NanoBEIR_mean[_dimension]_`. Primary: the aggregated NDCG at the largest k.
///
/// ```
/// use st_eval::{NanoBeirEvaluator, NanoBeirOptions};
/// let error = NanoBeirEvaluator::from_folder("data".as_ref(), Some(&["imdb"]), NanoBeirOptions::default()).unwrap_err();
/// assert!(error.to_string().starts_with("Dataset(s) ['imdb'] are not valid NanoBEIR datasets."));
/// ```
#[derive(Debug)]
pub struct NanoBeirEvaluator {
    dataset_names: Vec<String>,
    evaluators: Vec<InformationRetrievalEvaluator>,
    functions: Functions,
    options: NanoBeirOptions,
    name: String,
    chosen: OnceLock<String>,
}

impl NanoBeirEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "NanoBEIREvaluator",
        description: "Nano BEIR",
        summary: "retrieval on 13 small data sets, and the mean",
        metrics: "those of InformationRetrievalEvaluator per data set and aggregated",
        primary_metric: "{F}_ndcg@{k}",
        csv_file: "NanoBEIR_evaluation_{aggregate}_results.csv",
    };

    /// Reads data sets, all of [`NANO_BEIR`] or some, from a folder in one of two layouts: that of the Hub's repository
    /// ([`RetrievalData::read_parquet`], the folders `corpus`, `queries` and `qrels`), or a folder `NanoMSMARCO`, … per
    /// data set in BEIR's layout, split `test` ([`RetrievalData::read_beir`]).
    ///
    /// # Errors
    /// [`EvalError::Option`] for a name that is not in [`NANO_BEIR`] (case does not matter) or no names, and what
    /// reading reports.
    pub fn from_folder(folder: &Path, dataset_names: Option<&[&str]>, options: NanoBeirOptions) -> Result<Self> {
        Self::read(folder, &splits(dataset_names)?, options)
    }

    /// Brings the data sets from a repository of the Hub (or its cache) and reads them; [`NANO_BEIR_ID`] is the
    /// original's default.
    ///
    /// ```no_run
    /// use sentence_transformers::hub::HubOptions;
    /// use st_eval::{NANO_BEIR_ID, NanoBeirEvaluator, NanoBeirOptions};
    /// let options = NanoBeirOptions::default();
    /// let evaluator = NanoBeirEvaluator::from_hub(NANO_BEIR_ID, Some(&["nq"]), options, &HubOptions::new())?;
    /// # Ok::<(), st_eval::EvalError>(())
    /// ```
    ///
    /// # Errors
    /// As [`NanoBeirEvaluator::from_folder`], and [`EvalError::Hub`].
    pub fn from_hub(
        dataset_id: &str,
        dataset_names: Option<&[&str]>,
        options: NanoBeirOptions,
        hub: &HubOptions,
    ) -> Result<Self> {
        let splits = splits(dataset_names)?;
        let dataset = HubDataset::new(dataset_id, hub)?;
        let wanted: Vec<String> = splits.iter().map(|(_, split)| split.clone()).collect();
        let folder = dataset.snapshot(&Selection::matching(move |name| {
            let file = name.strip_suffix(".parquet").and_then(|stem| stem.rsplit_once('/')).map(|(_, file)| file);
            file.is_some_and(|file| wanted.iter().any(|split| file.split('-').next() == Some(split)))
        }))?;
        Self::read(&folder, &splits, options)
    }

    fn read(folder: &Path, splits: &[(String, String)], options: NanoBeirOptions) -> Result<Self> {
        let as_repository = folder.join("corpus").is_dir();
        let mut evaluators = Vec::with_capacity(splits.len());
        for (name, split) in splits {
            let data = if as_repository {
                RetrievalData::read_parquet(folder, split)?
            } else {
                RetrievalData::read_beir(&folder.join(split), "test")?
            };
            evaluators.push(Self::part(name, split, data, &options)?);
        }
        let dimension = options.truncate_dim.map(|dimension| format!("_{dimension}")).unwrap_or_default();
        Ok(Self {
            dataset_names: splits.iter().map(|(name, _)| name.clone()).collect(),
            evaluators,
            functions: Functions::new(options.similarity_functions.iter().copied()),
            name: format!("NanoBEIR_{}{dimension}", options.aggregate_key),
            options,
            chosen: OnceLock::new(),
        })
    }

    fn part(
        dataset: &str,
        split: &str,
        data: RetrievalData,
        options: &NanoBeirOptions,
    ) -> Result<InformationRetrievalEvaluator> {
        let dimension = options.truncate_dim.map(|dimension| format!("_{dimension}")).unwrap_or_default();
        let mut part = InformationRetrievalEvaluator::new(data.queries, data.corpus, data.relevant)?
            .named(format!("{split}{dimension}"))
            .cutoffs(options.cutoffs.clone())
            .similarity_functions(options.similarity_functions.iter().copied())
            .batch_size(options.batch_size)
            .write_csv(options.write_csv)
            .write_predictions(options.write_predictions)
            .show_progress(options.show_progress);
        if let Some(dimension) = options.truncate_dim {
            part = part.truncate_dim(dimension);
        }
        if let Some(function) = options.main_similarity {
            part = part.main_similarity(function);
        }
        if let Some(prompt) = options.query_prompts.get(dataset) {
            part = part.query_prompt(prompt);
        }
        if let Some(prompt) = options.corpus_prompts.get(dataset) {
            part = part.corpus_prompt(prompt);
        }
        Ok(part)
    }

    /// The aggregated measures of a function.
    fn aggregated(&self, parts: &[Evaluation], function: SimilarityFunction) -> RetrievalScores {
        self.options.cutoffs.scores_from(|measure, k| {
            let metric = |part: &Evaluation| part.metric(&format!("{}_{function}_{measure}@{k}", part.name));
            let values: Vec<f64> = parts.iter().filter_map(metric).collect();
            (self.options.aggregate)(&values)
        })
    }
}

/// The data sets as they are named in the call, each with its split; all for `None`.
fn splits(dataset_names: Option<&[&str]>) -> Result<Vec<(String, String)>> {
    let all = NANO_BEIR.map(|(name, _)| name);
    let names = dataset_names.unwrap_or(&all);
    if names.is_empty() {
        let message = "dataset_names cannot be empty. Use None to evaluate on all datasets.".to_owned();
        return Err(EvalError::Option { message });
    }
    let human = |name: &str| NANO_BEIR.iter().find(|(known, _)| *known == name.to_lowercase()).map(|(_, human)| human);
    let quoted = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let unknown: Vec<&str> = names.iter().copied().filter(|name| human(name).is_none()).collect();
    if !unknown.is_empty() {
        return Err(EvalError::Option {
            message: format!(
                "Dataset(s) [{}] are not valid NanoBEIR datasets. Valid dataset names are: [{}]",
                quoted(&unknown),
                quoted(&all)
            ),
        });
    }
    Ok(names.iter().filter_map(|&name| Some((name.to_owned(), format!("Nano{}", human(name)?)))).collect())
}

impl Evaluator for NanoBeirEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        let suffix = occasion.suffix(self.options.truncate_dim);
        log::info!("NanoBEIR Evaluation of the model on {:?} dataset{suffix}:", self.dataset_names);
        let functions = self.functions.resolve(model);
        check_main(self.options.main_similarity, functions)?;
        let mut parts = Vec::with_capacity(self.evaluators.len());
        for evaluator in &self.evaluators {
            log::info!("Evaluating {}", evaluator.name());
            parts.push(evaluator.evaluate(model, occasion)?);
        }
        let scores: Vec<_> = functions.iter().map(|&function| (function, self.aggregated(&parts, function))).collect();
        let mut by_name: Vec<_> = scores.iter().collect();
        by_name.sort_by_key(|(function, _)| function.as_str());
        if let Some(folder) = occasion.folder(self.options.write_csv) {
            let file = format!("NanoBEIR_evaluation_{}_results.csv", self.options.aggregate_key);
            let columns = by_name.iter().flat_map(|(function, scores)| scores.columns(*function)).collect();
            let cells: Vec<String> = by_name.iter().flat_map(|(_, scores)| scores.cells()).collect();
            Report { file, columns, line_end: "\n" }.append(folder, occasion, &cells)?;
        }
        let mean = |size: fn(&InformationRetrievalEvaluator) -> usize| {
            self.evaluators.iter().map(size).sum::<usize>() as f64 / self.evaluators.len() as f64
        };
        log::info!("Average Queries: {:?}", mean(InformationRetrievalEvaluator::queries));
        log::info!("Average Corpus: {:?}\n", mean(InformationRetrievalEvaluator::documents));
        for (function, scores) in &by_name {
            log::info!("Aggregated for Score Function: {function}");
            scores.log();
        }
        let best = || by_name.iter().rev().max_by(|a, b| a.1.ndcg_at_largest().total_cmp(&b.1.ndcg_at_largest()));
        let primary = self.chosen.get_or_init(|| {
            let best = || best().map(|(function, _)| *function);
            let function = self.options.main_similarity.or_else(best).unwrap_or_default();
            format!("{function}_ndcg@{}", self.options.cutoffs.largest_ndcg())
        });
        let metrics = scores.iter().flat_map(|(function, scores)| scores.metrics(*function)).collect();
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, primary);
        let own = parts.iter().flat_map(|part| part.metrics.iter().cloned());
        evaluation.metrics = own.chain(evaluation.metrics).collect();
        // With one data set the mean would only repeat it.
        evaluation.in_card = parts.len() > 1;
        evaluation.parts = parts;
        let names = self.dataset_names.iter().cloned().map(Value::from).collect::<Vec<_>>();
        super::parameter(&mut evaluation, "dataset_names", Some(names));
        super::parameter(&mut evaluation, "truncate_dim", self.options.truncate_dim);
        Ok(evaluation)
    }
}
