//! [`AttentionShape`]: everything about an attention besides its numbers.

use std::sync::{Arc, OnceLock};

use candle_core::{DType, Device, Result, Tensor};
use st_encoder::{AttentionMask, AttentionPosition, AttentionSpec, alibi_slopes, disentangled_place};

use super::sequences::{Group, Sequences};

/// The heads of an attention, what they see, and the sequences of a batch.
///
/// Made once per batch and distinct layer; what it computes from the sequences' lengths is kept for the other layers.
///
/// ```
/// use std::sync::Arc;
/// use candle_core::{DType, Device};
/// use st_candle::ops::{AttentionShape, Sequences};
/// use st_encoder::architectures::describe;
///
/// let config = serde_json::json!({"model_type": "bert", "hidden_size": 32, "num_attention_heads": 4});
/// let (_, spec) = describe(&config, "config.json".as_ref())?;
/// let sequences = Arc::new(Sequences::new(&[0, 5, 9], &Device::Cpu)?);
/// let shape = AttentionShape::new(&spec.layers[0].attention, sequences, DType::F32);
/// assert_eq!((shape.heads, shape.head_size, shape.sequences.tokens()), (4, 8, 9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; query head `h` reads head `h · key_value_heads / heads`.
    pub key_value_heads: usize,
    /// Components per head.
    pub head_size: usize,
    /// Factor on the scores.
    pub scale: f64,
    /// Which tokens see which.
    pub mask: AttentionMask,
    /// How positions enter the scores. Rotary embeddings were applied before ([`super::rotary`]).
    pub position: AttentionPosition,
    /// The batch.
    pub sequences: Arc<Sequences>,
    dtype: DType,
    constants: OnceLock<Vec<GroupConstants>>,
}

/// What the lengths of a group's sequences determine.
#[derive(Debug)]
pub(super) struct GroupConstants {
    /// Added to the scores: `[members or 1, heads or 1, length, length]`.
    pub(super) additive: Option<Tensor>,
    /// Row of the relative table for every pair of query and key, row-major `[length · length]`.
    pub(super) places: Option<Tensor>,
}

impl AttentionShape {
    /// The shape of a layer's attention for a batch whose activations are of `dtype`.
    #[must_use]
    pub fn new(spec: &AttentionSpec, sequences: Arc<Sequences>, dtype: DType) -> Self {
        Self {
            heads: spec.heads,
            key_value_heads: spec.key_value_heads,
            head_size: spec.head_size,
            scale: spec.scale,
            mask: spec.mask,
            position: spec.position.clone(),
            sequences,
            dtype,
            constants: OnceLock::new(),
        }
    }

    /// Whether a query may see a key, both counted from the start of their sequence.
    #[must_use]
    pub fn sees(&self, query: usize, key: usize) -> bool {
        match self.mask {
            AttentionMask::Full => true,
            AttentionMask::Causal => key <= query,
            AttentionMask::Window { reach } => query.abs_diff(key) <= reach,
            AttentionMask::CausalWindow { reach } => key <= query && query - key <= reach,
        }
    }

    /// The row of the relative table that a query and a key read; `None` where there is no table.
    #[must_use]
    pub fn relative_place(&self, query: usize, key: usize) -> Option<usize> {
        match self.position {
            AttentionPosition::RelativeBias { buckets, max_distance } => {
                Some(bucket(key as i64 - query as i64, buckets, max_distance))
            }
            AttentionPosition::Disentangled { span, max_distance, .. } => {
                Some(disentangled_place(query as i64 - key as i64, span, max_distance))
            }
            _ => None,
        }
    }

    pub(super) fn constants(&self) -> Result<&[GroupConstants]> {
        if let Some(constants) = self.constants.get() {
            return Ok(constants);
        }
        let made = self.sequences.groups().iter().map(|group| self.of_group(group)).collect::<Result<Vec<_>>>()?;
        Ok(self.constants.get_or_init(|| made))
    }

    fn of_group(&self, group: &Group) -> Result<GroupConstants> {
        let length = group.length;
        let device = self.sequences.device();
        let pairs = || (0..length).flat_map(|query| (0..length).map(move |key| (query, key)));
        let places: Option<Vec<u32>> =
            pairs().map(|(query, key)| self.relative_place(query, key).map(|place| place as u32)).collect();
        let places = places.map(|places| Tensor::from_vec(places, length * length, device)).transpose()?;
        let slopes = if self.position == AttentionPosition::Alibi { alibi_slopes(self.heads) } else { Vec::new() };
        let padded = group.members.iter().any(|&member| self.sequences.length(member) != length);
        if self.mask == AttentionMask::Full && slopes.is_empty() && !padded {
            return Ok(GroupConstants { additive: None, places });
        }
        let members = if padded { &group.members[..] } else { &group.members[..1] };
        let heads = slopes.len().max(1);
        let mut additive = Vec::with_capacity(members.len() * heads * length * length);
        for &member in members {
            let used = self.sequences.length(member);
            for head in 0..heads {
                let slope = slopes.get(head).copied().unwrap_or(0.0);
                additive.extend(pairs().map(|(query, key)| {
                    // A row of padding sees itself, so that its softmax is defined.
                    if query == key || (self.sees(query, key) && key < used) {
                        -slope * query.abs_diff(key) as f64
                    } else {
                        f64::NEG_INFINITY
                    }
                }));
            }
        }
        let dtype = if self.dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let additive = Tensor::from_vec(additive, (members.len(), heads, length, length), &Device::Cpu)?;
        Ok(GroupConstants { additive: Some(additive.to_dtype(dtype)?.to_device(device)?), places })
    }
}

/// T5's bucket of a distance from query to key (Raffel et al. 2020): half of the buckets for keys after the query; half of
/// those for single distances, the others by logarithm, in 32-bit floats like the original's.
fn bucket(distance: i64, buckets: usize, max_distance: usize) -> usize {
    let half = buckets / 2;
    let exact = (half / 2).max(1);
    let side = if distance > 0 { half } else { 0 };
    let distance = distance.unsigned_abs() as usize;
    if distance < exact {
        return side + distance;
    }
    let share = (distance as f32 / exact as f32).ln() / (max_distance as f32 / exact as f32).ln();
    side + exact.saturating_add((share * (half - exact) as f32) as usize).min(half - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use st_encoder::DisentangledTerms;

    proptest! {
        /// Whatever a configuration says, no row outside the table is read.
        #[test]
        fn places_lie_in_their_table(
            size in 2usize..70,
            furthest in 1usize..300,
            buckets: bool,
            query in 0usize..400,
            key in 0usize..400,
        ) {
            let position = if buckets {
                AttentionPosition::RelativeBias { buckets: size, max_distance: furthest }
            } else {
                AttentionPosition::Disentangled {
                    span: size / 2,
                    max_distance: Some(furthest),
                    terms: DisentangledTerms::Both,
                    own_projections: false,
                }
            };
            let spec = AttentionSpec {
                heads: 1,
                key_value_heads: 1,
                head_size: 1,
                scale: 1.0,
                input_bias: false,
                output_bias: false,
                position,
                mask: AttentionMask::Full,
                query_key_norm: None,
            };
            let sequences = Sequences::new(&[0], &Device::Cpu).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let shape = AttentionShape::new(&spec, Arc::new(sequences), DType::F32);
            let rows = if buckets { size } else { 2 * (size / 2) };
            prop_assert!(shape.relative_place(query, key).is_some_and(|place| place < rows));
        }
    }

    /// `T5Attention._relative_position_bucket` with 32 buckets and distance 128, transformers 4.57.
    #[test]
    fn buckets_are_those_of_transformers() {
        let distances = [-200, -128, -64, -16, -8, -7, -1, 0, 1, 7, 8, 11, 12, 20, 127, 500];
        let expected = [15, 15, 14, 10, 8, 7, 1, 0, 17, 23, 24, 24, 25, 26, 31, 31];
        assert_eq!(distances.map(|distance| bucket(distance, 32, 128)), expected);
    }
}
