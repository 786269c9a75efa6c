//! A copy of a small model, one of whose files is the fuzzer's, loaded as a user loads it.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use sentence_transformers::SentenceTransformer;
use tempfile::TempDir;

/// Loads the model with one file replaced; what loads must also encode, or say why not.
pub(crate) fn load_with(model: &str, file: &str, bytes: &[u8]) {
    let folder = folder(model);
    let path = folder.join(file);
    // A new file each time: the last one may still be mapped.
    let _ = std::fs::remove_file(&path);
    std::fs::write(&path, bytes).unwrap();
    if let Ok(model) = SentenceTransformer::load(folder.to_string_lossy()) {
        let _ = model.encode(&["The weather is lovely today.", ""]);
    }
}

/// The copy, in memory where there is such a folder.
pub(crate) fn folder(model: &str) -> &'static PathBuf {
    static FOLDER: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    &FOLDER
        .get_or_init(|| {
            let memory = PathBuf::from("/dev/shm");
            let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
            let path = folder.path().join("model");
            let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fixtures");
            copy(&fixtures.join(model), &path);
            (folder, path)
        })
        .1
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
