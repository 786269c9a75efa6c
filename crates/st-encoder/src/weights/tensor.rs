//! [`Tensor`]: a view of one stored tensor, and its conversion to 32-bit floats.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use half::f16;
use half::slice::HalfFloatSliceExt as _;

use crate::EncoderError;

/// Data types of stored tensors.
///
/// ```
/// assert_eq!((st_encoder::DataType::BF16.size(), st_encoder::DataType::F64.as_str()), (2, "float64"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DataType {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    BF16,
}

impl DataType {
    /// Bytes of one number.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::F64 => 8,
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// Its name, the one of PyTorch's data type.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::F64 => "float64",
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::BF16 => "bfloat16",
        }
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A tensor of any type as it lies in its file: also those that hold no floating-point numbers.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::I8, vec![2], &[1, 255])?;
/// # std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize([("bytes", view)], None)?)?;
/// let weights = st_encoder::Weights::open(folder.path())?;
/// let tensor = weights.raw("bytes").unwrap();
/// assert_eq!((tensor.data_type, tensor.shape, tensor.bytes), ("I8", &[2][..], &[1, 255][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RawTensor<'a> {
    /// Name of the type: [`DataType::as_str`] for floating-point numbers, else the file's name, such as `I8`.
    pub data_type: &'a str,
    /// Shape, outermost first.
    pub shape: &'a [usize],
    /// The stored bytes, little-endian, row-major; not necessarily aligned.
    pub bytes: &'a [u8],
}

/// A tensor's numbers in the checkpoint, row-major.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, vec![2], &[0x80, 0x3f, 0, 0xc0])?;
/// # std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize([("norm.weight", view)], None)?)?;
/// use st_encoder::{DataType, TensorSource, Weights};
///
/// let weights = Weights::open(folder.path())?;
/// let tensor = weights.tensor(&TensorSource::whole("norm.weight"), &[2])?;
/// assert_eq!((tensor.data_type(), tensor.shape()), (DataType::BF16, &[2][..]));
/// assert_eq!(*tensor.to_f32()?, [1.0, -2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Tensor<'a> {
    pub(super) path: &'a Path,
    pub(super) name: String,
    pub(super) data_type: DataType,
    pub(super) shape: Vec<usize>,
    pub(super) content: Content<'a>,
}

/// Where a tensor's numbers are.
#[derive(Debug, Clone)]
pub(super) enum Content<'a> {
    /// In the checkpoint.
    Stored(&'a [u8]),
    /// Made from the checkpoint's by an overlay: 32-bit floats.
    Changed(Arc<[u8]>),
}

/// Numbers converted or checked at a time, so that they stay in the first-level cache.
const BLOCK: usize = 2048;

impl<'a> Tensor<'a> {
    /// Data type: the stored one, or 32-bit floats where an overlay changed the numbers.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// Shape, outermost first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The bytes, little-endian, row-major; not necessarily aligned.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Stored(bytes) => bytes,
            Content::Changed(bytes) => bytes,
        }
    }

    /// The bytes in the checkpoint, which outlive the tensor; `None` where an overlay changed the numbers.
    #[must_use]
    pub fn stored_bytes(&self) -> Option<&'a [u8]> {
        match self.content {
            Content::Stored(bytes) => Some(bytes),
            Content::Changed(_) => None,
        }
    }

    /// The numbers as 32-bit floats, borrowed when they are stored so and aligned.
    ///
    /// # Errors
    /// [`EncoderError::NotFinite`] at the first NaN or infinity; a 64-bit float outside the range of 32-bit floats
    /// counts as infinity.
    pub fn to_f32(&self) -> Result<Cow<'a, [f32]>, EncoderError> {
        let numbers = match (&self.content, self.data_type) {
            (Content::Changed(bytes), _) => Cow::Owned(from_f32(bytes)),
            (Content::Stored(bytes), DataType::F32) => {
                borrowed(bytes).map_or_else(|| Cow::Owned(from_f32(bytes)), Cow::Borrowed)
            }
            (Content::Stored(bytes), DataType::F16) => Cow::Owned(from_f16(bytes)),
            (Content::Stored(bytes), DataType::BF16) => Cow::Owned(from_bf16(bytes)),
            (Content::Stored(bytes), DataType::F64) => Cow::Owned(from_f64(bytes)),
        };
        match first_not_finite(&numbers) {
            Some(index) => Err(EncoderError::NotFinite { path: self.path.into(), name: self.name.clone(), index }),
            None => Ok(numbers),
        }
    }
}

/// The bytes as they are, where the machine's byte order and the alignment allow it.
fn borrowed(bytes: &[u8]) -> Option<&[f32]> {
    if cfg!(target_endian = "big") {
        return None;
    }
    bytemuck::try_cast_slice(bytes).ok()
}

fn from_f32(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_le_bytes(number)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "rounding to 32 bits is the purpose")]
fn from_f64(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f64::from_le_bytes(number) as f32).collect()
}

/// A bfloat16 is the upper half of a 32-bit float.
fn from_bf16(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&number| f32::from_bits(u32::from(u16::from_le_bytes(number)) << 16)).collect()
}

/// Block by block, because only whole slices are converted by the processor's instruction.
fn from_f16(bytes: &[u8]) -> Vec<f32> {
    let stored = bytes.as_chunks::<2>().0;
    let mut numbers = vec![0.0; stored.len()];
    let mut halves = [f16::ZERO; BLOCK];
    for (stored, numbers) in stored.chunks(BLOCK).zip(numbers.chunks_mut(BLOCK)) {
        let halves = &mut halves[..stored.len()];
        for (half, &bytes) in halves.iter_mut().zip(stored) {
            *half = f16::from_le_bytes(bytes);
        }
        halves.convert_to_f32_slice(numbers);
    }
    numbers
}

/// Index of the first NaN or infinity. Blocks are summed up without branches, so that sound weights cost one fast pass.
fn first_not_finite(numbers: &[f32]) -> Option<usize> {
    const EXPONENT: u32 = 0x7f80_0000;
    let bad = |number: &f32| number.to_bits() & EXPONENT == EXPONENT;
    let (index, block) = numbers
        .chunks(BLOCK)
        .enumerate()
        .find(|(_, block)| block.iter().fold(false, |found, number| found | bad(number)))?;
    block.iter().position(bad).map(|inside| index * BLOCK + inside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tensor(data_type: DataType, bytes: &[u8]) -> Tensor<'_> {
        let shape = vec![bytes.len() / data_type.size()];
        Tensor {
            path: Path::new("model.safetensors"),
            name: "w".into(),
            data_type,
            shape,
            content: Content::Stored(bytes),
        }
    }

    #[test]
    fn aligned_floats_are_borrowed_and_others_copied() {
        let numbers: Vec<f32> = (0..5000u16).map(f32::from).collect();
        let bytes: &[u8] = bytemuck::cast_slice(&numbers);
        assert!(matches!(tensor(DataType::F32, bytes).to_f32().unwrap(), Cow::Borrowed(_)));
        let mut shifted = vec![0u8];
        shifted.extend_from_slice(bytes);
        let shifted = &shifted[1..];
        assert_eq!(&*tensor(DataType::F32, shifted).to_f32().unwrap(), &numbers[..]);
    }

    #[test]
    fn the_first_number_that_is_not_finite_is_named() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut numbers = vec![1.0f32; 3 * BLOCK + 7];
            numbers[2 * BLOCK + 5] = bad;
            numbers[2 * BLOCK + 9] = bad;
            let error = tensor(DataType::F32, bytemuck::cast_slice(&numbers)).to_f32().unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("model.safetensors: tensor 'w' holds a number that is not finite (element {})", 2 * BLOCK + 5)
            );
        }
        let large = 1e300f64.to_le_bytes();
        assert!(matches!(tensor(DataType::F64, &large).to_f32(), Err(EncoderError::NotFinite { index: 0, .. })));
    }

    proptest! {
        #[test]
        fn halves_convert_as_the_half_crate_says(bits in proptest::collection::vec(any::<u16>(), 0..3000)) {
            let bytes: Vec<u8> = bits.iter().flat_map(|b| b.to_le_bytes()).collect();
            let expected: Vec<u32> = bits.iter().map(|&b| f16::from_bits(b).to_f32().to_bits()).collect();
            prop_assert_eq!(from_f16(&bytes).iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected);
            let expected: Vec<f32> = bits.iter().map(|&b| half::bf16::from_bits(b).to_f32()).collect();
            for (found, expected) in from_bf16(&bytes).iter().zip(&expected) {
                prop_assert!(found == expected || (found.is_nan() && expected.is_nan()));
            }
        }

        #[test]
        fn doubles_round_to_nearest(numbers in proptest::collection::vec(-1e30f64..1e30, 0..50)) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            let expected: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
            prop_assert_eq!(&*tensor(DataType::F64, &bytes).to_f32().unwrap(), &expected[..]);
        }
    }
}
