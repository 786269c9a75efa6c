//! Reading and writing the files of a model folder.

mod config;
mod python_json;
mod writer;

pub use config::ModuleConfig;
pub(crate) use config::read_json;
pub(crate) use writer::write_error;
pub use writer::{ModuleWriter, SavedTensor};
