//! A whole block as one operation of the graph, on the engine's kernels.
//!
//! candle's custom operations know three arguments at most, and a block has a dozen parameters. So its arguments are its
//! input and a carrier of one number per parameter. In the backward pass the block leaves its parameters' gradients in a
//! table, and the carrier's numbers, whose turn comes next, hand them on. Under [`crate::backward`] gradients of variables
//! are added where they belong at once.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Shape, Tensor, bail};
use st_encoder::{Activation, AttentionPosition, EncoderError, LayerSlot, LayerSpec, NormPlacement, NormSpec, Slot};
use st_native::training::{
    Attention, Block, BlockDropout, BlockGradients, BlockTape, Compute, DropoutFactors, NormWeights, Weight,
};

use crate::dropout::DropoutMask;
use crate::error::failed;
use crate::gathering;
use crate::network::{Context, DropoutPlace, Linear, Network, at};
use crate::ops::Sequences;
use crate::ops::fused::{Numbers, compute, slice, tensor, usable};
use crate::ops::fused_attention::{alibi, description, reach};

/// The linear layers, in the order of [`FusedBlock::linears`].
const LINEARS: [fn(st_encoder::Part) -> LayerSlot; 6] = [
    LayerSlot::Query,
    LayerSlot::Key,
    LayerSlot::Value,
    LayerSlot::AttentionOutput,
    LayerSlot::FeedForwardUp,
    LayerSlot::FeedForwardDown,
];
/// The norms, in the order of [`FusedBlock::norms`].
const NORMS: [fn(st_encoder::Part) -> LayerSlot; 2] = [LayerSlot::AttentionNorm, LayerSlot::FeedForwardNorm];

/// Gradients by the number of their parameter.
type Table = Arc<Mutex<Vec<Option<Vec<f32>>>>>;

/// One block of one pass.
struct FusedBlock {
    compute: &'static Compute,
    attention: Attention,
    activation: Activation,
    linears: Vec<Linear>,
    norms: Vec<(NormSpec, Tensor, Option<Tensor>)>,
    positions: Positions,
    sequences: Arc<Sequences>,
    /// Of attention, its output and the feed-forward network's.
    dropout: [Option<DropoutMask>; 3],
    /// Gradients of parameters on their way from the block to its carriers.
    table: Table,
    /// Between the forward and the backward pass.
    tape: Mutex<Option<BlockTape>>,
}

/// What is added to the scores.
enum Positions {
    None,
    /// By distance.
    Fixed(Vec<f32>),
    /// A table `[buckets, heads]` and the row of every distance.
    Table {
        table: Tensor,
        rows: Vec<usize>,
    },
}

impl Network {
    /// Runs block `layer` as one operation; `None` where its description or its tensors are of another kind.
    pub(crate) fn fused_block(
        &self,
        layer: usize,
        x: &Tensor,
        context: &Context,
    ) -> Result<Option<Tensor>, EncoderError> {
        let spec = &self.spec.layers[layer];
        if self.dtype != DType::F32 || !self.device.is_cpu() || !fits(spec, self.spec.hidden) {
            return Ok(None);
        }
        let mask = |place: fn(usize) -> DropoutPlace| self.mask(place(layer), context);
        if mask(DropoutPlace::Inner).is_some() {
            return Ok(None);
        }
        if self.adapters_drop(context) {
            return Ok(None);
        }
        let linear = |place| self.linear_slot(at(layer, place), context);
        let linears = LINEARS.into_iter().map(linear).collect::<Result<Vec<_>, _>>()?;
        let specs = [spec.attention_norm.unwrap_or(spec.feed_forward_norm), spec.feed_forward_norm];
        let norm = |(place, spec)| {
            let (weight, bias) = self.norm_slot(&spec, at(layer, place), context)?;
            Ok((spec, weight, bias))
        };
        let norms = NORMS.into_iter().zip(specs).map(norm).collect::<Result<Vec<_>, EncoderError>>()?;
        let shape = context.shape(layer);
        let reach = reach(&shape.sequences);
        let positions = match shape.position {
            AttentionPosition::Alibi => Positions::Fixed(alibi(shape)),
            AttentionPosition::RelativeBias { .. } => {
                let table = self.table(Slot::RelativeBias, context)?;
                let row = |place: usize| {
                    shape.relative_place((reach - 1).saturating_sub(place), place.saturating_sub(reach - 1))
                };
                Positions::Table { table, rows: (0..2 * reach - 1).filter_map(row).collect() }
            }
            _ => Positions::None,
        };
        let block = FusedBlock {
            compute: compute(),
            attention: description(shape),
            activation: spec.feed_forward.activation,
            linears,
            norms,
            positions,
            sequences: shape.sequences.clone(),
            dropout: [DropoutPlace::Attention, DropoutPlace::AttentionOutput, DropoutPlace::FeedForward].map(mask),
            table: Arc::default(),
            tape: Mutex::new(None),
        };
        if !usable(block.tensors()) || !block.tensors().all(Tensor::is_contiguous) {
            return Ok(None);
        }
        block.apply(x).map(Some).map_err(failed)
    }
}

/// Whether a block's description is one of those that the engine runs forward and backward.
fn fits(spec: &LayerSpec, hidden: usize) -> bool {
    let attention = &spec.attention;
    let (context, keys) = (attention.heads * attention.head_size, attention.key_value_heads * attention.head_size);
    let positions = matches!(
        attention.position,
        AttentionPosition::None | AttentionPosition::Alibi | AttentionPosition::RelativeBias { .. }
    );
    spec.placement == NormPlacement::Post
        && spec.attention_norm.is_some_and(|norm| !norm.unit_offset)
        && !spec.feed_forward_norm.unit_offset
        && !spec.feed_forward.gated
        && attention.query_key_norm.is_none()
        && positions
        && Block::fits(hidden, spec.feed_forward.inner, context, keys)
}

impl FusedBlock {
    /// Every parameter.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let linears = self.linears.iter().flat_map(|linear| std::iter::once(&linear.weight).chain(&linear.bias));
        let norms = self.norms.iter().flat_map(|(_, weight, bias)| std::iter::once(weight).chain(bias));
        let table = match &self.positions {
            Positions::Table { table, .. } => Some(table),
            _ => None,
        };
        linears.chain(norms).chain(table)
    }

    fn apply(self, x: &Tensor) -> candle_core::Result<Tensor> {
        let x = x.contiguous()?;
        let tracked = self.tensors().enumerate().filter(|(_, tensor)| tensor.track_op());
        let carry = |(index, tensor): (usize, &Tensor)| tensor.apply_op1(Carry { index, table: self.table.clone() });
        let carriers = tracked.map(carry).collect::<candle_core::Result<Vec<_>>>()?;
        if carriers.is_empty() && !x.track_op() {
            let mut output = Compute::zeros(x.elem_count());
            self.forward(Numbers::of(&x).slice()?, &mut output)?;
            return tensor(output, x.shape());
        }
        let carrier =
            if carriers.is_empty() { Tensor::zeros(1, DType::F32, x.device())? } else { Tensor::cat(&carriers, 0)? };
        x.apply_op2(&carrier, self)
    }

    /// Lends the engine's form of the block.
    fn with_block<R>(
        &self,
        work: impl FnOnce(&Block<'_>, Option<&[f32]>, &BlockDropout<'_>) -> candle_core::Result<R>,
    ) -> candle_core::Result<R> {
        let guards: Vec<Numbers<'_>> = self.tensors().map(Numbers::of).collect();
        let mut slices = guards.iter().map(Numbers::slice).collect::<candle_core::Result<Vec<_>>>()?.into_iter();
        let mut next = || slices.next().unwrap_or_default();
        let mut weights = Vec::with_capacity(LINEARS.len());
        for linear in &self.linears {
            let numbers = next();
            let bias = linear.bias.is_some().then(&mut next);
            weights.push(Weight { numbers, bias, outputs: linear.weight.dim(0)? });
        }
        let mut norms = Vec::with_capacity(NORMS.len());
        for (spec, _, bias) in &self.norms {
            let weight = next();
            let bias = bias.is_some().then(&mut next);
            norms.push(NormWeights { kind: spec.kind, epsilon: spec.epsilon as f32, weight, bias });
        }
        let (&[query, key, value, output, up, down], &[attention_norm, feed_forward_norm]) = (&weights[..], &norms[..])
        else {
            bail!("a block of {} linear layers and {} norms", weights.len(), norms.len());
        };
        let block = Block {
            attention: self.attention,
            projections: [query, key, value],
            output,
            attention_norm,
            up,
            activation: self.activation,
            down,
            feed_forward_norm,
        };
        let heads = self.attention.heads;
        let bias = match &self.positions {
            Positions::None => None,
            Positions::Fixed(bias) => Some(bias.clone()),
            Positions::Table { rows, .. } => {
                let table = next();
                Some((0..heads).flat_map(|head| rows.iter().map(move |row| table[row * heads + head])).collect())
            }
        };
        let factors = self.dropout.map(|mask| mask.map(|mask| move |row: u64, to: &mut [f32]| mask.fill_row(row, to)));
        let [attention, output, feed_forward] =
            factors.each_ref().map(|factors| factors.as_ref().map(|factors| factors as DropoutFactors<'_>));
        work(&block, bias.as_deref(), &BlockDropout { attention, output, feed_forward })
    }

    fn forward(&self, x: &[f32], output: &mut [f32]) -> candle_core::Result<BlockTape> {
        self.with_block(|block, bias, dropout| {
            Ok(self.compute.block(block, self.sequences.offsets(), bias, dropout, x, output))
        })
    }

    fn backward(&self, x: &[f32], gradient: &[f32], of_x: Option<&mut [f32]>) -> candle_core::Result<()> {
        let kept = self.tape.lock().unwrap_or_else(PoisonError::into_inner).take();
        let tape = match kept {
            Some(tape) => tape,
            None => self.forward(x, &mut self.compute.numbers(x.len()))?,
        };
        let begin = |tensor: &Tensor| {
            tensor.track_op().then(|| gathering::begin(tensor).unwrap_or_else(|| Compute::zeros(tensor.elem_count())))
        };
        let mut gathered: Vec<Option<Vec<f32>>> = self.tensors().map(begin).collect();
        let result = self.with_block(|block, bias, dropout| {
            let mut of_bias = None;
            let mut targets = gathered.iter_mut().map(|target| target.as_deref_mut());
            let mut pair =
                |with_bias: bool| [targets.next().flatten(), if with_bias { targets.next().flatten() } else { None }];
            let [query, key, value, output, up, down] =
                std::array::from_fn(|i| pair(self.linears.get(i).is_some_and(|linear| linear.bias.is_some())));
            let [attention_norm, feed_forward_norm] =
                std::array::from_fn(|i| pair(self.norms.get(i).is_some_and(|(_, _, bias)| bias.is_some())));
            let of_table = targets.next().flatten();
            if of_table.is_some() {
                of_bias = bias.map(|bias| vec![0.0; bias.len()]);
            }
            let gradients = BlockGradients {
                input: of_x,
                projections: [query, key, value],
                output,
                attention_norm,
                up,
                down,
                feed_forward_norm,
                bias: of_bias.as_deref_mut(),
            };
            self.compute.block_gradient(block, self.sequences.offsets(), bias, dropout, x, tape, gradient, gradients);
            if let (Some(of_table), Some(of_bias), Positions::Table { rows, .. }) = (of_table, of_bias, &self.positions)
            {
                let heads = self.attention.heads;
                for (head, of_bias) in of_bias.chunks_exact(rows.len()).enumerate() {
                    for (row, gradient) in rows.iter().zip(of_bias) {
                        of_table[row * heads + head] += gradient;
                    }
                }
            }
            Ok(())
        });
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.clear();
        for (tensor, gradient) in self.tensors().zip(gathered) {
            // What is not gathered waits for its carrier.
            table.push(gradient.and_then(|gradient| gathering::end(tensor, gradient)));
        }
        result
    }
}

impl CustomOp2 for FusedBlock {
    fn name(&self) -> &'static str {
        "block"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let mut output = Compute::zeros(x.len());
        let tape = self.forward(x, &mut output)?;
        *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(tape);
        Ok((CpuStorage::F32(output), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        carrier: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (numbers, gradients) = (Numbers::of(x), Numbers::of(&gradient));
        let mut of_x = x.track_op().then(|| Compute::zeros(x.elem_count()));
        self.backward(numbers.slice()?, gradients.slice()?, of_x.as_deref_mut())?;
        Ok((of_x.map(|of_x| tensor(of_x, x.shape())).transpose()?, Some(carrier.zeros_like()?)))
    }
}

/// One number that stands for a parameter.
struct Carry {
    index: usize,
    table: Table,
}

impl CustomOp1 for Carry {
    fn name(&self) -> &'static str {
        "parameter of a block"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
    }

    fn bwd(&self, parameter: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let gradient = table.get_mut(self.index).and_then(Option::take);
        gradient.map(|gradient| tensor(gradient, parameter.shape())).transpose()
    }
}
