//! From a checkpoint to packed layers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use st_encoder::architectures::Architecture;
use st_encoder::{
    AttentionPosition, ConvolutionSpec, EncoderError, EncoderFiles, EncoderSpec, LayerSlot, NormPlacement, NormSpec,
    Part, PatchSpec, PositionSpec, Slot, WeightFormat, Weights,
};

use crate::kernels::Kernels;
use crate::layers::attention::{Attention, DistanceBias, Positions};
use crate::layers::block::Block;
use crate::layers::convolution::Convolution;
use crate::layers::embeddings::{Embeddings, Words};
use crate::layers::feed_forward::FeedForward;
use crate::layers::linear::{Linear, Source};
use crate::layers::norm::Norm;
use crate::layers::packing::Axis;
use crate::layers::relative::Places;
use crate::layers::rotary::Rotary;
use crate::memory::Buffer;
use crate::table::Table;

/// A block, once it was its turn.
type Loaded = Option<Result<Block, EncoderError>>;

/// A checkpoint that is being loaded.
pub(crate) struct Loader<'a> {
    pub(crate) kernels: &'static Kernels,
    pub(crate) architecture: &'static Architecture,
    pub(crate) spec: &'a EncoderSpec,
    pub(crate) weights: Arc<Weights>,
    pub(crate) format: WeightFormat,
    /// Numbers read so far.
    pub(crate) parameters: AtomicU64,
}

/// Everything that a forward pass reads.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) embeddings: Embeddings,
    /// The distinct blocks; blocks that share weights are one.
    pub(crate) blocks: Vec<Block>,
    /// Indices of the blocks in the order in which they run.
    pub(crate) order: Vec<usize>,
    /// Per block, the index of its positions.
    pub(crate) positions: Vec<Arc<Positions>>,
    pub(crate) final_norm: Option<Norm>,
}

/// Describes a folder's network and opens its weights.
pub(crate) fn open(files: &EncoderFiles) -> Result<(&'static Architecture, EncoderSpec, Arc<Weights>), EncoderError> {
    let (architecture, spec, weights) = files.network()?;
    Ok((architecture, spec, Arc::new(weights)))
}

impl Loader<'_> {
    pub(crate) fn tensor(&self, slot: Slot, shape: &[usize]) -> Result<Cow<'_, [f32]>, EncoderError> {
        let numbers = self.weights.tensor(&(self.architecture.source)(self.spec, slot), shape)?.to_f32()?;
        self.parameters.fetch_add(numbers.len() as u64, Ordering::Relaxed);
        Ok(numbers)
    }

    pub(crate) fn norm(&self, spec: NormSpec, width: usize, slot: impl Fn(Part) -> Slot) -> Result<Norm, EncoderError> {
        let weight = self.tensor(slot(Part::Weight), &[width])?;
        let bias = if spec.bias { Some(self.tensor(slot(Part::Bias), &[width])?) } else { None };
        Ok(Norm::new(spec, &weight, bias.as_deref()))
    }

    /// A linear layer of one or more weights side by side.
    pub(crate) fn linear(
        &self,
        outputs: &[(Axis, &dyn Fn(Part) -> Slot)],
        inputs: Axis,
        bias: bool,
    ) -> Result<Linear, EncoderError> {
        let mut tensors = Vec::with_capacity(outputs.len());
        for (axis, slot) in outputs {
            let weight = self.tensor(slot(Part::Weight), &[axis.len(), inputs.len()])?;
            let bias = if bias { Some(self.tensor(slot(Part::Bias), &[axis.len()])?) } else { None };
            tensors.push((weight, bias, *axis));
        }
        let sources: Vec<Source<'_>> = tensors
            .iter()
            .map(|(weight, bias, outputs)| Source { weight, bias: bias.as_deref(), outputs: *outputs })
            .collect();
        Ok(Linear::new(self.kernels, self.format, &sources, inputs))
    }

    /// Loads everything, the blocks on several threads.
    pub(crate) fn network(&self) -> Result<Network, EncoderError> {
        let (blocks, embeddings) = std::thread::scope(|scope| {
            let embeddings = scope.spawn(|| self.embeddings());
            let blocks = self.relative_table().and_then(|table| self.blocks(table.as_ref()));
            (blocks, embeddings.join())
        });
        let embeddings = embeddings.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        let final_norm =
            self.spec.final_norm.map(|norm| self.norm(norm, self.spec.hidden, Slot::FinalNorm)).transpose()?;
        let (blocks, order) = blocks?;
        Ok(Network { embeddings, blocks, order, positions: self.positions()?, final_norm })
    }

    fn embeddings(&self) -> Result<Embeddings, EncoderError> {
        let spec = &self.spec.embeddings;
        let source = |slot| (self.architecture.source)(self.spec, slot);
        let table = |slot, rows: usize| {
            self.parameters.fetch_add((rows * spec.width) as u64, Ordering::Relaxed);
            Table::open(&self.weights, &source(slot), rows, spec.width)
        };
        let positions = match spec.positions {
            PositionSpec::Learned { count, .. } => Some(table(Slot::PositionEmbedding, count)?),
            PositionSpec::None => None,
        };
        let types = if spec.token_types > 0 { Some(table(Slot::TokenTypeEmbedding, spec.token_types)?) } else { None };
        let projection = spec.projection.map(|bias| {
            self.linear(&[(Axis::whole(self.spec.hidden), &Slot::EmbeddingProjection)], Axis::whole(spec.width), bias)
        });
        Ok(Embeddings {
            words: match spec.patches {
                None => Words::Table(table(Slot::WordEmbedding, spec.vocabulary)?),
                Some(patches) => self.patches(patches)?,
            },
            positions,
            position: spec.positions,
            types,
            norm: spec.norm.map(|norm| self.norm(norm, spec.width, Slot::EmbeddingNorm)).transpose()?,
            projection: projection.transpose()?,
            scale: spec.scale,
            width: spec.width,
        })
    }

    /// The map of an image's patches, and the vector before them.
    fn patches(&self, spec: PatchSpec) -> Result<Words, EncoderError> {
        let (width, numbers) = (self.spec.embeddings.width, spec.numbers());
        let weight = self.tensor(Slot::PatchProjection, &[width, spec.channels, spec.size, spec.size])?;
        let source = Source { weight: &weight, bias: None, outputs: Axis::whole(width) };
        Ok(Words::Patches {
            projection: Linear::new(self.kernels, self.format, &[source], Axis::whole(numbers)),
            class: self.tensor(Slot::ClassEmbedding, &[width])?.into_owned(),
            numbers,
        })
    }

    /// Positions per block; equal ones are shared.
    fn positions(&self) -> Result<Vec<Arc<Positions>>, EncoderError> {
        let mut made: Vec<(&AttentionPosition, usize, Arc<Positions>)> = Vec::new();
        let mut positions = Vec::with_capacity(self.spec.layers.len());
        for layer in &self.spec.layers {
            let attention = &layer.attention;
            let known = made.iter().find(|(spec, heads, _)| **spec == attention.position && *heads == attention.heads);
            let position = match known {
                Some((_, _, position)) => position.clone(),
                None => Arc::new(match attention.position {
                    AttentionPosition::RelativeBias { buckets, max_distance } => {
                        let table = self.tensor(Slot::RelativeBias, &[buckets, attention.heads])?;
                        Positions::Distance(DistanceBias::buckets(&table, attention.heads, buckets, max_distance))
                    }
                    AttentionPosition::Rotary { base, dimensions, scaling } => {
                        Positions::Rotary(Rotary::new(base, dimensions, scaling, self.spec.max_sequence))
                    }
                    AttentionPosition::Alibi => Positions::Distance(DistanceBias::alibi(attention.heads)),
                    AttentionPosition::Disentangled { span, max_distance, .. } => {
                        Positions::Relative(Places::new(span, max_distance, self.spec.max_sequence))
                    }
                    AttentionPosition::None => Positions::None,
                }),
            };
            made.push((&attention.position, attention.heads, position.clone()));
            positions.push(position);
        }
        Ok(positions)
    }

    /// The distinct blocks, and the order in which they run.
    fn blocks(&self, relative: Option<&Buffer<f32>>) -> Result<(Vec<Block>, Vec<usize>), EncoderError> {
        let mut distinct: Vec<usize> = Vec::new();
        let mut index = HashMap::new();
        let mut places = Vec::with_capacity(self.spec.layers.len());
        for layer in 0..self.spec.layers.len() {
            let slot = Slot::Layer { layer, slot: LayerSlot::Query(Part::Weight) };
            let source = (self.architecture.source)(self.spec, slot);
            let convolves = self.spec.layers[layer].convolution.is_some();
            let place = *index.entry((source.name, source.rows, convolves)).or_insert_with(|| {
                distinct.push(layer);
                distinct.len() - 1
            });
            places.push(place);
        }
        let next = AtomicUsize::new(0);
        let results: Mutex<Vec<Loaded>> = Mutex::new(distinct.iter().map(|_| None).collect());
        let work = || {
            while let Some((place, &layer)) = {
                let place = next.fetch_add(1, Ordering::Relaxed);
                distinct.get(place).map(|layer| (place, layer))
            } {
                let block = self.block(layer, relative);
                results.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(block);
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(distinct.len()).min(8);
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let blocks = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let blocks = blocks.into_iter().flatten().collect::<Result<Vec<_>, _>>()?;
        Ok((blocks, places))
    }

    fn block(&self, layer: usize, relative: Option<&Buffer<f32>>) -> Result<Block, EncoderError> {
        let spec = &self.spec.layers[layer];
        let at = |slot| Slot::Layer { layer, slot };
        let hidden = Axis::whole(self.spec.hidden);
        let attention = &spec.attention;
        let queries = Axis { size: attention.head_size, groups: attention.heads };
        let keys = Axis { size: attention.head_size, groups: attention.key_value_heads };
        let head_norm = |slot: &dyn Fn(Part) -> LayerSlot| {
            attention.query_key_norm.map(|norm| self.norm(norm, attention.head_size, |part| at(slot(part)))).transpose()
        };
        let norm =
            |norm: NormSpec, slot: &dyn Fn(Part) -> LayerSlot| self.norm(norm, self.spec.hidden, |part| at(slot(part)));
        let post = |spec: Option<NormSpec>, slot: &dyn Fn(Part) -> LayerSlot, sandwich: bool| {
            spec.filter(|_| sandwich).map(|spec| norm(spec, slot)).transpose()
        };
        let sandwich = spec.placement == NormPlacement::Sandwich;
        let projection = self.linear(
            &[
                (queries, &|part| at(LayerSlot::Query(part))),
                (keys, &|part| at(LayerSlot::Key(part))),
                (keys, &|part| at(LayerSlot::Value(part))),
            ],
            hidden,
            attention.input_bias,
        )?;
        let relative = relative.map(|table| self.relative(layer, table, &projection)).transpose()?.flatten();
        let network = &spec.feed_forward;
        let inner = Axis::whole(network.inner);
        Ok(Block {
            attention: Attention::new(
                attention,
                self.kernels.attend,
                projection,
                head_norm(&LayerSlot::QueryNorm)?,
                head_norm(&LayerSlot::KeyNorm)?,
                relative,
            ),
            output: self.linear(
                &[(hidden, &|part| at(LayerSlot::AttentionOutput(part)))],
                queries,
                attention.output_bias,
            )?,
            attention_norm: spec.attention_norm.map(|spec| norm(spec, &LayerSlot::AttentionNorm)).transpose()?,
            attention_post_norm: post(spec.attention_norm, &LayerSlot::AttentionPostNorm, sandwich)?,
            feed_forward: FeedForward {
                up: self.linear(&[(inner, &|part| at(LayerSlot::FeedForwardUp(part)))], hidden, network.up_bias)?,
                gate: if network.gated {
                    Some(self.linear(
                        &[(inner, &|part| at(LayerSlot::FeedForwardGate(part)))],
                        hidden,
                        network.up_bias,
                    )?)
                } else {
                    None
                },
                down: self.linear(
                    &[(hidden, &|part| at(LayerSlot::FeedForwardDown(part)))],
                    inner,
                    network.down_bias,
                )?,
                activation: network.activation,
            },
            feed_forward_norm: norm(spec.feed_forward_norm, &LayerSlot::FeedForwardNorm)?,
            feed_forward_post_norm: post(Some(spec.feed_forward_norm), &LayerSlot::FeedForwardPostNorm, sandwich)?,
            placement: spec.placement,
            convolution: spec.convolution.map(|convolution| self.convolution(layer, &convolution)).transpose()?,
        })
    }

    /// The convolution beside a block.
    fn convolution(&self, layer: usize, spec: &ConvolutionSpec) -> Result<Convolution, EncoderError> {
        let at = |slot| Slot::Layer { layer, slot };
        let hidden = self.spec.hidden;
        let shape = [hidden, hidden / spec.groups, spec.kernel];
        let weight = self.tensor(at(LayerSlot::Convolution(Part::Weight)), &shape)?;
        let bias = self.tensor(at(LayerSlot::Convolution(Part::Bias)), &[hidden])?;
        let norm = self.norm(spec.norm, hidden, |part| at(LayerSlot::ConvolutionNorm(part)))?;
        Ok(Convolution::new(self.kernels, self.format, spec, &weight, &bias, norm))
    }
}
