//! From float embeddings to bytes and bits.

use rayon::prelude::*;

use crate::{Embeddings, Precision, QuantizedEmbeddings, Result, VectorError};

/// Fewer rows than this make poor ranges.
const FEW_ROWS: usize = 100;

/// Steps between minimum and maximum of a dimension.
const STEPS: f32 = 255.0;

/// Minimum and maximum of each dimension: the buckets of int8 and uint8.
///
/// ```
/// use st_vectors::{Embeddings, Ranges};
/// let ranges = Ranges::from_embeddings(&Embeddings::from_rows([[1.0, 20.0], [4.0, 5.0]])?)?;
/// assert_eq!((ranges.minima(), ranges.maxima()), (&[1.0, 5.0][..], &[4.0, 20.0][..]));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ranges {
    minima: Vec<f32>,
    maxima: Vec<f32>,
}

impl Ranges {
    /// Takes minima and maxima, one of each per dimension.
    ///
    /// # Errors
    /// [`VectorError::RangesShape`] when there are not as many of both, [`VectorError::InvalidRange`] when one is not
    /// finite or a minimum is above its maximum.
    pub fn new(minima: Vec<f32>, maxima: Vec<f32>) -> Result<Self> {
        let dimension = minima.len();
        if dimension != maxima.len() {
            return Err(VectorError::RangesShape { minima: dimension, maxima: maxima.len(), dimension });
        }
        for (dimension, (&minimum, &maximum)) in minima.iter().zip(&maxima).enumerate() {
            if !(minimum.is_finite() && maximum.is_finite() && minimum <= maximum) {
                return Err(VectorError::InvalidRange { dimension, minimum, maximum });
            }
        }
        Ok(Self { minima, maxima })
    }

    /// The extremes of calibration embeddings. Only finite values count; a dimension without one gets 0 to 0.
    ///
    /// # Errors
    /// [`VectorError::NoVectors`] when there are none.
    pub fn from_embeddings(embeddings: &Embeddings) -> Result<Self> {
        if embeddings.is_empty() {
            return Err(VectorError::NoVectors);
        }
        let dimension = embeddings.dimension();
        let none = || (vec![f32::INFINITY; dimension], vec![f32::NEG_INFINITY; dimension]);
        let strips = embeddings.as_slice().par_chunks(strip(dimension));
        let (mut minima, mut maxima) =
            strips.fold(none, extremes).reduce(none, |(mut minima, mut maxima), (low, high)| {
                minima.iter_mut().zip(low).for_each(|(minimum, low)| *minimum = minimum.min(low));
                maxima.iter_mut().zip(high).for_each(|(maximum, high)| *maximum = maximum.max(high));
                (minima, maxima)
            });
        for (minimum, maximum) in minima.iter_mut().zip(&mut maxima) {
            if minimum > maximum {
                (*minimum, *maximum) = (0.0, 0.0);
            }
        }
        Ok(Self { minima, maxima })
    }

    /// The smallest value of each dimension.
    #[must_use]
    pub fn minima(&self) -> &[f32] {
        &self.minima
    }

    /// The largest value of each dimension.
    #[must_use]
    pub fn maxima(&self) -> &[f32] {
        &self.maxima
    }

    /// Number of dimensions.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.minima.len()
    }

    fn check(&self, dimension: usize) -> Result<()> {
        if self.dimension() == dimension {
            Ok(())
        } else {
            Err(VectorError::RangesShape { minima: self.minima.len(), maxima: self.maxima.len(), dimension })
        }
    }
}

/// Stores embeddings in a precision.
///
/// * float32: as they are.
/// * int8, uint8: with start = minimum and step = (maximum − minimum) / 255 of each dimension, uint8 is
///   (x − start) / step and int8 is (x − start) / step − 128, both truncated toward zero, in `f32` as the original
///   does it for `f32` input. The ranges are, in this order, `ranges`, the extremes of `calibration`, or those of
///   `embeddings` themselves (with a warning in the log below 100 rows). Values outside the ranges saturate, and NaN
///   (also 0/0, a value in a dimension without extent) is stored as the integer 0; the original wraps around there.
/// * ubinary: one bit per dimension, 1 where x > 0, each row packed by itself, most significant bit first, the last
///   byte filled with zero bits. binary: these bytes minus 128.
///
/// No rows give no rows, of the stored width.
///
/// # Errors
/// [`VectorError::RangesShape`] when ranges or calibration have another dimension, [`VectorError::NoVectors`] when
/// the calibration has no rows.
///
/// ```
/// use st_vectors::{Embeddings, Precision, quantize_embeddings};
/// let calibration = Embeddings::from_rows([[1.0, 20.0, -3.0], [4.0, 5.0, -60.0]])?;
/// let embeddings = Embeddings::from_rows([[-1.0, 15.0, 1.0]])?;
/// let bytes = quantize_embeddings(&embeddings, Precision::Uint8, None, Some(&calibration))?;
/// assert_eq!(bytes.as_u8(), Some(&[0, 170, 255][..]));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn quantize_embeddings(
    embeddings: &Embeddings,
    precision: Precision,
    ranges: Option<&Ranges>,
    calibration: Option<&Embeddings>,
) -> Result<QuantizedEmbeddings> {
    let (rows, dimension) = (embeddings.rows(), embeddings.dimension());
    match precision {
        Precision::Float32 => Ok(QuantizedEmbeddings::from(embeddings.clone())),
        Precision::Int8 => {
            let buckets = Buckets::new(embeddings, precision, ranges, calibration)?;
            let cast = |value: f32, start: f32, step: f32| ((value - start) / step - 128.0) as i8;
            QuantizedEmbeddings::from_int8(buckets.apply(embeddings, cast), rows, dimension)
        }
        Precision::Uint8 => {
            let buckets = Buckets::new(embeddings, precision, ranges, calibration)?;
            let cast = |value: f32, start: f32, step: f32| ((value - start) / step) as u8;
            QuantizedEmbeddings::from_uint8(buckets.apply(embeddings, cast), rows, dimension)
        }
        Precision::Ubinary => QuantizedEmbeddings::from_ubinary(pack(embeddings), rows, dimension),
        Precision::Binary => {
            let bytes = pack(embeddings).into_iter().map(signed).collect();
            QuantizedEmbeddings::from_binary(bytes, rows, dimension)
        }
    }
}

/// A packed byte minus 128: the same bits with the first one flipped.
fn signed(byte: u8) -> i8 {
    (byte ^ 0x80) as i8
}

/// Start and step of each dimension.
struct Buckets {
    starts: Vec<f32>,
    steps: Vec<f32>,
}

impl Buckets {
    fn new(
        embeddings: &Embeddings,
        precision: Precision,
        ranges: Option<&Ranges>,
        calibration: Option<&Embeddings>,
    ) -> Result<Self> {
        let found;
        let ranges = match (ranges, calibration) {
            (Some(ranges), _) => ranges,
            (None, Some(calibration)) => {
                found = Ranges::from_embeddings(calibration)?;
                &found
            }
            (None, None) if embeddings.is_empty() => return Ok(Self { starts: Vec::new(), steps: Vec::new() }),
            (None, None) => {
                warn_of_few_rows(precision, embeddings.rows());
                found = Ranges::from_embeddings(embeddings)?;
                &found
            }
        };
        ranges.check(embeddings.dimension())?;
        let extents = ranges.minima.iter().zip(&ranges.maxima);
        Ok(Self { starts: ranges.minima.clone(), steps: extents.map(|(min, max)| (max - min) / STEPS).collect() })
    }

    fn apply<T: Copy + Default + Send>(
        &self,
        embeddings: &Embeddings,
        cast: impl Fn(f32, f32, f32) -> T + Sync,
    ) -> Vec<T> {
        let (values, dimension) = (embeddings.as_slice(), embeddings.dimension().max(1));
        let mut out = vec![T::default(); values.len()];
        let strips = out.par_chunks_mut(strip(dimension)).zip(values.par_chunks(strip(dimension)));
        strips.for_each(|(out, values)| {
            for (out, row) in out.chunks_exact_mut(dimension).zip(values.chunks_exact(dimension)) {
                let buckets = self.starts.iter().zip(&self.steps);
                for ((out, &value), (&start, &step)) in out.iter_mut().zip(row).zip(buckets) {
                    *out = cast(value, start, step);
                }
            }
        });
        out
    }
}

/// Numbers that a thread takes at a time.
fn strip(dimension: usize) -> usize {
    dimension.max(1) * FEW_ROWS
}

/// Smallest and largest finite value of each dimension, so far and in more rows.
fn extremes((mut minima, mut maxima): (Vec<f32>, Vec<f32>), rows: &[f32]) -> (Vec<f32>, Vec<f32>) {
    for row in rows.chunks_exact(minima.len().max(1)) {
        for ((minimum, maximum), &value) in minima.iter_mut().zip(&mut maxima).zip(row) {
            let finite = value.abs() < f32::INFINITY;
            *minimum = if finite && value < *minimum { value } else { *minimum };
            *maximum = if finite && value > *maximum { value } else { *maximum };
        }
    }
    (minima, maxima)
}

fn warn_of_few_rows(precision: Precision, rows: usize) {
    if rows < FEW_ROWS {
        let plural = if rows == 1 { "" } else { "s" };
        log::warn!(
            "Computing {precision} quantization buckets based on {rows} embedding{plural}. {precision} quantization is \
             more stable with `ranges` calculated from more embeddings or a `calibration_embeddings` that can be used \
             to calculate the buckets."
        );
    }
}

/// One bit per value, row by row.
fn pack(embeddings: &Embeddings) -> Vec<u8> {
    let (values, dimension) = (embeddings.as_slice(), embeddings.dimension());
    if dimension == 0 {
        return Vec::new();
    }
    let bytes = dimension.div_ceil(8);
    let mut out = vec![0u8; embeddings.rows() * bytes];
    let strips = out.par_chunks_mut(FEW_ROWS * bytes).zip(values.par_chunks(strip(dimension)));
    strips.for_each(|(out, values)| {
        for (out, row) in out.chunks_exact_mut(bytes).zip(values.chunks_exact(dimension)) {
            let (whole, rest) = row.as_chunks::<8>();
            for (byte, eight) in out.iter_mut().zip(whole) {
                *byte = bits(*eight);
            }
            if let [.., last] = out
                && !rest.is_empty()
            {
                let mut eight = [0.0; 8];
                eight[..rest.len()].copy_from_slice(rest);
                *last = bits(eight);
            }
        }
    });
    out
}

/// A bit for each value, 1 where it is positive, the first one highest.
fn bits(values: [f32; 8]) -> u8 {
    values.iter().enumerate().fold(0, |byte, (bit, &value)| byte | (u8::from(value > 0.0) << (7 - bit)))
}
