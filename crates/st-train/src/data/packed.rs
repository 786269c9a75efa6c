//! Text files, packed or not.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::{Result, TrainError};

/// A text file's lines; unpacked where its name ends in `.gz`.
pub(crate) fn open_text(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let file = File::open(path).map_err(TrainError::reading(path))?;
    let packed = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    Ok(if packed {
        Box::new(BufReader::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(file))))
    } else {
        Box::new(BufReader::new(file))
    })
}
