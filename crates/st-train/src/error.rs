//! What can go wrong in training.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Results of this crate.
pub type Result<T, E = TrainError> = std::result::Result<T, E>;

/// An error of this crate.
///
/// ```
/// use st_train::TrainError;
/// let error = TrainError::option("warmup_ratio", "is 2, but must lie between 0 and 1");
/// assert_eq!(error.to_string(), "`warmup_ratio` is 2, but must lie between 0 and 1");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// An argument, a dataset or a loss that does not make sense; most messages are those of the original.
    #[error("{0}")]
    Invalid(String),
    /// A named option with a value that has no meaning or no support here.
    #[error("`{option}` {message}")]
    Option {
        /// Its name.
        option: &'static str,
        /// What is wrong, and what may be given.
        message: String,
    },
    /// Tensors whose shapes do not fit a loss.
    #[error("{loss}: {message}")]
    Shape {
        /// The loss.
        loss: &'static str,
        /// What was given and what is needed.
        message: String,
    },
    /// A computation failed.
    #[error("a tensor operation failed")]
    Tensor(#[from] candle_core::Error),
    /// The model could not be loaded, saved or run.
    #[error(transparent)]
    Model(#[from] sentence_transformers::Error),
    /// The encoder could not be built or run.
    #[error(transparent)]
    Encoder(#[from] st_encoder::EncoderError),
    /// Something that cannot be trained.
    #[error("{message}")]
    Unsupported {
        /// What, by its name.
        message: String,
        /// The way out.
        hint: String,
    },
    /// An evaluator failed.
    #[error("the evaluation failed")]
    Evaluation(#[from] st_eval::EvalError),
    /// A file could not be read or written.
    #[error("{action} {}", path.display())]
    File {
        /// "reading" or "writing".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file's content is not as its format asks.
    #[error("{}: {message}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where in the file.
        message: String,
    },
    /// A file's content cannot be parsed.
    #[error("{} cannot be read as {format}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// The format, such as "JSON".
        format: &'static str,
        /// The parser's error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A checkpoint does not fit what is being trained.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The checkpoint's folder.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// A callback or another part that the caller brought failed.
    #[error("{part} failed")]
    Custom {
        /// Which part.
        part: &'static str,
        /// Its error.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl TrainError {
    /// An error with nothing but a message.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    /// An error about an option: "`option` message".
    #[must_use]
    pub fn option(option: &'static str, message: impl Into<String>) -> Self {
        Self::Option { option, message: message.into() }
    }

    /// Something that cannot be trained, and the way out.
    #[must_use]
    pub fn unsupported(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unsupported { message: message.into(), hint: hint.into() }
    }

    /// An error of a part that the caller brought: a callback, an optimizer, a dataset.
    #[must_use]
    pub fn custom(part: &'static str, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Custom { part, source: source.into() }
    }

    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action: "reading", path: path.to_owned(), source }
    }

    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action: "writing", path: path.to_owned(), source }
    }

    pub(crate) fn format(path: &Path, message: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn parse<E: Into<Box<dyn StdError + Send + Sync>>>(
        path: &Path,
        format: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Parse { path: path.to_owned(), format, source: source.into() }
    }

    /// The way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Model(error) => error.hint(),
            Self::Encoder(error) => error.hint(),
            Self::Unsupported { hint, .. } => Some(hint),
            Self::Checkpoint { .. } => {
                Some("resume with the same model, loss and arguments that wrote the checkpoint, or start anew")
            }
            _ => None,
        }
    }
}
