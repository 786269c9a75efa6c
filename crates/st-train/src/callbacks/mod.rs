//! [`Callback`]: what happens beside the training loop.

mod early_stopping;
mod loss_chart;
mod progress_line;
mod tensorboard;

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::EmbeddingModel;
use crate::state::{Control, TrainerState};
use crate::{Result, TrainingArguments};

pub use early_stopping::EarlyStopping;
pub use loss_chart::LossChart;
pub use progress_line::ProgressLine;
pub use tensorboard::{EventFile, TensorBoard};

/// What a callback sees, and what it can ask for.
#[derive(Debug)]
pub struct Event<'a> {
    /// The arguments of the run.
    pub arguments: &'a TrainingArguments,
    /// How far training is, and what was logged.
    pub state: &'a TrainerState,
    /// What is to happen next.
    pub control: &'a mut Control,
    /// The model as it is now.
    pub model: &'a dyn EmbeddingModel,
    /// The last step's loss, the mean of its batches; `None` before the first.
    pub loss: Option<f64>,
    /// The norm of the last step's gradients before they were clipped; `None` where they are not.
    pub gradient_norm: Option<f64>,
    /// The last step's learning rate.
    pub learning_rate: f64,
    /// How fast it goes.
    pub speed: Speed,
    pub(crate) saver: Saver<'a>,
}

/// Saves the model with its card.
#[derive(Clone, Copy)]
pub(crate) struct Saver<'a>(pub(crate) &'a dyn Fn(&Path) -> Result<()>);

impl Debug for Saver<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Saver")
    }
}

impl Event<'_> {
    /// Saves the model as it is now, with a card that tells how it was trained.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save_model(&self, folder: &Path) -> Result<()> {
        (self.saver.0)(folder)
    }
}

/// How fast training goes, since this process started.
///
/// ```
/// use std::time::Duration;
/// use st_train::callbacks::Speed;
///
/// let speed = Speed { elapsed: Duration::from_secs(10), steps: 20, rows: 640, tokens: 10_000, steps_left: 40 };
/// assert_eq!((speed.steps_per_second(), speed.rows_per_second()), (2.0, 64.0));
/// assert_eq!(speed.left(), Some(Duration::from_secs(20)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Speed {
    /// Time since the start; evaluations and saving included.
    pub elapsed: Duration,
    /// Steps since the start.
    pub steps: usize,
    /// Rows since the start.
    pub rows: usize,
    /// Tokens of all columns since the start.
    pub tokens: usize,
    /// Steps that are left.
    pub steps_left: usize,
}

impl Speed {
    fn per_second(self, count: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        let count = count as f64;
        if self.elapsed.is_zero() { 0.0 } else { count / self.elapsed.as_secs_f64() }
    }

    /// Steps in a second.
    #[must_use]
    pub fn steps_per_second(self) -> f64 {
        self.per_second(self.steps)
    }

    /// Rows in a second.
    #[must_use]
    pub fn rows_per_second(self) -> f64 {
        self.per_second(self.rows)
    }

    /// Tokens in a second.
    #[must_use]
    pub fn tokens_per_second(self) -> f64 {
        self.per_second(self.tokens)
    }

    /// The time that is left at this speed; `None` before the first step.
    #[must_use]
    pub fn left(self) -> Option<Duration> {
        let per_step = self.elapsed.checked_div(u32::try_from(self.steps).ok()?)?;
        per_step.checked_mul(u32::try_from(self.steps_left).ok()?)
    }
}

/// Something that happens beside training: a progress bar, a log elsewhere, stopping early.
///
/// Every method does nothing unless it is written. An error ends the run.
///
/// ```
/// use st_train::Result;
/// use st_train::callbacks::{Callback, Event};
///
/// /// Stops once the loss is low.
/// #[derive(Debug)]
/// struct LowLoss;
/// impl Callback for LowLoss {
///     fn name(&self) -> &'static str {
///         "LowLoss"
///     }
///     fn on_step_end(&mut self, event: &mut Event<'_>) -> Result<()> {
///         event.control.should_training_stop |= event.loss.is_some_and(|loss| loss < 0.01);
///         Ok(())
///     }
/// }
/// ```
pub trait Callback: Debug + Send {
    /// Its name, under which its state is kept in checkpoints.
    fn name(&self) -> &'static str;

    /// Before the first step.
    ///
    /// # Errors
    /// End the run.
    fn on_train_begin(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// After the last step.
    ///
    /// # Errors
    /// End the run.
    fn on_train_end(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// Before an epoch's first batch, also when an epoch is gone on with.
    ///
    /// # Errors
    /// End the run.
    fn on_epoch_begin(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// After an epoch's last batch.
    ///
    /// # Errors
    /// End the run.
    fn on_epoch_end(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// Before a step.
    ///
    /// # Errors
    /// End the run.
    fn on_step_begin(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// After a batch whose gradients wait for others.
    ///
    /// # Errors
    /// End the run.
    fn on_substep_end(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// After a step.
    ///
    /// # Errors
    /// End the run.
    fn on_step_end(&mut self, _event: &mut Event<'_>) -> Result<()> {
        Ok(())
    }

    /// When something was logged; `logs` are names and numbers as in `trainer_state.json`.
    ///
    /// # Errors
    /// End the run.
    fn on_log(&mut self, _event: &mut Event<'_>, _logs: &Map<String, Value>) -> Result<()> {
        Ok(())
    }

    /// After an evaluation; `metrics` are names and numbers.
    ///
    /// # Errors
    /// End the run.
    fn on_evaluate(&mut self, _event: &mut Event<'_>, _metrics: &Map<String, Value>) -> Result<()> {
        Ok(())
    }

    /// After a checkpoint was saved into `folder`.
    ///
    /// # Errors
    /// End the run.
    fn on_save(&mut self, _event: &mut Event<'_>, _folder: &Path) -> Result<()> {
        Ok(())
    }

    /// What it must remember when the run is gone on with from a checkpoint; `None` for nothing.
    fn state(&self) -> Option<Value> {
        None
    }

    /// Remembers what [`Callback::state`] gave.
    ///
    /// # Errors
    /// When it is something else.
    fn restore(&mut self, _state: &Value) -> Result<()> {
        Ok(())
    }
}
