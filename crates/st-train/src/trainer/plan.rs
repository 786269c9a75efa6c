//! How many steps and epochs a run has.

use crate::arguments::TrainingArguments;
use crate::{Result, TrainError};

/// Numbers of steps and epochs, reckoned as the Hugging Face trainer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Plan {
    /// Batches in an epoch.
    pub(super) batches: usize,
    /// Steps in all.
    pub(super) max_steps: usize,
    /// Epochs in all, a part of one counted as one.
    pub(super) epochs: usize,
    /// Steps in which the learning rate rises.
    pub(super) warmup_steps: usize,
    pub(super) logging_steps: usize,
    pub(super) eval_steps: usize,
    pub(super) save_steps: usize,
}

impl Plan {
    /// `batches` is the number of batches in an epoch, where it is known.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "numbers of steps, checked to be from 0 up"
    )]
    pub(super) fn new(arguments: &TrainingArguments, batches: Option<usize>) -> Result<Self> {
        let accumulated = arguments.gradient_accumulation_steps;
        let given = usize::try_from(arguments.max_steps).ok();
        let (batches, max_steps, epochs) = match (batches, given) {
            (Some(0), _) => {
                return Err(TrainError::invalid(
                    "the training data gives no batch: there are no rows, or fewer than a batch needs",
                ));
            }
            (Some(batches), given) => {
                let steps = batches.div_ceil(accumulated).max(1);
                match given {
                    Some(given) => (batches, given, given.div_ceil(steps)),
                    None => {
                        let total = (arguments.num_train_epochs * steps as f64).ceil() as usize;
                        (batches, total, arguments.num_train_epochs.ceil() as usize)
                    }
                }
            }
            (None, Some(given)) => (given * accumulated, given, usize::MAX),
            (None, None) => {
                return Err(TrainError::invalid(format!(
                    "args.max_steps must be set to a positive value if dataloader does not have a length, was {}",
                    arguments.max_steps
                )));
            }
        };
        let share = |steps: f64| if steps < 1.0 { (max_steps as f64 * steps).ceil() as usize } else { steps as usize };
        let warmup_steps = match arguments.warmup_steps {
            0 => (max_steps as f64 * arguments.warmup_ratio).ceil() as usize,
            steps => steps,
        };
        Ok(Self {
            batches,
            max_steps,
            epochs,
            warmup_steps,
            logging_steps: share(arguments.logging_steps).max(1),
            eval_steps: share(arguments.eval_steps.unwrap_or(arguments.logging_steps)).max(1),
            save_steps: share(arguments.save_steps).max(1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_and_steps() {
        let arguments = TrainingArguments::default().gradient_accumulation_steps(4).num_train_epochs(1.5);
        let plan = Plan::new(&arguments, Some(10)).unwrap();
        assert_eq!((plan.max_steps, plan.epochs), (5, 2)); // 3 steps an epoch
        let plan = Plan::new(&arguments.clone().max_steps(7).warmup_ratio(0.2), Some(10)).unwrap();
        assert_eq!((plan.max_steps, plan.epochs, plan.warmup_steps), (7, 3, 2));
        let shares = arguments.logging_steps(0.25).max_steps(10).warmup_steps(3).warmup_ratio(0.5);
        let plan = Plan::new(&shares, None).unwrap();
        assert_eq!((plan.logging_steps, plan.eval_steps, plan.save_steps, plan.warmup_steps), (3, 3, 500, 3));
        assert_eq!((plan.batches, plan.epochs), (40, usize::MAX));
    }

    #[test]
    fn streams_need_a_number_of_steps_and_data_a_batch() {
        let error = Plan::new(&TrainingArguments::default(), None).unwrap_err().to_string();
        assert!(error.starts_with("args.max_steps must be set to a positive value"), "{error}");
        assert!(Plan::new(&TrainingArguments::default(), Some(0)).is_err());
    }
}
