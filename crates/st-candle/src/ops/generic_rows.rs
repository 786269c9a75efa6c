//! Operations on rows, composed of candle's.
//!
//! candle's own gelu, gelu_erf and relu are not used: their derivatives are good to six digits or are 1 at 0, where
//! PyTorch's is 0. Its fused norms, softmax and rotary embeddings have no derivatives at all.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::{D, DType, Device, Result, Tensor};
use st_encoder::{Activation, NormKind, NormSpec};

use crate::dropout::DropoutMask;

/// `x`, in 32-bit floats when it is in 16-bit ones.
pub(super) fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let product = x.matmul(&weight.t()?)?;
    match bias {
        Some(bias) => product.broadcast_add(bias),
        None => Ok(product),
    }
}

pub(super) fn norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, spec: &NormSpec) -> Result<Tensor> {
    let wide = widened(x)?;
    let centred = match spec.kind {
        NormKind::Layer => wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?,
        NormKind::RootMeanSquare => wide,
    };
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + spec.epsilon)?.sqrt()?;
    let weight = widened(weight)?;
    let weight = if spec.unit_offset { (weight + 1.0)? } else { weight };
    let mut normed = centred.broadcast_div(&deviation)?.broadcast_mul(&weight)?;
    if let Some(bias) = bias {
        normed = normed.broadcast_add(&widened(bias)?)?;
    }
    normed.to_dtype(x.dtype())
}

pub(super) fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    let wide = widened(x)?;
    let result = match activation {
        Activation::Gelu => ((&wide * FRAC_1_SQRT_2)?.erf()? + 1.0)?.mul(&(&wide * 0.5)?)?,
        Activation::GeluTanh => {
            let polynomial = ((wide.sqr()? * 0.044_715)? + 1.0)?.mul(&wide)?;
            ((polynomial * (2.0 / PI).sqrt())?.tanh()? + 1.0)?.mul(&(&wide * 0.5)?)?
        }
        Activation::QuickGelu => ((wide * 1.702)?.silu()? / 1.702)?,
        Activation::Relu => {
            let positive = wide.detach().gt(0.0)?.to_dtype(wide.dtype())?;
            wide.mul(&positive)?
        }
        Activation::Silu => wide.silu()?,
        Activation::Tanh => wide.tanh()?,
    };
    result.to_dtype(x.dtype())
}

pub(super) fn dropout(x: &Tensor, mask: &DropoutMask) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let mut factors = vec![0f32; rows * width];
    for (row, factors) in factors.chunks_mut(width.max(1)).enumerate() {
        mask.fill_row(row as u64, factors);
    }
    x.mul(&Tensor::from_vec(factors, (rows, width), x.device())?.to_dtype(x.dtype())?)
}

/// Cosines and sines of the angles of every token of a batch, for [`super::rotary`].
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use st_candle::ops::{Rotation, rotary};
///
/// // One pair of components, one wave of one radian per position; two sequences of two tokens.
/// let rotation = Rotation::new(&[0, 2, 4], &[1.0], DType::F64, &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let y = rotary(&x, &rotation, 2)?.to_vec2::<f64>()?;
/// assert_eq!(y[0], [1.0, 0.0]);
/// assert_eq!(y[1], [1f64.cos(), 1f64.sin()]);
/// assert_eq!(y[1], y[3]);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rotation {
    /// `[n, 1, pairs]`.
    cosines: Tensor,
    /// `[n, 1, pairs]`.
    sines: Tensor,
    pairs: usize,
}

impl Rotation {
    /// The angle of pair `i` at position `p` of its sequence is `p · wave_numbers[i]`
    /// ([`st_encoder::rotary_wave_numbers`]). `offsets` are those of [`st_encoder::Batch::offsets`].
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn new(offsets: &[usize], wave_numbers: &[f64], dtype: DType, device: &Device) -> Result<Self> {
        let positions = offsets.windows(2).flat_map(|pair| 0..pair[1] - pair[0]);
        let angles: Vec<f64> =
            positions.flat_map(|position| wave_numbers.iter().map(move |number| position as f64 * number)).collect();
        let shape = (offsets.last().copied().unwrap_or(0), 1, wave_numbers.len());
        let table = |function: fn(f64) -> f64| {
            let values: Vec<f64> = angles.iter().map(|&angle| function(angle)).collect();
            // Rounded here: not every device has 64-bit floats.
            Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        Ok(Self { cosines: table(f64::cos)?, sines: table(f64::sin)?, pairs: wave_numbers.len() })
    }

    /// Cosines `[n, 1, pairs]`.
    #[must_use]
    pub fn cosines(&self) -> &Tensor {
        &self.cosines
    }

    /// Sines `[n, 1, pairs]`.
    #[must_use]
    pub fn sines(&self) -> &Tensor {
        &self.sines
    }
}

pub(super) fn rotary(x: &Tensor, rotation: &Rotation, head_size: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let heads = x.reshape((rows, (), head_size))?;
    let (first, second) = (heads.narrow(2, 0, rotation.pairs)?, heads.narrow(2, rotation.pairs, rotation.pairs)?);
    let turned_first = first.broadcast_mul(&rotation.cosines)?.sub(&second.broadcast_mul(&rotation.sines)?)?;
    let turned_second = second.broadcast_mul(&rotation.cosines)?.add(&first.broadcast_mul(&rotation.sines)?)?;
    let mut parts = vec![turned_first, turned_second];
    let turned = 2 * rotation.pairs;
    if turned < head_size {
        parts.push(heads.narrow(2, turned, head_size - turned)?);
    }
    Tensor::cat(&parts, 2)?.reshape((rows, width))
}
