//! Loading a model: [`LoadOptions`], and what a model folder says.

mod assemble;
mod folder;
mod options;

pub use options::LoadOptions;
