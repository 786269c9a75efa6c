//! [`MultilingualMseEvaluator`].

use std::collections::HashMap;

use st_vectors::Embeddings;

use crate::embedder::embed_all;
use crate::metrics::mean_squared_error;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How close a student's embeddings of translations are to a teacher's of the originals, per pair of languages.
///
/// # Formula
/// Per pair 100 · the mean of (teacher(source) − student(target))²; the metric is the negated mean over the pairs. Rows
/// in which one of the two is blank are left out of their pair.
///
/// # Metrics
/// `negative_mse`. The CSV file has a column with the positive value per pair.
///
/// ```
/// # use st_eval::{EmbedOptions, Embedder, Result, Role};
/// # use st_vectors::{Embeddings, SimilarityFunction};
/// # struct Teacher;
/// # impl Embedder for Teacher {
/// #     fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
/// #         Ok(Embeddings::from_rows(texts.iter().map(|text| [text.len() as f32]))?)
/// #     }
/// #     fn similarity(&self) -> SimilarityFunction { SimilarityFunction::Dot }
/// # }
/// use std::collections::HashMap;
/// use st_eval::{Evaluator, MultilingualMseEvaluator, Occasion};
/// let row = HashMap::from([("en".to_owned(), "house".to_owned()), ("de".to_owned(), "Haus".to_owned())]);
/// let pairs = [("en".to_owned(), "de".to_owned())];
/// let evaluator = MultilingualMseEvaluator::new(&Teacher, &[row], &pairs, &EmbedOptions::default())?;
/// assert_eq!(evaluator.evaluate(&Teacher, &Occasion::new())?.score(), Some(-100.0));
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct MultilingualMseEvaluator {
    pairs: Vec<LanguagePair>,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

/// What the student is measured on for two languages.
#[derive(Debug)]
struct LanguagePair {
    /// `source-target`.
    label: String,
    teacher: Embeddings,
    targets: Vec<String>,
}

impl MultilingualMseEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "MSEEvaluatorFromDataFrame",
        description: "Knowledge Distillation",
        summary: "squared distance between a student's translations and a teacher's originals",
        metrics: "negative_mse",
        primary_metric: "negative_mse",
        csv_file: "mse_evaluation{_name}_results.csv",
    };

    /// Embeds the source sentences with the teacher. Rows are parallel sentences by language; combinations are pairs of
    /// source and target language. The `truncate_dim` and the batch size hold for the student too.
    ///
    /// # Errors
    /// [`EvalError::Option`] when a row lacks a language, [`EvalError::Nothing`] when a combination has no sentences or
    /// there is none, and what the teacher reports.
    pub fn new(
        teacher: &dyn Embedder,
        rows: &[HashMap<String, String>],
        combinations: &[(String, String)],
        options: &EmbedOptions<'_>,
    ) -> Result<Self> {
        let nothing = |what| EvalError::Nothing { evaluator: Self::KIND.class_name, what };
        let cell = |index: usize, language: &str| {
            let message = || format!("row {index} has no sentence in '{language}', which `combinations` names");
            rows[index].get(language).map(String::as_str).ok_or_else(|| EvalError::Option { message: message() })
        };
        let mut pairs = Vec::with_capacity(combinations.len());
        for (source, target) in combinations {
            let (mut sources, mut targets) = (Vec::new(), Vec::new());
            for index in 0..rows.len() {
                let (source, target) = (cell(index, source)?, cell(index, target)?);
                if !source.trim().is_empty() && !target.trim().is_empty() {
                    sources.push(source);
                    targets.push(target.to_owned());
                }
            }
            if targets.is_empty() {
                return Err(nothing("sentences for a combination"));
            }
            let teacher = embed_all(teacher, &sources, Role::Plain, options)?;
            pairs.push(LanguagePair { label: format!("{source}-{target}"), teacher, targets });
        }
        if pairs.is_empty() {
            return Err(nothing("combinations"));
        }
        Ok(Self {
            pairs,
            name: String::new(),
            batch_size: options.batch_size,
            write_csv: true,
            truncate_dim: options.truncate_dim,
            show_progress: options.show_progress,
        })
    }
}

super::shared_setters!(MultilingualMseEvaluator);

impl Evaluator for MultilingualMseEvaluator {
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
        let mut errors = Vec::with_capacity(self.pairs.len());
        for LanguagePair { label, teacher, targets } in &self.pairs {
            let embeddings = embed_all(model, targets, Role::Plain, &options)?;
            let error = mean_squared_error(teacher, &embeddings)? * 100.0;
            log::info!("MSE evaluation on {} dataset - {label}:", self.name);
            log::info!("MSE (*100):\t{error:.6}");
            errors.push(error);
        }
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("mse_evaluation{}_results.csv", super::suffixed(&self.name));
            let columns = self.pairs.iter().map(|pair| pair.label.clone()).collect();
            let cells: Vec<String> = errors.iter().copied().map(python_float).collect();
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let metrics = vec![("negative_mse".to_owned(), -mean)];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, "negative_mse");
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
