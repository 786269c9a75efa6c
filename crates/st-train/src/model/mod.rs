//! Models that can be trained: what a loss and a trainer see of them ([`EmbeddingModel`]), and their parameters.

mod column;
mod contract;
mod dropout;
mod parameters;
mod pass;

pub use column::Column;
pub use contract::{Embedded, EmbeddingModel, InputKind, TokenRows};
pub use parameters::{Parameter, Parameters};
pub use pass::{PassMode, TrainingPass};
