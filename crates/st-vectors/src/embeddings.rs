//! The matrix that everything else works on.

use std::fmt;

use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

use crate::kernels;
use crate::{Result, VectorError};

/// Norms below this are taken as this when dividing by them, so that a zero row stays zero.
pub(crate) const NORM_FLOOR: f32 = 1e-12;

/// From this many values on, row-wise work is spread over the cores.
const PARALLEL_VALUES: usize = 1 << 17;

/// Vectors of one dimension: one contiguous row-major `f32` matrix, `[rows, dimension]`.
///
/// ```
/// use st_vectors::Embeddings;
/// let mut embeddings = Embeddings::from_rows([[3.0, 4.0], [0.0, 0.0]])?;
/// embeddings.normalize();
/// assert_eq!(embeddings.row(0), [0.6, 0.8]);
/// assert_eq!(embeddings.row(1), [0.0, 0.0]);
/// assert_eq!((embeddings.rows(), embeddings.dimension()), (2, 2));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct Embeddings {
    data: Vec<f32>,
    rows: usize,
    dimension: usize,
}

impl Embeddings {
    /// Takes values that lie row after row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are not `rows · dimension` of them.
    pub fn new(data: Vec<f32>, rows: usize, dimension: usize) -> Result<Self> {
        if rows.checked_mul(dimension) == Some(data.len()) {
            Ok(Self { data, rows, dimension })
        } else {
            Err(VectorError::Shape { length: data.len(), rows, dimension })
        }
    }

    /// A matrix of zeros.
    ///
    /// # Panics
    /// When `rows · dimension` values exceed the address space.
    #[must_use]
    pub fn zeros(rows: usize, dimension: usize) -> Self {
        Self { data: vec![0.0; rows.saturating_mul(dimension)], rows, dimension }
    }

    /// Copies rows of equal length. No rows give a matrix of dimension 0.
    ///
    /// # Errors
    /// [`VectorError::RaggedRows`] naming the first row of another length.
    pub fn from_rows<R: AsRef<[f32]>>(rows: impl IntoIterator<Item = R>) -> Result<Self> {
        let mut out = Self::default();
        for row in rows {
            out.push_row(row.as_ref())?;
        }
        Ok(out)
    }

    /// Number of vectors.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of vectors, as [`Embeddings::rows`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no vectors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Values per vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// One vector.
    ///
    /// # Panics
    /// When there is no such row, as indexing a slice does.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows, "row {index} of {} rows", self.rows);
        &self.data[index * self.dimension..(index + 1) * self.dimension]
    }

    /// One vector, to be changed.
    ///
    /// # Panics
    /// When there is no such row, as indexing a slice does.
    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        assert!(index < self.rows, "row {index} of {} rows", self.rows);
        &mut self.data[index * self.dimension..(index + 1) * self.dimension]
    }

    /// The vectors in order.
    pub fn rows_iter(&self) -> impl DoubleEndedIterator<Item = &[f32]> + ExactSizeIterator + Clone {
        (0..self.rows).map(|index| self.row(index))
    }

    /// All values, row after row.
    #[must_use]
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// All values, row after row, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// All values, row after row, without a copy.
    #[must_use]
    pub fn into_vec(self) -> Vec<f32> {
        self.data
    }

    /// The values of the rows `start..end` (both cut to the number of rows).
    pub(crate) fn row_span(&self, start: usize, end: usize) -> &[f32] {
        let end = end.min(self.rows);
        &self.data[start.min(end) * self.dimension..end * self.dimension]
    }

    /// The matrix as an `ndarray` view, `[rows, dimension]`.
    #[must_use]
    pub fn view(&self) -> ArrayView2<'_, f32> {
        matrix_view(&self.data, self.rows, self.dimension)
    }

    /// Appends a vector; the first one decides the dimension of a matrix without rows.
    ///
    /// # Errors
    /// [`VectorError::RaggedRows`] when it is longer or shorter than the others.
    pub fn push_row(&mut self, row: &[f32]) -> Result<()> {
        if self.rows == 0 {
            self.dimension = row.len();
        } else if row.len() != self.dimension {
            return Err(VectorError::RaggedRows { row: self.rows, found: row.len(), expected: self.dimension });
        }
        self.data.extend_from_slice(row);
        self.rows += 1;
        Ok(())
    }

    /// Divides every row by its L2 norm, in place: `x / max(‖x‖₂, 1e-12)`. A zero row stays zero.
    pub fn normalize(&mut self) {
        if self.dimension == 0 {
            return;
        }
        if self.data.len() >= PARALLEL_VALUES {
            self.data.par_chunks_exact_mut(self.dimension).with_min_len(64).for_each(normalize_row);
        } else {
            self.data.chunks_exact_mut(self.dimension).for_each(normalize_row);
        }
    }

    /// A normalised copy; see [`Embeddings::normalize`].
    #[must_use]
    pub fn normalized(&self) -> Self {
        let mut out = self.clone();
        out.normalize();
        out
    }

    /// Keeps the first `dimension` values of every row, in place. 0 and anything from the dimension on change nothing.
    ///
    /// Rows are not normalised again: do so afterwards where the similarity asks for it.
    pub fn truncate(&mut self, dimension: usize) {
        if dimension == 0 || dimension >= self.dimension {
            return;
        }
        for row in 1..self.rows {
            let start = row * self.dimension;
            self.data.copy_within(start..start + dimension, row * dimension);
        }
        self.data.truncate(self.rows * dimension);
        self.dimension = dimension;
    }
}

/// `max(‖x‖₂, 1e-12)`; in double precision where the sum of squares leaves the range of `f32`.
pub(crate) fn floored_norm(row: &[f32]) -> f32 {
    let squares = kernels::dot(row, row);
    let norm = if squares.is_finite() && squares > f32::MIN_POSITIVE {
        squares.sqrt()
    } else {
        row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt() as f32
    };
    norm.max(NORM_FLOOR)
}

fn normalize_row(row: &mut [f32]) {
    let norm = floored_norm(row);
    row.iter_mut().for_each(|x| *x /= norm);
}

/// A view of contiguous rows.
pub(crate) fn matrix_view<T>(data: &[T], rows: usize, columns: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), data).unwrap_or_else(|_| {
        // The constructors of all matrices here check the shape, so only an address-space overflow could come here.
        unreachable!("{} values are not {rows} rows of {columns}", data.len())
    })
}

impl fmt::Debug for Embeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        write!(f, "Embeddings({} × {}", self.rows, self.dimension)?;
        if let Some(values) = self.data.get(..self.dimension.min(SHOWN)).filter(|values| !values.is_empty()) {
            write!(f, ", first row ")?;
            f.debug_list().entries(values).finish()?;
            if self.dimension > SHOWN {
                write!(f, "…")?;
            }
        }
        write!(f, ")")
    }
}

/// One vector, as a matrix of one row.
impl From<Vec<f32>> for Embeddings {
    fn from(row: Vec<f32>) -> Self {
        Self { rows: 1, dimension: row.len(), data: row }
    }
}

/// Without a copy where the array lies row after row; `TryFrom` comes with it and never fails.
impl From<Array2<f32>> for Embeddings {
    fn from(array: Array2<f32>) -> Self {
        let (rows, dimension) = array.dim();
        let data = if array.is_standard_layout() {
            match array.into_raw_vec_and_offset() {
                (data, None | Some(0)) if data.len() == rows * dimension => data,
                (data, offset) => data.into_iter().skip(offset.unwrap_or(0)).take(rows * dimension).collect(),
            }
        } else {
            array.iter().copied().collect()
        };
        Self { data, rows, dimension }
    }
}

/// The values, row after row.
impl From<Embeddings> for Vec<f32> {
    fn from(embeddings: Embeddings) -> Self {
        embeddings.data
    }
}

impl<'a> From<&'a Embeddings> for ArrayView2<'a, f32> {
    fn from(embeddings: &'a Embeddings) -> Self {
        embeddings.view()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert!(Embeddings::new(vec![0.0; 6], 2, 3).is_ok());
        assert_eq!(
            Embeddings::new(vec![], usize::MAX, 2).unwrap_err().to_string(),
            format!("0 values do not make {} rows of 2", usize::MAX)
        );
        let ragged = Embeddings::from_rows([vec![1.0], vec![1.0, 2.0]]).unwrap_err();
        assert_eq!(ragged, VectorError::RaggedRows { row: 1, found: 2, expected: 1 });
    }

    #[test]
    fn rows_without_values() {
        let mut empty = Embeddings::zeros(3, 0);
        empty.normalize();
        empty.truncate(0);
        assert_eq!(empty.rows_iter().map(<[f32]>::len).collect::<Vec<_>>(), [0, 0, 0]);
        assert_eq!(empty.view().dim(), (3, 0));
        assert_eq!(format!("{empty:?}"), "Embeddings(3 × 0)");
    }

    #[test]
    fn truncation_keeps_the_front() {
        let mut embeddings = Embeddings::from_rows([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).unwrap();
        for unchanged in [0, 3, 9] {
            embeddings.truncate(unchanged);
            assert_eq!(embeddings.dimension(), 3);
        }
        embeddings.truncate(2);
        assert_eq!(embeddings, Embeddings::from_rows([[1.0, 2.0], [4.0, 5.0]]).unwrap());
    }

    #[test]
    fn debug_is_short() {
        let embeddings = Embeddings::zeros(1000, 384);
        assert_eq!(format!("{embeddings:?}"), "Embeddings(1000 × 384, first row [0.0, 0.0, 0.0, 0.0]…)");
    }

    #[test]
    fn arrays_of_any_layout() {
        let array = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        let expected = Embeddings::from_rows([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]).unwrap();
        assert_eq!(Embeddings::from(array.clone().reversed_axes()), expected);
        assert_eq!(Embeddings::from(array.clone()).view(), array);
        let mut rows = array;
        rows.slice_collapse(ndarray::s![1.., ..]);
        assert_eq!(Embeddings::from(rows).as_slice(), [4.0, 5.0, 6.0]);
    }

    #[test]
    fn norms_outside_the_range_of_squares() {
        let mut embeddings = Embeddings::from_rows([[3e30, 4e30], [3e-25, 4e-25], [0.0, 0.0]]).unwrap();
        embeddings.normalize();
        assert!((embeddings.row(0)[0] - 0.6).abs() < 1e-6);
        assert!((embeddings.row(1)[0] - 3e-13).abs() < 1e-18, "the floor is 1e-12: {embeddings:?}");
        assert_eq!(embeddings.row(2), [0.0, 0.0]);
    }

    proptest! {
        #[test]
        fn normalising_again_changes_nothing(rows in 1usize..5, dimension in 1usize..70, seed in prop::collection::vec(-100f32..100.0, 350)) {
            let once = Embeddings::new(seed[..rows * dimension].to_vec(), rows, dimension).unwrap().normalized();
            let twice = once.normalized();
            for (a, b) in once.as_slice().iter().zip(twice.as_slice()) {
                prop_assert!((a - b).abs() <= 2e-7, "{a} {b}");
            }
            for row in once.rows_iter() {
                let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                prop_assert!((norm - 1.0).abs() < 1e-5 || row.iter().all(|&x| x == 0.0), "{norm}");
            }
        }

        #[test]
        fn truncation_is_a_prefix(rows in 0usize..5, dimension in 0usize..9, cut in 0usize..12) {
            let data: Vec<f32> = (0..rows * dimension).map(|x| x as f32).collect();
            let whole = Embeddings::new(data, rows, dimension).unwrap();
            let mut cut_off = whole.clone();
            cut_off.truncate(cut);
            let width = if cut == 0 { dimension } else { cut.min(dimension) };
            prop_assert_eq!(cut_off.dimension(), width);
            for (a, b) in whole.rows_iter().zip(cut_off.rows_iter()) {
                prop_assert_eq!(&a[..width], b);
            }
        }
    }
}
