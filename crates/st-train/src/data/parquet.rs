//! Parquet files.

use std::fs::File;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::types::{Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, RecordBatch, StructArray};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use sentence_transformers::Image;

use crate::{Result, TrainError};

use super::cell::Cell;
use super::dataset::Opened;

/// Rows read at once.
const BLOCK: usize = 1024;

pub(super) fn open(path: &Path) -> Result<Opened> {
    let file = File::open(path).map_err(TrainError::reading(path))?;
    let parse = || TrainError::parse::<ParquetError>(path, "Parquet");
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parse())?;
    let columns = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let batches = builder.with_batch_size(BLOCK).build().map_err(parse())?;
    let path = path.to_owned();
    let rows = batches.flat_map(move |batch| {
        let rows = batch.map_err(TrainError::parse(&path, "Parquet")).and_then(|batch| rows(&path, &batch));
        match rows {
            Ok(rows) => rows.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        }
    });
    Ok((columns, Box::new(rows)))
}

fn rows(path: &Path, batch: &RecordBatch) -> Result<Vec<Vec<Cell>>> {
    let mut rows = vec![Vec::with_capacity(batch.num_columns()); batch.num_rows()];
    let schema = batch.schema();
    for (column, field) in batch.columns().iter().zip(schema.fields()) {
        for (index, row) in rows.iter_mut().enumerate() {
            let cell = cell(column.as_ref(), index).ok_or_else(|| {
                let kind = column.data_type();
                TrainError::format(
                    path,
                    format!(
                        "column '{}' is of type {kind}; texts, numbers, lists and images can be read",
                        field.name()
                    ),
                )
            })?;
            row.push(cell);
        }
    }
    Ok(rows)
}

/// An image as the Hub's datasets hold it: `bytes` of its file, or else its `path`.
fn image(array: &StructArray, index: usize) -> Option<Cell> {
    let bytes = array.column_by_name("bytes").filter(|bytes| !bytes.is_null(index));
    let path = array.column_by_name("path").filter(|path| !path.is_null(index));
    let bytes = match bytes.map(|bytes| (bytes, bytes.data_type())) {
        Some((bytes, DataType::Binary)) => Some(bytes.as_binary::<i32>().value(index)),
        Some((bytes, DataType::LargeBinary)) => Some(bytes.as_binary::<i64>().value(index)),
        Some(_) => return None,
        None => None,
    };
    match (bytes, path.and_then(|path| cell(path.as_ref(), index))) {
        (Some(bytes), _) => Some(Image::from_bytes(bytes).into()),
        (None, Some(Cell::Text(path))) => Some(Image::from_path(path).into()),
        (None, _) => None,
    }
}

/// A value of an array; `None` for types that have no place in a cell.
#[expect(clippy::cast_precision_loss, reason = "unsigned numbers above 2⁶³ are no labels")]
fn cell(array: &dyn Array, index: usize) -> Option<Cell> {
    if array.is_null(index) {
        return Some(Cell::Null);
    }
    let list = |values: &dyn Array| (0..values.len()).map(|index| cell(values, index)).collect::<Option<Vec<_>>>();
    Some(match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Boolean => array.as_boolean().value(index).into(),
        DataType::Utf8 => array.as_string::<i32>().value(index).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(index).into(),
        DataType::Utf8View => array.as_string_view().value(index).into(),
        DataType::Int8 => i64::from(array.as_primitive::<Int8Type>().value(index)).into(),
        DataType::Int16 => i64::from(array.as_primitive::<Int16Type>().value(index)).into(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(index).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt8 => i64::from(array.as_primitive::<UInt8Type>().value(index)).into(),
        DataType::UInt16 => i64::from(array.as_primitive::<UInt16Type>().value(index)).into(),
        DataType::UInt32 => i64::from(array.as_primitive::<UInt32Type>().value(index)).into(),
        DataType::UInt64 => {
            let value = array.as_primitive::<UInt64Type>().value(index);
            i64::try_from(value).map_or(Cell::Number(value as f64), Cell::Integer)
        }
        DataType::Float16 => f64::from(array.as_primitive::<Float16Type>().value(index)).into(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(index).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(index).into(),
        DataType::List(_) => Cell::List(list(array.as_list::<i32>().value(index).as_ref())?),
        DataType::LargeList(_) => Cell::List(list(array.as_list::<i64>().value(index).as_ref())?),
        DataType::FixedSizeList(..) => Cell::List(list(array.as_fixed_size_list().value(index).as_ref())?),
        DataType::Struct(_) => image(array.as_struct(), index)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::builder::{Float32Builder, ListBuilder};
    use arrow_array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::data::{Dataset, FileDataset};

    fn written(columns: Vec<(&str, ArrayRef)>) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.parquet");
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        (folder, path)
    }

    #[test]
    fn texts_numbers_lists_and_nothing() {
        let mut lists = ListBuilder::new(Float32Builder::new());
        for list in [&[0.5f32, 1.0][..], &[], &[2.0]] {
            lists.values().append_slice(list);
            lists.append(true);
        }
        let (_folder, path) = written(vec![
            ("text", Arc::new(StringArray::from(vec![Some("a"), None, Some("é")])) as ArrayRef),
            ("label", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("score", Arc::new(Float64Array::from(vec![0.25, 0.5, 1.0]))),
            ("scores", Arc::new(lists.finish())),
        ]);
        let table = FileDataset::open(path).unwrap().read().unwrap();
        assert_eq!(table.columns(), ["text", "label", "score", "scores"]);
        assert_eq!(table.row(0).unwrap(), ["a".into(), 1.into(), 0.25.into(), vec![0.5, 1.0].into()]);
        assert_eq!(table.row(1).unwrap()[0], Cell::Null);
        assert_eq!(table.row(1).unwrap()[3], Cell::List(Vec::new()));
    }

    #[test]
    fn images_of_the_hub_s_datasets() {
        let field = |name: &str, kind| Arc::new(arrow_schema::Field::new(name, kind, true));
        let images = StructArray::from(vec![
            (field("bytes", DataType::Binary), Arc::new(BinaryArray::from(vec![Some(&b"png"[..]), None])) as ArrayRef),
            (field("path", DataType::Utf8), Arc::new(StringArray::from(vec![Some("a.png"), Some("b.png")]))),
        ]);
        let (_folder, path) = written(vec![("image", Arc::new(images) as ArrayRef)]);
        let table = FileDataset::open(path).unwrap().read().unwrap();
        assert_eq!(table.row(0).unwrap(), [Image::from_bytes(&b"png"[..]).into()]);
        assert_eq!(table.row(1).unwrap(), [Image::from_path("b.png").into()]);
    }

    #[test]
    fn bytes_and_damaged_files_are_refused() {
        let (folder, path) = written(vec![("raw", Arc::new(BinaryArray::from(vec![&b"x"[..]])) as ArrayRef)]);
        let error = FileDataset::open(path).unwrap().read().unwrap_err().to_string();
        assert!(error.contains("column 'raw' is of type Binary"), "{error}");
        let damaged = folder.path().join("e.parquet");
        std::fs::write(&damaged, b"PAR1 and nothing else").unwrap();
        assert!(FileDataset::open(damaged).unwrap_err().to_string().ends_with("cannot be read as Parquet"));
    }
}
