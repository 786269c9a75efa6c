//! The table of relative positions and its projections, which are made once, while a checkpoint is loaded.

use st_encoder::{AttentionPosition, EncoderError, LayerSlot, Part, Slot};

use crate::layers::linear::{Epilogue, Linear};
use crate::layers::packing::Axis;
use crate::layers::relative::Relative;
use crate::layers::{Run, padded, spread};
use crate::load::Loader;
use crate::memory::Buffer;
use crate::split::Split;

impl Loader<'_> {
    /// The table of relative positions, normalised: rows of the hidden size, padded. `None` where there is none.
    pub(crate) fn relative_table(&self) -> Result<Option<Buffer<f32>>, EncoderError> {
        let spans = self.spec.layers.iter().find_map(|layer| match layer.attention.position {
            AttentionPosition::Disentangled { span, .. } => Some(span),
            _ => None,
        });
        let (Some(span), Some(norm)) = (spans, self.spec.embeddings.norm) else { return Ok(None) };
        let (hidden, stride) = (self.spec.hidden, padded(self.spec.hidden));
        let table = self.tensor(Slot::RelativeEmbedding, &[2 * span, hidden])?;
        let norm = self.norm(norm, hidden, Slot::RelativeEmbeddingNorm)?;
        let mut rows = Buffer::zeroed(2 * span * stride);
        for (row, from) in rows.chunks_exact_mut(stride).zip(table.chunks_exact(hidden)) {
            row[..hidden].copy_from_slice(from);
        }
        norm.in_place(self.alone(), 2 * span, &mut rows, stride);
        Ok(Some(rows))
    }

    /// A block's projections of that table, by the block's projection of the content or by their own.
    pub(crate) fn relative(
        &self,
        layer: usize,
        table: &Buffer<f32>,
        projection: &Linear,
    ) -> Result<Option<Relative>, EncoderError> {
        let attention = &self.spec.layers[layer].attention;
        let AttentionPosition::Disentangled { span, terms, own_projections, .. } = attention.position else {
            return Ok(None);
        };
        let (heads, head) = (attention.heads, attention.head_size);
        let columns = heads * padded(head);
        let project = |linear: &Linear| {
            let stride = spread(linear.width());
            let mut rows = Buffer::zeroed(2 * span * stride);
            linear.apply(self.alone(), 2 * span, table, padded(self.spec.hidden), &mut rows, stride, Epilogue::Store);
            (rows, stride)
        };
        if !own_projections {
            let (rows, stride) = project(projection);
            let queries = terms.has_queries().then_some((&rows[..], stride, 0));
            let keys = terms.has_keys().then_some((&rows[..], stride, columns));
            return Ok(Some(Relative::new(2 * span, heads, head, queries, keys)));
        }
        let own = |there: bool, slot: fn(Part) -> LayerSlot| {
            let outputs = Axis { size: head, groups: heads };
            let slot = |part| Slot::Layer { layer, slot: slot(part) };
            there
                .then(|| self.linear(&[(outputs, &slot)], Axis::whole(self.spec.hidden), attention.input_bias))
                .transpose()
        };
        let queries = own(terms.has_queries(), LayerSlot::PositionQuery)?.map(|linear| project(&linear));
        let keys = own(terms.has_keys(), LayerSlot::PositionKey)?.map(|linear| project(&linear));
        let queries = queries.as_ref().map(|(rows, stride)| (&rows[..], *stride, 0));
        let keys = keys.as_ref().map(|(rows, stride)| (&rows[..], *stride, 0));
        Ok(Some(Relative::new(2 * span, heads, head, queries, keys)))
    }

    fn alone(&self) -> Run {
        Run { kernels: self.kernels, split: Split::none() }
    }
}
