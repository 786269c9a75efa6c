//! [`Embeddings`]: from token ids to the first hidden state.

use std::ops::Range;

use st_encoder::{Batch, PositionSpec};

use super::linear::{Epilogue, Linear};
use super::norm::Norm;
use super::{Run, padded};
use crate::scratch::Activations;
use crate::table::Table;

/// What the rows are before positions and types are added.
#[derive(Debug)]
pub(crate) enum Words {
    /// Rows of a table, by token id.
    Table(Table),
    /// The patches of an image, mapped, after a learned vector.
    Patches { projection: Linear, class: Vec<f32>, numbers: usize },
}

/// The tables, their norm and projection.
#[derive(Debug)]
pub(crate) struct Embeddings {
    pub(crate) words: Words,
    pub(crate) positions: Option<Table>,
    pub(crate) position: PositionSpec,
    pub(crate) types: Option<Table>,
    pub(crate) norm: Option<Norm>,
    pub(crate) projection: Option<Linear>,
    pub(crate) scale: Option<f32>,
    pub(crate) width: usize,
}

impl Embeddings {
    /// Fills `memory.hidden` with rows of `stride` numbers for the given sequences of a batch.
    pub(crate) fn apply(
        &self,
        run: Run,
        batch: &Batch,
        sequences: Range<usize>,
        stride: usize,
        memory: &mut Activations,
    ) {
        let Activations { embedded, hidden, normed, aside, .. } = memory;
        let offsets = batch.offsets();
        let tokens = offsets[sequences.start]..offsets[sequences.end];
        let rows = tokens.len();
        hidden.reserve(rows * stride);
        let width = padded(self.width);
        let target = if self.projection.is_some() {
            embedded.reserve(rows * width);
            &mut *embedded
        } else {
            &mut *hidden
        };
        let types = batch.type_ids().map(|types| &types[tokens]);
        let mapped = match &self.words {
            Words::Table(_) => None,
            Words::Patches { projection, numbers, .. } => {
                let patches = batch.patches(sequences.clone()).unwrap_or_default().chunks_exact(*numbers);
                let (count, depth, out) = (patches.len(), padded(*numbers), projection.width());
                normed.reserve(count * depth);
                aside.reserve(count * out);
                for (to, patch) in normed.chunks_exact_mut(depth).zip(patches) {
                    let (to, rest) = to.split_at_mut(*numbers);
                    to.copy_from_slice(patch);
                    rest.fill(0.0);
                }
                projection.apply(run, count, normed, depth, aside, out, Epilogue::Store);
                Some(aside.chunks_exact(out))
            }
        };
        let mut mapped = mapped.into_iter().flatten();
        let mut row = 0;
        for sequence in sequences {
            let mut next = 0;
            for &id in batch.sequence(sequence) {
                let to = &mut target[row * width..(row + 1) * width];
                to[self.width..].fill(0.0);
                let to = &mut to[..self.width];
                match &self.words {
                    Words::Table(table) => table.copy_row(id as usize, to),
                    Words::Patches { class, .. } if next == 0 => to.copy_from_slice(class),
                    Words::Patches { .. } => {
                        if let Some(patch) = mapped.next() {
                            to.copy_from_slice(&patch[..self.width]);
                        }
                    }
                }
                if let Some(scale) = self.scale {
                    to.iter_mut().for_each(|number| *number *= scale);
                }
                if let Some(table) = &self.types {
                    table.add_row(types.map_or(0, |types| types[row] as usize), to);
                }
                if let (Some(table), PositionSpec::Learned { offset, padding, .. }) = (&self.positions, self.position) {
                    let position = match padding {
                        Some(padding) if padding == id => id as usize,
                        _ => {
                            next += 1;
                            next - 1 + offset
                        }
                    };
                    table.add_row(position, to);
                }
                row += 1;
            }
        }
        if let Some(norm) = &self.norm {
            norm.in_place(run, rows, target, width);
        }
        if let Some(projection) = &self.projection {
            projection.apply(run, rows, embedded, width, hidden, stride, Epilogue::Store);
        }
    }
}
