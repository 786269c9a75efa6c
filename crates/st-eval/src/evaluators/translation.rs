//! [`TranslationEvaluator`].

use st_vectors::{Embeddings, SimilarityFunction};

use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::metrics::matching_accuracy;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How often a sentence and its translation find each other among all.
///
/// # Formula
/// [`matching_accuracy`] of source and target sentences.
///
/// # Metrics
/// `src2trg_accuracy`, `trg2src_accuracy`, `mean_accuracy`.
///
/// ```
/// use st_eval::{Evaluator, TranslationEvaluator};
/// let evaluator = TranslationEvaluator::new(vec!["a house".into()], vec!["ein Haus".into()])?;
/// assert_eq!(evaluator.kind().primary_metric, "mean_accuracy");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct TranslationEvaluator {
    source_sentences: Vec<String>,
    target_sentences: Vec<String>,
    log_wrong_matches: bool,
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl TranslationEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "TranslationEvaluator",
        description: "Translation",
        summary: "sentences that find their translations",
        metrics: "src2trg_accuracy, trg2src_accuracy, mean_accuracy",
        primary_metric: "mean_accuracy",
        csv_file: "translation_evaluation{_name}_results.csv",
    };

    /// Sentences and, at the same places, their translations.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without sentences.
    pub fn new(source_sentences: Vec<String>, target_sentences: Vec<String>) -> Result<Self> {
        check_lengths(("source_sentences", source_sentences.len()), ("target_sentences", target_sentences.len()))?;
        if source_sentences.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "sentences" });
        }
        Ok(Self {
            source_sentences,
            target_sentences,
            log_wrong_matches: false,
            name: String::new(),
            batch_size: 16,
            write_csv: true,
            truncate_dim: None,
            show_progress: false,
        })
    }

    /// Whether the log names every source sentence that found a wrong target. Default: no.
    #[must_use]
    pub fn log_wrong_matches(mut self, log: bool) -> Self {
        self.log_wrong_matches = log;
        self
    }
}

/// The cosine of one row with another.
fn cos_sim_of(source: &Embeddings, row: usize, target: &Embeddings, column: usize) -> f32 {
    let (source, target) = (Embeddings::from(source.row(row).to_vec()), Embeddings::from(target.row(column).to_vec()));
    let score = SimilarityFunction::Cosine.similarity_pairwise(&source, &target);
    score.ok().and_then(|scores| scores.first().copied()).unwrap_or(f32::NAN)
}

super::shared_setters!(TranslationEvaluator);

impl Evaluator for TranslationEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "Evaluating translation matching Accuracy of the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let source = embed_all(model, &self.source_sentences, Role::Plain, &options)?;
        let target = embed_all(model, &self.target_sentences, Role::Plain, &options)?;
        let matching = matching_accuracy(&source, &target)?;
        if self.log_wrong_matches {
            for &(row, found) in &matching.wrong {
                let score = |column: usize| cos_sim_of(&source, row, &target, column);
                log::info!("Incorrect  : Source {row} is most similar to target {found} instead of target {row}");
                log::info!("Source     : {}", self.source_sentences[row]);
                log::info!("Pred Target: {} (Score: {:.4})", self.target_sentences[found], score(found));
                log::info!("True Target: {} (Score: {:.4})", self.target_sentences[row], score(row));
            }
        }
        let (forward, backward) = (matching.forward, matching.backward);
        log::info!("Accuracy src2trg: {:.2}", forward * 100.0);
        log::info!("Accuracy trg2src: {:.2}", backward * 100.0);
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("translation_evaluation{}_results.csv", super::suffixed(&self.name));
            let columns = vec!["src2trg".to_owned(), "trg2src".to_owned()];
            let cells = [forward, backward].map(python_float);
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        let metrics = vec![
            ("src2trg_accuracy".to_owned(), forward),
            ("trg2src_accuracy".to_owned(), backward),
            ("mean_accuracy".to_owned(), (forward + backward) / 2.0),
        ];
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, "mean_accuracy");
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
