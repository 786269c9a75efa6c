//! One block: attention and feed-forward network, each with its norms and residual connection.

use candle_core::Tensor;
use st_encoder::{AttentionPosition, EncoderError, LayerSlot, NormPlacement, NormSpec, Part, Slot};

use crate::compute::autocast;
use crate::error::{failed, unsupported};
use crate::network::{Context, DropoutPlace, Network, at};
use crate::ops;

impl Network {
    /// Runs block `layer` over `[n, hidden]`.
    pub(crate) fn block(&self, layer: usize, x: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        autocast(context.autocast, || self.with_convolution(layer, x, context))
    }

    fn with_convolution(&self, layer: usize, x: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        let y = self.without_convolution(layer, x, context)?;
        let Some(spec) = &self.spec.layers[layer].convolution else { return Ok(y) };
        let tensor = |part| self.parameters.tensor(at(layer, LayerSlot::Convolution)(part), context.gradients);
        let (weight, bias) = (tensor(Part::Weight)?, tensor(Part::Bias)?);
        let sequences = &context.shape(layer).sequences;
        let convolved = ops::convolution(x, &weight, Some(&bias), spec.groups, sequences).map_err(failed)?;
        let convolved = self.dropout(convolved, DropoutPlace::Convolution(layer), context)?;
        let convolved = ops::activation(&convolved, spec.activation).map_err(failed)?;
        let (weight, bias) = self.norm_slot(&spec.norm, at(layer, LayerSlot::ConvolutionNorm), context)?;
        ops::add_norm(&y, &convolved, &weight, bias.as_ref(), &spec.norm).map_err(failed)
    }

    fn without_convolution(&self, layer: usize, x: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        if let Some(y) = self.fused_block(layer, x, context)? {
            return Ok(y);
        }
        let spec = &self.spec.layers[layer];
        let slot = |place| at(layer, place);
        let norm = |x: &Tensor, norm: &NormSpec, place| self.norm(x, norm, slot(place), context);
        let add = |x: &Tensor, y: &Tensor| ops::add(x, y).map_err(failed);
        let add_norm = |x: &Tensor, y: &Tensor, norm: &NormSpec, place| {
            let (weight, bias) = self.norm_slot(norm, slot(place), context)?;
            ops::add_norm(x, y, &weight, bias.as_ref(), norm).map_err(failed)
        };
        let before = |x: &Tensor| match &spec.attention_norm {
            Some(spec) => norm(x, spec, LayerSlot::AttentionNorm),
            None => Ok(x.clone()),
        };
        match spec.placement {
            NormPlacement::Post => {
                let attended = self.attention(layer, x, context)?;
                let x = match &spec.attention_norm {
                    Some(norm) => add_norm(x, &attended, norm, LayerSlot::AttentionNorm)?,
                    None => add(x, &attended)?,
                };
                let fed = self.feed_forward(layer, &x, context)?;
                add_norm(&x, &fed, &spec.feed_forward_norm, LayerSlot::FeedForwardNorm)
            }
            NormPlacement::Pre => {
                let x = add(x, &self.attention(layer, &before(x)?, context)?)?;
                let normed = norm(&x, &spec.feed_forward_norm, LayerSlot::FeedForwardNorm)?;
                add(&x, &self.feed_forward(layer, &normed, context)?)
            }
            NormPlacement::Sandwich => {
                let attended = self.attention(layer, &before(x)?, context)?;
                let attended = match &spec.attention_norm {
                    Some(spec) => norm(&attended, spec, LayerSlot::AttentionPostNorm)?,
                    None => attended,
                };
                let x = add(x, &attended)?;
                let normed = norm(&x, &spec.feed_forward_norm, LayerSlot::FeedForwardNorm)?;
                let fed = self.feed_forward(layer, &normed, context)?;
                add(&x, &norm(&fed, &spec.feed_forward_norm, LayerSlot::FeedForwardPostNorm)?)
            }
        }
    }

    fn attention(&self, layer: usize, x: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        let spec = &self.spec.layers[layer].attention;
        let project = |x: &Tensor, place| self.linear(x, at(layer, place), context);
        let shape = context.shape(layer);
        let turned = |x: Tensor, place: fn(Part) -> LayerSlot| {
            let x = match &spec.query_key_norm {
                Some(norm) => {
                    let heads = x.reshape(((), spec.head_size)).map_err(failed)?;
                    self.norm(&heads, norm, at(layer, place), context)?.reshape(x.shape()).map_err(failed)?
                }
                None => x,
            };
            match context.rotation(layer) {
                Some(rotation) => ops::rotary(&x, rotation, spec.head_size).map_err(failed),
                None => Ok(x),
            }
        };
        let query = turned(project(x, LayerSlot::Query)?, LayerSlot::QueryNorm)?;
        let key = turned(project(x, LayerSlot::Key)?, LayerSlot::KeyNorm)?;
        let value = project(x, LayerSlot::Value)?;
        let mask = self.mask(DropoutPlace::Attention(layer), context);
        let attended = match spec.position {
            AttentionPosition::Disentangled { terms, own_projections, .. } => {
                let table = self.relative_table(layer, context)?;
                let places: [fn(Part) -> LayerSlot; 2] = match own_projections {
                    true => [LayerSlot::PositionQuery, LayerSlot::PositionKey],
                    false => [LayerSlot::Query, LayerSlot::Key],
                };
                let queries = terms.has_queries().then(|| project(&table, places[0])).transpose()?;
                let keys = terms.has_keys().then(|| project(&table, places[1])).transpose()?;
                let relative = (queries.as_ref(), keys.as_ref());
                ops::disentangled_attention(&query, &key, &value, relative.0, relative.1, shape, mask.as_ref())
            }
            AttentionPosition::RelativeBias { .. } => {
                let bias = self.table(Slot::RelativeBias, context)?;
                ops::attention(&query, &key, &value, shape, Some(&bias), mask.as_ref())
            }
            _ => ops::attention(&query, &key, &value, shape, None, mask.as_ref()),
        };
        let output = project(&attended.map_err(failed)?, LayerSlot::AttentionOutput)?;
        self.dropout(output, DropoutPlace::AttentionOutput(layer), context)
    }

    /// The table of relative positions, `[2·span, hidden]`. It has the norm of the embeddings.
    fn relative_table(&self, layer: usize, context: &Context) -> Result<Tensor, EncoderError> {
        let Some(norm) = &self.spec.embeddings.norm else {
            return Err(unsupported("disentangled attention without a norm of the embeddings"));
        };
        let table = self.parameters.tensor(Slot::RelativeEmbedding, context.gradients)?;
        let table = self.norm(&table, norm, Slot::RelativeEmbeddingNorm, context)?;
        self.dropout(table, DropoutPlace::Relative(layer), context)
    }

    fn feed_forward(&self, layer: usize, x: &Tensor, context: &Context) -> Result<Tensor, EncoderError> {
        let spec = &self.spec.layers[layer].feed_forward;
        let project = |x: &Tensor, place| self.linear(x, at(layer, place), context);
        let up = project(x, LayerSlot::FeedForwardUp)?;
        let inner = if spec.gated {
            ops::gated(&project(x, LayerSlot::FeedForwardGate)?, &up, spec.activation)
        } else {
            ops::activation(&up, spec.activation)
        };
        let inner = self.dropout(inner.map_err(failed)?, DropoutPlace::Inner(layer), context)?;
        let output = project(&inner, LayerSlot::FeedForwardDown)?;
        self.dropout(output, DropoutPlace::FeedForward(layer), context)
    }
}
