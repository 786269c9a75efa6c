//! Training: losses, trainer, samplers, optimisers, schedules and checkpoints.

mod error;
pub mod model;
pub mod random;

pub use error::{Result, TrainError};
