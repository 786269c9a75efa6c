//! Training: losses, trainer, samplers, optimisers, schedules and checkpoints.

mod error;
mod loss;
pub mod losses;
pub mod model;
pub mod random;

pub use error::{Result, TrainError};
pub use loss::{Bound, Described, Loss, LossCard, LossValue, Objective, ObjectiveBatch, Targets};
