//! What can go wrong in an evaluation.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use sentence_transformers::hub::HubError;
use st_vectors::VectorError;
use thiserror::Error;

/// Results of this crate.
pub type Result<T, E = EvalError> = std::result::Result<T, E>;

/// An error of this crate.
///
/// ```
/// let error = st_eval::TripletEvaluator::new(vec!["a".into()], vec![], vec![]).unwrap_err();
/// assert_eq!(error.to_string(), "`positives` has 0 entries, `anchors` has 1: they belong together one by one");
/// ```
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Lists that belong together differ in length.
    #[error("`{right}` has {found} entries, `{left}` has {expected}: they belong together one by one")]
    Lengths {
        /// Name of the first list.
        left: &'static str,
        /// Its length.
        expected: usize,
        /// Name of the other list.
        right: &'static str,
        /// Its length.
        found: usize,
    },
    /// An evaluator without anything to evaluate.
    #[error("{evaluator} has no {what}")]
    Nothing {
        /// Class name of the evaluator.
        evaluator: &'static str,
        /// What is missing.
        what: &'static str,
    },
    /// An option with a value that has no meaning.
    #[error("{message}")]
    Option {
        /// The option and what it may be.
        message: String,
    },
    /// The model failed.
    #[error("the model could not embed {texts} texts")]
    Model {
        /// How many texts it was given.
        texts: usize,
        /// Its error.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The model gave another number of vectors than there were texts.
    #[error("the model gave {found} embeddings for {expected} texts")]
    EmbeddingCount {
        /// Texts given.
        expected: usize,
        /// Embeddings received.
        found: usize,
    },
    /// Vectors that do not fit.
    #[error(transparent)]
    Vectors(#[from] VectorError),
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
    /// A Parquet file that cannot be read.
    #[error("reading {}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The reader's error.
        source: parquet::errors::ParquetError,
    },
    /// Data could not be had from the Hub.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A line of a data file is not as its format asks.
    #[error("{}, line {line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}

impl EvalError {
    /// An error of the model, for implementations of [`crate::Embedder`].
    #[must_use]
    pub fn model(texts: usize, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Model { texts, source: source.into() }
    }

    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}

/// [`EvalError::Lengths`] unless the two lists are equally long.
pub(crate) fn check_lengths(left: (&'static str, usize), right: (&'static str, usize)) -> Result<()> {
    if left.1 == right.1 {
        return Ok(());
    }
    Err(EvalError::Lengths { left: left.0, expected: left.1, right: right.0, found: right.1 })
}
