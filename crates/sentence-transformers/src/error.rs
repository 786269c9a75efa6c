//! [`Error`]: one opaque error for the whole library.

use std::path::{Path, PathBuf};

/// The library's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one type: [`Error::kind`] to decide by, the message and [`Error::hint`] for a person,
/// [`Error::path`] for the file, and the causes through [`std::error::Error::source`].
///
/// ```
/// use sentence_transformers::{ErrorKind, SentenceTransformer};
///
/// let error = SentenceTransformer::load("/no/such/folder/anywhere").unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::NotFound);
/// assert_eq!(error.to_string(), "Path /no/such/folder/anywhere not found");
/// ```
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Whether `source` is the very error that this one repeats, so that the cause is what lies under it.
    repeats: bool,
}

/// Kinds of [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such model, file or folder.
    NotFound,
    /// A file could not be read or written.
    Io,
    /// The Hub could not be asked or refused.
    Hub,
    /// A configuration file is damaged or contradicts itself.
    Config,
    /// The tokenizer's files are damaged or the tokenizer failed.
    Tokenizer,
    /// The weights are missing, damaged or do not fit the configuration.
    Weights,
    /// The model asks for something that this library does not do.
    Unsupported,
    /// An argument is not valid.
    Argument,
    /// A text is longer than the model reads, and truncation was not allowed.
    TooLong,
    /// The encoder failed on a batch.
    Encode,
    /// A worker of a pool died, or the pool was stopped.
    Worker,
}

impl Error {
    /// An error of a kind with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), path: None, hint: None, source: None, repeats: false }))
    }

    /// Adds the file or folder that it is about.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.0.path = Some(path.into());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// An error about a configuration file; the message starts with its path.
    pub(crate) fn config(path: &Path, message: impl std::fmt::Display) -> Self {
        Self::new(ErrorKind::Config, format!("{}: {message}", path.display())).with_path(path)
    }

    /// What kind of error it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file or folder that it is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source: &(dyn std::error::Error + 'static) = self.0.source.as_deref()?;
        if self.0.repeats { source.source() } else { Some(source) }
    }
}

impl From<st_encoder::EncoderError> for Error {
    fn from(error: st_encoder::EncoderError) -> Self {
        use st_encoder::EncoderError as Lower;
        let kind = match &error {
            Lower::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Lower::Io { .. } => ErrorKind::Io,
            Lower::Config { .. } => ErrorKind::Config,
            Lower::UnknownArchitecture { .. } | Lower::Unsupported { .. } | Lower::UnsupportedAdapter { .. } => {
                ErrorKind::Unsupported
            }
            Lower::NoWeights { .. }
            | Lower::Weights { .. }
            | Lower::MissingTensor { .. }
            | Lower::Shape { .. }
            | Lower::NotFinite { .. } => ErrorKind::Weights,
            _ => ErrorKind::Encode,
        };
        // The original's words, which callers match.
        let message = match &error {
            Lower::NoWeights { path, .. } => {
                format!("Could not find 'model.safetensors' or 'pytorch_model.bin' in {}.", path.display())
            }
            other => other.to_string(),
        };
        let mut out = Self::new(kind, message);
        out.0.path = error.path().map(Path::to_path_buf);
        out.0.hint = error.hint().map(str::to_owned);
        out.0.repeats = true;
        out.with_source(error)
    }
}

impl From<st_vectors::VectorError> for Error {
    fn from(error: st_vectors::VectorError) -> Self {
        let mut out = Self::new(ErrorKind::Argument, error.to_string());
        out.0.hint = error.hint();
        out.0.repeats = true;
        out.with_source(error)
    }
}

impl From<st_hub::HubError> for Error {
    fn from(error: st_hub::HubError) -> Self {
        use st_hub::HubErrorKind as Lower;
        let kind = match error.kind() {
            Lower::PathNotFound | Lower::RepositoryNotFound | Lower::RevisionNotFound | Lower::FileNotFound => {
                ErrorKind::NotFound
            }
            Lower::InvalidName => ErrorKind::Argument,
            Lower::DiskFull | Lower::Io | Lower::Locked => ErrorKind::Io,
            _ => ErrorKind::Hub,
        };
        let mut out = Self::new(kind, error.to_string());
        out.0.path = error.path().map(Path::to_path_buf);
        out.0.hint = error.hint().map(str::to_owned);
        out.0.repeats = true;
        out.with_source(error)
    }
}
