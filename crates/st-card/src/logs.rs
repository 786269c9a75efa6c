use serde::{Deserialize, Serialize};

use crate::facts::Scalar;
use crate::markdown::{Alignment, cell, rounded, table};

/// The name of the column with the loss on training data.
pub(crate) const TRAINING_LOSS: &str = "Training Loss";
/// The name of the column with the only loss on evaluation data.
pub(crate) const VALIDATION_LOSS: &str = "Validation Loss";

/// One line of the training logs: what was logged at a step.
///
/// # Examples
///
/// ```
/// use st_card::{LogLine, ModelCardData, ModelFacts};
///
/// let mut data = ModelCardData::new();
/// data.training_logs.push(LogLine::new(0.5, 100).value("Training Loss", 0.25));
/// assert!(data.render(&ModelFacts::default())?.contains("| 0.5   | 100  | 0.25          |\n"));
/// # Ok::<(), st_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Epochs done; a fraction inside an epoch.
    pub epoch: Scalar,
    /// Steps done; −1 outside training.
    pub step: i64,
    /// Names and values.
    pub values: Vec<(String, Scalar)>,
}

impl LogLine {
    /// A line without values.
    #[must_use]
    pub fn new(epoch: impl Into<Scalar>, step: i64) -> LogLine {
        LogLine { epoch: epoch.into(), step, values: Vec::new() }
    }

    /// Adds a value, or replaces the one of that name.
    #[must_use]
    pub fn value(mut self, name: &str, value: impl Into<Scalar>) -> LogLine {
        self.set(name, value.into());
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: Scalar) {
        match self.values.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.values.push((name.to_owned(), value)),
        }
    }
}

/// The logs as a table, losses first; the row of the best step is bold.
pub(crate) fn logs_table(lines: &[LogLine], best_step: Option<i64>) -> String {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in lines.iter().flat_map(|line| &line.values) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort_by_key(|name| match *name {
        TRAINING_LOSS => 0,
        VALIDATION_LOSS => 1,
        name if name.ends_with("loss") => 2,
        _ => 3,
    });
    let mut header = vec!["Epoch".to_owned(), "Step".to_owned()];
    header.extend(names.iter().map(|name| (*name).to_owned()));
    let rows: Vec<Vec<String>> = lines
        .iter()
        .map(|line| {
            let bold = best_step == Some(line.step);
            let spell = |value: &Scalar| if bold { format!("**{}**", rounded(value)) } else { cell(value) };
            let missing = if bold { "**-**" } else { "-" };
            let values = names.iter().map(|name| {
                line.values
                    .iter()
                    .find(|(known, _)| known == name)
                    .map_or(missing.to_owned(), |(_, value)| spell(value))
            });
            [spell(&line.epoch), spell(&Scalar::Integer(line.step))].into_iter().chain(values).collect()
        })
        .collect();
    table(&header, &rows, Alignment::Centre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_come_first_and_the_best_step_is_bold() {
        let lines = [
            LogLine::new(1.0, 1).value("dev_score", 0.123456).value("dev loss", 2.0),
            LogLine::new(2.0, 2).value(VALIDATION_LOSS, 1e-7).value(TRAINING_LOSS, 0.25),
        ];
        let text = logs_table(&lines, Some(2));
        let header = "| Epoch   | Step  | Training Loss | Validation Loss | dev loss | dev_score |";
        assert_eq!(text.lines().next(), Some(header));
        assert_eq!(
            text.lines().last(),
            Some("| **2.0** | **2** | **0.25**      | **0.0**         | **-**    | **-**     |")
        );
    }
}
