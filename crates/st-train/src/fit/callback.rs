//! What `fit` does beside the trainer: evaluations at the end of epochs, the best model, the caller's callback.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value};
use st_eval::{Embedder, Evaluation, Evaluator, EvaluatorKind, Occasion};

use crate::callbacks::{Callback, Event};
use crate::{Result, TrainError};

use super::options::ScoreCallback;

/// An evaluator that several hold, and the score of its last run.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    evaluator: Arc<dyn Evaluator>,
    score: Arc<Mutex<Option<f64>>>,
}

impl Shared {
    pub(super) fn new(evaluator: Arc<dyn Evaluator>) -> Self {
        Self { evaluator, score: Arc::default() }
    }

    fn score(&self) -> Option<f64> {
        self.score.lock().ok().and_then(|score| *score)
    }
}

impl Evaluator for Shared {
    fn kind(&self) -> &'static EvaluatorKind {
        self.evaluator.kind()
    }

    fn name(&self) -> &str {
        self.evaluator.name()
    }

    fn evaluate(&self, model: &dyn Embedder, occasion: &Occasion) -> st_eval::Result<Evaluation> {
        let evaluation = self.evaluator.evaluate(model, occasion)?;
        if let Ok(mut score) = self.score.lock() {
            *score = evaluation.score();
        }
        Ok(evaluation)
    }
}

/// Evaluates at the end of epochs, saves the best model (or the last, without an evaluator), calls the caller's callback.
pub(super) struct FitCallback {
    pub(super) evaluator: Option<Shared>,
    pub(super) output_path: Option<PathBuf>,
    pub(super) save_best_model: bool,
    pub(super) best: Option<f64>,
    pub(super) callback: Option<ScoreCallback>,
}

impl std::fmt::Debug for FitCallback {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FitCallback").field("output_path", &self.output_path).finish_non_exhaustive()
    }
}

impl FitCallback {
    fn scored(&mut self, event: &Event<'_>) -> Result<()> {
        let Some(score) = self.evaluator.as_ref().and_then(Shared::score) else { return Ok(()) };
        if let Some(callback) = &mut self.callback {
            callback(score, event.state.epoch, i64::try_from(event.state.global_step).unwrap_or(i64::MAX));
        }
        if self.best.is_none_or(|best| score > best) {
            self.best = Some(score);
            if let (Some(folder), true) = (&self.output_path, self.save_best_model) {
                event.save_model(folder)?;
            }
        }
        Ok(())
    }
}

impl Callback for FitCallback {
    fn name(&self) -> &'static str {
        "FitCallback"
    }

    fn on_epoch_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        let Some(evaluator) = &self.evaluator else { return Ok(()) };
        let steps = i64::try_from(event.state.global_step).unwrap_or(i64::MAX);
        let mut occasion = Occasion::new().epoch(event.state.epoch).steps(steps);
        if let Some(folder) = &self.output_path {
            let folder = folder.join("eval");
            std::fs::create_dir_all(&folder).map_err(TrainError::writing(&folder))?;
            occasion = occasion.output_path(folder);
        }
        evaluator.evaluate(&event.model.sentence_transformer()?, &occasion)?;
        self.scored(event)
    }

    fn on_evaluate(&mut self, event: &mut Event<'_>, _: &Map<String, Value>) -> Result<()> {
        self.scored(event)
    }

    fn on_train_end(&mut self, event: &mut Event<'_>) -> Result<()> {
        match (&self.evaluator, &self.output_path) {
            (None, Some(folder)) => event.save_model(folder),
            _ => Ok(()),
        }
    }

    fn state(&self) -> Option<Value> {
        Some(self.best.map_or(Value::Null, |best| best.to_bits().into()))
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        self.best = state.as_u64().map(f64::from_bits);
        Ok(())
    }
}
