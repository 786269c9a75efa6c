//! [`InformationRetrievalEvaluator`].

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::OnceLock;

use st_vectors::{Embeddings, Hit, SearchOptions, SimilarityFunction, VectorError, semantic_search};

use super::cutoffs::{Cutoffs, RetrievalScores};
use crate::embedder::embed_all;
use crate::evaluator::{Functions, check_main};
use crate::report::{Report, python_float, python_json_string};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// Where the embeddings of the documents come from.
///
/// ```
/// let embeddings = st_vectors::Embeddings::zeros(1, 4);
/// assert!(format!("{:?}", st_eval::Corpus::Embeddings(&embeddings)).starts_with("Embeddings"));
/// ```
#[derive(Clone, Copy)]
pub enum Corpus<'a> {
    /// This model embeds them.
    Model(&'a dyn Embedder),
    /// They are embedded already: a row per document, in order.
    Embeddings(&'a Embeddings),
}

impl fmt::Debug for Corpus<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(_) => formatter.write_str("Model"),
            Self::Embeddings(embeddings) => write!(formatter, "Embeddings({} rows)", embeddings.rows()),
        }
    }
}

/// How well queries find their relevant documents in a corpus.
///
/// # Formula
/// Means over the queries of [`crate::metrics::RankedQuery`]'s measures. Queries without a relevant document are left
/// out. Relevant documents that the corpus lacks count as not found.
///
/// The corpus is embedded chunk by chunk; of each chunk only the best hits per query stay, so memory is one chunk and
/// max(k) hits per query, however large the corpus. Equal scores are ordered by place in the corpus.
///
/// # Metrics
/// Per function F and cut-off k: `F_accuracy@k`, `F_precision@k`, `F_recall@k`, `F_ndcg@k`, `F_mrr@k`, `F_map@k`.
/// Primary: NDCG at the largest k, of the main function or the one that was best in the first evaluation.
///
/// ```
/// use std::collections::{HashMap, HashSet};
/// use st_eval::InformationRetrievalEvaluator;
/// let texts = |id: &str| vec![(id.to_owned(), "text".to_owned())];
/// let relevant = HashMap::from([("q1".to_owned(), HashSet::from(["d1".to_owned()]))]);
/// let evaluator = InformationRetrievalEvaluator::new(texts("q1"), texts("d1"), relevant)?;
/// assert_eq!((evaluator.queries(), evaluator.documents()), (1, 1));
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct InformationRetrievalEvaluator {
    queries: Vec<(String, String)>,
    corpus: Vec<(String, String)>,
    relevant: HashMap<String, HashSet<String>>,
    cutoffs: Cutoffs,
    corpus_chunk_size: usize,
    functions: Functions,
    main: Option<SimilarityFunction>,
    chosen: OnceLock<String>,
    query_prompt: Option<String>,
    query_prompt_name: Option<String>,
    corpus_prompt: Option<String>,
    corpus_prompt_name: Option<String>,
    write_predictions: bool,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl InformationRetrievalEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "InformationRetrievalEvaluator",
        description: "Information Retrieval",
        summary: "queries against a corpus with known relevant documents",
        metrics: "{F}_accuracy@{k}, {F}_precision@{k}, {F}_recall@{k}, {F}_ndcg@{k}, {F}_mrr@{k}, {F}_map@{k}",
        primary_metric: "{F}_ndcg@{k}",
        csv_file: "Information-Retrieval_evaluation{_name}_results.csv",
    };

    /// Queries and documents as (id, text), and for each query id the ids of its relevant documents.
    ///
    /// # Errors
    /// [`EvalError::Nothing`] when no query has a relevant document or the corpus is empty.
    pub fn new(
        mut queries: Vec<(String, String)>,
        corpus: Vec<(String, String)>,
        relevant: HashMap<String, HashSet<String>>,
    ) -> Result<Self> {
        queries.retain(|(id, _)| relevant.get(id).is_some_and(|documents| !documents.is_empty()));
        let nothing = |what| EvalError::Nothing { evaluator: Self::KIND.class_name, what };
        if queries.is_empty() {
            return Err(nothing("queries with relevant documents"));
        }
        if corpus.is_empty() {
            return Err(nothing("documents"));
        }
        Ok(Self {
            queries,
            corpus,
            relevant,
            cutoffs: Cutoffs::default(),
            corpus_chunk_size: 50_000,
            functions: Functions::default(),
            main: None,
            chosen: OnceLock::new(),
            query_prompt: None,
            query_prompt_name: None,
            corpus_prompt: None,
            corpus_prompt_name: None,
            write_predictions: false,
            name: String::new(),
            batch_size: 32,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Queries that are evaluated.
    #[must_use]
    pub fn queries(&self) -> usize {
        self.queries.len()
    }

    /// Documents in the corpus.
    #[must_use]
    pub fn documents(&self) -> usize {
        self.corpus.len()
    }

    /// The cut-offs of the measures.
    #[must_use]
    pub fn cutoffs(mut self, cutoffs: Cutoffs) -> Self {
        self.cutoffs = cutoffs;
        self
    }

    /// Documents embedded and searched at a time; default 50,000.
    #[must_use]
    pub fn corpus_chunk_size(mut self, documents: usize) -> Self {
        self.corpus_chunk_size = documents;
        self
    }

    /// The similarity functions; default: the model's.
    #[must_use]
    pub fn similarity_functions(mut self, functions: impl IntoIterator<Item = SimilarityFunction>) -> Self {
        self.functions = Functions::new(functions);
        self
    }

    /// The function whose NDCG is the primary metric.
    #[must_use]
    pub fn main_similarity(mut self, function: SimilarityFunction) -> Self {
        self.main = Some(function);
        self
    }

    /// A prompt before every query.
    #[must_use]
    pub fn query_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.query_prompt = Some(prompt.into());
        self
    }

    /// A prompt of the model before every query, by name.
    #[must_use]
    pub fn query_prompt_name(mut self, name: impl Into<String>) -> Self {
        self.query_prompt_name = Some(name.into());
        self
    }

    /// A prompt before every document.
    #[must_use]
    pub fn corpus_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.corpus_prompt = Some(prompt.into());
        self
    }

    /// A prompt of the model before every document, by name.
    #[must_use]
    pub fn corpus_prompt_name(mut self, name: impl Into<String>) -> Self {
        self.corpus_prompt_name = Some(name.into());
        self
    }

    /// Also writes the hits of every query into `Information-Retrieval_evaluation{_name}_predictions_{F}.jsonl`.
    #[must_use]
    pub fn write_predictions(mut self, write: bool) -> Self {
        self.write_predictions = write;
        self
    }

    fn embed(&self, model: &dyn Embedder, rows: &[(String, String)], role: Role) -> Result<Embeddings> {
        let (prompt, prompt_name) = match role {
            Role::Document => (&self.corpus_prompt, &self.corpus_prompt_name),
            Role::Query | Role::Plain => (&self.query_prompt, &self.query_prompt_name),
        };
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            prompt: prompt.as_deref(),
            prompt_name: prompt_name.as_deref(),
            show_progress: self.show_progress,
        };
        let texts: Vec<&str> = rows.iter().map(|(_, text)| text.as_str()).collect();
        embed_all(model, &texts, role, &options)
    }

    /// Evaluates with a corpus that another model embeds, or that is embedded already.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`], and [`EvalError::EmbeddingCount`] when there are not as many embeddings as documents.
    pub fn evaluate_with(&self, model: &dyn Embedder, corpus: Corpus<'_>, occasion: &Occasion) -> Result<Evaluation> {
        if let Corpus::Embeddings(embeddings) = corpus
            && embeddings.rows() != self.corpus.len()
        {
            return Err(EvalError::EmbeddingCount { expected: self.corpus.len(), found: embeddings.rows() });
        }
        self.run(model, corpus, occasion)
    }

    /// Per function and query the best hits of the corpus, best first.
    fn search(
        &self,
        model: &dyn Embedder,
        corpus: Corpus<'_>,
        functions: &[SimilarityFunction],
    ) -> Result<Vec<Vec<Vec<Hit>>>> {
        let top_k = self.cutoffs.largest();
        let queries = self.embed(model, &self.queries, Role::Query)?;
        let mut best = vec![vec![Vec::new(); queries.rows()]; functions.len()];
        let size = self.corpus_chunk_size;
        if size == 0 {
            return Err(VectorError::ZeroOption { option: "corpus_chunk_size" }.into());
        }
        for (chunk, documents) in self.corpus.chunks(size).enumerate() {
            let embeddings = match corpus {
                Corpus::Model(model) => self.embed(model, documents, Role::Document)?,
                Corpus::Embeddings(all) => {
                    let (from, to) =
                        (chunk * size * all.dimension(), (chunk * size + documents.len()) * all.dimension());
                    Embeddings::new(all.as_slice()[from..to].to_vec(), documents.len(), all.dimension())?
                }
            };
            for (best, &function) in best.iter_mut().zip(functions) {
                let options = SearchOptions::new().top_k(top_k).score_function(function);
                let found = semantic_search(&queries, &embeddings, &options)?;
                for (best, found) in best.iter_mut().zip(found) {
                    let shifted = |hit: Hit| Hit { corpus_id: chunk * size + hit.corpus_id, ..hit };
                    best.extend(found.into_iter().map(shifted));
                    best.sort_by(|a: &Hit, b| b.score.total_cmp(&a.score));
                    best.truncate(top_k);
                }
            }
        }
        Ok(best)
    }

    fn score(&self, results: &[Vec<Hit>]) -> RetrievalScores {
        self.cutoffs.score(self.queries.iter().zip(results).map(|((id, _), hits)| {
            let relevant = self.relevant.get(id);
            let is_relevant = |hit: &Hit| relevant.is_some_and(|all| all.contains(&self.corpus[hit.corpus_id].0));
            (hits.iter().map(is_relevant).collect(), relevant.map_or(0, HashSet::len))
        }))
    }

    fn write_hits(&self, folder: &Path, function: SimilarityFunction, results: &[Vec<Hit>]) -> Result<()> {
        let name =
            format!("Information-Retrieval_evaluation{}_predictions_{function}.jsonl", super::suffixed(&self.name));
        let path = folder.join(name);
        let error = || EvalError::file("writing", &path);
        fs::create_dir_all(folder).map_err(EvalError::file("writing", folder))?;
        let mut file = BufWriter::new(File::create(&path).map_err(error())?);
        for ((id, text), hits) in self.queries.iter().zip(results) {
            let (id, text) = (python_json_string(id), python_json_string(text));
            let results: Vec<String> = hits
                .iter()
                .map(|hit| {
                    let id = python_json_string(&self.corpus[hit.corpus_id].0);
                    format!("{{\"corpus_id\": {id}, \"score\": {}}}", python_float(f64::from(hit.score)))
                })
                .collect();
            writeln!(file, "{{\"query_id\": {id}, \"query\": {text}, \"results\": [{}]}}", results.join(", "))
                .map_err(error())?;
        }
        file.flush().map_err(error())
    }
}

super::shared_setters!(InformationRetrievalEvaluator);

impl Evaluator for InformationRetrievalEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        self.run(model, Corpus::Model(model), occasion)
    }
}

impl InformationRetrievalEvaluator {
    fn run(&self, model: &dyn Embedder, corpus: Corpus<'_>, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "Information Retrieval Evaluation of the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        self.cutoffs.check()?;
        let functions = self.functions.resolve(model);
        check_main(self.main, functions)?;
        let results = self.search(model, corpus, functions)?;
        if let Some(folder) = occasion.folder(self.write_predictions) {
            for (&function, results) in functions.iter().zip(&results) {
                self.write_hits(folder, function, results)?;
            }
        }
        log::info!("Queries: {}", self.queries.len());
        log::info!("Corpus: {}\n", self.corpus.len());
        let scores: Vec<RetrievalScores> = results.iter().map(|results| self.score(results)).collect();

        // The log and the CSV file name the functions in alphabetic order.
        let mut by_name: Vec<_> = functions.iter().copied().zip(&scores).collect();
        by_name.sort_by_key(|(function, _)| function.as_str());
        for (function, scores) in &by_name {
            log::info!("Score-Function: {function}");
            scores.log();
        }
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("Information-Retrieval_evaluation{}_results.csv", super::suffixed(&self.name));
            let columns = by_name.iter().flat_map(|(function, scores)| scores.columns(*function)).collect();
            let cells: Vec<String> = by_name.iter().flat_map(|(_, scores)| scores.cells()).collect();
            Report { file, columns, line_end: "\n" }.append(folder, occasion, &cells)?;
        }
        let best = || by_name.iter().rev().max_by(|a, b| a.1.ndcg_at_largest().total_cmp(&b.1.ndcg_at_largest()));
        let primary = self.chosen.get_or_init(|| {
            let function = self.main.or_else(|| best().map(|(function, _)| *function)).unwrap_or_default();
            format!("{function}_ndcg@{}", self.cutoffs.largest_ndcg())
        });
        let metrics = functions.iter().zip(&scores).flat_map(|(&function, scores)| scores.metrics(function)).collect();
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, primary);
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        super::parameter(&mut evaluation, "query_prompt", self.query_prompt.as_deref());
        super::parameter(&mut evaluation, "query_prompt_name", self.query_prompt_name.as_deref());
        super::parameter(&mut evaluation, "corpus_prompt", self.corpus_prompt.as_deref());
        super::parameter(&mut evaluation, "corpus_prompt_name", self.corpus_prompt_name.as_deref());
        Ok(evaluation)
    }
}
