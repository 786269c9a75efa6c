//! Matrices as plain numbers behind a header: `.npy` and safetensors.
//!
//! Formats: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>,
//! <https://huggingface.co/docs/safetensors/index#format>.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use sentence_transformers::Embeddings;
use serde_json::{Map, Value};

use super::{BLOCK, Blocks, VectorBlock, VectorFile, choose};
use crate::failure::{Failure, Result};

/// A header may have this many bytes.
const LONGEST_HEADER: u64 = 100 << 20;

/// Kinds of floating point numbers, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    fn size(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F16 => bytes.as_chunks().0.iter().map(|two| f16::from_le_bytes(*two).to_f32()).collect(),
            Self::Bf16 => bytes.as_chunks().0.iter().map(|two| bf16::from_le_bytes(*two).to_f32()).collect(),
            Self::F32 => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
            Self::F64 => bytes.as_chunks().0.iter().map(|eight| f64::from_le_bytes(*eight) as f32).collect(),
        }
    }
}

/// Where a matrix lies in a file.
#[derive(Debug, Clone)]
struct Matrix {
    path: PathBuf,
    start: u64,
    number: Number,
    rows: u64,
    dimension: usize,
}

impl Matrix {
    /// Checks that the file is long enough.
    fn open(self) -> Result<VectorFile> {
        let length = std::fs::metadata(&self.path).map_err(|error| Failure::path("read", &self.path, &error))?.len();
        let bytes = u64::try_from(self.number.size() * self.dimension).ok().and_then(|row| row.checked_mul(self.rows));
        let end = bytes.and_then(|bytes| self.start.checked_add(bytes));
        if end.is_none_or(|end| end > length) {
            let Self { path, rows, dimension, .. } = &self;
            let message = format!("{} is cut off: it should hold {rows} rows of {dimension} numbers", path.display());
            return Err(Failure::new(message));
        }
        let (rows, dimension) = (self.rows, self.dimension);
        Ok(VectorFile { rows, dimension, blocks: Box::new(move || self.blocks()) })
    }

    fn blocks(&self) -> Result<Blocks> {
        let Self { path, start, number, rows, dimension } = self.clone();
        let cannot = move |error: &std::io::Error, path: &Path| Failure::path("read", path, error);
        let mut file = BufReader::new(File::open(&path).map_err(|error| cannot(&error, &path))?);
        file.seek(SeekFrom::Start(start)).map_err(|error| cannot(&error, &path))?;
        let mut left = rows;
        Ok(Box::new(std::iter::from_fn(move || {
            let count = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            if count == 0 {
                return None;
            }
            left -= count as u64;
            let mut bytes = vec![0; count * dimension * number.size()];
            let read = file.read_exact(&mut bytes).map_err(|error| cannot(&error, &path));
            Some(read.and_then(|()| {
                let embeddings = Embeddings::new(number.decode(&bytes), count, dimension)?;
                Ok(VectorBlock { texts: Vec::new(), embeddings })
            }))
        })))
    }
}

fn begin(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Failure::path("read", path, &error))
}

fn take(file: &mut File, path: &Path, bytes: u64) -> Result<Vec<u8>> {
    let mut taken = Vec::new();
    let read = file.take(bytes).read_to_end(&mut taken).map_err(|error| Failure::path("read", path, &error))?;
    if read as u64 != bytes {
        return Err(Failure::new(format!("{} ends in its header", path.display())));
    }
    Ok(taken)
}

pub(super) fn open_npy(path: &Path, _: Option<&str>) -> Result<VectorFile> {
    let damaged = |what: &str| Failure::new(format!("{} is not a usable .npy file: {what}", path.display()));
    let mut file = begin(path)?;
    let magic = take(&mut file, path, 8)?;
    let [0x93, b'N', b'U', b'M', b'P', b'Y', version, _] = magic[..] else {
        return Err(damaged("it does not begin as one"));
    };
    let wide = if version == 1 { 2 } else { 4 };
    let length = take(&mut file, path, wide)?.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if length > LONGEST_HEADER {
        return Err(damaged("its header is absurdly long"));
    }
    let header = take(&mut file, path, length)?;
    let header = String::from_utf8_lossy(&header);
    let entry = |key: &str, end: &str| {
        let (_, rest) = header.split_once(&format!("'{key}':"))?;
        Some(rest.trim_start().split_once(end)?.0.trim().to_owned())
    };
    if entry("fortran_order", ",").as_deref() != Some("False") {
        return Err(damaged("its numbers are in Fortran order").with_hint("save numpy.ascontiguousarray(embeddings)"));
    }
    let kind = entry("descr", ",").unwrap_or_default();
    let number = match kind.trim_matches('\'') {
        "<f2" => Number::F16,
        "<f4" => Number::F32,
        "<f8" => Number::F64,
        other => {
            return Err(damaged(&format!("its numbers are {other}"))
                .with_hint("embeddings to quantize are floating point numbers: <f2, <f4 or <f8"));
        }
    };
    let shape = entry("shape", ")").unwrap_or_default();
    let sizes: Option<Vec<u64>> = shape
        .trim_start_matches('(')
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|s| s.parse().ok())
        .collect();
    let Some([rows, dimension]) = sizes.as_deref() else {
        return Err(damaged(&format!("its shape is {shape})")).with_hint("embeddings are a matrix: a row per text"));
    };
    let dimension = usize::try_from(*dimension).map_err(|_| damaged("its rows are absurdly wide"))?;
    Matrix { path: path.to_owned(), start: 8 + wide + length, number, rows: *rows, dimension }.open()
}

pub(super) fn open_safetensors(path: &Path, column: Option<&str>) -> Result<VectorFile> {
    let damaged = |what: &str| Failure::new(format!("{} is not a usable safetensors file: {what}", path.display()));
    let mut file = begin(path)?;
    let length = take(&mut file, path, 8)?.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    if length > LONGEST_HEADER {
        return Err(damaged("its header is absurdly long"));
    }
    let header: Map<String, Value> = serde_json::from_slice(&take(&mut file, path, length)?)
        .map_err(|error| damaged("its header is not JSON").with_cause(&error))?;
    let matrices: Vec<(String, Matrix)> = header
        .iter()
        .filter_map(|(name, tensor)| {
            let number = match tensor["dtype"].as_str()? {
                "F16" => Number::F16,
                "BF16" => Number::Bf16,
                "F32" => Number::F32,
                "F64" => Number::F64,
                _ => return None,
            };
            let [rows, dimension] = tensor["shape"].as_array()?.as_slice() else { return None };
            let start = (8 + length).checked_add(tensor["data_offsets"][0].as_u64()?)?;
            let dimension = usize::try_from(dimension.as_u64()?).ok()?;
            let matrix = Matrix { path: path.to_owned(), start, number, rows: rows.as_u64()?, dimension };
            Some((name.clone(), matrix))
        })
        .collect();
    let names: Vec<String> = matrices.iter().map(|(name, _)| name.clone()).collect();
    let place = choose(&path.display().to_string(), column, "embeddings", &names)?;
    matrices[place].1.clone().open()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.bytes());
        bytes.extend(data);
        bytes
    }

    fn bytes<const N: usize>(values: [[u8; N]; 4]) -> Vec<u8> {
        values.concat()
    }

    #[test]
    fn all_widths_of_numbers_are_read() {
        let values = [1.0_f32, -2.5, 0.25, 96.0];
        let doubles = bytes(values.map(|value| f64::from(value).to_le_bytes()));
        let halves = bytes(values.map(|value| f16::from_f32(value).to_le_bytes()));
        let singles = bytes(values.map(f32::to_le_bytes));
        for (descr, data) in [("<f8", &doubles), ("<f4", &singles), ("<f2", &halves)] {
            let (_folder, path) = written("a.npy", &npy(descr, "(2, 2)", data));
            let file = open_npy(&path, None).unwrap();
            assert_eq!((file.rows, file.dimension), (2, 2));
            assert_eq!(file.read().unwrap().as_slice(), values, "{descr}");
        }
        let brains = bytes(values.map(|value| bf16::from_f32(value).to_le_bytes()));
        let header = r#"{"other":{"dtype":"I8","shape":[1,1],"data_offsets":[0,0]},"x":{"dtype":"BF16","shape":[1,4],"data_offsets":[0,8]}}"#;
        let file = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &brains].concat();
        let (_folder, path) = written("a.safetensors", &file);
        assert_eq!(open_safetensors(&path, None).unwrap().read().unwrap().as_slice(), values);
    }

    #[test]
    fn damaged_files_are_refused_with_the_reason() {
        let message = |content: &[u8]| {
            let (_folder, path) = written("a.npy", content);
            open_npy(&path, None).err().unwrap().to_string()
        };
        assert!(message(b"\x93NUMPX\x01\x00").contains("it does not begin as one"));
        assert!(message(b"\x93NUM").contains("ends in its header"));
        assert!(message(&npy("<f4", "(9, 2)", &[0; 8])).contains("is cut off: it should hold 9 rows of 2 numbers"));
        assert!(message(&npy("<f4", "(18446744073709551615, 4)", &[])).contains("is cut off"));
        assert!(message(&npy("|i1", "(1, 1)", &[0])).contains("its numbers are |i1"));
        assert!(message(&npy("<f4", "(4,)", &[0; 16])).contains("its shape is (4,)"));
        let (_folder, path) = written("a.safetensors", &[255; 16]);
        assert!(open_safetensors(&path, None).err().unwrap().to_string().contains("absurdly long"));
    }
}
