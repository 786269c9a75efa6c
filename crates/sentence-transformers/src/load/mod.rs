//! Loading a model: [`LoadOptions`], and what a model folder says.

mod folder;
mod options;

pub(crate) use folder::{Folder, ORIGINAL_VERSION, open};
pub use options::LoadOptions;
