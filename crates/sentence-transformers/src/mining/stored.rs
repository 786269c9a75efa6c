//! Vectors kept between runs of the miner: NumPy's `.npy` files.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use st_vectors::Embeddings;

use crate::{Error, ErrorKind, Result};

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// `{side}_embeddings_{sha256 of the model's identity and all texts}.npy`.
pub(super) fn file(folder: &Path, side: &str, model: &str, texts: &[String]) -> PathBuf {
    let mut hash = Sha256::new();
    hash.update(model);
    for text in texts {
        hash.update(text);
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    folder.join(format!("{side}_embeddings_{digest}.npy"))
}

/// Writes beside the file, then renames: a run that is killed leaves no half of it.
pub(super) fn write(path: &Path, embeddings: &Embeddings) -> Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let failed = |error| unreadable(path, error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let (rows, dimension) = (embeddings.rows(), embeddings.dimension());
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}");
    let padding = 63 - (MAGIC.len() + 2 + header.len()) % 64;
    header.push_str(&" ".repeat(padding));
    header.push('\n');
    let mut out = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(embeddings.as_slice().iter().flat_map(|value| value.to_le_bytes()));
    out.write_all(&bytes).map_err(failed)?;
    out.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Reads what [`write`] or NumPy wrote: float32, in the order of rows, `rows` of them.
pub(super) fn read(path: &Path, rows: usize) -> Result<Embeddings> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, error))?;
    parse(&bytes, rows).ok_or_else(|| {
        Error::new(ErrorKind::Config, format!("{} is not a float32 matrix of {rows} rows", path.display()))
            .with_path(path)
            .with_hint("delete the file: it will be made again")
    })
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot read or write {}", path.display())).with_path(path).with_source(error)
}

fn parse(bytes: &[u8], rows: usize) -> Option<Embeddings> {
    let length = usize::from(u16::from_le_bytes(bytes.strip_prefix(MAGIC)?.get(..2)?.try_into().ok()?));
    let body = bytes.get(MAGIC.len() + 2..)?;
    let header = std::str::from_utf8(body.get(..length)?).ok()?;
    let values = body.get(length..)?;
    let (_, shape) = header.split_once("'shape': (")?;
    let (shape, _) = shape.split_once(')')?;
    let (found, dimension) = shape.split_once(',')?;
    let (found, dimension): (usize, usize) = (found.trim().parse().ok()?, dimension.trim().parse().ok()?);
    let plain = header.contains("'<f4'") && header.contains("'fortran_order': False");
    let expected = found.checked_mul(dimension)?.checked_mul(4)?;
    if !plain || found != rows || values.len() != expected {
        return None;
    }
    let numbers = values.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    Embeddings::new(numbers.collect(), rows, dimension).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_hashes() {
        // hashlib.sha256(("" + "".join(["a", "b"])).encode()).hexdigest()
        let path = file(Path::new("x"), "query", "", &["a".to_owned(), "b".to_owned()]);
        let digest = "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603";
        assert_eq!(path, Path::new("x").join(format!("query_embeddings_{digest}.npy")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_damage_is_noticed(rows in 0usize..5, dimension in 1usize..5, cut in 1usize..200) {
            let values: Vec<f32> = (0..rows * dimension).map(|i| i as f32 - 1.5).collect();
            let embeddings = Embeddings::new(values, rows, dimension).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("inside/of/it.npy");
            write(&path, &embeddings).unwrap();
            prop_assert_eq!(read(&path, rows).unwrap(), embeddings);
            let bytes = std::fs::read(&path).unwrap();
            let cut = bytes.len().saturating_sub(cut);
            prop_assert!(parse(&bytes[..cut], rows).is_none());
            prop_assert!(parse(&bytes, rows + 1).is_none());
        }
    }
}
