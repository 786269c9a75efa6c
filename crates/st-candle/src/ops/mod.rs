//! The operations that a graph is made of, each differentiable on every device and in every floating-point type.
//!
//! A graph calls nothing else for its heavy work, so that a faster form of an operation is put in here once. The forms in
//! this folder's `generic_*` files are composed of candle's own operations; they are what everything else is tested
//! against. 16-bit floats are widened to 32 bits inside norms, activations and softmax.
//!
//! Rows are ragged: `n` is the number of tokens of the batch.

mod attention_shape;
#[cfg(test)]
mod derivative_tests;
pub(crate) mod fused;
pub(crate) mod fused_attention;
mod fused_linear;
mod fused_rows;
mod generic_attention;
mod generic_convolution;
mod generic_disentangled;
mod generic_rows;
mod sequences;

use candle_core::{Result, Tensor};
use st_encoder::{Activation, NormSpec};

pub use crate::compute::composed;
use crate::dropout::DropoutMask;
pub use crate::ops::attention_shape::AttentionShape;
pub use crate::ops::generic_rows::Rotation;
pub use crate::ops::sequences::Sequences;

/// `x · weightᵀ + bias`: `x` is `[n, inputs]`, `weight` `[outputs, inputs]`, `bias` `[outputs]`.
///
/// ```
/// use candle_core::{Device, Tensor};
///
/// let x = Tensor::new(&[[1f64, 2.0]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[1f64, 0.0], [0.0, 10.0], [1.0, 1.0]], &Device::Cpu)?;
/// let y = st_candle::ops::linear(&x, &weight, None)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[1.0, 20.0, 3.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if fused::usable([x, weight].into_iter().chain(bias)) && x.rank() == 2 {
        return fused_linear::linear(x, weight, bias);
    }
    generic_rows::linear(x, weight, bias)
}

/// A convolution over the tokens of each sequence: `x` is `[n, inputs]`, `weight` `[outputs, inputs / groups, kernel]` with an
/// odd kernel, `bias` `[outputs]`; the result is `[n, outputs]`. Before a sequence and behind it there are zeros.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_candle::ops::{Sequences, convolution};
///
/// // Each token's left neighbour, and ten times its right one; the two sequences do not meet.
/// let sequences = Sequences::new(&[0, 2, 5], &Device::Cpu)?;
/// let x = Tensor::new(&[[1f64], [2.0], [3.0], [4.0], [5.0]], &Device::Cpu)?;
/// let weight = Tensor::new(&[[[1f64, 0.0, 10.0]]], &Device::Cpu)?;
/// let y = convolution(&x, &weight, None, 1, &sequences)?;
/// assert_eq!(y.to_vec2::<f64>()?, [[20.0], [1.0], [40.0], [53.0], [4.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    groups: usize,
    sequences: &Sequences,
) -> Result<Tensor> {
    generic_convolution::convolution(x, weight, bias, groups, sequences)
}

/// A norm over the last dimension of `x`; `weight` and `bias` have its length.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn norm(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, spec: &NormSpec) -> Result<Tensor> {
    if fused::usable([x, weight].into_iter().chain(bias)) {
        return fused_rows::norm(x, weight, bias, spec);
    }
    generic_rows::norm(x, weight, bias, spec)
}

/// `norm(x + y)`: the end of a block with norms after the residual sum.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn add_norm(x: &Tensor, y: &Tensor, weight: &Tensor, bias: Option<&Tensor>, spec: &NormSpec) -> Result<Tensor> {
    norm(&add(x, y)?, weight, bias, spec)
}

/// The sum of a residual connection; both are `[n, hidden]`.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    x.add(y)
}

/// An activation function, component by component.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_encoder::Activation;
///
/// let x = Tensor::new(&[-1f64, 0.0, 2.0], &Device::Cpu)?;
/// assert_eq!(st_candle::ops::activation(&x, Activation::Relu)?.to_vec1::<f64>()?, [0.0, 0.0, 2.0]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// When the device lacks memory.
pub fn activation(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if fused::usable([x]) {
        return fused_rows::activation(x, activation);
    }
    generic_rows::activation(x, activation)
}

/// `activation(gate) ∘ up`: the middle of a gated feed-forward network (Shazeer 2020).
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn gated(gate: &Tensor, up: &Tensor, function: Activation) -> Result<Tensor> {
    if fused::usable([gate, up]) {
        return fused_rows::gated(gate, up, function);
    }
    activation(gate, function)?.mul(up)
}

/// Rows of a table: `table` is `[rows, width]`, `ids` `[n]` of `u32`; the result is `[n, width]`.
///
/// # Errors
/// When an id lies outside the table.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if fused::usable([table]) && ids.device().is_cpu() && ids.dtype() == candle_core::DType::U32 {
        return fused_linear::embedding(table, ids);
    }
    table.index_select(ids, 0)
}

/// Drops components of `x` `[n, width]` and scales up the others; nothing without a mask.
///
/// # Errors
/// When the device lacks memory.
pub fn dropout(x: &Tensor, mask: Option<&DropoutMask>) -> Result<Tensor> {
    match mask {
        Some(mask) => generic_rows::dropout(x, mask),
        None => Ok(x.clone()),
    }
}

/// Rotary embeddings (Su et al. 2021) of `x` `[n, heads · head_size]`: component `i` of a head pairs with `i + half`.
///
/// # Errors
/// When shapes, types or devices do not fit.
pub fn rotary(x: &Tensor, rotation: &Rotation, head_size: usize) -> Result<Tensor> {
    generic_rows::rotary(x, rotation, head_size)
}

/// `softmax(q · kᵀ · scale + positions) · v` per sequence and head, without the output projection.
///
/// `query` is `[n, heads · head_size]`, `key` and `value` `[n, key_value_heads · head_size]`, the result like `query`.
/// `relative_bias` is the table `[buckets, heads]` where the shape says [`st_encoder::AttentionPosition::RelativeBias`];
/// it is trainable. ALiBi, windows and causality are in the shape. Dropout falls on the probabilities.
///
/// ```
/// use std::sync::Arc;
/// use candle_core::{DType, Device, Tensor};
/// use st_candle::ops::{AttentionShape, Sequences, attention};
/// use st_encoder::{AttentionMask, AttentionPosition, AttentionSpec};
///
/// let spec = AttentionSpec {
///     heads: 1, key_value_heads: 1, head_size: 2, scale: 1.0, input_bias: false, output_bias: false,
///     position: AttentionPosition::None, mask: AttentionMask::Full, query_key_norm: None,
/// };
/// // Two sequences, of one and of two tokens. Equal keys: every token's value counts the same in its sequence.
/// let sequences = Arc::new(Sequences::new(&[0, 1, 3], &Device::Cpu)?);
/// let shape = AttentionShape::new(&spec, sequences, DType::F64);
/// let key = Tensor::ones((3, 2), DType::F64, &Device::Cpu)?;
/// let value = Tensor::new(&[[5f64, 5.0], [1.0, 0.0], [3.0, 0.0]], &Device::Cpu)?;
/// let context = attention(&key, &key, &value, &shape, None, None)?;
/// assert_eq!(context.to_vec2::<f64>()?, [[5.0, 5.0], [2.0, 0.0], [2.0, 0.0]]);
/// # Ok::<(), candle_core::Error>(())
/// ```
///
/// # Errors
/// When shapes, types or devices do not fit, or a relative bias is asked for and not there.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    shape: &AttentionShape,
    relative_bias: Option<&Tensor>,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    if relative_bias.is_none() && fused_attention::fits(query, key, value, shape) {
        return fused_attention::attention(query, key, value, shape, dropout);
    }
    generic_attention::attention(query, key, value, shape, relative_bias, dropout)
}

/// [`attention`] with the two terms of relative positions of DeBERTa (He et al. 2021), content to position and position
/// to content: `softmax((q·kᵀ + q·r_kᵀ + r_q·kᵀ) · scale) · v`, where each pair reads the row of its distance.
///
/// `relative_query` and `relative_key` are `[2·span, heads · head_size]`: projections of the table of relative positions;
/// a term whose projection is `None` is left out.
///
/// # Errors
/// When shapes, types or devices do not fit, or the shape is not one of disentangled attention.
pub fn disentangled_attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    relative_query: Option<&Tensor>,
    relative_key: Option<&Tensor>,
    shape: &AttentionShape,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    generic_disentangled::attention(query, key, value, relative_query, relative_key, shape, dropout)
}
