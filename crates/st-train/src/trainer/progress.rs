//! [`Progress`]: what a resumed run needs besides weights, optimizer and state.

use serde::{Deserialize, Serialize};
use st_card::{EvaluationFacts, LogLine};

use crate::random::Generator;

use super::batches::BatchesState;

/// Where random numbers, data and sums are.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The epoch, from 0.
    pub(super) epoch: usize,
    /// Whether the epoch is over, its evaluations done.
    pub(super) epoch_done: bool,
    /// Batches of the epoch that were trained on.
    pub(super) batches_done: usize,
    /// Where the data is.
    pub(super) batches: BatchesState,
    /// The random numbers of dropout and losses.
    pub(super) random: Generator,
    /// Sums since the last log.
    pub(super) sums: Sums,
    /// The sum of all losses that were logged.
    #[serde(with = "crate::state::exact")]
    pub(super) total_loss: f64,
    /// The bits of the trainer state's numbers.
    pub(super) state_bits: Vec<u64>,
    /// The model card's lines of the log.
    pub(super) card_logs: Vec<LogLine>,
    /// The model card's evaluations.
    pub(super) card_evaluations: Vec<EvaluationFacts>,
}

/// Losses since the last log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// The sum of the steps' losses.
    #[serde(with = "crate::state::exact")]
    pub(super) loss: f64,
    /// The step of the last log.
    pub(super) since: usize,
    /// The sums of parts with names, and of how many batches.
    pub(super) parts: Vec<Part>,
}

/// A part of a loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: String,
    #[serde(with = "crate::state::exact")]
    pub(super) sum: f64,
    pub(super) batches: usize,
}

impl Part {
    /// The mean of all batches.
    #[expect(clippy::cast_precision_loss, reason = "a number of batches")]
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.batches as f64
    }
}

impl Sums {
    /// Adds the parts of a batch's loss; a loss of one number has none.
    pub(super) fn add_parts(&mut self, parts: &[(String, f64)]) {
        if let [(name, _)] = parts
            && name == "loss"
        {
            return;
        }
        for (name, value) in parts {
            match self.parts.iter_mut().find(|part| part.name == *name) {
                Some(part) => (part.sum, part.batches) = (part.sum + value, part.batches + 1),
                None => self.parts.push(Part { name: name.clone(), sum: *value, batches: 1 }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_parts_are_summed() {
        let mut sums = Sums::default();
        sums.add_parts(&[("loss".into(), 1.0)]);
        assert!(sums.parts.is_empty());
        for value in [1.0, 2.0] {
            sums.add_parts(&[("ranking".into(), value), ("spread".into(), 0.5)]);
        }
        let means: Vec<(&str, f64)> = sums.parts.iter().map(|part| (part.name.as_str(), part.mean())).collect();
        assert_eq!(means, [("ranking", 1.5), ("spread", 0.5)]);
    }
}
