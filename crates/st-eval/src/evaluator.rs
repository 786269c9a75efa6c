//! [`Evaluator`]: what all evaluators share.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sentence_transformers::card::{EvaluationFacts, ModelCardData, Scalar};
use serde_json::Value;
use st_vectors::SimilarityFunction;

use crate::{Embedder, EvalError, Result};

/// What there is to know about a kind of evaluator. `{F}` stands for a similarity function, `{_name}` for the name
/// with an underscore before it or nothing.
///
/// ```
/// let kind = st_eval::EVALUATORS.iter().find(|kind| kind.class_name == "TripletEvaluator").unwrap();
/// assert_eq!(kind.primary_metric, "{F}_accuracy");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluatorKind {
    /// Name of the class, as model cards record it.
    pub class_name: &'static str,
    /// What model cards call it.
    pub description: &'static str,
    /// What it measures.
    pub summary: &'static str,
    /// Its metrics before the prefix.
    pub metrics: &'static str,
    /// The metric by which models are chosen, before the prefix.
    pub primary_metric: &'static str,
    /// The CSV file.
    pub csv_file: &'static str,
}

/// Where and when an evaluation happens.
///
/// ```
/// use st_eval::Occasion;
/// assert_eq!(Occasion::default().suffix(None), "");
/// assert_eq!(Occasion::new().epoch(2).suffix(Some(64)), " after epoch 2 (truncated to 64)");
/// assert_eq!(Occasion::new().epoch(2).steps(7).suffix(None), " in epoch 2 after 7 steps");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Occasion {
    /// Folder for CSV files and predictions, made when missing. None: nothing is written.
    pub output_path: Option<PathBuf>,
    /// The epoch in training; −1 outside of it.
    pub epoch: f64,
    /// Steps in training; −1 at the end of an epoch or outside of training.
    pub steps: i64,
}

impl Default for Occasion {
    fn default() -> Self {
        Self { output_path: None, epoch: -1.0, steps: -1 }
    }
}

impl Occasion {
    /// Not in training, nothing written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`Occasion::output_path`].
    #[must_use]
    pub fn output_path(mut self, folder: impl Into<PathBuf>) -> Self {
        self.output_path = Some(folder.into());
        self
    }

    /// Sets [`Occasion::epoch`].
    #[must_use]
    pub fn epoch(mut self, epoch: impl Into<f64>) -> Self {
        self.epoch = epoch.into();
        self
    }

    /// Sets [`Occasion::steps`].
    #[must_use]
    pub fn steps(mut self, steps: i64) -> Self {
        self.steps = steps;
        self
    }

    /// The folder, if this evaluator writes there.
    pub(crate) fn folder(&self, write: bool) -> Option<&Path> {
        self.output_path.as_deref().filter(|_| write)
    }

    /// The epoch as it is printed: whole numbers without a point.
    pub(crate) fn epoch_text(&self) -> String {
        self.epoch.to_string()
    }

    /// What the log says about when this is: empty outside of training.
    #[must_use]
    pub fn suffix(&self, truncate_dim: Option<usize>) -> String {
        let mut suffix = match (self.epoch, self.steps) {
            (-1.0, _) => String::new(),
            (_, -1) => format!(" after epoch {}", self.epoch_text()),
            (_, steps) => format!(" in epoch {} after {steps} steps", self.epoch_text()),
        };
        if let Some(dimension) = truncate_dim {
            suffix += &format!(" (truncated to {dimension})");
        }
        suffix
    }
}

/// The result of an evaluation.
///
/// ```
/// let evaluation = st_eval::Evaluation::new("MSEEvaluator", "dev", vec![("negative_mse".into(), -0.5)], "negative_mse");
/// assert_eq!(evaluation.primary_metric, "dev_negative_mse");
/// assert_eq!(evaluation.score(), Some(-0.5));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Class name of the evaluator.
    pub class_name: &'static str,
    /// Name of the evaluator, empty for none.
    pub name: String,
    /// Every metric with its name, prefixed, in the order of the original.
    pub metrics: Vec<(String, f64)>,
    /// The metric by which models are chosen, prefixed.
    pub primary_metric: String,
    /// What a model card says about how it was evaluated.
    pub parameters: Vec<(&'static str, Value)>,
    /// Evaluations that this one was made of.
    pub parts: Vec<Evaluation>,
    /// Whether a model card lists this evaluation beside its parts.
    pub in_card: bool,
}

impl Evaluation {
    /// Puts `name_` before the metrics and, unless it is there already, before the primary metric.
    #[must_use]
    pub fn new(class_name: &'static str, name: &str, metrics: Vec<(String, f64)>, primary_metric: &str) -> Self {
        let prefix = if name.is_empty() { String::new() } else { format!("{name}_") };
        let primary_metric = if primary_metric.starts_with(&prefix) {
            primary_metric.to_owned()
        } else {
            format!("{prefix}{primary_metric}")
        };
        Self {
            class_name,
            name: name.to_owned(),
            metrics: metrics.into_iter().map(|(key, value)| (format!("{prefix}{key}"), value)).collect(),
            primary_metric,
            parameters: Vec::new(),
            parts: Vec::new(),
            in_card: true,
        }
    }

    /// A metric by its full name.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(key, _)| key == name).map(|(_, value)| *value)
    }

    /// The primary metric's value.
    #[must_use]
    pub fn score(&self) -> Option<f64> {
        self.metric(&self.primary_metric)
    }

    /// This evaluation and its parts as a model card lists them: parts first.
    #[must_use]
    pub fn for_card(&self) -> Vec<&Evaluation> {
        let mut all: Vec<&Evaluation> = self.parts.iter().flat_map(Evaluation::for_card).collect();
        if self.in_card {
            all.push(self);
        }
        all
    }

    /// What a model card says about it: its own metrics, without those of its parts.
    #[must_use]
    pub fn facts(&self) -> EvaluationFacts {
        let of_a_part = |name: &str| self.parts.iter().any(|part| part.metric(name).is_some());
        let mut facts = EvaluationFacts::new(self.class_name, &self.name).primary_metric(&self.primary_metric);
        for (name, value) in self.metrics.iter().filter(|(name, _)| !of_a_part(name)) {
            facts = facts.metric(name, *value);
        }
        for (name, value) in &self.parameters {
            facts = facts.parameter(name, value.clone());
        }
        facts
    }

    /// Records it and its parts in the data of a model card, in place of earlier results of the same evaluators.
    pub fn record(&self, card: &mut ModelCardData, occasion: &Occasion) {
        let outside = occasion.epoch == -1.0;
        for evaluation in self.for_card() {
            let epoch = if outside { Scalar::Integer(-1) } else { Scalar::Number(occasion.epoch) };
            card.set_evaluation_metrics(evaluation.facts(), epoch, occasion.steps);
        }
    }
}

/// Measures a model. Larger primary metrics are better in all of them.
///
/// ```
/// use st_eval::{Evaluator, EmbeddingSimilarityEvaluator};
/// let evaluator = EmbeddingSimilarityEvaluator::new(vec!["a".into()], vec!["b".into()], vec![1.0])?;
/// assert_eq!(evaluator.kind().description, "Semantic Similarity");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
pub trait Evaluator: Debug + Send + Sync {
    /// The row of [`crate::EVALUATORS`].
    fn kind(&self) -> &'static EvaluatorKind;

    /// The name it was given, empty for none.
    fn name(&self) -> &str;

    /// Evaluates a model, writes what the occasion asks for, and logs the results.
    ///
    /// # Errors
    /// What the model reports, vectors that do not fit, files that cannot be written.
    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation>;
}

/// The similarity functions of an evaluator: those it was given, or the one of the first model that it sees, which
/// stays for later models as in the original.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    given: Vec<SimilarityFunction>,
    first: OnceLock<[SimilarityFunction; 1]>,
}

impl Functions {
    pub(crate) fn new(given: impl IntoIterator<Item = SimilarityFunction>) -> Self {
        let mut unique = Vec::new();
        for function in given {
            if !unique.contains(&function) {
                unique.push(function);
            }
        }
        Self { given: unique, first: OnceLock::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    pub(crate) fn resolve(&self, model: &dyn Embedder) -> &[SimilarityFunction] {
        if self.given.is_empty() { self.first.get_or_init(|| [model.similarity()]) } else { &self.given }
    }
}

/// The main function must be among those that are evaluated.
pub(crate) fn check_main(main: Option<SimilarityFunction>, functions: &[SimilarityFunction]) -> Result<()> {
    match main {
        Some(main) if !functions.contains(&main) => {
            let names: Vec<&str> = functions.iter().map(|function| function.as_str()).collect();
            let names = names.join(", ");
            Err(EvalError::Option {
                message: format!(
                    "`main_similarity` is '{main}', but the similarity functions are: {names}; name it there too"
                ),
            })
        }
        _ => Ok(()),
    }
}

/// The largest of some values; NaN only when all are.
pub(crate) fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().fold(f64::NAN, f64::max)
}

/// `cosine` → `Cosine`.
pub(crate) fn capitalised(function: SimilarityFunction) -> String {
    let name = function.as_str();
    name[..1].to_uppercase() + &name[1..]
}
