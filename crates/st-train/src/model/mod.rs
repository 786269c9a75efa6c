//! Models that can be trained: what a loss and a trainer see of them ([`EmbeddingModel`]), the one that is made of a
//! `SentenceTransformer` ([`TrainableModel`]), and their parameters.

mod column;
mod contract;
mod graph;
mod parameters;
mod pass;
mod trainable;

pub use column::Column;
pub use contract::{Embedded, EmbeddingModel, InputKind, TokenRows};
pub use parameters::{Parameter, Parameters};
pub use pass::{PassMode, TrainingPass};
pub(crate) use trainable::save;
pub use trainable::{TrainableModel, TrainingOptions};
