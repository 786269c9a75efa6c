//! [`LabelAccuracyEvaluator`].

use std::sync::Arc;

use crate::classifier::SentenceClassifier;
use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// Rows whose embeddings are in memory at a time.
const CHUNK: usize = 16_384;

/// How often a classifier on sentence embeddings chooses the right label.
///
/// # Formula
/// The part of the rows whose label has the highest score; the first of equal scores counts.
///
/// # Metrics
/// `accuracy`.
///
/// # See also
/// [`SoftmaxHead`](crate::SoftmaxHead), the classifier of the softmax loss.
///
/// ```
/// use std::sync::Arc;
/// use st_eval::{Evaluator, LabelAccuracyEvaluator, SoftmaxHead};
/// use st_vectors::Embeddings;
/// // Two classes over (u, v, |u − v|) of one component each.
/// let head = SoftmaxHead::new(Embeddings::from_rows([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])?, None)?;
/// let columns = vec![vec!["a".into()], vec!["b".into()]];
/// let evaluator = LabelAccuracyEvaluator::new(columns, vec![1], Arc::new(head))?;
/// assert_eq!(evaluator.kind().primary_metric, "accuracy");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LabelAccuracyEvaluator {
    columns: Vec<Vec<String>>,
    labels: Vec<usize>,
    classifier: Arc<dyn SentenceClassifier>,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl LabelAccuracyEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "LabelAccuracyEvaluator",
        description: "Label Accuracy",
        summary: "labels that a classifier on sentence embeddings chooses rightly",
        metrics: "accuracy",
        primary_metric: "accuracy",
        csv_file: "accuracy_evaluation{_name}_results.csv",
    };

    /// Columns of sentences (two, for pairs), a label per row, and the classifier over the columns' embeddings.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without columns or rows.
    pub fn new(columns: Vec<Vec<String>>, labels: Vec<usize>, classifier: Arc<dyn SentenceClassifier>) -> Result<Self> {
        let nothing = |what| EvalError::Nothing { evaluator: Self::KIND.class_name, what };
        for column in &columns {
            check_lengths(("labels", labels.len()), ("sentences", column.len()))?;
        }
        if columns.is_empty() {
            return Err(nothing("columns of sentences"));
        }
        if labels.is_empty() {
            return Err(nothing("rows"));
        }
        Ok(Self {
            columns,
            labels,
            classifier,
            name: String::new(),
            batch_size: 32,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Right labels from `start` on.
    fn correct(&self, model: &dyn Embedder, start: usize, labels: &[usize]) -> Result<usize> {
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let embed =
            |column: &Vec<String>| embed_all(model, &column[start..start + labels.len()], Role::Plain, &options);
        let columns = self.columns.iter().map(embed).collect::<Result<Vec<_>>>()?;
        let scores = self.classifier.class_scores(&columns)?;
        if scores.rows() != labels.len() {
            return Err(EvalError::EmbeddingCount { expected: labels.len(), found: scores.rows() });
        }
        Ok(scores.rows_iter().zip(labels).filter(|(scores, label)| first_largest(scores) == **label).count())
    }
}

fn first_largest(scores: &[f32]) -> usize {
    let mut best = 0;
    for (index, &score) in scores.iter().enumerate() {
        if score > scores[best] {
            best = index;
        }
    }
    best
}

super::shared_setters!(LabelAccuracyEvaluator);

impl Evaluator for LabelAccuracyEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        let suffix = occasion.suffix(self.truncate_dim);
        log::info!("Evaluation on the {} dataset{suffix}:", self.name);
        let mut correct = 0;
        for (chunk, labels) in self.labels.chunks(CHUNK).enumerate() {
            correct += self.correct(model, chunk * CHUNK, labels)?;
        }
        let total = self.labels.len();
        let accuracy = correct as f64 / total as f64;
        log::info!("Accuracy: {accuracy:.4} ({correct}/{total})\n");
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("accuracy_evaluation{}_results.csv", super::suffixed(&self.name));
            let report = Report { file, columns: vec!["accuracy".to_owned()], line_end: "\r\n" };
            report.append(folder, occasion, &[python_float(accuracy)])?;
        }
        let metrics = vec![("accuracy".to_owned(), accuracy)];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, "accuracy");
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_scores_counts() {
        assert_eq!(first_largest(&[0.5, 0.5, 0.1]), 0);
        assert_eq!(first_largest(&[f32::NEG_INFINITY, 0.1, 0.2]), 2);
    }
}
