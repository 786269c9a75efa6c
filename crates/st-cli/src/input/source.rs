//! [`Source`]: the bytes of an input, wherever they come from.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;

use super::Extent;
use crate::failure::{Failure, Result};

const BUFFER: usize = 1 << 16;

/// An input that was opened.
pub(super) struct Source {
    /// For messages.
    pub(super) name: String,
    pub(super) extent: Extent,
    reader: Box<dyn BufRead>,
    /// The file itself, when its bytes are the content.
    plain: Option<File>,
}

pub(super) fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"))
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            let reader = Box::new(BufReader::with_capacity(BUFFER, io::stdin()));
            return Ok(Self { name: "standard input".to_owned(), extent: Extent::Unknown, reader, plain: None });
        }
        let cannot = |error: &io::Error| Failure::path("read", path, error);
        let file = File::open(path).map_err(|error| cannot(&error))?;
        let metadata = file.metadata().map_err(|error| cannot(&error))?;
        if metadata.is_dir() {
            return Err(Failure::usage(format!("{} is a folder", path.display())).with_hint("give one of its files"));
        }
        let read = Arc::new(AtomicU64::new(0));
        let extent =
            if metadata.is_file() { Extent::Bytes(metadata.len(), Arc::clone(&read)) } else { Extent::Unknown };
        let plain = if metadata.is_file() && !is_compressed(path) { file.try_clone().ok() } else { None };
        let counted = Counted { file, read };
        let reader: Box<dyn BufRead> = if is_compressed(path) {
            Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(BufReader::new(counted))))
        } else {
            Box::new(BufReader::with_capacity(BUFFER, counted))
        };
        Ok(Self { name: path.display().to_string(), extent, reader, plain })
    }

    /// The bytes of a text file, without a byte order mark.
    ///
    /// # Errors
    /// When they are UTF-16.
    pub(super) fn into_text(mut self) -> Result<Box<dyn BufRead>> {
        let start = self.reader.fill_buf().map_err(|error| Failure::io("read", &self.name, &error))?;
        if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err(Failure::new(format!("{} is UTF-16, but texts are read as UTF-8", self.name))
                .with_hint("convert it first, for example: iconv -f UTF-16 -t UTF-8"));
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            self.reader.consume(3);
        }
        Ok(self.reader)
    }

    /// The content as a file in which one can go to and fro; a stream is copied into a nameless file first.
    pub(super) fn into_file(mut self) -> Result<File> {
        if let Some(file) = self.plain {
            return Ok(file);
        }
        let mut file = tempfile::tempfile().map_err(|error| Failure::io("make", "a temporary file", &error))?;
        io::copy(&mut self.reader, &mut file).map_err(|error| Failure::io("copy", &self.name, &error))?;
        Ok(file)
    }
}

struct Counted {
    file: File,
    read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
