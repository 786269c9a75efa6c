//! Examples for [`fit`](crate::fit), and readers of the files that come with well-known datasets.
//!
//! New programs give tables to a [`Trainer`](crate::Trainer); these are for the programs that there are.

mod example;
mod label_sentence;
mod nli;
mod paired_files;
mod sts;
mod triplet;

use std::path::Path;

use crate::{Result, TrainError};

pub use example::InputExample;
pub use label_sentence::LabelSentenceReader;
pub use nli::{NLI_LABELS, NliDataReader};
pub use paired_files::PairedFilesReader;
pub use sts::{StsBenchmarkDataReader, StsDataReader};
pub use triplet::TripletReader;

/// The fields of each line, with or without quotes; lines may have different numbers of fields.
fn separated(path: &Path, delimiter: u8, quotes: bool) -> Result<impl Iterator<Item = Result<Vec<String>>> + use<>> {
    let reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .quoting(quotes)
        .from_reader(crate::data::open_text(path)?);
    let path = path.to_owned();
    Ok(reader.into_records().map(move |record| {
        let record = record.map_err(TrainError::parse::<csv::Error>(&path, "CSV"))?;
        Ok(record.iter().map(str::to_owned).collect())
    }))
}

/// A field of a line.
fn field(path: &Path, line: usize, fields: &[String], index: usize) -> Result<String> {
    fields.get(index).cloned().ok_or_else(|| {
        TrainError::format(path, format!("line {} has {} fields, none with index {index}", line + 1, fields.len()))
    })
}

/// Stops after so many examples; 0 for all.
fn limit(most: usize) -> usize {
    if most == 0 { usize::MAX } else { most }
}
