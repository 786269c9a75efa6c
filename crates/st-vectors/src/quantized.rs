//! Embeddings as they are stored: floats, bytes or bits.

use std::fmt;

use crate::{Embeddings, Precision, Result, VectorError};

/// Stored vectors: one contiguous row-major matrix of `f32`, `i8` or `u8`.
///
/// [`quantize_embeddings`](crate::quantize_embeddings) makes them; the constructors take what was stored elsewhere.
///
/// ```
/// use st_vectors::{Embeddings, Precision, quantize_embeddings};
/// let embeddings = Embeddings::from_rows([[0.5, -1.0, 0.0, 2.0, 1.0, 1.0, -3.0, 0.1, 7.0]])?;
/// let bits = quantize_embeddings(&embeddings, Precision::Ubinary, None, None)?;
/// assert_eq!((bits.dimension(), bits.original_dimension()), (2, 9));
/// assert_eq!(bits.row_u8(0), Some(&[0b1001_1101, 0b1000_0000][..]));
/// assert_eq!(bits.to_embeddings().row(0), [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0]);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct QuantizedEmbeddings {
    values: Values,
    precision: Precision,
    rows: usize,
    /// Components of a vector before it was stored; more than the stored width where bits are packed.
    original_dimension: usize,
}

#[derive(Clone, PartialEq)]
enum Values {
    Float(Embeddings),
    Signed(Vec<i8>),
    Unsigned(Vec<u8>),
}

/// The stored width of vectors of a dimension.
fn stored_width(precision: Precision, dimension: usize) -> usize {
    match precision {
        Precision::Float32 | Precision::Int8 | Precision::Uint8 => dimension,
        Precision::Binary | Precision::Ubinary => dimension.div_ceil(8),
    }
}

impl QuantizedEmbeddings {
    fn checked(values: Values, precision: Precision, rows: usize, original_dimension: usize) -> Result<Self> {
        let length = match &values {
            Values::Float(values) => values.as_slice().len(),
            Values::Signed(values) => values.len(),
            Values::Unsigned(values) => values.len(),
        };
        let dimension = stored_width(precision, original_dimension);
        if rows.checked_mul(dimension) == Some(length) {
            Ok(Self { values, precision, rows, original_dimension })
        } else {
            Err(VectorError::Shape { length, rows, dimension })
        }
    }

    /// Takes stored int8 values, row after row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are not `rows · dimension` of them.
    pub fn from_int8(data: Vec<i8>, rows: usize, dimension: usize) -> Result<Self> {
        Self::checked(Values::Signed(data), Precision::Int8, rows, dimension)
    }

    /// Takes stored uint8 values, row after row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are not `rows · dimension` of them.
    pub fn from_uint8(data: Vec<u8>, rows: usize, dimension: usize) -> Result<Self> {
        Self::checked(Values::Unsigned(data), Precision::Uint8, rows, dimension)
    }

    /// Takes packed bits of vectors of `bits` dimensions, each byte minus 128, `bits / 8` (rounded up) bytes to a row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are more or fewer bytes.
    pub fn from_binary(data: Vec<i8>, rows: usize, bits: usize) -> Result<Self> {
        Self::checked(Values::Signed(data), Precision::Binary, rows, bits)
    }

    /// Takes packed bits of vectors of `bits` dimensions, `bits / 8` (rounded up) bytes to a row.
    ///
    /// # Errors
    /// [`VectorError::Shape`] when there are more or fewer bytes.
    pub fn from_ubinary(data: Vec<u8>, rows: usize, bits: usize) -> Result<Self> {
        Self::checked(Values::Unsigned(data), Precision::Ubinary, rows, bits)
    }

    /// Number of vectors.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of vectors, as [`QuantizedEmbeddings::rows`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are no vectors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Stored values per vector: its dimension, or its bytes of packed bits.
    #[must_use]
    pub fn dimension(&self) -> usize {
        stored_width(self.precision, self.original_dimension)
    }

    /// Dimension of the vectors before they were stored: the number of bits where bits are packed.
    #[must_use]
    pub fn original_dimension(&self) -> usize {
        self.original_dimension
    }

    /// How the vectors are stored.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Float32 vectors as they are.
    #[must_use]
    pub fn as_embeddings(&self) -> Option<&Embeddings> {
        if let Values::Float(values) = &self.values { Some(values) } else { None }
    }

    /// All values of float32 vectors.
    #[must_use]
    pub fn as_f32(&self) -> Option<&[f32]> {
        self.as_embeddings().map(Embeddings::as_slice)
    }

    /// All values of int8 and binary vectors.
    #[must_use]
    pub fn as_i8(&self) -> Option<&[i8]> {
        if let Values::Signed(values) = &self.values { Some(values) } else { None }
    }

    /// All values of uint8 and ubinary vectors.
    #[must_use]
    pub fn as_u8(&self) -> Option<&[u8]> {
        if let Values::Unsigned(values) = &self.values { Some(values) } else { None }
    }

    /// One float32 vector; none for another precision or a row that is not there.
    #[must_use]
    pub fn row_f32(&self, index: usize) -> Option<&[f32]> {
        self.as_f32().and_then(|values| self.row_of(values, index))
    }

    /// One int8 or binary vector; none for another precision or a row that is not there.
    #[must_use]
    pub fn row_i8(&self, index: usize) -> Option<&[i8]> {
        self.as_i8().and_then(|values| self.row_of(values, index))
    }

    /// One uint8 or ubinary vector; none for another precision or a row that is not there.
    #[must_use]
    pub fn row_u8(&self, index: usize) -> Option<&[u8]> {
        self.as_u8().and_then(|values| self.row_of(values, index))
    }

    fn row_of<'a, T>(&self, values: &'a [T], index: usize) -> Option<&'a [T]> {
        if index >= self.rows {
            return None;
        }
        values.get(index * self.dimension()..(index + 1) * self.dimension())
    }

    /// The stored numbers as floats, packed bits as 0 and 1: `[rows, original dimension]`.
    ///
    /// Ranges are not undone: an int8 vector comes back as whole numbers between −128 and 127.
    #[must_use]
    pub fn to_embeddings(&self) -> Embeddings {
        let mut out = Embeddings::zeros(self.rows, self.original_dimension);
        for index in 0..self.rows {
            self.expand_row(index, out.row_mut(index));
        }
        out
    }

    /// Writes the numbers of one row, packed bits as 0 and 1, into `out` of the original dimension.
    pub(crate) fn expand_row(&self, index: usize, out: &mut [f32]) {
        let span = index * self.dimension()..(index + 1) * self.dimension();
        match (&self.values, self.precision) {
            (Values::Float(values), _) => out.copy_from_slice(values.row(index)),
            (Values::Signed(values), Precision::Binary) => {
                unpack(values[span].iter().map(|&byte| byte as u8 ^ 0x80), out);
            }
            (Values::Unsigned(values), Precision::Ubinary) => unpack(values[span].iter().copied(), out),
            (Values::Signed(values), _) => {
                out.iter_mut().zip(&values[span]).for_each(|(out, &value)| *out = f32::from(value));
            }
            (Values::Unsigned(values), _) => {
                out.iter_mut().zip(&values[span]).for_each(|(out, &value)| *out = f32::from(value));
            }
        }
    }
}

/// The first bits of packed bytes, as many as `out` is long, most significant bit first.
fn unpack(bytes: impl Iterator<Item = u8>, out: &mut [f32]) {
    for (byte, out) in bytes.zip(out.chunks_mut(8)) {
        for (bit, out) in out.iter_mut().enumerate() {
            *out = f32::from(byte >> (7 - bit) & 1);
        }
    }
}

/// Stored as float32, without a copy.
impl From<Embeddings> for QuantizedEmbeddings {
    fn from(embeddings: Embeddings) -> Self {
        let (rows, original_dimension) = (embeddings.rows(), embeddings.dimension());
        Self { values: Values::Float(embeddings), precision: Precision::Float32, rows, original_dimension }
    }
}

impl fmt::Debug for QuantizedEmbeddings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuantizedEmbeddings({} × {} {}", self.rows, self.dimension(), self.precision)?;
        if self.original_dimension != self.dimension() {
            write!(f, " of {} bits", self.original_dimension)?;
        }
        write!(f, ")")
    }
}
