//! Operations on rows, composed of candle's.
//!
//! candle's own gelu, gelu_erf and relu are not used: their derivatives are good to six digits or are 1 at 0, where
//! PyTorch's is 0. Its fused norms, softmax and rotary embeddings have no derivatives at all.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::{D, DType, Device, Result, Tensor};
use st_encoder::{Activation, NormKind, NormSpec};

use crate::compute::is_autocast;
use crate::dropout::DropoutMask;

/// `x`, in 32-bit floats when it is in 16-bit ones.
pub(super) fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

/// Under `autocast` 32-bit floats are rounded to bfloat16 before they are multiplied, and so is the product, as the original's
/// are; the derivatives are multiplied in the same way.
pub(super) fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let narrow = is_autocast() && x.dtype() == DType::F32 && weight.dtype() == DType::F32;
    let product = if narrow {
        let (x, weight) = (x.to_dtype(DType::BF16)?, weight.to_dtype(DType::BF16)?);
        x.matmul(&weight.t()?)?.to_dtype(DType::F32)?
    } else {
        x.matmul(&weight.t()?)?
    };
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

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::compute::autocast;

    /// The nearest bfloat16.
    fn rounded(numbers: &[f32]) -> Vec<f32> {
        let narrow = Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(DType::BF16).unwrap();
        narrow.to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }

    #[test]
    fn a_linear_layer_rounds_what_it_multiplies_where_it_is_asked_to() {
        let (x, w) = ([0.123_456_7_f32, -1.765_432_1], [[1.234_567_9_f32, 0.987_654_3], [-0.333_333_3, 2.587_654_3]]);
        let variable = |tensor: Tensor| Var::from_tensor(&tensor).unwrap();
        let input = variable(Tensor::new(&[x], &Device::Cpu).unwrap());
        let weight = variable(Tensor::new(&w, &Device::Cpu).unwrap());
        let bias = variable(Tensor::new(&[0.111_111_1_f32, 7.0], &Device::Cpu).unwrap());
        let run = || linear(input.as_tensor(), weight.as_tensor(), Some(bias.as_tensor())).unwrap();
        let (x, w) = (rounded(&x), w.map(|row| rounded(&row)));
        let dot = |a: &[f32], b: &[f32]| rounded(&[a.iter().zip(b).map(|(a, b)| a * b).sum()])[0];
        let expected = [dot(&x, &w[0]) + 0.111_111_1, dot(&x, &w[1]) + 7.0];
        let found = autocast(true, run);
        assert_eq!((found.dtype(), found.to_vec2::<f32>().unwrap()), (DType::F32, vec![expected.to_vec()]));
        assert_ne!(run().to_vec2::<f32>().unwrap(), [expected], "not elsewhere");
        // The gradient of the output is rounded too; the bias adds it up as it is.
        let factors = Tensor::new(&[[0.765_432_1_f32, -0.234_567_9]], &Device::Cpu).unwrap();
        let gradients = (found * &factors).unwrap().sum_all().unwrap().backward().unwrap();
        let of = |variable: &Var| gradients.get(variable).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let g = rounded(&[0.765_432_1, -0.234_567_9]);
        assert_eq!(of(&input), [0, 1].map(|column| dot(&g, &[w[0][column], w[1][column]])));
        assert_eq!(of(&weight), rounded(&[g[0] * x[0], g[0] * x[1], g[1] * x[0], g[1] * x[1]]));
        assert_eq!(of(&bias), [0.765_432_1, -0.234_567_9]);
    }
}
