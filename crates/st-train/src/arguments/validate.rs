//! Which arguments make sense, alone and together.

use crate::optimizers;
use crate::samplers::{batch_sampler, multi_dataset_batch_sampler};
use crate::schedules::Schedule;
use crate::{Result, TrainError};

use super::{Interval, SaveInterval, TrainingArguments};

impl TrainingArguments {
    /// Refuses arguments that make no sense or that nothing would follow.
    ///
    /// # Errors
    /// Names the argument.
    pub fn check(&self) -> Result<()> {
        self.check_numbers()?;
        self.check_names()?;
        if self.fp16 {
            return Err(TrainError::option(
                "fp16",
                "is set, but training in mixed precision with 16-bit floats needs a scaled loss and a GPU; take `bf16`, \
                 which needs neither",
            ));
        }
        self.check_best_model()
    }

    fn check_numbers(&self) -> Result<()> {
        for (option, number) in [
            ("per_device_train_batch_size", self.per_device_train_batch_size),
            ("per_device_eval_batch_size", self.per_device_eval_batch_size),
            ("gradient_accumulation_steps", self.gradient_accumulation_steps),
        ] {
            if number == 0 {
                return Err(TrainError::option(option, "is 0, but must be at least 1"));
            }
        }
        for (option, number) in [
            ("learning_rate", self.learning_rate),
            ("weight_decay", self.weight_decay),
            ("adam_epsilon", self.adam_epsilon),
            ("max_grad_norm", self.max_grad_norm),
            ("num_train_epochs", self.num_train_epochs),
            ("logging_steps", self.logging_steps),
            ("save_steps", self.save_steps),
            ("eval_steps", self.eval_steps.unwrap_or(1.0)),
            ("eval_delay", self.eval_delay),
        ] {
            if !(number >= 0.0 && number.is_finite()) {
                return Err(TrainError::option(option, format!("is {number}, but must be a number from 0 up")));
            }
        }
        for (option, number) in [("adam_beta1", self.adam_beta1), ("adam_beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&number) {
                return Err(TrainError::option(option, format!("is {number}, but must be from 0 up and below 1")));
            }
        }
        if !(0.0..=1.0).contains(&self.warmup_ratio) {
            return Err(TrainError::invalid("warmup_ratio must lie in range [0,1]"));
        }
        let steps = [
            ("logging_steps", self.logging_strategy == Interval::Steps, self.logging_steps),
            ("eval_steps", self.eval_strategy == Interval::Steps, self.eval_steps.unwrap_or(self.logging_steps)),
            ("save_steps", self.save_strategy == SaveInterval::Steps, self.save_steps),
        ];
        for (option, used, number) in steps {
            if used && (number == 0.0 || (number > 1.0 && number.fract() != 0.0)) {
                let message = format!("is {number}, but must be a whole number of steps, or a share of them below 1");
                return Err(TrainError::option(option, message));
            }
        }
        if self.max_steps == 0 || self.max_steps < -1 {
            return Err(TrainError::option("max_steps", "must be a number of steps, or -1 to go by epochs"));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        batch_sampler(&self.batch_sampler)?;
        multi_dataset_batch_sampler(&self.multi_dataset_batch_sampler)?;
        optimizers::find(&self.optim)?;
        let schedule = Schedule::new(&self.lr_scheduler_type, 0, 1)?;
        let schedule = schedule.with_options(self.lr_scheduler_kwargs.clone(), self.learning_rate)?;
        self.check_schedule(&schedule)
    }

    /// A schedule that goes by evaluations needs some.
    pub(crate) fn check_schedule(&self, schedule: &Schedule) -> Result<()> {
        if schedule.kind().by_evaluation && self.eval_strategy == Interval::No {
            return Err(TrainError::invalid(format!(
                "lr_scheduler_type {} requires an eval strategy",
                schedule.kind().name
            )));
        }
        Ok(())
    }

    fn check_best_model(&self) -> Result<()> {
        if !self.load_best_model_at_end {
            if self.save_strategy == SaveInterval::Best && self.eval_strategy == Interval::No {
                return Err(TrainError::option("save_strategy", "is 'best', which needs an `eval_strategy` too"));
            }
            return Ok(());
        }
        let (eval, save) = (self.eval_strategy.as_str(), self.save_strategy.as_str());
        if self.save_strategy != SaveInterval::Best && eval != save {
            return Err(TrainError::invalid(format!(
                "--load_best_model_at_end requires the save and eval strategy to match, but found\n- Evaluation \
                 strategy: {eval}\n- Save strategy: {save}"
            )));
        }
        let eval_steps = self.eval_steps.unwrap_or(self.logging_steps);
        if self.eval_strategy == Interval::Steps
            && self.save_strategy == SaveInterval::Steps
            && eval_steps > 0.0
            && (self.save_steps / eval_steps).fract().abs() > 1e-9
        {
            return Err(TrainError::invalid(format!(
                "--load_best_model_at_end requires the saving steps to be a round multiple of the evaluation steps, but \
                 found {}, which is not a round multiple of {eval_steps}.",
                self.save_steps
            )));
        }
        Ok(())
    }

    /// The metric by which models are chosen, with the prefix that evaluations give; `None` where none is needed.
    #[must_use]
    pub fn best_metric(&self) -> Option<String> {
        let schedule = Schedule::new(&self.lr_scheduler_type, 0, 1);
        let needed = self.load_best_model_at_end
            || self.save_strategy == SaveInterval::Best
            || schedule.is_ok_and(|schedule| schedule.kind().by_evaluation);
        let name = self.metric_for_best_model.as_deref().or(needed.then_some("loss"))?;
        Some(if name.starts_with("eval_") { name.to_owned() } else { format!("eval_{name}") })
    }

    /// Whether a larger value of the metric is better.
    #[must_use]
    pub fn larger_is_better(&self) -> bool {
        let name = self.metric_for_best_model.as_deref().unwrap_or("loss");
        self.greater_is_better.unwrap_or(!name.ends_with("loss"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_named() {
        let arguments = TrainingArguments::default;
        let error = |arguments: TrainingArguments| arguments.check().unwrap_err().to_string();
        assert!(arguments().check().is_ok());
        assert!(error(arguments().per_device_train_batch_size(0)).starts_with("`per_device_train_batch_size` is 0"));
        assert!(error(arguments().learning_rate(f64::NAN)).starts_with("`learning_rate` is NaN"));
        assert_eq!(error(arguments().warmup_ratio(2.0)), "warmup_ratio must lie in range [0,1]");
        assert!(error(arguments().logging_steps(1.5)).contains("a whole number of steps"));
        assert!(arguments().bf16(true).check().is_ok());
        assert!(error(arguments().fp16(true)).contains("take `bf16`"));
        assert!(error(arguments().optim("lion".into())).starts_with("`optim` is 'lion', but should be one of"));
        assert_eq!(error(arguments().lr_scheduler_type("Step".into())), "Unknown scheduler step");
        let plateau = arguments().lr_scheduler_type("reduce_lr_on_plateau".into());
        assert_eq!(error(plateau.clone()), "lr_scheduler_type reduce_lr_on_plateau requires an eval strategy");
        let plateau = plateau.eval_strategy(Interval::Epoch);
        assert!(plateau.check().is_ok());
        assert_eq!(plateau.best_metric().as_deref(), Some("eval_loss"));
        assert!(error(arguments().max_steps(0)).starts_with("`max_steps`"));
    }

    #[test]
    fn the_best_model_needs_evaluations_at_the_saves() {
        let arguments = TrainingArguments::default().load_best_model_at_end(true);
        let error = |arguments: TrainingArguments| arguments.check().unwrap_err().to_string();
        assert_eq!(
            error(arguments.clone()),
            "--load_best_model_at_end requires the save and eval strategy to match, but found\n- Evaluation strategy: \
             no\n- Save strategy: steps"
        );
        let stepwise = arguments.eval_strategy(Interval::Steps).eval_steps(Some(100.0));
        assert!(stepwise.clone().save_steps(200.0).check().is_ok());
        assert!(error(stepwise.clone().save_steps(150.0)).contains("found 150, which is not a round multiple of 100."));
        assert_eq!(stepwise.best_metric().as_deref(), Some("eval_loss"));
        assert!(!stepwise.larger_is_better());
        let named = stepwise.metric_for_best_model(Some("sts-dev_spearman_cosine".into()));
        assert_eq!(named.best_metric().as_deref(), Some("eval_sts-dev_spearman_cosine"));
        assert!(named.larger_is_better());
    }
}
