//! DeBERTa's attention composed of candle's operations.

use candle_core::{Result, Tensor, bail};
use st_encoder::AttentionPosition;

use super::attention_shape::AttentionShape;
use super::generic_attention::mixed;
use super::generic_rows::widened;
use crate::dropout::DropoutMask;

pub(super) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    relative_query: Option<&Tensor>,
    relative_key: Option<&Tensor>,
    shape: &AttentionShape,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    if !matches!(shape.position, AttentionPosition::Disentangled { .. }) || shape.heads != shape.key_value_heads {
        bail!("disentangled attention: the shape is one of another attention")
    }
    let (heads, size) = (shape.heads, shape.head_size);
    let relative = |x: &Tensor| x.reshape(((), heads, size))?.permute((1, 2, 0))?.unsqueeze(0);
    let relative_query = relative_query.map(relative).transpose()?;
    let relative_key = relative_key.map(relative).transpose()?;
    let sequences = &shape.sequences;
    let constants = shape.constants()?;
    let mut parts = Vec::with_capacity(constants.len());
    for (group, constants) in sequences.groups().iter().zip(constants) {
        let Some(places) = &constants.places else { bail!("disentangled attention: no places were computed") };
        let (members, length) = (group.members.len(), group.length);
        let query = sequences.heads(query, group, size)?;
        let key = sequences.heads(key, group, size)?;
        // Row: query, column: key.
        let places = places.reshape((1, 1, length, length))?;
        let of = |places: &Tensor| places.broadcast_as((members, heads, length, length))?.contiguous();
        let mut scores = query.matmul(&key.t()?)?;
        if let Some(relative_key) = &relative_key {
            scores = (scores + query.broadcast_matmul(relative_key)?.gather(&of(&places)?, 3)?)?;
        }
        if let Some(relative_query) = &relative_query {
            let from_position = key.broadcast_matmul(relative_query)?.gather(&of(&places.transpose(2, 3)?)?, 3)?;
            scores = (scores + from_position.t()?)?;
        }
        let mut scores = widened(&scores)?;
        scores = (scores * shape.scale)?;
        if let Some(additive) = &constants.additive {
            scores = scores.broadcast_add(additive)?;
        }
        parts.push(mixed(&scores, value, shape, group, dropout)?);
    }
    sequences.ragged(&parts)
}
