//! Distillation: students made of a teacher before they are trained, and labels that a teacher gives them to learn from.
//!
//! What a student is trained with is in [`crate::losses`]: `MSELoss` on the teacher's embeddings, `MarginMSELoss` and
//! `DistillKLDivLoss` on its scores; [`Teacher`] makes these labels.

mod eigen;
mod layers;
mod static_table;
mod teacher;

pub use layers::keep_layers;
pub use static_table::StaticDistillation;
pub use teacher::{LabelledDataset, TEACHER_LABELS, Teacher, TeacherLabel};
