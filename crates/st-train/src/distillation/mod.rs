//! Distillation: students made of a teacher before they are trained.
//!
//! What a student is trained with is in [`crate::losses`]: `MSELoss` on the teacher's embeddings, `MarginMSELoss` and
//! `DistillKLDivLoss` on its scores.

mod eigen;
mod layers;
mod static_table;

pub use layers::keep_layers;
pub use static_table::StaticDistillation;
