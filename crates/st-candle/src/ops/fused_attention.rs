//! Attention on the engine's kernels.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use st_encoder::{AttentionPosition, alibi_slopes};
use st_native::training::{
    Attention, AttentionGradients, AttentionInputs, AttentionStatistics, Compute, DropoutFactors, Matrix,
};

use super::attention_shape::AttentionShape;
use super::fused::{Numbers, compute, slice, tensor, usable};
use super::sequences::Sequences;
use crate::dropout::DropoutMask;

/// Attention without trainable positions.
struct Attend {
    attention: Attention,
    sequences: Arc<Sequences>,
    /// By distance.
    bias: Option<Vec<f32>>,
    dropout: Option<DropoutMask>,
    /// Between the forward and the backward pass.
    statistics: Mutex<Option<AttentionStatistics>>,
}

/// Whether this form can be used.
pub(super) fn fits(query: &Tensor, key: &Tensor, value: &Tensor, shape: &AttentionShape) -> bool {
    let positions =
        matches!(shape.position, AttentionPosition::None | AttentionPosition::Alibi | AttentionPosition::Rotary { .. });
    positions && usable([query, key, value]) && shape.sequences.tokens() > 0
}

pub(super) fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    shape: &AttentionShape,
    dropout: Option<&DropoutMask>,
) -> Result<Tensor> {
    let tokens = shape.sequences.tokens();
    let width = |heads: usize| [tokens, heads * shape.head_size];
    if query.dims() != width(shape.heads)
        || key.dims() != width(shape.key_value_heads)
        || value.dims() != width(shape.key_value_heads)
    {
        bail!("attention: query {:?}, key {:?}, value {:?}", query.shape(), key.shape(), value.shape());
    }
    let op = Attend {
        attention: description(shape),
        sequences: shape.sequences.clone(),
        bias: (shape.position == AttentionPosition::Alibi).then(|| alibi(shape)),
        dropout: dropout.copied(),
        statistics: Mutex::new(None),
    };
    query.contiguous()?.apply_op3(&key.contiguous()?, &value.contiguous()?, op)
}

/// The engine's description of a shape.
pub(crate) fn description(shape: &AttentionShape) -> Attention {
    Attention {
        heads: shape.heads,
        key_value_heads: shape.key_value_heads,
        head: shape.head_size,
        scale: shape.scale as f32,
        mask: shape.mask,
    }
}

/// Distances of the longest sequence, and the one that stands at 0.
pub(crate) fn reach(sequences: &Sequences) -> usize {
    sequences.offsets().windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(1).max(1)
}

/// ALiBi's bias by distance, `[heads, 2·reach − 1]`.
pub(crate) fn alibi(shape: &AttentionShape) -> Vec<f32> {
    let reach = reach(&shape.sequences) as i64;
    let slopes = alibi_slopes(shape.heads);
    let row = |slope: &f64| {
        let slope = *slope;
        (1 - reach..reach).map(move |distance| (-slope * distance.unsigned_abs() as f64) as f32)
    };
    slopes.iter().flat_map(row).collect()
}

impl Attend {
    fn inputs<'a>(
        &'a self,
        [query, key, value]: [&'a [f32]; 3],
        dropout: Option<DropoutFactors<'a>>,
    ) -> AttentionInputs<'a> {
        let Attention { heads, key_value_heads, head, .. } = self.attention;
        AttentionInputs {
            query: Matrix::new(query, heads * head),
            key: Matrix::new(key, key_value_heads * head),
            value: Matrix::new(value, key_value_heads * head),
            offsets: self.sequences.offsets(),
            bias: self.bias.as_deref(),
            dropout,
        }
    }

    fn forward(&self, numbers: [&[f32]; 3]) -> (Vec<f32>, AttentionStatistics) {
        let factors = self.dropout.map(|mask| move |row: u64, factors: &mut [f32]| mask.fill_row(row, factors));
        let inputs = self.inputs(numbers, factors.as_ref().map(|factors| factors as _));
        let mut output = Compute::zeros(numbers[0].len());
        let statistics = compute().attend(&self.attention, &inputs, &mut output);
        (output, statistics)
    }

    fn statistics(&self) -> std::sync::MutexGuard<'_, Option<AttentionStatistics>> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        l1: &Layout,
        key: &CpuStorage,
        l2: &Layout,
        value: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (output, statistics) = self.forward([slice(query, l1)?, slice(key, l2)?, slice(value, l3)?]);
        *self.statistics() = Some(statistics);
        Ok((CpuStorage::F32(output), l1.shape().clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let guards = [query, key, value].map(Numbers::of);
        let numbers = [guards[0].slice()?, guards[1].slice()?, guards[2].slice()?];
        // Gone only where a graph is walked a second time.
        let kept = self.statistics().take();
        let mut statistics = kept.unwrap_or_else(|| self.forward(numbers).1);
        let factors = self.dropout.map(|mask| move |row: u64, factors: &mut [f32]| mask.fill_row(row, factors));
        let inputs = self.inputs(numbers, factors.as_ref().map(|factors| factors as _));
        let mut results = numbers.map(|numbers| Compute::zeros(numbers.len()));
        let targets = AttentionGradients::Separate(results.each_mut().map(|result| &mut result[..]));
        let of_output = Numbers::of(&gradient);
        compute().attention_gradient(&self.attention, &inputs, &mut statistics, of_output.slice()?, targets, None);
        let [of_query, of_key, of_value] = results;
        let back = |numbers, argument: &Tensor| tensor(numbers, argument.shape()).map(Some);
        Ok((back(of_query, query)?, back(of_key, key)?, back(of_value, value)?))
    }
}
