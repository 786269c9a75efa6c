//! [`RerankingEvaluator`].

use st_vectors::{Embeddings, SimilarityFunction};

use crate::embedder::embed_all;
use crate::metrics::{RankedQuery, average_precision, tie_averaged_ndcg};
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// A query with documents that fit and documents that do not.
///
/// ```
/// let sample = st_eval::RerankingSample {
///     query: "capital of France".into(),
///     positive: vec!["Paris".into()],
///     negative: vec!["Berlin".into()],
/// };
/// assert_eq!(sample.positive.len(), 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RerankingSample {
    /// The query.
    pub query: String,
    /// Documents that belong first.
    pub positive: Vec<String>,
    /// The others.
    pub negative: Vec<String>,
}

/// How well the documents of each query are put in order.
///
/// # Formula
/// Means over the samples of: average precision over all documents ([`average_precision`]), reciprocal rank within k,
/// and NDCG within k averaged over ties ([`tie_averaged_ndcg`]). Samples without positives or without negatives are
/// dropped. For the reciprocal rank equal scores stay in order, positives first.
///
/// # Metrics
/// `map`, `mrr@k`, `ndcg@k`.
///
/// ```
/// use st_eval::{Evaluator, RerankingEvaluator, RerankingSample};
/// let sample = RerankingSample { query: "q".into(), positive: vec!["p".into()], negative: vec!["n".into()] };
/// let evaluator = RerankingEvaluator::new(vec![sample])?.at_k(5);
/// assert_eq!(evaluator.kind().description, "Reranking");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct RerankingEvaluator {
    samples: Vec<RerankingSample>,
    at_k: usize,
    function: SimilarityFunction,
    use_batched_encoding: bool,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

/// Sums over samples.
#[derive(Default)]
struct Sums {
    precision: f64,
    reciprocal: f64,
    ndcg: f64,
}

impl RerankingEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "RerankingEvaluator",
        description: "Reranking",
        summary: "the order of good and bad documents per query",
        metrics: "map, mrr@{k}, ndcg@{k}",
        primary_metric: "ndcg@{k}",
        csv_file: "RerankingEvaluator{_name}_results_@{k}.csv",
    };

    /// Samples; those without positives or without negatives are dropped.
    ///
    /// # Errors
    /// [`EvalError::Nothing`] when no sample is left.
    pub fn new(mut samples: Vec<RerankingSample>) -> Result<Self> {
        samples.retain(|sample| !sample.positive.is_empty() && !sample.negative.is_empty());
        if samples.is_empty() {
            return Err(EvalError::Nothing {
                evaluator: Self::KIND.class_name,
                what: "samples with positives and negatives",
            });
        }
        Ok(Self {
            samples,
            at_k: 10,
            function: SimilarityFunction::Cosine,
            use_batched_encoding: true,
            name: String::new(),
            batch_size: 64,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// The cut-off of MRR and NDCG; default 10.
    #[must_use]
    pub fn at_k(mut self, k: usize) -> Self {
        self.at_k = k;
        self
    }

    /// What documents are ordered by; default: cosine, whatever the model's function is.
    #[must_use]
    pub fn similarity_function(mut self, function: SimilarityFunction) -> Self {
        self.function = function;
        self
    }

    /// Whether all texts are embedded at once (default) or sample by sample, which keeps memory flat.
    #[must_use]
    pub fn use_batched_encoding(mut self, batched: bool) -> Self {
        self.use_batched_encoding = batched;
        self
    }

    /// Scores some samples, whose texts go through the model together.
    fn score(&self, model: &dyn Embedder, samples: &[RerankingSample], sums: &mut Sums) -> Result<()> {
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress && self.use_batched_encoding,
            ..EmbedOptions::default()
        };
        let queries: Vec<&str> = samples.iter().map(|sample| sample.query.as_str()).collect();
        let queries = embed_all(model, &queries, Role::Query, &options)?;
        let documents = samples.iter().flat_map(|sample| sample.positive.iter().chain(&sample.negative));
        let texts: Vec<&str> = documents.map(String::as_str).collect();
        let embeddings = embed_all(model, &texts, Role::Document, &options)?;
        let mut first = 0;
        for (sample, query) in samples.iter().zip(queries.rows_iter()) {
            let count = sample.positive.len() + sample.negative.len();
            let own = Embeddings::from_rows((first..first + count).map(|row| embeddings.row(row)))?;
            first += count;
            let scores = self.function.similarity(&Embeddings::from(query.to_vec()), &own)?.into_vec();
            let relevant: Vec<bool> = (0..count).map(|index| index < sample.positive.len()).collect();
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let hits: Vec<bool> = order.iter().map(|&index| relevant[index]).collect();
            sums.precision += average_precision(&scores, &relevant);
            sums.reciprocal += RankedQuery::new(&hits, sample.positive.len()).reciprocal_rank_at(self.at_k);
            sums.ndcg += tie_averaged_ndcg(&scores, &relevant, self.at_k);
        }
        Ok(())
    }

    /// "Min …, Mean …, Max …" of the sizes of some lists.
    fn sizes(&self, list: impl Fn(&RerankingSample) -> usize) -> String {
        let sizes: Vec<usize> = self.samples.iter().map(list).collect();
        let (min, max) = (sizes.iter().min().copied().unwrap_or(0), sizes.iter().max().copied().unwrap_or(0));
        let mean = sizes.iter().sum::<usize>() as f64 / sizes.len() as f64;
        format!("Min {:.1}, Mean {mean:.1}, Max {:.1}", min as f64, max as f64)
    }
}

super::shared_setters!(RerankingEvaluator);

impl Evaluator for RerankingEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        let Self { name, at_k, .. } = self;
        if *at_k == 0 {
            return Err(EvalError::Option { message: "`at_k` counts from 1, it cannot be 0".to_owned() });
        }
        let suffix = occasion.suffix(self.truncate_dim);
        log::info!("RerankingEvaluator: Evaluating the model on the {name} dataset{suffix}:");
        let mut sums = Sums::default();
        let size = if self.use_batched_encoding { self.samples.len() } else { 1 };
        for samples in self.samples.chunks(size) {
            self.score(model, samples, &mut sums)?;
        }
        let count = self.samples.len() as f64;
        let (map, mrr, ndcg) = (sums.precision / count, sums.reciprocal / count, sums.ndcg / count);
        log::info!(
            "Queries: {} \t Positives: {} \t Negatives: {}",
            self.samples.len(),
            self.sizes(|sample| sample.positive.len()),
            self.sizes(|sample| sample.negative.len())
        );
        log::info!("MAP: {:.2}", map * 100.0);
        log::info!("MRR@{at_k}: {:.2}", mrr * 100.0);
        log::info!("NDCG@{at_k}: {:.2}", ndcg * 100.0);
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("RerankingEvaluator{}_results_@{at_k}.csv", super::suffixed(name));
            let columns = vec!["MAP".to_owned(), format!("MRR@{at_k}"), format!("NDCG@{at_k}")];
            let cells = [map, mrr, ndcg].map(python_float);
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        let metrics = vec![("map".to_owned(), map), (format!("mrr@{at_k}"), mrr), (format!("ndcg@{at_k}"), ndcg)];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, name, metrics, &format!("ndcg@{at_k}"));
        super::parameter(&mut evaluation, "at_k", Some(*at_k));
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
