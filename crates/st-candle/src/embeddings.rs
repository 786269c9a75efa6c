//! From token ids to the first hidden state.

use candle_core::{Device, Tensor};
use st_encoder::{Batch, EncoderError, PatchSpec, PositionSpec, Slot};

use crate::error::failed;
use crate::network::{Context, DropoutPlace, Linear, Network};
use crate::ops;

impl Network {
    /// The embeddings of a batch, `[n, hidden]`.
    pub(crate) fn embed(&self, batch: &Batch, context: &Context) -> Result<Tensor, EncoderError> {
        let spec = &self.spec.embeddings;
        let ids = |numbers: Vec<u32>| Tensor::from_vec(numbers, batch.tokens(), &self.device).map_err(failed);
        let rows = |slot, numbers| self.rows(slot, &ids(numbers)?, context);
        let mut embedded = match spec.patches {
            None => rows(Slot::WordEmbedding, batch.ids().to_vec())?,
            Some(patches) => self.embed_patches(batch, patches, context)?,
        };
        if let Some(scale) = spec.scale {
            embedded = (embedded * f64::from(scale)).map_err(failed)?;
        }
        if let PositionSpec::Learned { offset, padding, .. } = spec.positions {
            let positions = rows(Slot::PositionEmbedding, positions(batch, offset, padding))?;
            embedded = ops::add(&embedded, &positions).map_err(failed)?;
        }
        if spec.token_types > 0 {
            embedded = match batch.type_ids() {
                Some(types) => ops::add(&embedded, &rows(Slot::TokenTypeEmbedding, types.to_vec())?),
                None => self
                    .table(Slot::TokenTypeEmbedding, context)?
                    .narrow(0, 0, 1)
                    .and_then(|row| embedded.broadcast_add(&row)),
            }
            .map_err(failed)?;
        }
        if let Some(norm) = &spec.norm {
            embedded = self.norm(&embedded, norm, Slot::EmbeddingNorm, context)?;
        }
        embedded = self.dropout(embedded, DropoutPlace::Embeddings, context)?;
        if spec.projection.is_some() {
            embedded = self.linear(&embedded, Slot::EmbeddingProjection, context)?;
        }
        Ok(embedded)
    }

    /// The patches of images, mapped, each image's after the class vector.
    fn embed_patches(&self, batch: &Batch, patches: PatchSpec, context: &Context) -> Result<Tensor, EncoderError> {
        let numbers = batch.patches(0..batch.len()).unwrap_or_default();
        let count = batch.tokens() - batch.len();
        let slot = Slot::PatchProjection;
        let weight = self.parameters.tensor(slot, context.gradients)?.flatten_from(1).map_err(failed)?;
        let class = self.parameters.tensor(Slot::ClassEmbedding, context.gradients)?;
        let numbers = Tensor::from_slice(numbers, (count, patches.numbers()), &Device::Cpu);
        let numbers = numbers.and_then(|numbers| numbers.to_dtype(self.dtype)?.to_device(&self.device));
        let numbers = numbers.map_err(failed)?;
        let linear = self.adapt(Linear { weight, bias: None }, slot, context)?;
        let mapped = ops::linear(&numbers, &linear.weight, None).map_err(failed)?;
        let mapped = self.adapt_result(mapped, &numbers, &linear, slot, context)?;
        let compute = || -> candle_core::Result<Tensor> {
            let class = class.unsqueeze(0)?;
            let mut rows = Vec::with_capacity(2 * batch.len());
            for (image, length) in batch.lengths().enumerate() {
                rows.push(class.clone());
                rows.push(mapped.narrow(0, batch.offsets()[image] - image, length - 1)?);
            }
            Tensor::cat(&rows, 0)
        };
        compute().map_err(failed)
    }
}

/// The row of the position table for every token. Tokens of the padding id read the row of that number and do not advance
/// the position, as in the RoBERTa family.
fn positions(batch: &Batch, offset: usize, padding: Option<u32>) -> Vec<u32> {
    let mut positions = Vec::with_capacity(batch.tokens());
    for sequence in 0..batch.len() {
        let mut next = offset as u32;
        for &id in batch.sequence(sequence) {
            if padding == Some(id) {
                positions.push(id);
            } else {
                positions.push(next);
                next += 1;
            }
        }
    }
    positions
}
