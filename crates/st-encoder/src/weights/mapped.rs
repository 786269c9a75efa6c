//! Memory-mapping a weights file, and recognising what people have in its place.

use std::path::Path;

use memmap2::Mmap;

use crate::EncoderError;

/// First bytes of files that stand where weights should, and what to say.
const MISTAKEN: &[(&[u8], &str)] = &[
    (
        b"version https://git-lfs.github.com/spec/v1",
        "this is a Git LFS pointer, not the weights: run `git lfs pull` in the folder, or download the file again",
    ),
    (b"<", "this is a web page, not weights: the download went wrong, download the file again"),
    (b"{", "this is JSON, not weights: the download went wrong, download the file again"),
];

/// Maps a file, or says what is there instead of weights.
#[expect(unsafe_code, reason = "memory mapping a file")]
pub(super) fn map(path: &Path) -> Result<Mmap, EncoderError> {
    let io = |source| EncoderError::Io { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.len() == 0 {
        return Err(damaged(path, "the file is empty: the download did not finish, download the file again"));
    }
    // SAFETY: the map is only read; a file that another process shortens meanwhile ends this process with SIGBUS,
    // which is the accepted price of memory mapping everywhere.
    let map = unsafe { Mmap::map(&file) }.map_err(io)?;
    match MISTAKEN.iter().find(|(start, _)| map.starts_with(start)) {
        Some((_, message)) => Err(damaged(path, *message)),
        None => Ok(map),
    }
}

/// An error about the content of a weights file.
pub(super) fn damaged(path: &Path, message: impl Into<String>) -> EncoderError {
    EncoderError::Weights { path: path.into(), message: message.into(), source: None }
}
