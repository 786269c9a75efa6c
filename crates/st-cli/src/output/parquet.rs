//! Parquet: a column `text` and a column `embedding` of fixed-size lists, in row groups that are written as they come.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int8Array, RecordBatch, StringArray, UInt8Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::{ArrowWriter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::{Block, Element, Shape, Target, Values, Writer};
use crate::failure::{Failure, Result};

/// Rows of a row group, unless said otherwise.
pub(super) const GROUP: usize = 4096;

pub(super) fn create(target: Target, shape: Shape) -> Result<Box<dyn Writer>> {
    let name = target.name.clone();
    let writer = ArrowWriter::try_new(target, schema(shape), Some(properties(GROUP).build()));
    let writer = writer.map_err(|error| failed(&name, error))?;
    Ok(Box::new(Parquet { name, shape, writer }))
}

struct Parquet {
    name: String,
    shape: Shape,
    writer: ArrowWriter<Target>,
}

impl Writer for Parquet {
    fn write(&mut self, block: &Block<'_>) -> Result<()> {
        let batch = record_batch(block, self.shape).map_err(|error| failed(&self.name, error.into()))?;
        self.writer.write(&batch).map_err(|error| failed(&self.name, error))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.writer.into_inner().map_err(|error| failed(&self.name, error))?.commit()
    }
}

/// The columns.
fn schema(shape: Shape) -> Arc<Schema> {
    let list = DataType::FixedSizeList(element(shape), i32::try_from(shape.width).unwrap_or(i32::MAX));
    Arc::new(Schema::new(vec![Field::new("text", DataType::Utf8, false), Field::new("embedding", list, false)]))
}

fn element(shape: Shape) -> Arc<Field> {
    let element = match shape.element {
        Element::Float => DataType::Float32,
        Element::Signed => DataType::Int8,
        Element::Unsigned => DataType::UInt8,
    };
    Arc::new(Field::new("element", element, false))
}

/// Texts are compressed; the numbers of embeddings have nothing that a compressor or a dictionary could use.
fn properties(group: usize) -> WriterPropertiesBuilder {
    let numbers = ColumnPath::from(["embedding", "list", "element"].map(str::to_owned).to_vec());
    WriterProperties::builder()
        .set_created_by("sentence-transformers".to_owned())
        .set_max_row_group_row_count(Some(group))
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_compression(numbers.clone(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(numbers, false)
}

fn record_batch(block: &Block<'_>, shape: Shape) -> Result<RecordBatch, ArrowError> {
    let numbers: ArrayRef = match block.values {
        Values::Float(values) => Arc::new(Float32Array::from(values.to_vec())),
        Values::Signed(values) => Arc::new(Int8Array::from(values.to_vec())),
        Values::Unsigned(values) => Arc::new(UInt8Array::from(values.to_vec())),
    };
    let width = i32::try_from(shape.width).map_err(|_| ArrowError::InvalidArgumentError("rows are too wide".into()))?;
    let lists = FixedSizeListArray::try_new(element(shape), width, numbers, None)?;
    let texts = StringArray::from_iter_values(block.texts);
    RecordBatch::try_new(schema(shape), vec![Arc::new(texts), Arc::new(lists)])
}

/// Writes a whole file of one row group, with words of its own in the metadata.
pub(super) fn write_group(
    file: impl io::Write + Send,
    block: &Block<'_>,
    shape: Shape,
    words: Vec<KeyValue>,
) -> Result<(), ParquetError> {
    let properties = properties(block.texts.len().max(1)).set_key_value_metadata(Some(words)).build();
    let mut writer = ArrowWriter::try_new(file, schema(shape), Some(properties))?;
    writer.write(&record_batch(block, shape)?)?;
    writer.close().map(drop)
}

/// The row groups of files that [`write_group`] made, one after the other, copied as they are.
pub(super) fn join(parts: &[PathBuf], target: Target, shape: Shape) -> Result<()> {
    let name = target.name.clone();
    let fail = |error| failed(&name, error);
    let mut properties = properties(GROUP).build();
    add_encoded_arrow_schema_to_metadata(&schema(shape), &mut properties);
    let types = parquet::arrow::ArrowSchemaConverter::new().convert(&schema(shape)).map_err(fail)?;
    let mut writer = SerializedFileWriter::new(target, types.root_schema_ptr(), Arc::new(properties)).map_err(fail)?;
    for path in parts {
        let file = File::open(path).map_err(|error| Failure::path("read", path, &error))?;
        append(&mut writer, &file).map_err(|error| failed(&path.display().to_string(), error))?;
    }
    writer.into_inner().map_err(fail)?.commit()
}

fn append(writer: &mut SerializedFileWriter<Target>, file: &File) -> Result<(), ParquetError> {
    let metadata = ParquetMetaDataReader::new().parse_and_finish(file)?;
    for group in metadata.row_groups() {
        let rows = u64::try_from(group.num_rows())?;
        let mut out = writer.next_row_group()?;
        for column in group.columns() {
            let bytes_written = u64::try_from(column.compressed_size())?;
            out.append_column(
                file,
                ColumnCloseResult {
                    bytes_written,
                    rows_written: rows,
                    metadata: column.clone(),
                    bloom_filter: None,
                    column_index: None,
                    offset_index: None,
                },
            )?;
        }
        out.close()?;
    }
    Ok(())
}

/// With the operating system's error where that is what lies at the bottom.
pub(super) fn failed(name: &str, error: ParquetError) -> Failure {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => Failure::io("write", name, &error),
            Err(error) => Failure::new(format!("cannot write {name} as Parquet")).with_cause(&*error),
        },
        error => Failure::new(format!("cannot write {name} as Parquet")).with_cause(&error),
    }
}
