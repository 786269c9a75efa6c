//! Vectors as a NumPy file.

use crate::Vectors;
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// Writes a NumPy file (format 1.0) of 32-bit floats, one row per vector.
///
/// # Errors
/// When the file cannot be written.
///
/// ```
/// use bench_protocol::{Vectors, write_npy};
///
/// let path = std::env::temp_dir().join(format!("bench-protocol-{}.npy", std::process::id()));
/// write_npy(&path, &Vectors { values: vec![1.0, 2.0], dimension: 2 })?;
/// assert_eq!(std::fs::read(&path)?.len(), 128 + 8);
/// std::fs::remove_file(path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn write(path: &Path, vectors: &Vectors) -> Result<()> {
    let rows = vectors.values.len() / vectors.dimension.max(1);
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {}), }}", vectors.dimension);
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    // The values begin at byte 128: 10 bytes before the header, which ends with a line feed.
    file.write_all(&118_u16.to_le_bytes())?;
    file.write_all(format!("{shape:<117}\n").as_bytes())?;
    for value in &vectors.values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}
