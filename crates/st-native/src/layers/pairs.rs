//! [`Pairs`]: weights in bfloat16, multiplied with inputs in bfloat16.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use half::bf16;

use super::epilogue::Epilogue;
use crate::kernels::Kernels;
use crate::kernels::pairs::{PairKernels, PairTileCall};
use crate::kernels::tile::Finish;
use crate::memory::Buffer;
use crate::scratch::{Halves, lend};
use crate::split::Shared;

/// Packed pairs: panels as those of 32-bit weights, of each two terms one pair per column.
#[derive(Debug)]
pub(crate) struct Pairs {
    kernels: &'static PairKernels,
    panels: Buffer<u16>,
    depth: usize,
    width: usize,
}

/// Rows that are rounded and pass over all panels before the next rows' turn.
const BLOCK: usize = 180;

impl Pairs {
    /// Rounds packed weights, in panels of `pairs.panel()` columns.
    pub(crate) fn new(pairs: &'static PairKernels, packed: &[f32], width: usize, depth: usize) -> Self {
        let mut panels = Buffer::zeroed(packed.len());
        let mut column = 0;
        while column < width {
            let columns = pairs.panel().min(width - column);
            let (from, to) = (&packed[column * depth..], &mut panels[column * depth..]);
            let terms = from.chunks_exact(2 * columns).zip(to.chunks_exact_mut(2 * columns));
            for (from, to) in terms.take(depth / 2) {
                let (first, second) = from.split_at(columns);
                for ((pair, first), second) in to.as_chunks_mut::<2>().0.iter_mut().zip(first).zip(second) {
                    *pair = [bf16::from_f32(*first).to_bits(), bf16::from_f32(*second).to_bits()];
                }
            }
            column += columns;
        }
        Self { kernels: pairs, panels, depth, width }
    }

    /// # Safety
    /// Input and output hold the rows, and no other thread uses this part of the output.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(crate) unsafe fn part(
        &self,
        kernels: &Kernels,
        bias: &[f32],
        rows: Range<usize>,
        panels: Range<usize>,
        input: &[f32],
        input_stride: usize,
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        lend(|halves: &mut Halves| {
            let blocks = rows.len().div_ceil(BLOCK);
            let mut start = rows.start;
            for block in 0..blocks {
                let count = (rows.end - start).div_ceil(blocks - block);
                halves.0.reserve(count * self.depth);
                for (row, half) in halves.0.chunks_exact_mut(self.depth).take(count).enumerate() {
                    let from = &input[(start + row) * input_stride..][..self.depth];
                    // SAFETY: both have as many numbers, a multiple of a vector.
                    unsafe { (self.kernels.narrow)(from.as_ptr(), self.depth, half.as_mut_ptr()) };
                }
                // SAFETY: the caller's promise.
                unsafe {
                    let panels = panels.clone();
                    self.multiply(kernels, bias, &halves.0, count, panels, start, output, output_stride, epilogue);
                }
                start += count;
            }
        });
    }

    /// Multiplies `count` rounded rows into the output's rows from `start` on.
    ///
    /// # Safety
    /// As for [`Self::part`].
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    unsafe fn multiply(
        &self,
        kernels: &Kernels,
        bias: &[f32],
        input: &[u16],
        count: usize,
        panels: Range<usize>,
        start: usize,
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        let (depth, panel) = (self.depth, self.kernels.panel());
        let finish = match epilogue {
            Epilogue::Store | Epilogue::Activate(_) => Finish::Store,
            Epilogue::Add => Finish::Add,
            Epilogue::Multiply => Finish::Multiply,
        };
        let tiles = count.div_ceil(self.kernels.rows());
        for number in panels {
            let column = number * panel;
            let columns = panel.min(self.width - column);
            let tile_kernels = self.kernels.tiles[columns / self.kernels.lanes - 1];
            let weights = self.panels[column * depth..].as_ptr();
            let mut row = 0;
            for tile in 0..tiles {
                let height = (count - row).div_ceil(tiles - tile);
                let first = output.at((start + row) * output_stride + column);
                let call = PairTileCall {
                    depth,
                    input: input[row * depth..].as_ptr(),
                    input_stride: depth,
                    panel: weights,
                    bias: bias[column..].as_ptr(),
                    output: first,
                    output_stride,
                    finish,
                    // A tile asks for `8 · depth` bytes of the next panel.
                    ahead: weights.wrapping_add(columns * depth + (tile * 4 * depth) % (columns * depth)),
                };
                // SAFETY: the tile lies inside the checked rows and panels.
                unsafe { tile_kernels[height - 1](&call) };
                if let Epilogue::Activate(kind) = epilogue {
                    // SAFETY: the tile just written.
                    unsafe { (kernels.activate)(kind, first, height, columns, output_stride) };
                }
                row += height;
            }
        }
    }
}
