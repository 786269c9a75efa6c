//! [`TripletEvaluator`].

use serde_json::Value;
use st_vectors::SimilarityFunction;

use crate::embedder::embed_all;
use crate::error::check_lengths;
use crate::evaluator::{Functions, capitalised, check_main, largest};
use crate::metrics::triplet_accuracy;
use crate::report::{Report, python_float};
use crate::{EmbedOptions, Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result, Role};

/// How often an anchor is closer to its positive than to its negative.
///
/// # Formula
/// The mean of [sim(anchor, positive) > sim(anchor, negative) + margin].
///
/// # Metrics
/// `F_accuracy` per function F; with several also `max_accuracy`.
///
/// ```
/// use st_eval::{Evaluator, TripletEvaluator};
/// let evaluator = TripletEvaluator::new(vec!["a".into()], vec!["b".into()], vec!["c".into()])?.margin(0.1);
/// assert_eq!(evaluator.kind().description, "Triplet");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct TripletEvaluator {
    anchors: Vec<String>,
    positives: Vec<String>,
    negatives: Vec<String>,
    functions: Functions,
    main: Option<SimilarityFunction>,
    /// In the order of [`SimilarityFunction::ALL`].
    margins: [f32; 4],
    name: String,
    batch_size: usize,
    write_csv: bool,
    truncate_dim: Option<usize>,
    show_progress: bool,
}

impl TripletEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "TripletEvaluator",
        description: "Triplet",
        summary: "anchors closer to their positives than to their negatives",
        metrics: "{F}_accuracy",
        primary_metric: "{F}_accuracy",
        csv_file: "triplet_evaluation{_name}_results.csv",
    };

    /// Triplets, one list per place.
    ///
    /// # Errors
    /// [`EvalError::Lengths`], and [`EvalError::Nothing`] without triplets.
    pub fn new(anchors: Vec<String>, positives: Vec<String>, negatives: Vec<String>) -> Result<Self> {
        check_lengths(("anchors", anchors.len()), ("positives", positives.len()))?;
        check_lengths(("anchors", anchors.len()), ("negatives", negatives.len()))?;
        if anchors.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "triplets" });
        }
        Ok(Self {
            anchors,
            positives,
            negatives,
            functions: Functions::default(),
            main: None,
            margins: [0.0; 4],
            name: String::new(),
            batch_size: 16,
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

    /// The function whose accuracy is the primary metric. It must be among the similarity functions.
    #[must_use]
    pub fn main_similarity(mut self, function: SimilarityFunction) -> Self {
        self.main = Some(function);
        self
    }

    /// The margin by which the positive must be closer, for every function.
    #[must_use]
    pub fn margin(mut self, margin: f32) -> Self {
        self.margins = [margin; 4];
        self
    }

    /// The margin for one function; 0 for those that were not named.
    #[must_use]
    pub fn margin_for(mut self, function: SimilarityFunction, margin: f32) -> Self {
        for ((candidate, _), own) in SimilarityFunction::ALL.iter().zip(&mut self.margins) {
            if *candidate == function {
                *own = margin;
            }
        }
        self
    }

    fn margin_of(&self, function: SimilarityFunction) -> f32 {
        let margins = SimilarityFunction::ALL.iter().zip(self.margins);
        margins.into_iter().find(|((candidate, _), _)| *candidate == function).map_or(0.0, |(_, margin)| margin)
    }
}

super::shared_setters!(TripletEvaluator);

impl Evaluator for TripletEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        log::info!(
            "TripletEvaluator: Evaluating the model on the {} dataset{}:",
            self.name,
            occasion.suffix(self.truncate_dim)
        );
        let options = EmbedOptions {
            batch_size: self.batch_size,
            truncate_dim: self.truncate_dim,
            show_progress: self.show_progress,
            ..EmbedOptions::default()
        };
        let anchors = embed_all(model, &self.anchors, Role::Plain, &options)?;
        let positives = embed_all(model, &self.positives, Role::Plain, &options)?;
        let negatives = embed_all(model, &self.negatives, Role::Plain, &options)?;
        let functions = self.functions.resolve(model);
        check_main(self.main, functions)?;
        let (mut metrics, mut columns, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        for &function in functions {
            let positive = function.similarity_pairwise(&anchors, &positives)?;
            let negative = function.similarity_pairwise(&anchors, &negatives)?;
            let accuracy = triplet_accuracy(&positive, &negative, self.margin_of(function));
            log::info!("Accuracy {} Similarity:\t{:.2}%", capitalised(function), accuracy * 100.0);
            metrics.push((format!("{function}_accuracy"), accuracy));
            columns.push(format!("accuracy_{function}"));
            cells.push(python_float(accuracy));
        }
        if let Some(folder) = occasion.folder(self.write_csv) {
            let file = format!("triplet_evaluation{}_results.csv", super::suffixed(&self.name));
            Report { file, columns, line_end: "\r\n" }.append(folder, occasion, &cells)?;
        }
        if functions.len() > 1 {
            metrics.push(("max_accuracy".to_owned(), largest(metrics.iter().map(|(_, value)| *value))));
        }
        let primary = match (self.main, functions) {
            (Some(main), _) => format!("{main}_accuracy"),
            (None, [only]) => format!("{only}_accuracy"),
            _ => "max_accuracy".to_owned(),
        };
        let mut evaluation = Evaluation::new(Self::KIND.class_name, &self.name, metrics, &primary);
        if self.margins != [0.0; 4] {
            let names = SimilarityFunction::possible_values().into_iter();
            let margins = names.zip(self.margins).map(|(name, margin)| (name.to_owned(), Value::from(margin)));
            evaluation.parameters.push(("margin", Value::Object(margins.collect())));
        }
        super::parameter(&mut evaluation, "truncate_dim", self.truncate_dim);
        Ok(evaluation)
    }
}
