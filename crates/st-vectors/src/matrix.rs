//! The result of comparing every vector with every other.

use std::fmt;

use ndarray::ArrayView2;

use crate::embeddings::matrix_view;
use crate::{Result, VectorError};

/// Scores of every row of `a` with every row of `b`: contiguous, row-major, `[rows of a, rows of b]`.
///
/// ```
/// use st_vectors::{Embeddings, SimilarityFunction};
/// let a = Embeddings::from_rows([[1.0, 0.0], [1.0, 1.0]])?;
/// let scores = SimilarityFunction::Dot.similarity(&a, &a)?;
/// assert_eq!(scores.row(1), [1.0, 2.0]);
/// assert_eq!(scores.get(0, 1), Some(1.0));
/// assert_eq!(scores.get(0, 2), None);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct SimilarityMatrix {
    data: Vec<f32>,
    rows: usize,
    columns: usize,
}

impl SimilarityMatrix {
    /// Takes scores that lie row after row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are not `rows · columns` of them.
    pub fn new(data: Vec<f32>, rows: usize, columns: usize) -> Result<Self> {
        if rows.checked_mul(columns) == Some(data.len()) {
            Ok(Self { data, rows, columns })
        } else {
            Err(VectorError::Shape { length: data.len(), rows, dimension: columns })
        }
    }

    /// Number of rows: vectors of the first set.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns: vectors of the second set.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The scores of one vector of the first set.
    ///
    /// # Panics
    /// When there is no such row, as indexing a slice does.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows, "row {index} of {} rows", self.rows);
        &self.data[index * self.columns..(index + 1) * self.columns]
    }

    /// The rows in order.
    pub fn rows_iter(&self) -> impl DoubleEndedIterator<Item = &[f32]> + ExactSizeIterator + Clone {
        (0..self.rows).map(|index| self.row(index))
    }

    /// One score, if there are such rows.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> Option<f32> {
        (row < self.rows && column < self.columns).then(|| self.data[row * self.columns + column])
    }

    /// All scores, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All scores, row after row, without a copy.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    /// The matrix as an `ndarray` view, `[rows, columns]`.
    #[must_use]
    pub fn view(&self) -> ArrayView2<'_, f32> {
        matrix_view(&self.data, self.rows, self.columns)
    }
}

impl fmt::Debug for SimilarityMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 16;
        write!(f, "SimilarityMatrix({} × {}", self.rows, self.columns)?;
        if self.data.len() <= SHOWN {
            for row in self.rows_iter() {
                write!(f, ", {row:?}")?;
            }
        }
        write!(f, ")")
    }
}
