//! [`TrainerState`]: how far training is, as `trainer_state.json` keeps it; [`Control`]: what is to happen next.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Result, TrainError};

/// How far training is and what was logged, with the fields of the Hugging Face trainer's `trainer_state.json`.
///
/// ```
/// let state = st_train::TrainerState::default();
/// assert!(state.to_json()?.starts_with("{\n  \"best_global_step\": null,\n  \"best_metric\": null,\n"));
/// # Ok::<(), st_train::TrainError>(())
/// ```
// The fields stand in the order in which the original writes them: sorted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainerState {
    /// The step of the best metric.
    pub best_global_step: Option<usize>,
    /// The best value of the metric by which models are chosen.
    pub best_metric: Option<f64>,
    /// The checkpoint of the best metric.
    pub best_model_checkpoint: Option<String>,
    /// Epochs done; a fraction inside an epoch.
    pub epoch: f64,
    /// Steps between evaluations.
    pub eval_steps: usize,
    /// Steps done.
    pub global_step: usize,
    /// Always false.
    pub is_hyper_param_search: bool,
    /// Always true.
    pub is_local_process_zero: bool,
    /// Always true.
    pub is_world_process_zero: bool,
    /// Everything that was logged, with its step.
    pub log_history: Vec<Map<String, Value>>,
    /// Steps between logs.
    pub logging_steps: usize,
    /// Steps in all.
    pub max_steps: usize,
    /// Tokens that the model was trained on, padding not counted.
    pub num_input_tokens_seen: usize,
    /// Epochs in all.
    pub num_train_epochs: usize,
    /// Steps between checkpoints.
    pub save_steps: usize,
    /// What callbacks remember, by their names.
    pub stateful_callbacks: Map<String, Value>,
    /// Not counted: 0.
    pub total_flos: f64,
    /// Rows per batch.
    pub train_batch_size: usize,
    /// Always nothing.
    pub trial_name: Option<String>,
    /// Always nothing.
    pub trial_params: Option<Value>,
}

impl Default for TrainerState {
    fn default() -> Self {
        Self {
            best_global_step: None,
            best_metric: None,
            best_model_checkpoint: None,
            epoch: 0.0,
            eval_steps: 500,
            global_step: 0,
            is_hyper_param_search: false,
            is_local_process_zero: true,
            is_world_process_zero: true,
            log_history: Vec::new(),
            logging_steps: 500,
            max_steps: 0,
            num_input_tokens_seen: 0,
            num_train_epochs: 0,
            save_steps: 500,
            stateful_callbacks: Map::new(),
            total_flos: 0.0,
            train_batch_size: 8,
            trial_name: None,
            trial_params: None,
        }
    }
}

impl TrainerState {
    /// The file's text: two spaces of indentation, sorted keys, a line end.
    ///
    /// # Errors
    /// When a number cannot be written.
    pub fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| TrainError::invalid(format!("the trainer's state cannot be written: {error}")))?;
        Ok(text + "\n")
    }

    /// Reads a `trainer_state.json`.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(TrainError::reading(path))?;
        serde_json::from_str(&text).map_err(TrainError::parse(path, "a trainer's state"))
    }
}

impl TrainerState {
    /// The bits of every number that has a fraction, in order: JSON may round the last one.
    pub(crate) fn bits(&self) -> Vec<u64> {
        let mut bits = Vec::new();
        let mut copy = self.clone();
        copy.each_number(&mut |number| bits.push(number.to_bits()));
        bits
    }

    /// Sets every number that has a fraction to what [`TrainerState::bits`] gave.
    pub(crate) fn set_bits(&mut self, bits: &[u64]) {
        let mut bits = bits.iter();
        self.each_number(&mut |number| {
            if let Some(bits) = bits.next() {
                *number = f64::from_bits(*bits);
            }
        });
    }

    fn each_number(&mut self, visit: &mut impl FnMut(&mut f64)) {
        visit(&mut self.epoch);
        if let Some(metric) = &mut self.best_metric {
            visit(metric);
        }
        for value in self.log_history.iter_mut().flat_map(Map::values_mut) {
            if let Some(number) = value.as_f64().filter(|_| value.is_f64()) {
                let mut changed = number;
                visit(&mut changed);
                *value = self::number(changed);
            }
        }
    }
}

/// Numbers as their bits, for files that must give back the very same ones.
pub(crate) mod exact {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        number.to_bits().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}

/// What is to happen next in a run; callbacks may change it.
///
/// ```
/// assert!(!st_train::Control::default().should_training_stop);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Control {
    /// End training after this step.
    pub should_training_stop: bool,
    /// End the epoch after this step.
    pub should_epoch_stop: bool,
    /// Save a checkpoint now.
    pub should_save: bool,
    /// Evaluate now.
    pub should_evaluate: bool,
    /// Log now.
    pub should_log: bool,
}

/// A number of a log: one that is not finite has no place in JSON and becomes a text, as Python writes it.
pub(crate) fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(
        || {
            let text = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            Value::from(text)
        },
        Value::Number,
    )
}

/// Rounds as Python's `round(value, digits)`.
pub(crate) fn rounded(value: f64, digits: usize) -> f64 {
    if value.is_finite() { format!("{value:.digits$}").parse().unwrap_or(value) } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_to_the_bit() {
        let mut state = TrainerState { epoch: 0.1 + 0.2, best_metric: Some(1.0 / 3.0), ..TrainerState::default() };
        let log = [("loss", number(0.1234)), ("grad_norm", number(2.0 / 3.0)), ("step", Value::from(3))];
        state.log_history.push(log.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let mut read: TrainerState = serde_json::from_str(&state.to_json().unwrap()).unwrap();
        read.set_bits(&state.bits());
        assert_eq!(read, state);
        assert_eq!(state.bits().len(), 4);
    }

    #[test]
    fn keys_are_sorted() {
        let text = TrainerState::default().to_json().unwrap();
        let keys: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
        assert!(keys.len() == 20 && keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn numbers_that_are_none_are_said_in_words() {
        assert_eq!([f64::NAN, f64::INFINITY].map(number), [Value::from("NaN"), Value::from("Infinity")]);
        assert_eq!((rounded(0.123_45, 2), rounded(f64::NEG_INFINITY, 4)), (0.12, f64::NEG_INFINITY));
    }
}
