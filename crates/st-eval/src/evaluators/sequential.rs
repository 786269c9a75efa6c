//! [`SequentialEvaluator`].

use crate::{Embedder, EvalError, Evaluation, Evaluator, EvaluatorKind, Occasion, Result};

/// Several evaluators, one after the other.
///
/// # Metrics
/// All of its parts (a later one replaces an earlier one of the same name), and `sequential_score`, made from their
/// primary metrics: the last one, unless another way is given.
///
/// ```
/// use st_eval::{Evaluator, SequentialEvaluator, TripletEvaluator};
/// let part = TripletEvaluator::new(vec!["a".into()], vec!["b".into()], vec!["c".into()])?;
/// let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
/// let evaluator = SequentialEvaluator::new(vec![Box::new(part)])?.main_score(mean);
/// assert_eq!(evaluator.name(), "");
/// # Ok::<(), st_eval::EvalError>(())
/// ```
#[derive(Debug)]
pub struct SequentialEvaluator {
    evaluators: Vec<Box<dyn Evaluator>>,
    main_score: fn(&[f64]) -> f64,
}

impl SequentialEvaluator {
    /// The row of the table.
    pub const KIND: EvaluatorKind = EvaluatorKind {
        class_name: "SequentialEvaluator",
        description: "Sequential",
        summary: "several evaluators, one after the other",
        metrics: "those of the parts, sequential_score",
        primary_metric: "sequential_score",
        csv_file: "",
    };

    /// Evaluators in their order.
    ///
    /// # Errors
    /// [`EvalError::Nothing`] without evaluators.
    pub fn new(evaluators: Vec<Box<dyn Evaluator>>) -> Result<Self> {
        if evaluators.is_empty() {
            return Err(EvalError::Nothing { evaluator: Self::KIND.class_name, what: "evaluators" });
        }
        Ok(Self { evaluators, main_score: |scores| scores.last().copied().unwrap_or(f64::NAN) })
    }

    /// How one score is made from the primary metrics of the parts.
    #[must_use]
    pub fn main_score(mut self, score: fn(&[f64]) -> f64) -> Self {
        self.main_score = score;
        self
    }
}

impl Evaluator for SequentialEvaluator {
    fn kind(&self) -> &'static EvaluatorKind {
        &Self::KIND
    }

    fn name(&self) -> &str {
        ""
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> Result<Evaluation> {
        let parts: Vec<Evaluation> =
            self.evaluators.iter().map(|evaluator| evaluator.evaluate(model, occasion)).collect::<Result<_>>()?;
        let scores: Vec<f64> = parts.iter().map(|part| part.score().unwrap_or(f64::NAN)).collect();
        let mut metrics: Vec<(String, f64)> = Vec::new();
        let total = ("sequential_score".to_owned(), (self.main_score)(&scores));
        for (name, value) in parts.iter().flat_map(|part| part.metrics.iter().cloned()).chain([total]) {
            match metrics.iter_mut().find(|(known, _)| *known == name) {
                Some(known) => known.1 = value,
                None => metrics.push((name, value)),
            }
        }
        let evaluation = Evaluation::new(Self::KIND.class_name, "", metrics, "sequential_score");
        Ok(Evaluation { parts, in_card: false, ..evaluation })
    }
}
