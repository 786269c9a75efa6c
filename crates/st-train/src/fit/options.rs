//! [`FitOptions`]: the arguments of `fit` and `old_fit`.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use st_eval::Evaluator;

use crate::data::Mapping;
use crate::optimizers::{Optimizer, OptimizerSettings, ParameterGroup, optimizer};
use crate::{Result, TrainError};

/// Called after each evaluation with the score, the epoch, and the step.
pub type ScoreCallback = Box<dyn FnMut(f64, f64, i64) + Send>;

/// Makes an optimizer from parameter groups.
pub type MakeOwnOptimizer = Arc<dyn Fn(Vec<ParameterGroup>) -> Result<Box<dyn Optimizer>> + Send + Sync>;

/// Which optimizer: a name of [`OPTIMIZERS`](crate::optimizers::OPTIMIZERS) with its learning rate, or one's own.
pub enum OptimizerChoice {
    /// By name.
    Named {
        /// The name.
        name: String,
        /// `lr`.
        learning_rate: f64,
        /// What else it leaves open.
        settings: OptimizerSettings,
    },
    /// From parameter groups, whose learning rate is the second value.
    Custom(MakeOwnOptimizer, f64),
}

impl fmt::Debug for OptimizerChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name, learning_rate, .. } => write!(formatter, "Named({name}, {learning_rate})"),
            Self::Custom(_, learning_rate) => write!(formatter, "Custom({learning_rate})"),
        }
    }
}

impl OptimizerChoice {
    pub(super) fn learning_rate(&self) -> f64 {
        match self {
            Self::Named { learning_rate, .. } | Self::Custom(_, learning_rate) => *learning_rate,
        }
    }

    pub(super) fn make(&self, groups: Vec<ParameterGroup>) -> Result<Box<dyn Optimizer>> {
        match self {
            Self::Named { name, settings, .. } => optimizer(name, groups, settings),
            Self::Custom(make, _) => make(groups),
        }
    }
}

/// The arguments of [`fit`](super::fit) and [`old_fit`](super::old_fit) besides the objectives, with the original's
/// names and defaults.
///
/// ```
/// use st_train::fit::FitOptions;
///
/// let options = FitOptions::new().epochs(2).warmup_steps(100).learning_rate(1e-4);
/// assert_eq!((options.epochs, options.scheduler.as_str(), options.weight_decay), (2, "WarmupLinear", 0.01));
/// ```
pub struct FitOptions {
    /// Measures the model meanwhile, and decides which is best.
    pub evaluator: Option<Arc<dyn Evaluator>>,
    /// Epochs.
    pub epochs: usize,
    /// Steps in an epoch; `None`: as many as the smallest loader has batches.
    pub steps_per_epoch: Option<usize>,
    /// The schedule: `constantlr`, `warmupconstant`, `warmuplinear`, `warmupcosine`, `warmupcosinewithhardrestarts`.
    pub scheduler: String,
    /// Steps in which the learning rate rises.
    pub warmup_steps: usize,
    /// The optimizer and its learning rate.
    pub optimizer: OptimizerChoice,
    /// Weight decay of all but biases and norms.
    pub weight_decay: f64,
    /// Steps between evaluations; 0 for evaluations at the end of epochs only.
    pub evaluation_steps: usize,
    /// Where the model and its evaluations are saved.
    pub output_path: Option<PathBuf>,
    /// Save the best model, by the evaluator, to `output_path`.
    pub save_best_model: bool,
    /// The norm that gradients are cut to.
    pub max_grad_norm: f64,
    /// Mixed precision; refused.
    pub use_amp: bool,
    /// Called after each evaluation.
    pub callback: Option<ScoreCallback>,
    /// Show progress on standard error, where that is a terminal.
    pub show_progress_bar: bool,
    /// Where checkpoints are saved.
    pub checkpoint_path: Option<PathBuf>,
    /// Steps between checkpoints.
    pub checkpoint_save_steps: usize,
    /// How many checkpoints are kept; 0 for all.
    pub checkpoint_save_total_limit: usize,
    /// Go on from the last checkpoint in `checkpoint_path` (`fit` only).
    pub resume_from_checkpoint: bool,
    /// The seed of dropout and of the order of the data.
    pub seed: u64,
}

impl fmt::Debug for FitOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("FitOptions")
            .field("epochs", &self.epochs)
            .field("scheduler", &self.scheduler)
            .field("warmup_steps", &self.warmup_steps)
            .field("optimizer", &self.optimizer)
            .field("output_path", &self.output_path)
            .field("checkpoint_path", &self.checkpoint_path)
            .finish_non_exhaustive()
    }
}

impl Default for FitOptions {
    fn default() -> Self {
        let optimizer = OptimizerChoice::Named {
            name: "adamw_torch".into(),
            learning_rate: 2e-5,
            settings: OptimizerSettings {
                epsilon: 1e-8,
                arguments: Mapping::default(),
                ..OptimizerSettings::default()
            },
        };
        Self {
            evaluator: None,
            epochs: 1,
            steps_per_epoch: None,
            scheduler: "WarmupLinear".into(),
            warmup_steps: 10_000,
            optimizer,
            weight_decay: 0.01,
            evaluation_steps: 0,
            output_path: None,
            save_best_model: true,
            max_grad_norm: 1.0,
            use_amp: false,
            callback: None,
            show_progress_bar: true,
            checkpoint_path: None,
            checkpoint_save_steps: 500,
            checkpoint_save_total_limit: 0,
            resume_from_checkpoint: false,
            seed: 42,
        }
    }
}

/// Makes a setter per field.
macro_rules! setters {
    ($($(#[doc = $description:literal])+ $name:ident: $type:ty,)*) => {
        $(
            $(#[doc = $description])+
            #[must_use]
            pub fn $name(mut self, $name: $type) -> Self {
                self.$name = $name;
                self
            }
        )*
    };
}

impl FitOptions {
    /// The original's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the evaluator.
    #[must_use]
    pub fn evaluator(mut self, evaluator: impl Evaluator + 'static) -> Self {
        self.evaluator = Some(Arc::new(evaluator));
        self
    }

    /// Sets what is called after each evaluation.
    #[must_use]
    pub fn callback(mut self, callback: impl FnMut(f64, f64, i64) + Send + 'static) -> Self {
        self.callback = Some(Box::new(callback));
        self
    }

    /// Sets the learning rate.
    #[must_use]
    pub fn learning_rate(mut self, rate: f64) -> Self {
        match &mut self.optimizer {
            OptimizerChoice::Named { learning_rate, .. } | OptimizerChoice::Custom(_, learning_rate) => {
                *learning_rate = rate
            }
        }
        self
    }

    setters! {
        /// Sets the number of epochs.
        epochs: usize,
        /// Sets the number of steps in an epoch.
        steps_per_epoch: Option<usize>,
        /// Sets the number of steps in which the learning rate rises.
        warmup_steps: usize,
        /// Sets the optimizer.
        optimizer: OptimizerChoice,
        /// Sets the weight decay.
        weight_decay: f64,
        /// Sets the number of steps between evaluations.
        evaluation_steps: usize,
        /// Sets where the model is saved.
        output_path: Option<PathBuf>,
        /// Sets whether the best model is saved.
        save_best_model: bool,
        /// Sets the norm that gradients are cut to.
        max_grad_norm: f64,
        /// Sets whether to use mixed precision.
        use_amp: bool,
        /// Sets whether progress is shown.
        show_progress_bar: bool,
        /// Sets where checkpoints are saved.
        checkpoint_path: Option<PathBuf>,
        /// Sets the number of steps between checkpoints.
        checkpoint_save_steps: usize,
        /// Sets how many checkpoints are kept.
        checkpoint_save_total_limit: usize,
        /// Sets whether to go on from the last checkpoint.
        resume_from_checkpoint: bool,
        /// Sets the seed.
        seed: u64,
    }

    /// Sets the schedule.
    #[must_use]
    pub fn scheduler(mut self, name: impl Into<String>) -> Self {
        self.scheduler = name.into();
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.use_amp {
            return Err(TrainError::option(
                "use_amp",
                "is set, but it stands for 16-bit floats with a scaled loss on a GPU; train with a `Trainer` and its argument \
                 `bf16` for mixed precision",
            ));
        }
        if self.max_grad_norm.is_nan() || self.max_grad_norm < 0.0 {
            return Err(TrainError::option("max_grad_norm", "must be a number from 0 up"));
        }
        Ok(())
    }
}
