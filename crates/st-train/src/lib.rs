//! Training: losses, trainer, samplers, optimisers, schedules and checkpoints.

mod arguments;
pub mod callbacks;
mod checkpoint;
pub mod data;
pub mod distillation;
mod error;
pub mod fit;
mod loss;
pub mod losses;
pub mod model;
pub mod optimizers;
pub mod random;
pub mod readers;
pub mod samplers;
pub mod schedules;
mod state;
mod trainer;

pub use arguments::{ArgumentField, Interval, Resume, SaveInterval, TrainingArguments};
pub use checkpoint::last as last_checkpoint;
pub use error::{Result, TrainError};
pub use loss::{Bound, Described, Loss, LossCard, LossValue, Objective, ObjectiveBatch, Targets};
pub use state::{Control, TrainerState};
pub use trainer::{OptimizerFactory, SamplerFactory, SeveralFactory, TrainOutcome, Trainer};
