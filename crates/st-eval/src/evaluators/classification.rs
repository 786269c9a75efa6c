//! [`BinaryClassificationEvaluator`].

use std::collections::HashMap;

use st_vectors::{Embeddings, SimilarityFunction};

use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::evaluator::{Functions, largest};
use crate::metrics::{average_precision, best_accuracy, best_f1, matthews_correlation};
use crate::report::{Report, python_float, python_float32};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How well a threshold on the similarity tells similar from dissimilar pairs.
///
/// # Formula
/// [`best_accuracy`], [`best_f1`], [`average_precision`], and [`matthews_correlation`] of the pairs at or above the F1
/// threshold. Equal texts are embedded once.
///
/// # Metrics
/// Per function F: `F_accuracy`, `F_accuracy_threshold`, `F_f1`, `F_f1_threshold`, `F_precision`, `F_recall`, `F_ap`,
/// `F_mcc`; with several also `max_…` of each.
///
/// Differs from sentence-transformers 5.2: Manhattan and Euclidean similarities (negative distances) count upwards like
/// the others, where 5.2 inverts the order; and a CSV row has all columns of its header, thresholds included.
///
/// ```
/// use st_eval::{BinaryClassificationEvaluator, Evaluator};
/// let evaluator = BinaryClassificationEvaluator::new(vec!["a".into()], vec!["b".into()], vec![true])?;
/// assert_eq!(evaluator.kind().description, "Binary Classification");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct BinaryClassificationEvaluator {
    sentences1: Vec<String>,
    sentences2: Vec<String>,
    labels: Vec<bool>,
    functions: Functions,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl BinaryClassificationEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "BinaryClassificationEvaluator",
        description: "Binary Classification",
        summary: "similar and dissimilar pairs told apart by a threshold",
        metrics: "{F}_accuracy, {F}_accuracy_threshold, {F}_f1, {F}_f1_threshold, {F}_precision, {F}_recall, {F}_ap, {F}_mcc",
        primary_metric: "{F}_ap",
        csv_file: "binary_classification_evaluation{_name}_results.csv",
    };

    /// Pairs of sentences; `true` marks similar ones.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without pairs.
    pub fn new(sentences1: Vec<String>, sentences2: Vec<String>, labels: Vec<bool>) -> Result<Self> {
        check_lengths(("sentences1", sentences1.len()), ("sentences2", sentences2.len()))?;
        check_lengths(("sentences1", sentences1.len()), ("labels", labels.len()))?;
        if labels.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "pairs" });
        }
        Ok(Self {
            sentences1,
            sentences2,
            labels,
            functions: Functions::default(),
            name: String::new(),
            batch_size: 32,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// The similarity functions; default: the model's.
    #[must_use]
    pub fn similarity_functions(mut self, functions: impl IntoIterator<Item = SimilarityFunction>) -> Self {
        self.functions = Functions::new(functions);
        self
    }

    /// Both columns; each distinct text went through the model once.
    fn embed(&self, model: &dyn Embedder) -> Result<(Embeddings, Embeddings)> {
        let mut rows: HashMap<&str, usize> = HashMap::new();
        let mut unique = Vec::new();
        for sentence in self.sentences1.iter().chain(&self.sentences2) {
            rows.entry(sentence).or_insert_with(|| {
                unique.push(sentence.as_str());
                unique.len() - 1
            });
        }
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let embeddings = embed_all(model, &unique, Role::Plain, &options)?;
        let column = |sentences: &[String]| {
            let rows = sentences.iter().filter_map(|sentence| rows.get(sentence.as_str()));
            Embeddings::from_rows(rows.map(|&row| embeddings.row(row)))
        };
        Ok((column(&self.sentences1)?, column(&self.sentences2)?))
    }
}

super::shared_setters!(BinaryClassificationEvaluator);

impl Evaluator for BinaryClassificationEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "Binary Accuracy Evaluation of the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        let functions = self.functions.resolve(model);
        let (embeddings1, embeddings2) = self.embed(model)?;
        let (mut per_function, mut columns, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for &function in functions {
            let scores = function.similarity_pairwise(&embeddings1, &embeddings2)?;
            let accuracy = best_accuracy(&scores, &self.labels);
            let f1 = best_f1(&scores, &self.labels);
            let precision = average_precision(&scores, &self.labels);
            let predictions: Vec<bool> = scores.iter().map(|&score| score >= f1.threshold).collect();
            let mcc = matthews_correlation(&self.labels, &predictions);
            let name = long_name(function);
            let percent = |value: f64| value * 100.0;
            let (accuracy_threshold, f1_threshold) = (accuracy.threshold, f1.threshold);
            log::info!(
                "Accuracy with {name}:             {:.2}\t(Threshold: {accuracy_threshold:.4})",
                percent(accuracy.accuracy)
            );
            log::info!("F1 with {name}:                   {:.2}\t(Threshold: {f1_threshold:.4})", percent(f1.f1));
            log::info!("Precision with {name}:            {:.2}", percent(f1.precision));
            log::info!("Recall with {name}:               {:.2}", percent(f1.recall));
            log::info!("Average Precision with {name}:    {:.2}", percent(precision));
            log::info!("Matthews Correlation with {name}: {:.2}\n", percent(mcc));
            per_function.push([
                ("accuracy", accuracy.accuracy),
                ("accuracy_threshold", f64::from(accuracy_threshold)),
                ("f1", f1.f1),
                ("f1_threshold", f64::from(f1_threshold)),
                ("precision", f1.precision),
                ("recall", f1.recall),
                ("ap", precision),
                ("mcc", mcc),
            ]);
            for (metric, cell) in [
                ("accuracy", python_float(accuracy.accuracy)),
                ("accuracy_threshold", python_float32(accuracy_threshold)),
                ("f1", python_float(f1.f1)),
                ("precision", python_float(f1.precision)),
                ("recall", python_float(f1.recall)),
                ("f1_threshold", python_float32(f1_threshold)),
                ("ap", python_float(precision)),
                ("mcc", python_float(mcc)),
            ] {
                columns.push(format!("{function}_{metric}"));
                cells.push(cell);
            }
        }
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("binary_classification_evaluation{}_results.csv", super::suffixed(&self.name));
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        let mut metrics: Vec<(String, f64)> = Vec::new();
        for (function, values) in functions.iter().zip(&per_function) {
            metrics.extend(values.iter().map(|(metric, value)| (format!("{function}_{metric}"), *value)));
        }
        let primary = if let [only] = functions {
            format!("{only}_ap")
        } else {
            for index in 0..per_function.first().map_or(0, |values| values.len()) {
                let best = largest(per_function.iter().map(|values| values[index].1));
                metrics.push((format!("max_{}", per_function[0][index].0), best));
            }
            "max_ap".to_owned()
        };
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, &primary);
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}

fn long_name(function: SimilarityFunction) -> &'static str {
    match function {
        SimilarityFunction::Cosine => "Cosine-Similarity",
        SimilarityFunction::Dot => "Dot-Product",
        SimilarityFunction::Euclidean => "Euclidean-Distance",
        SimilarityFunction::Manhattan => "Manhattan-Distance",
    }
}
