//! Embeddings in a column of lists of a Parquet file, with their texts where a column `text` has them.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, Schema};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sentence_transformers::Embeddings;

use super::{BLOCK, Blocks, VectorBlock, VectorFile, choose};
use crate::failure::{Failure, Result};

const TEXT: &str = "text";

pub(super) fn open(path: &Path, column: Option<&str>) -> Result<VectorFile> {
    let reader = reader(path)?;
    let schema = reader.schema();
    let names: Vec<String> =
        schema.fields().iter().filter(|field| is_vector(field.data_type())).map(|field| field.name().clone()).collect();
    let name = path.display().to_string();
    let column = names[choose(&name, column, "embedding", &names)?].clone();
    let rows = u64::try_from(reader.metadata().file_metadata().num_rows()).unwrap_or(0);
    let place = Column { path: path.to_owned(), column };
    let dimension = match schema.field_with_name(&place.column).map(|field| field.data_type().clone()) {
        Ok(DataType::FixedSizeList(_, width)) => usize::try_from(width).unwrap_or(0),
        _ => place.first_width()?,
    };
    Ok(VectorFile { rows, dimension, blocks: Box::new(move || place.blocks(dimension)) })
}

fn reader(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).map_err(|error| Failure::path("read", path, &error))?;
    ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::new(format!("cannot read {} as Parquet", path.display())).with_cause(error)
}

fn is_vector(kind: &DataType) -> bool {
    let (DataType::FixedSizeList(element, _) | DataType::List(element)) = kind else { return false };
    matches!(element.data_type(), DataType::Float32 | DataType::Float64)
}

#[derive(Debug, Clone)]
struct Column {
    path: PathBuf,
    column: String,
}

impl Column {
    /// The width of the first row; 0 without rows.
    fn first_width(&self) -> Result<usize> {
        let mut batches =
            reader(&self.path)?.with_batch_size(1).build().map_err(|error| damaged(&self.path, &error))?;
        let Some(batch) = batches.next() else { return Ok(0) };
        let batch = batch.map_err(|error| damaged(&self.path, &error))?;
        Ok(self.list(&batch, 0).map_or(0, |row| row.len()))
    }

    fn blocks(&self, dimension: usize) -> Result<Blocks> {
        let reader = reader(&self.path)?;
        let batches = reader.with_batch_size(BLOCK).build().map_err(|error| damaged(&self.path, &error))?;
        let (column, mut number) = (self.clone(), 0);
        Ok(Box::new(batches.map(move |batch| {
            let batch = batch.map_err(|error| damaged(&column.path, &error))?;
            let block = column.block(&batch, dimension, number)?;
            number += batch.num_rows();
            Ok(block)
        })))
    }

    fn block(&self, batch: &RecordBatch, dimension: usize, before: usize) -> Result<VectorBlock> {
        let rows = batch.num_rows();
        let mut values = Vec::with_capacity(rows * dimension);
        for row in 0..rows {
            let list = self.list(batch, row).filter(|list| list.len() == dimension && list.null_count() == 0);
            let list = list.ok_or_else(|| {
                let (name, number) = (self.path.display(), before + row + 1);
                Failure::new(format!("{name}, row {number}: no embedding of {dimension} numbers"))
            })?;
            match list.data_type() {
                DataType::Float64 => {
                    values.extend(list.as_primitive::<Float64Type>().values().iter().map(|value| *value as f32));
                }
                _ => values.extend_from_slice(list.as_primitive::<Float32Type>().values()),
            }
        }
        let texts = texts(batch);
        Ok(VectorBlock { texts, embeddings: Embeddings::new(values, rows, dimension)? })
    }

    /// The numbers of a row; none where it is null.
    fn list(&self, batch: &RecordBatch, row: usize) -> Option<ArrayRef> {
        let lists = batch.column_by_name(&self.column)?;
        if lists.is_null(row) {
            return None;
        }
        match lists.data_type() {
            DataType::FixedSizeList(..) => Some(lists.as_fixed_size_list().value(row)),
            _ => Some(lists.as_list::<i32>().value(row)),
        }
    }
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let schema: &Schema = batch.schema_ref();
    match schema.field_with_name(TEXT).map(|field| field.data_type().clone()) {
        Ok(DataType::Utf8) => batch
            .column_by_name(TEXT)
            .map(|texts| texts.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}
