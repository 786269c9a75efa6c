//! [`EarlyStopping`].

use serde_json::{Map, Value, json};

use crate::{Interval, Result, TrainError};

use super::{Callback, Event};

/// Stops when the metric by which models are chosen has not become better for some evaluations.
///
/// ```
/// use st_train::callbacks::{Callback, EarlyStopping};
/// let callback = EarlyStopping::new(3).threshold(0.001);
/// assert_eq!(callback.name(), "EarlyStoppingCallback");
/// ```
#[derive(Debug)]
pub struct EarlyStopping {
    patience: u64,
    threshold: f64,
    waited: u64,
}

impl EarlyStopping {
    /// Stops after this many evaluations that were no better.
    #[must_use]
    pub fn new(patience: u64) -> Self {
        Self { patience, threshold: 0.0, waited: 0 }
    }

    /// Sets by how much a metric must be better to count.
    #[must_use]
    pub fn threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }
}

impl Callback for EarlyStopping {
    fn name(&self) -> &'static str {
        "EarlyStoppingCallback"
    }

    fn on_train_begin(&mut self, event: &mut Event<'_>) -> Result<()> {
        if event.arguments.metric_for_best_model.is_none() {
            return Err(TrainError::invalid("EarlyStoppingCallback requires metric_for_best_model to be defined"));
        }
        if event.arguments.eval_strategy == Interval::No {
            return Err(TrainError::invalid("EarlyStoppingCallback requires IntervalStrategy of steps or epoch"));
        }
        Ok(())
    }

    fn on_evaluate(&mut self, event: &mut Event<'_>, metrics: &Map<String, Value>) -> Result<()> {
        let Some(name) = event.arguments.best_metric() else { return Ok(()) };
        let Some(metric) = metrics.get(&name).and_then(Value::as_f64) else {
            log::warn!(
                "early stopping required metric_for_best_model, but did not find {name} so early stopping is disabled"
            );
            return Ok(());
        };
        // The best metric of before: it is only replaced after the callbacks.
        let better = event.state.best_metric.is_none_or(|best| {
            let gain = if event.arguments.larger_is_better() { metric - best } else { best - metric };
            gain > 0.0 && gain > self.threshold
        });
        self.waited = if better { 0 } else { self.waited + 1 };
        if self.waited >= self.patience {
            event.control.should_training_stop = true;
        }
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        Some(json!({
            "args": {"early_stopping_patience": self.patience, "early_stopping_threshold": self.threshold},
            "attributes": {"early_stopping_patience_counter": self.waited},
        }))
    }

    fn restore(&mut self, state: &Value) -> Result<()> {
        let counter = &state["attributes"]["early_stopping_patience_counter"];
        self.waited = counter.as_u64().ok_or_else(|| TrainError::invalid("no state of an EarlyStoppingCallback"))?;
        Ok(())
    }
}
