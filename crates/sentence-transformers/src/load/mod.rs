//! Loading a model: [`LoadOptions`], and what a model folder says.

mod assemble;
mod folder;
mod model_arguments;
mod options;

pub use options::LoadOptions;
