//! Making the output of the parts of a run.

use std::fs::File;
use std::path::PathBuf;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int8Type, UInt8Type};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sentence_transformers::{Embeddings, Precision, Ranges, quantize_embeddings};

use super::{Block, Element, OutputFormat, Shape, Target, Values};
use crate::failure::{Failure, Result};

/// One file of all parts, which hold rows of `shape`; scaled to bytes with `scale`.
pub(super) fn assemble(
    parts: &[PathBuf],
    shape: Shape,
    format: &OutputFormat,
    target: Target,
    scale: Option<Precision>,
) -> Result<()> {
    match (format.join, scale) {
        (Some(join), None) => join(parts, target, shape),
        _ => convert(parts, shape, format, target, scale),
    }
}

fn convert(
    parts: &[PathBuf],
    shape: Shape,
    format: &OutputFormat,
    target: Target,
    scale: Option<Precision>,
) -> Result<()> {
    let stored = scale.map_or(shape, |precision| Shape::of(precision, shape.width));
    let mut writer = (format.create)(target, stored)?;
    let ranges = if scale.is_some() { ranges(parts, shape)? } else { None };
    each_batch(parts, shape, |block| match (scale, &ranges, block.values) {
        (Some(precision), Some(ranges), Values::Float(values)) => {
            let rows = Embeddings::new(values.to_vec(), block.texts.len(), block.width)?;
            let scaled = quantize_embeddings(&rows, precision, Some(ranges), None)?;
            let values = match (scaled.as_i8(), scaled.as_u8()) {
                (Some(values), _) => Values::Signed(values),
                (_, Some(values)) => Values::Unsigned(values),
                _ => return Err(Failure::new(format!("{precision} is not stored in bytes"))),
            };
            writer.write(&Block { texts: block.texts, values, width: stored.width })
        }
        _ => writer.write(block),
    })?;
    writer.finish()
}

/// The extremes of every dimension over all rows; `None` when there are none.
fn ranges(parts: &[PathBuf], shape: Shape) -> Result<Option<Ranges>> {
    let mut all: Option<Ranges> = None;
    each_batch(parts, shape, |block| {
        let Values::Float(values) = block.values else { return Ok(()) };
        let rows = Embeddings::new(values.to_vec(), block.texts.len(), block.width)?;
        let these = Ranges::from_embeddings(&rows)?;
        all = Some(match all.take() {
            None => these,
            Some(all) => {
                let minima = all.minima().iter().zip(these.minima()).map(|(a, b)| a.min(*b)).collect();
                let maxima = all.maxima().iter().zip(these.maxima()).map(|(a, b)| a.max(*b)).collect();
                Ranges::new(minima, maxima)?
            }
        });
        Ok(())
    })?;
    Ok(all)
}

fn each_batch(parts: &[PathBuf], shape: Shape, mut give: impl FnMut(&Block<'_>) -> Result<()>) -> Result<()> {
    for path in parts {
        let damaged = || Failure::new(format!("{} is not a part of this run", path.display()));
        let cannot = |error: &(dyn std::error::Error + 'static)| {
            Failure::new(format!("cannot read {}", path.display())).with_cause(error)
        };
        let file = File::open(path).map_err(|error| Failure::path("read", path, &error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| cannot(&error))?;
        for batch in reader.build().map_err(|error| cannot(&error))? {
            let batch = batch.map_err(|error| cannot(&error))?;
            let (texts, lists) = (
                batch.column_by_name("text").and_then(|column| column.as_string_opt::<i32>()),
                batch.column_by_name("embedding").and_then(|column| column.as_fixed_size_list_opt()),
            );
            let (texts, lists) = texts.zip(lists).ok_or_else(damaged)?;
            let texts: Vec<&str> = texts.iter().flatten().collect();
            let numbers = lists.values();
            let values = match shape.element {
                Element::Float => numbers.as_primitive_opt::<Float32Type>().map(|n| Values::Float(n.values())),
                Element::Signed => numbers.as_primitive_opt::<Int8Type>().map(|n| Values::Signed(n.values())),
                Element::Unsigned => numbers.as_primitive_opt::<UInt8Type>().map(|n| Values::Unsigned(n.values())),
            };
            let values = values.ok_or_else(damaged)?;
            give(&Block { texts: &texts, values, width: shape.width })?;
        }
    }
    Ok(())
}
