//! [`Network`]: a description, its parameters, and what a pass over a batch needs besides them.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use st_encoder::architectures::Architecture;
use st_encoder::{
    AttentionPosition, Batch, ConvolutionSpec, EncoderError, EncoderSpec, LayerSlot, NormSpec, Part, PositionSpec,
    Slot, rotary_wave_numbers,
};

use crate::adapters::GraphAdapter;
use crate::dropout::{DropoutMask, DropoutPass};
use crate::dropout_rates::DropoutRates;
use crate::error::{failed, unsupported};
use crate::ops::{self, AttentionShape, Rotation, Sequences};
use crate::parameters::Parameters;

/// Everything that is the same for every batch.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) architecture: &'static Architecture,
    pub(crate) spec: EncoderSpec,
    pub(crate) rates: DropoutRates,
    pub(crate) parameters: Parameters,
    /// In the order in which they change a module.
    pub(crate) adapters: Vec<Arc<GraphAdapter>>,
    pub(crate) device: Device,
    pub(crate) dtype: DType,
}

/// What the blocks of one pass share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// Per block.
    shapes: Vec<Arc<AttentionShape>>,
    /// Per block, where it rotates queries and keys.
    rotations: Vec<Option<Arc<Rotation>>>,
    dropout: Option<DropoutPass>,
    /// Whether parameters carry derivatives.
    pub(crate) gradients: bool,
    /// Whether blocks multiply bfloat16.
    pub(crate) autocast: bool,
}

/// A linear layer's numbers.
pub(crate) struct Linear {
    /// `[outputs, inputs]`.
    pub(crate) weight: Tensor,
    /// `[outputs]`.
    pub(crate) bias: Option<Tensor>,
}

/// A place in the network where components are dropped.
#[derive(Debug, Clone, Copy)]
pub(crate) enum DropoutPlace {
    Embeddings,
    Last,
    Attention(usize),
    AttentionOutput(usize),
    Inner(usize),
    FeedForward(usize),
    Relative(usize),
    Convolution(usize),
}

impl Context {
    pub(crate) fn new(
        network: &Network,
        batch: &Batch,
        dropout: Option<DropoutPass>,
        gradients: bool,
        autocast: bool,
    ) -> Result<Self, EncoderError> {
        let sequences = Arc::new(Sequences::new(batch.offsets(), &network.device).map_err(failed)?);
        let layers = &network.spec.layers;
        let mut context = Self {
            shapes: Vec::with_capacity(layers.len()),
            rotations: Vec::with_capacity(layers.len()),
            dropout,
            gradients,
            autocast,
        };
        for (index, layer) in layers.iter().enumerate() {
            let earlier = layers[..index].iter();
            if let Some(same) = earlier.clone().position(|other| other.attention == layer.attention) {
                context.shapes.push(context.shapes[same].clone());
            } else {
                let shape = AttentionShape::new(&layer.attention, sequences.clone(), network.dtype);
                context.shapes.push(Arc::new(shape));
            }
            let position = &layer.attention.position;
            let known = earlier.enumerate().find(|(_, other)| other.attention.position == *position);
            let rotation = match (position, known) {
                (_, Some((same, _))) => context.rotations[same].clone(),
                (&AttentionPosition::Rotary { base, dimensions, scaling }, None) => {
                    let waves = rotary_wave_numbers(base, dimensions, scaling);
                    let rotation = Rotation::new(batch.offsets(), &waves, network.dtype, &network.device);
                    Some(Arc::new(rotation.map_err(failed)?))
                }
                _ => None,
            };
            context.rotations.push(rotation);
        }
        Ok(context)
    }

    /// The same for a run of which no derivative is wanted.
    pub(crate) fn without_gradients(&self) -> Self {
        Self { gradients: false, ..self.clone() }
    }

    /// The masks of dropout; `None` when it is off.
    pub(crate) fn dropout(&self) -> Option<DropoutPass> {
        self.dropout
    }

    pub(crate) fn shape(&self, layer: usize) -> &AttentionShape {
        &self.shapes[layer]
    }

    pub(crate) fn rotation(&self, layer: usize) -> Option<&Rotation> {
        self.rotations[layer].as_deref()
    }
}

impl Network {
    /// Refuses a description that no graph is made of.
    pub(crate) fn check(spec: &EncoderSpec) -> Result<(), EncoderError> {
        if let PositionSpec::Learned { count, offset, padding } = spec.embeddings.positions {
            let last = spec.max_sequence.and_then(|longest| longest.checked_add(offset));
            if last.is_none_or(|last| last > count) || padding.is_some_and(|padding| padding as usize >= count) {
                let longest = spec.max_sequence;
                let positions = format!("{count} positions, of which the first {offset} are not used");
                return Err(unsupported(format!("{positions}, for sequences of {longest:?} tokens")));
            }
        }
        for (index, layer) in spec.layers.iter().enumerate() {
            let attention = &layer.attention;
            let refuse = |what: String| Err(unsupported(format!("layer {index} has {what}")));
            let (heads, shared) = (attention.heads, attention.key_value_heads);
            if heads == 0 || shared == 0 || heads % shared != 0 {
                return refuse(format!("{heads} query heads for {shared} key heads"));
            }
            if !(attention.scale > 0.0 && attention.scale.is_finite()) {
                return refuse(format!("scores scaled by {}", attention.scale));
            }
            if let Some(ConvolutionSpec { kernel, groups, .. }) = layer.convolution
                && !(kernel % 2 == 1 && spec.hidden.checked_rem(groups) == Some(0))
            {
                return refuse(format!("a convolution of {kernel} tokens in {groups} groups"));
            }
            match attention.position {
                AttentionPosition::Rotary { dimensions, .. } if dimensions > attention.head_size => {
                    return refuse(format!("{dimensions} rotated components in heads of {}", attention.head_size));
                }
                AttentionPosition::RelativeBias { buckets, .. } if buckets < 2 => {
                    return refuse(format!("a relative bias of {buckets} buckets"));
                }
                AttentionPosition::Disentangled { span, .. } if span == 0 || heads != shared => {
                    return refuse(format!("disentangled attention of span {span} with {shared} key heads"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The one place where a linear layer's numbers are looked up; `slot` says which of its parts is where. Adapters'
    /// changes are in them, unless one drops inputs in this pass.
    pub(crate) fn linear_slot(&self, slot: impl Fn(Part) -> Slot, context: &Context) -> Result<Linear, EncoderError> {
        let weight = self.parameters.tensor(slot(Part::Weight), context.gradients)?;
        let bias = if self.parameters.has(slot(Part::Bias)) {
            Some(self.parameters.tensor(slot(Part::Bias), context.gradients)?)
        } else {
            None
        };
        self.adapt(Linear { weight, bias }, slot(Part::Weight), context)
    }

    /// Runs a linear layer over rows.
    pub(crate) fn linear(
        &self,
        x: &Tensor,
        slot: impl Fn(Part) -> Slot,
        context: &Context,
    ) -> Result<Tensor, EncoderError> {
        let linear = self.linear_slot(&slot, context)?;
        let result = ops::linear(x, &linear.weight, linear.bias.as_ref()).map_err(failed)?;
        self.adapt_result(result, x, &linear, slot(Part::Weight), context)
    }

    /// Runs a norm over the last dimension.
    pub(crate) fn norm(
        &self,
        x: &Tensor,
        spec: &NormSpec,
        slot: impl Fn(Part) -> Slot,
        context: &Context,
    ) -> Result<Tensor, EncoderError> {
        let (weight, bias) = self.norm_slot(spec, slot, context)?;
        ops::norm(x, &weight, bias.as_ref(), spec).map_err(failed)
    }

    /// A norm's weight and bias.
    pub(crate) fn norm_slot(
        &self,
        spec: &NormSpec,
        slot: impl Fn(Part) -> Slot,
        context: &Context,
    ) -> Result<(Tensor, Option<Tensor>), EncoderError> {
        let tensor = |part| self.parameters.tensor(slot(part), context.gradients);
        Ok((tensor(Part::Weight)?, spec.bias.then(|| tensor(Part::Bias)).transpose()?))
    }

    /// The mask of a place; `None` where nothing is dropped.
    pub(crate) fn mask(&self, place: DropoutPlace, context: &Context) -> Option<DropoutMask> {
        let of_layer = |layer: usize, place: u64| 16 + 8 * layer as u64 + place;
        let (number, rate) = match place {
            DropoutPlace::Embeddings => (0, self.rates.embeddings),
            DropoutPlace::Last => (1, self.rates.last),
            DropoutPlace::Attention(layer) => (of_layer(layer, 0), self.rates.attention),
            DropoutPlace::AttentionOutput(layer) => (of_layer(layer, 1), self.rates.attention_output),
            DropoutPlace::Inner(layer) => (of_layer(layer, 2), self.rates.inner),
            DropoutPlace::FeedForward(layer) => (of_layer(layer, 3), self.rates.feed_forward),
            DropoutPlace::Relative(layer) => (of_layer(layer, 4), self.rates.relative),
            DropoutPlace::Convolution(layer) => (of_layer(layer, 5), self.rates.feed_forward),
        };
        context.dropout?.mask(number, rate)
    }

    /// Drops components of rows.
    pub(crate) fn dropout(&self, x: Tensor, place: DropoutPlace, context: &Context) -> Result<Tensor, EncoderError> {
        match self.mask(place, context) {
            Some(mask) => ops::dropout(&x, Some(&mask)).map_err(failed),
            None => Ok(x),
        }
    }
}

/// The slot of a place in a block.
pub(crate) fn at(layer: usize, place: fn(Part) -> LayerSlot) -> impl Fn(Part) -> Slot + Copy {
    move |part| Slot::Layer { layer, slot: place(part) }
}
