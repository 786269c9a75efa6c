//! Writes fuzzed bytes as the one file of a folder and reads everything that it holds.

use std::path::PathBuf;
use std::sync::OnceLock;

use st_encoder::{TensorSource, Weights};
use tempfile::TempDir;

/// A folder in memory where there is one; the fuzzer writes thousands of files a second.
pub(crate) fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let memory = PathBuf::from("/dev/shm");
            let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
            let path = folder.path().to_owned();
            (folder, path)
        })
        .1
}

#[allow(dead_code, reason = "not every target reads one file")]
pub(crate) fn read_as(name: &str, bytes: &[u8]) {
    let path = folder().join(name);
    // A new file each time: the last one may still be mapped.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).unwrap();
    if let Ok(weights) = Weights::open_file(&path) {
        read_all(&weights);
    }
}

pub(crate) fn read_all(weights: &Weights) {
    for name in weights.names() {
        let Some(shape) = weights.shape_of(name) else { continue };
        if let Ok(tensor) = weights.tensor(&TensorSource::whole(name), shape) {
            assert_eq!(tensor.bytes().len(), shape.iter().product::<usize>() * tensor.data_type().size());
            let _ = tensor.to_f32();
        }
    }
}
