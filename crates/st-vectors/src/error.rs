//! What can go wrong with vectors.

use thiserror::Error;

use crate::{Precision, SimilarityFunction};

/// An error of this crate. Every variant names the numbers that do not fit.
///
/// ```
/// use st_vectors::{Embeddings, VectorError};
/// let error = Embeddings::new(vec![0.0; 5], 2, 3).unwrap_err();
/// assert_eq!(error, VectorError::Shape { length: 5, rows: 2, dimension: 3 });
/// assert_eq!(error.to_string(), "5 values do not make 2 rows of 3");
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum VectorError {
    /// The number of values is not `rows · dimension`.
    #[error("{length} values do not make {rows} rows of {dimension}")]
    Shape {
        /// Number of values given.
        length: usize,
        /// Rows asked for.
        rows: usize,
        /// Values per row asked for.
        dimension: usize,
    },
    /// A row is longer or shorter than the rows before it.
    #[error("row {row} has {found} values, the rows before it have {expected}")]
    RaggedRows {
        /// Index of the row, from 0.
        row: usize,
        /// Its length.
        found: usize,
        /// The length of the other rows.
        expected: usize,
    },
    /// Two sets of vectors differ in dimension.
    #[error("vectors of dimension {left} cannot be compared with vectors of dimension {right}")]
    DimensionMismatch {
        /// Dimension of the first set (queries).
        left: usize,
        /// Dimension of the second set (corpus).
        right: usize,
    },
    /// A pairwise comparison of sets with different numbers of rows.
    #[error("pairwise comparison needs as many rows on both sides, not {left} and {right}")]
    RowMismatch {
        /// Rows of the first set.
        left: usize,
        /// Rows of the second set.
        right: usize,
    },
    /// A row that a matrix does not have.
    #[error("row {row} is outside a matrix of {rows} rows")]
    RowOutOfRange {
        /// The row asked for, from 0.
        row: usize,
        /// Rows that there are.
        rows: usize,
    },
    /// A graph for approximate search that cannot be made, read, written or walked.
    #[error("approximate search: {message}")]
    Index {
        /// What does not fit, or the library's own message.
        message: String,
    },
    /// The angle similarity reads a row as real and imaginary halves.
    #[error("the angle similarity needs an even dimension, not {dimension}: one half is real, the other imaginary")]
    OddDimension {
        /// The dimension found.
        dimension: usize,
    },
    /// Not the name of a precision.
    #[error("Precision '{name}' is not supported")]
    UnsupportedPrecision {
        /// The name given.
        name: String,
    },
    /// Not the name of a similarity function.
    #[error("'{name}' is not a valid SimilarityFunction")]
    UnknownSimilarity {
        /// The name given.
        name: String,
    },
    /// Ranges for another dimension than that of the vectors, or as many minima as maxima are missing.
    #[error("ranges have {minima} minima and {maxima} maxima, the vectors have {dimension} dimensions")]
    RangesShape {
        /// Number of minima.
        minima: usize,
        /// Number of maxima.
        maxima: usize,
        /// Dimension of the vectors (of the minima, when only the ranges were given).
        dimension: usize,
    },
    /// A range that is not finite or whose minimum is above its maximum.
    #[error("range {minimum} to {maximum} of dimension {dimension} is not a range of finite numbers")]
    InvalidRange {
        /// Index of the dimension, from 0.
        dimension: usize,
        /// Minimum given.
        minimum: f32,
        /// Maximum given.
        maximum: f32,
    },
    /// Ranges of no vectors at all.
    #[error("ranges cannot be computed from zero vectors")]
    NoVectors,
    /// An option that must be at least one.
    #[error("{option} must be at least 1")]
    ZeroOption {
        /// Name of the option.
        option: &'static str,
    },
    /// Stored queries and stored corpus have different precisions.
    #[error("queries of precision {queries} cannot search a corpus of precision {corpus}")]
    PrecisionMismatch {
        /// Precision of the queries.
        queries: Precision,
        /// Precision of the corpus.
        corpus: Precision,
    },
    /// A list of vectors with missing entries cannot become a matrix.
    #[error("{missing} of {rows} vectors are null")]
    NullVectors {
        /// Entries or values that are null.
        missing: usize,
        /// Number of entries.
        rows: usize,
    },
    /// A list of values of another type than float32.
    #[error("vectors are made of float32 values, not {found}")]
    ValueType {
        /// The type found.
        found: String,
    },
}

impl VectorError {
    /// What the caller may do about it, where that is not plain from the message.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let names = |names: &[&str]| Some(format!("use one of {}", names.join(", ")));
        match self {
            Self::UnsupportedPrecision { .. } => names(&Precision::possible_values()),
            Self::UnknownSimilarity { .. } => names(&SimilarityFunction::possible_values()),
            Self::DimensionMismatch { .. } => Some("embed both with the same model and the same truncation".to_owned()),
            Self::NoVectors => Some("give calibration embeddings or ranges".to_owned()),
            Self::PrecisionMismatch { .. } => {
                Some("quantise the queries to the corpus precision, or give float queries".to_owned())
            }
            _ => None,
        }
    }
}

/// Result of this crate.
pub type Result<T, E = VectorError> = std::result::Result<T, E>;
