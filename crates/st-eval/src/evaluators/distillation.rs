//! [`MseEvaluator`].

use st_vectors::Embeddings;

use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::metrics::mean_squared_error;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How close a student's embeddings are to a teacher's.
///
/// # Formula
/// −100 · the mean of (teacher(source) − student(target))², which grows with quality.
///
/// # Metrics
/// `negative_mse`. The CSV file holds the positive value.
///
/// ```
/// use st_eval::{Evaluator, MseEvaluator};
/// use st_vectors::Embeddings;
/// let teacher = Embeddings::from_rows([[1.0, 0.0]])?;
/// let evaluator = MseEvaluator::new(teacher, vec!["a text".into()])?;
/// assert_eq!(evaluator.kind().description, "Knowledge Distillation");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct MseEvaluator {
    source_embeddings: Embeddings,
    target_sentences: Vec<String>,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl MseEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "MSEEvaluator",
        description: "Knowledge Distillation",
        summary: "squared distance between a student's and a teacher's embeddings",
        metrics: "negative_mse",
        primary_metric: "negative_mse",
        csv_file: "mse_evaluation_{name}_results.csv",
    };

    /// The teacher's embeddings and, at the same places, the student's sentences.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without sentences.
    pub fn new(source_embeddings: Embeddings, target_sentences: Vec<String>) -> Result<Self> {
        check_lengths(("source_sentences", source_embeddings.rows()), ("target_sentences", target_sentences.len()))?;
        if target_sentences.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "sentences" });
        }
        Ok(Self {
            source_embeddings,
            target_sentences,
            name: String::new(),
            batch_size: 32,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Embeds the source sentences with the teacher. Its `truncate_dim` and batch size hold for the student too.
    ///
    /// # Errors
    /// As [`MseEvaluator::new`], and what the teacher reports.
    pub fn from_teacher(
        teacher: &dyn Embedder,
        source_sentences: &[String],
        target_sentences: Vec<String>,
        options: &EmbedOptions<'_>,
    ) -> Result<Self> {
        let embeddings = embed_all(teacher, source_sentences, Role::Plain, options)?;
        let evaluator = Self::new(embeddings, target_sentences)?;
        Ok(Self { truncate_dim: options.truncate_dim, batch_size: options.batch_size, ..evaluator })
    }
}

super::shared_setters!(MseEvaluator);

impl Evaluator for MseEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let embeddings = embed_all(model, &self.target_sentences, Role::Plain, &options)?;
        let error = mean_squared_error(&self.source_embeddings, &embeddings)? * 100.0;
        let suffix = occasion.suffix(self.truncate_dim);
        log::info!("MSE evaluation (lower = better) on the {} dataset{suffix}:", self.name);
        log::info!("MSE (*100):\t{error:.6}");
        if let Some(folder) = occasion.folder(self.write_csv) {
            // The underscore stands there with and without a name.
            let file = format!("mse_evaluation_{}_results.csv", self.name);
            Report { file, columns: vec!["MSE".to_owned()], line_end: "\r\n" }.append(
                folder,
                occasion,
                &[python_float(error)],
            )?;
        }
        let metrics = vec![("negative_mse".to_owned(), -error)];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, "negative_mse");
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
