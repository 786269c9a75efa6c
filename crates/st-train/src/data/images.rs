//! Columns of paths that are read as images.

use std::path::Path;

use sentence_transformers::Image;

use crate::{Result, TrainError};

use super::cell::Cell;
use super::names::listed;

/// Fails when one of the names is no column.
pub(super) fn known<S: AsRef<str>>(names: &[S], columns: &[String]) -> Result<()> {
    match names.iter().map(AsRef::as_ref).find(|name| !columns.iter().any(|column| column == name)) {
        None => Ok(()),
        Some(name) => Err(TrainError::invalid(format!("there is no column '{name}'; there are {}", listed(columns)))),
    }
}

/// The image at a path, which is looked for in `folder` unless it begins with the root; images stay as they are.
pub(super) fn read(column: &str, cell: Cell, folder: &Path) -> Result<Cell> {
    match cell {
        Cell::Text(path) => Ok(Image::from_path(folder.join(path)).into()),
        Cell::Image(_) => Ok(cell),
        other => {
            let message = format!("column '{column}' holds {} where the path of an image is needed", other.kind());
            Err(TrainError::invalid(message))
        }
    }
}
