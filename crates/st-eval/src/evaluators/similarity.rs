//! [`EmbeddingSimilarityEvaluator`].

use st_vectors::{Embeddings, Precision, SimilarityFunction, quantize_embeddings};

use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::evaluator::{Functions, capitalised, check_main, largest};
use crate::metrics::{pearson, spearman};
use crate::report::{Report, python_float};
use crate::{
    EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role, SimilarityPairs,
};

/// How well similarities of pairs follow graded labels.
///
/// # Formula
/// Pearson's and Spearman's correlation (average ranks) of the labels and the pairwise similarities. Labels are taken
/// as they are. With a precision, embeddings are normalised and stored in it first, bits as 0 and 1; similarities of
/// stored embeddings are computed in float32, where sentence-transformers 5.2 subtracts bytes that wrap around: its
/// Manhattan and Euclidean similarities of binary embeddings differ from these.
///
/// # Metrics
/// `pearson_F`, `spearman_F` per function F; with several also `pearson_max`, `spearman_max`.
///
/// ```
/// use st_eval::{EmbeddingSimilarityEvaluator, Evaluator};
/// let evaluator = EmbeddingSimilarityEvaluator::new(vec!["a".into()], vec!["b".into()], vec![0.5])?.named("dev");
/// assert_eq!(evaluator.name(), "dev");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct EmbeddingSimilarityEvaluator {
    sentences1: Vec<String>,
    sentences2: Vec<String>,
    scores: Vec<f64>,
    functions: Functions,
    main: Option<SimilarityFunction>,
    name: String,
    batch_size: usize,
    write_csv: bool,
    precision: Option<Precision>,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl EmbeddingSimilarityEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "EmbeddingSimilarityEvaluator",
        description: "Semantic Similarity",
        summary: "correlation of similarities with graded labels",
        metrics: "pearson_{F}, spearman_{F}",
        primary_metric: "spearman_{F}",
        csv_file: "similarity_evaluation{_name}[_{precision}]_results.csv",
    };

    /// Pairs of sentences and their labels.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without pairs.
    pub fn new(sentences1: Vec<String>, sentences2: Vec<String>, scores: Vec<f64>) -> Result<Self> {
        check_lengths(("sentences1", sentences1.len()), ("sentences2", sentences2.len()))?;
        check_lengths(("sentences1", sentences1.len()), ("scores", scores.len()))?;
        if scores.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "pairs" });
        }
        Ok(Self {
            sentences1,
            sentences2,
            scores,
            functions: Functions::default(),
            main: None,
            name: String::new(),
            batch_size: 16,
            write_csv: true,
            precision: None,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Pairs as a file had them.
    ///
    /// # Errors
    /// [`EvalError::Nothing`] without pairs.
    pub fn from_pairs(pairs: SimilarityPairs) -> Result<Self> {
        Self::new(pairs.sentences1, pairs.sentences2, pairs.scores)
    }

    /// The similarity functions; default: the main one, else the model's.
    #[must_use]
    pub fn similarity_functions(mut self, functions: impl IntoIterator<Item = SimilarityFunction>) -> Self {
        self.functions = Functions::new(functions);
        self
    }

    /// The function whose Spearman correlation is the primary metric.
    #[must_use]
    pub fn main_similarity(mut self, function: SimilarityFunction) -> Self {
        self.main = Some(function);
        self
    }

    /// Evaluates embeddings stored in a precision; also goes into the name of the CSV file.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    fn embed(&self, model: &dyn Embedder, sentences: &[String]) -> Result<Embeddings> {
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let embeddings = embed_all(model, sentences, Role::Plain, &options)?;
        let Some(precision) = self.precision else { return Ok(embeddings) };
        Ok(quantize_embeddings(&embeddings.normalized(), precision, None, None)?.to_embeddings())
    }
}

super::shared_setters!(EmbeddingSimilarityEvaluator);

impl Evaluator for EmbeddingSimilarityEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "EmbeddingSimilarityEvaluator: Evaluating the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        let embeddings1 = self.embed(model, &self.sentences1)?;
        let embeddings2 = self.embed(model, &self.sentences2)?;
        let main: Vec<_> = self.main.into_iter().collect();
        let functions = match main.as_slice() {
            main @ [_] if self.functions.is_empty() => main,
            _ => self.functions.resolve(model),
        };
        check_main(self.main, functions)?;
        let (mut metrics, mut columns, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pearsons, mut spearmans) = (Vec::new(), Vec::new());
        for &function in functions {
            let scores = function.similarity_pairwise(&embeddings1, &embeddings2)?;
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let (pearson, spearman) = (pearson(&self.scores, &scores), spearman(&self.scores, &scores));
            let name = capitalised(function);
            log::info!("{name}-Similarity:\tPearson: {pearson:.4}\tSpearman: {spearman:.4}");
            metrics.push((format!("pearson_{function}"), pearson));
            metrics.push((format!("spearman_{function}"), spearman));
            columns.extend([format!("{function}_pearson"), format!("{function}_spearman")]);
            cells.extend([python_float(pearson), python_float(spearman)]);
            pearsons.push(pearson);
            spearmans.push(spearman);
        }
        if let Some(folder) = occasion.folder(self.write_csv) {
            let precision = self.precision.map(|precision| format!("_{precision}")).unwrap_or_default();
            let file = format!("similarity_evaluation{}{precision}_results.csv", super::suffixed(&self.name));
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        if functions.len() > 1 {
            metrics.push(("pearson_max".to_owned(), largest(pearsons)));
            metrics.push(("spearman_max".to_owned(), largest(spearmans)));
        }
        let primary = match (self.main, functions) {
            (Some(main), _) => format!("spearman_{main}"),
            (None, [only]) => format!("spearman_{only}"),
            _ => "spearman_max".to_owned(),
        };
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, &primary);
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        super::parameter(&mut evaluation, "precision", self.precision.map(Precision::as_str));
        Ok(evaluation)
    }
}
