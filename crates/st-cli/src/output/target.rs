//! [`Target`]: where the bytes of an output go.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};

const BUFFER: usize = 1 << 16;

/// A place for an output: a file that appears whole or not at all, or a stream.
pub(crate) struct Target {
    /// For messages.
    pub(crate) name: String,
    sink: Sink,
}

enum Sink {
    /// Beside the file, and renamed at the end.
    Beside { file: BufWriter<NamedTempFile>, path: PathBuf },
    /// Straight into a pipe, a terminal or a device.
    Stream(BufWriter<Box<dyn Write + Send>>),
    /// Into a nameless file whose content then goes down a stream, for formats that are not written front to back.
    Spool { file: BufWriter<File>, stream: Box<dyn Write + Send> },
}

impl Target {
    /// A file, or a device or pipe that has a path. `sequential` says whether it will be written front to back.
    pub(crate) fn file(path: &Path, sequential: bool) -> Result<Self> {
        let name = path.display().to_string();
        let cannot = |error: io::Error| Failure::io("write", &name, &error);
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {
                return Err(Failure::usage(format!("{name} is a folder")).with_hint("give the name of a file in it"));
            }
            Ok(metadata) if !metadata.is_file() => {
                let stream = fs::OpenOptions::new().write(true).open(path).map_err(cannot)?;
                return Self::stream(name, Box::new(stream), sequential);
            }
            _ => {}
        }
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = beside(folder).map_err(cannot)?;
        let sink = Sink::Beside { file: BufWriter::with_capacity(BUFFER, file), path: path.to_path_buf() };
        Ok(Self { name, sink })
    }

    /// Standard output.
    pub(crate) fn stdout(sequential: bool) -> Result<Self> {
        Self::stream("standard output".to_owned(), Box::new(io::stdout()), sequential)
    }

    fn stream(name: String, stream: Box<dyn Write + Send>, sequential: bool) -> Result<Self> {
        let sink = if sequential {
            Sink::Stream(BufWriter::with_capacity(BUFFER, stream))
        } else {
            let file = tempfile::tempfile().map_err(|error| Failure::io("make", "a temporary file", &error))?;
            Sink::Spool { file: BufWriter::with_capacity(BUFFER, file), stream }
        };
        Ok(Self { name, sink })
    }

    pub(crate) fn failed(&self, error: &io::Error) -> Failure {
        Failure::io("write", &self.name, error)
    }

    /// Goes to a place; only for targets that are not sequential.
    pub(crate) fn seek(&mut self, place: u64) -> io::Result<()> {
        match &mut self.sink {
            Sink::Beside { file, .. } => file.seek(SeekFrom::Start(place)).map(drop),
            Sink::Spool { file, .. } => file.seek(SeekFrom::Start(place)).map(drop),
            Sink::Stream(_) => Err(io::Error::from(io::ErrorKind::NotSeekable)),
        }
    }

    /// Puts everything in its place.
    pub(crate) fn commit(self) -> Result<()> {
        let Self { name, sink } = self;
        Self::place(sink).map_err(|error| Failure::io("write", &name, &error))
    }

    fn place(sink: Sink) -> io::Result<()> {
        match sink {
            Sink::Beside { file, path } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                sync_folder(&path)
            }
            Sink::Stream(mut stream) => stream.flush(),
            Sink::Spool { file, mut stream } => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut file, &mut stream)?;
                stream.flush()
            }
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.sink {
            Sink::Beside { file, .. } => file.write(bytes),
            Sink::Stream(stream) => stream.write(bytes),
            Sink::Spool { file, .. } => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Beside { file, .. } => file.flush(),
            Sink::Stream(stream) => stream.flush(),
            Sink::Spool { file, .. } => file.flush(),
        }
    }
}

/// A new file in a folder, with the rights that any new file gets.
pub(super) fn beside(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sentence-transformers-");
    with_usual_rights(&mut builder).tempfile_in(folder)
}

#[cfg(unix)]
fn with_usual_rights<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    use std::os::unix::fs::PermissionsExt;
    builder.permissions(fs::Permissions::from_mode(0o666))
}

#[cfg(not(unix))]
fn with_usual_rights<'a, 'b>(builder: &'a mut tempfile::Builder<'b, 'b>) -> &'a mut tempfile::Builder<'b, 'b> {
    builder
}

/// Makes a rename last; a file system that cannot do that for folders has other means.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix)
        && let Some(folder) = path.parent()
    {
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        File::open(folder)?.sync_all().or_else(|error| match error.kind() {
            io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput => Ok(()),
            _ => Err(error),
        })?;
    }
    Ok(())
}
