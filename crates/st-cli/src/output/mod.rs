//! Embeddings into files and pipes, as streams, and never a file that only looks finished.

mod assemble;
mod json_lines;
mod npy;
mod parquet;
mod parts;
mod records;
mod safetensors;
mod target;

use std::path::{Path, PathBuf};

use sentence_transformers::Precision;

use crate::failure::Result;

pub(crate) use json_lines::JsonLines;
pub(crate) use parts::{Parts, Plan};
pub(crate) use records::{RecordFormat, Records};
pub(crate) use target::Target;

/// Makes a file of the parts of a run.
type Join = fn(&[PathBuf], Target, Shape) -> Result<()>;

/// A format of outputs.
#[derive(Debug)]
pub(crate) struct OutputFormat {
    /// What `--format` calls it.
    pub(crate) name: &'static str,
    extensions: &'static [&'static str],
    /// Whether it can be written front to back.
    pub(crate) sequential: bool,
    pub(crate) create: fn(Target, Shape) -> Result<Box<dyn Writer>>,
    /// Makes the file of parts without decoding them, where the format allows it.
    join: Option<Join>,
}

/// Every format.
pub(crate) const FORMATS: &[OutputFormat] = &[
    OutputFormat { name: "npy", extensions: &["npy"], sequential: false, create: npy::create, join: None },
    OutputFormat {
        name: "jsonl",
        extensions: &["jsonl", "ndjson"],
        sequential: true,
        create: json_lines::create,
        join: None,
    },
    OutputFormat {
        name: "safetensors",
        extensions: &["safetensors"],
        sequential: false,
        create: safetensors::create,
        join: None,
    },
    OutputFormat {
        name: "parquet",
        extensions: &["parquet", "pq"],
        sequential: false,
        create: parquet::create,
        join: Some(parquet::join),
    },
];

/// The format of that name.
pub(crate) fn format_named(name: &str) -> Option<&'static OutputFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

/// The format that claims a path's extension.
pub(crate) fn format_of(path: &Path) -> Option<&'static OutputFormat> {
    let extension = path.extension()?.to_str()?.to_lowercase();
    FORMATS.iter().find(|format| format.extensions.contains(&extension.as_str()))
}

/// All extensions, for messages.
pub(crate) fn extensions() -> String {
    FORMATS.iter().flat_map(|format| format.extensions).map(|name| format!(".{name}")).collect::<Vec<_>>().join(", ")
}

/// What the stored numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Float,
    Signed,
    Unsigned,
}

/// The shape of every row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) element: Element,
    /// Numbers in a row.
    pub(crate) width: usize,
}

impl Shape {
    /// How embeddings of a dimension are stored.
    pub(crate) fn of(precision: Precision, dimension: usize) -> Self {
        let (element, width) = match precision {
            Precision::Float32 => (Element::Float, dimension),
            Precision::Int8 => (Element::Signed, dimension),
            Precision::Uint8 => (Element::Unsigned, dimension),
            Precision::Binary => (Element::Signed, dimension.div_ceil(8)),
            Precision::Ubinary => (Element::Unsigned, dimension.div_ceil(8)),
        };
        Self { element, width }
    }

    /// Bytes of a stored number.
    fn size(self) -> u64 {
        if self.element == Element::Float { 4 } else { 1 }
    }
}

/// Numbers of some rows, row after row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Values<'a> {
    Float(&'a [f32]),
    Signed(&'a [i8]),
    Unsigned(&'a [u8]),
}

impl Values<'_> {
    /// Those from `start` to `end`.
    fn slice(&self, start: usize, end: usize) -> Self {
        match *self {
            Self::Float(values) => Self::Float(&values[start..end]),
            Self::Signed(values) => Self::Signed(&values[start..end]),
            Self::Unsigned(values) => Self::Unsigned(&values[start..end]),
        }
    }

    /// As bytes, little-endian.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Float(values) => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::Signed(values) => values.iter().map(|value| value.cast_unsigned()).collect(),
            Self::Unsigned(values) => values.to_vec(),
        }
    }
}

/// Some rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) texts: &'a [&'a str],
    pub(crate) values: Values<'a>,
    pub(crate) width: usize,
}

impl<'a> Block<'a> {
    /// The rows from `start` to `end`.
    fn rows(&self, start: usize, end: usize) -> Self {
        let values = self.values.slice(start * self.width, end * self.width);
        Self { texts: &self.texts[start..end], values, width: self.width }
    }
}

/// A file of embeddings in the making.
pub(crate) trait Writer {
    /// Adds rows.
    fn write(&mut self, block: &Block<'_>) -> Result<()>;
    /// Completes the file and puts it in its place. Without it there is no file.
    fn finish(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What `write` makes of three rows in two blocks.
    fn written(name: &str, shape: Shape, values: Values<'_>) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let format = format_of(&path).unwrap();
        let mut writer = (format.create)(Target::file(&path, format.sequential).unwrap(), shape).unwrap();
        let block = Block { texts: &["a", "b\"", "ü"], values, width: shape.width };
        writer.write(&block.rows(0, 2)).unwrap();
        assert!(!path.exists(), "{name} is there before it is finished");
        writer.write(&block.rows(2, 3)).unwrap();
        writer.finish().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something was left beside {name}");
        fs::read(path).unwrap()
    }

    const FLOATS: Shape = Shape { element: Element::Float, width: 2 };
    const VALUES: Values<'_> = Values::Float(&[1.0, -2.5, 0.1, 3e-9, f32::MAX, 0.0]);

    #[test]
    fn npy_states_its_shape_and_holds_the_numbers() {
        let bytes = written("a.npy", FLOATS, VALUES);
        assert_eq!(&bytes[..10], b"\x93NUMPY\x01\x00\x76\x00");
        let header = std::str::from_utf8(&bytes[10..128]).unwrap();
        assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"), "{header}");
        assert!(header.ends_with('\n'));
        assert_eq!(bytes[128..], VALUES.bytes());
        let signed = written("a.npy", Shape { element: Element::Signed, width: 1 }, Values::Signed(&[1, -1, -128]));
        assert_eq!(signed[128..], [1, 255, 128]);
        assert!(String::from_utf8_lossy(&signed[..128]).contains("'|i1'"));
    }

    #[test]
    fn safetensors_are_read_by_the_library_that_defines_them() {
        let bytes = written("a.safetensors", FLOATS, VALUES);
        let file = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensor = file.tensor("embeddings").unwrap();
        assert_eq!((tensor.shape(), tensor.dtype()), (&[3, 2][..], ::safetensors::Dtype::F32));
        assert_eq!(tensor.data(), VALUES.bytes());
    }

    #[test]
    fn json_lines_give_the_same_numbers_back() {
        let bytes = written("a.jsonl", FLOATS, VALUES);
        let lines: Vec<serde_json::Value> =
            bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines[1]["text"], "b\"");
        assert_eq!(lines[1]["embedding"][1].as_f64().unwrap() as f32, 3e-9);
        assert_eq!(lines[2]["embedding"][0].as_f64().unwrap() as f32, f32::MAX);
        assert_eq!(lines.len(), 3);
    }

    #[test]
    fn parquet_holds_texts_and_numbers() {
        use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again.parquet");
        let bytes =
            written("a.parquet", Shape { element: Element::Unsigned, width: 1 }, Values::Unsigned(&[7, 8, 255]));
        fs::write(&path, bytes).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap().build().unwrap();
        let batches: Vec<_> = reader.map(Result::unwrap).collect();
        assert_eq!(batches.iter().map(arrow_array::RecordBatch::num_rows).sum::<usize>(), 3);
        assert_eq!(batches[0].schema().field(0).name(), "text");
        assert!(matches!(batches[0].schema().field(1).data_type(), arrow_schema::DataType::FixedSizeList(_, 1)));
    }

    #[test]
    fn no_rows_make_a_file_of_no_rows() {
        let folder = tempfile::tempdir().unwrap();
        for format in FORMATS {
            let path = folder.path().join(format!("a.{}", format.extensions[0]));
            let writer = (format.create)(Target::file(&path, format.sequential).unwrap(), FLOATS).unwrap();
            writer.finish().unwrap();
            assert!(path.is_file(), "{}", format.name);
        }
        assert!(fs::read(folder.path().join("a.npy")).unwrap().windows(6).any(|window| window == b"(0, 2)"));
    }
}
