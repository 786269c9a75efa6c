//! [`Plateau`]: learning rates that fall when a metric stops becoming better.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::optimizers::ParameterGroup;
use crate::{Result, TrainError};

/// What `lr_scheduler_kwargs` may set.
pub(super) const OPTIONS: &[&str] =
    &["mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lr", "eps"];

/// PyTorch's `ReduceLROnPlateau`: after each evaluation, when the metric has not become better for more than `patience` of
/// them, every group's learning rate is multiplied with `factor`, but not below `min_lr`, and only where that changes it by
/// more than `eps`. `cooldown` evaluations after that do not count.
///
/// A metric m is better than the best b so far when m < b·(1−threshold) (`mode` min, the default, `threshold_mode` rel) or
/// m < b−threshold (abs); with `mode` max when m > b·(1+threshold) or m > b+threshold.
///
/// ```
/// use serde_json::json;
/// use st_train::optimizers::ParameterGroup;
/// use st_train::schedules::Plateau;
///
/// let options = json!({"patience": 1, "factor": 0.5});
/// let mut plateau = Plateau::new(options.as_object().unwrap())?;
/// let mut groups = [ParameterGroup { parameters: Vec::new(), learning_rate: 1.0, weight_decay: 0.0 }];
/// let rates = [3.0, 2.0, 2.0, 2.5, 2.0].map(|loss| {
///     plateau.step(loss, &mut groups);
///     groups[0].learning_rate
/// });
/// assert_eq!(rates, [1.0, 1.0, 1.0, 0.5, 0.5]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plateau {
    larger_is_better: bool,
    absolute: bool,
    factor: f64,
    patience: u64,
    threshold: f64,
    cooldown: u64,
    smallest: f64,
    epsilon: f64,
    state: PlateauState,
}

/// What a [`Plateau`] remembers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct PlateauState {
    #[serde(with = "crate::state::exact")]
    best: f64,
    /// Evaluations since the best one.
    waited: u64,
    /// Evaluations that do not count yet.
    cooling: u64,
}

fn refuse<T>(message: String) -> Result<T> {
    Err(TrainError::option("lr_scheduler_kwargs", message))
}

impl Plateau {
    /// A schedule with these options; PyTorch's defaults for those that are not there.
    ///
    /// # Errors
    /// For options that it does not have, and values out of range.
    pub fn new(options: &Map<String, Value>) -> Result<Self> {
        if let Some(name) = options.keys().find(|name| !OPTIONS.contains(&name.as_str())) {
            return refuse(format!(
                "has `{name}`, but the schedule 'reduce_lr_on_plateau' has `{}`",
                OPTIONS.join("`, `")
            ));
        }
        let number = |name: &str, default: f64| match options.get(name) {
            None => Ok(default),
            Some(value) => match value.as_f64().filter(|number| number.is_finite()) {
                Some(number) => Ok(number),
                None => refuse(format!("has {name} = {value}, which should be a number")),
            },
        };
        let count = |name: &str, default: u64| match options.get(name) {
            None => Ok(default),
            Some(value) => match value.as_u64() {
                Some(count) => Ok(count),
                None => refuse(format!("has {name} = {value}, which should be a whole number from 0 up")),
            },
        };
        // Whether the second of two words is there; the first is the default.
        let second = |name: &str, words: [&str; 2]| match options.get(name) {
            None => Ok(false),
            Some(value) => match words.iter().position(|word| value.as_str() == Some(word)) {
                Some(place) => Ok(place == 1),
                None => refuse(format!("has {name} = {value}, which should be '{}' or '{}'", words[0], words[1])),
            },
        };
        let factor = number("factor", 0.1)?;
        if factor >= 1.0 {
            return Err(TrainError::invalid("Factor should be < 1.0."));
        }
        let larger_is_better = second("mode", ["min", "max"])?;
        let best = if larger_is_better { f64::NEG_INFINITY } else { f64::INFINITY };
        Ok(Self {
            larger_is_better,
            absolute: second("threshold_mode", ["rel", "abs"])?,
            factor,
            patience: count("patience", 10)?,
            threshold: number("threshold", 1e-4)?,
            cooldown: count("cooldown", 0)?,
            smallest: number("min_lr", 0.0)?,
            epsilon: number("eps", 1e-8)?,
            state: PlateauState { best, waited: 0, cooling: 0 },
        })
    }

    /// Takes an evaluation's metric; lowers the groups' learning rates when it is time.
    pub fn step(&mut self, metric: f64, groups: &mut [ParameterGroup]) {
        let state = &mut self.state;
        let bar = match (self.larger_is_better, self.absolute) {
            (false, false) => state.best * (1.0 - self.threshold),
            (false, true) => state.best - self.threshold,
            (true, false) => state.best * (self.threshold + 1.0),
            (true, true) => state.best + self.threshold,
        };
        // A metric that is no number is never better.
        let better = if self.larger_is_better { metric > bar } else { metric < bar };
        if better {
            (state.best, state.waited) = (metric, 0);
        } else {
            state.waited += 1;
        }
        if state.cooling > 0 {
            (state.cooling, state.waited) = (state.cooling - 1, 0);
        }
        if state.waited > self.patience {
            for group in groups {
                let lower = (group.learning_rate * self.factor).max(self.smallest);
                if group.learning_rate - lower > self.epsilon {
                    group.learning_rate = lower;
                }
            }
            (state.cooling, state.waited) = (self.cooldown, 0);
        }
    }

    /// What it remembers.
    pub(crate) fn state(&self) -> PlateauState {
        self.state
    }

    /// Remembers what [`Plateau::state`] gave.
    pub(crate) fn restore(&mut self, state: PlateauState) {
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(learning_rate: f64) -> ParameterGroup {
        ParameterGroup { parameters: Vec::new(), learning_rate, weight_decay: 0.0 }
    }

    #[test]
    fn rates_are_pytorchs() {
        let golden: Value = serde_json::from_str(include_str!("../../fixtures/schedules.json")).unwrap();
        let cases = golden["plateau"].as_array().unwrap();
        assert!(cases.len() >= 8);
        for case in cases {
            let mut plateau = Plateau::new(case["options"].as_object().unwrap()).unwrap();
            let mut groups: Vec<_> =
                case["start"].as_array().unwrap().iter().map(|rate| group(rate.as_f64().unwrap())).collect();
            let metrics = case["metrics"].as_array().unwrap().iter().map(|metric| metric.as_f64().unwrap_or(f64::NAN));
            for (step, (metric, wanted)) in metrics.zip(case["rates"].as_array().unwrap()).enumerate() {
                // Taken up from a checkpoint before every step.
                let text = serde_json::to_string(&plateau.state()).unwrap();
                plateau = Plateau::new(case["options"].as_object().unwrap()).unwrap();
                plateau.restore(serde_json::from_str(&text).unwrap());
                plateau.step(metric, &mut groups);
                let found: Vec<f64> = groups.iter().map(|group| group.learning_rate).collect();
                let wanted: Vec<f64> = wanted.as_array().unwrap().iter().map(|rate| rate.as_f64().unwrap()).collect();
                let close = found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() <= 1e-15 * b.abs());
                assert!(close, "{}: step {step} gives {found:?}, not {wanted:?}", case["options"]);
            }
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        let error = |value: Value| Plateau::new(value.as_object().unwrap()).unwrap_err().to_string();
        assert!(error(serde_json::json!({"num_cycles": 1})).contains("the schedule 'reduce_lr_on_plateau' has `mode`"));
        assert_eq!(error(serde_json::json!({"factor": 1})), "Factor should be < 1.0.");
        assert!(error(serde_json::json!({"mode": "most"})).ends_with("which should be 'min' or 'max'"));
        assert!(error(serde_json::json!({"patience": -1})).ends_with("a whole number from 0 up"));
        assert!(error(serde_json::json!({"min_lr": [0, 1]})).ends_with("should be a number"));
    }
}
