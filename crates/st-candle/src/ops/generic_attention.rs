//! Attention composed of candle's operations, a group of sequences at a time.

use candle_core::{D, DType, Result, Tensor, bail};
use st_encoder::AttentionPosition;

use super::attention_shape::AttentionShape;
use super::generic_rows::widened;
use super::sequences::Group;
use crate::dropout::DropoutMask;

pub(super) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    shape: &AttentionShape,
    relative_bias: Option<&Tensor>,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    let needs_bias = matches!(shape.position, AttentionPosition::RelativeBias { .. });
    if needs_bias != relative_bias.is_some() {
        bail!("attention: a table of relative biases goes with relative positions, and only with them")
    }
    let query = (query * shape.scale)?;
    let sequences = &shape.sequences;
    let constants = shape.constants()?;
    let mut parts = Vec::with_capacity(constants.len());
    for (group, constants) in sequences.groups().iter().zip(constants) {
        let query = sequences.heads(&query, group, shape.head_size)?;
        let key = repeated(sequences.heads(key, group, shape.head_size)?, shape.heads)?;
        let mut scores = widened(&query.matmul(&key.t()?)?)?;
        if let (Some(table), Some(places)) = (relative_bias, &constants.places) {
            let bias = table.index_select(places, 0)?.reshape((group.length, group.length, shape.heads))?;
            scores = scores.broadcast_add(&widened(&bias.permute((2, 0, 1))?.unsqueeze(0)?)?)?;
        }
        if let Some(additive) = &constants.additive {
            scores = scores.broadcast_add(additive)?;
        }
        parts.push(mixed(&scores, value, shape, group, dropout)?);
    }
    sequences.ragged(&parts)
}

/// `softmax(scores) · value` of a group, with dropout in between.
pub(super) fn mixed(
    scores: &Tensor,
    value: &Tensor,
    shape: &AttentionShape,
    group: &Group,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    let value = repeated(shape.sequences.heads(value, group, shape.head_size)?, shape.heads)?;
    let mut weights = softmax(scores)?.to_dtype(value.dtype())?;
    if let Some(mask) = dropout {
        weights = weights.mul(&dropout_factors(mask, shape, group, value.dtype())?)?;
    }
    weights.matmul(&value)
}

/// Over the last dimension. The largest score is a constant: it changes no derivative.
fn softmax(scores: &Tensor) -> Result<Tensor> {
    let powers = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)
}

/// Key or value heads `[members, key_value_heads, length, size]`, each repeated for the query heads that read it.
pub(super) fn repeated(x: Tensor, heads: usize) -> Result<Tensor> {
    let (members, key_value_heads, length, size) = x.dims4()?;
    if key_value_heads == heads {
        return Ok(x);
    }
    let times = heads / key_value_heads;
    x.unsqueeze(2)?
        .broadcast_as((members, key_value_heads, times, length, size))?
        .contiguous()?
        .reshape((members, heads, length, size))
}

fn dropout_factors(mask: &DropoutMask, shape: &AttentionShape, group: &Group, dtype: DType) -> Result<Tensor> {
    let (heads, length) = (shape.heads, group.length);
    let mut factors = vec![0f32; group.members.len() * heads * length * length];
    let mut rows = factors.chunks_mut(length);
    for &member in &group.members {
        let (start, used) = (shape.sequences.offsets()[member], shape.sequences.length(member));
        for head in 0..heads {
            for (row, factors) in rows.by_ref().take(length).enumerate() {
                if row < used {
                    mask.fill_row(((start + row) * heads + head) as u64, factors);
                }
            }
        }
    }
    Tensor::from_vec(factors, (group.members.len(), heads, length, length), shape.sequences.device())?.to_dtype(dtype)
}
