//! [`Pairs`]: weights in bfloat16, multiplied with inputs in bfloat16.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use super::epilogue::Epilogue;
use crate::kernels::Kernels;
use crate::kernels::pairs::{PairKernels, PairTileCall};
use crate::memory::Buffer;
use crate::scratch::{Halves, lend};
use crate::split::{Shared, evenly};

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
            let place = column * depth..(column + columns) * depth;
            pairs.join_rows(&packed[place.clone()], columns, &mut panels[place]);
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
            for block in evenly(rows, BLOCK) {
                let (start, count) = (block.start, block.len());
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
        let finish = epilogue.finish();
        for number in panels {
            let column = number * panel;
            let columns = panel.min(self.width - column);
            let tile_kernels = self.kernels.tiles[columns / self.kernels.lanes - 1];
            let weights = self.panels[column * depth..].as_ptr();
            for (tile, rows) in evenly(0..count, self.kernels.rows()).enumerate() {
                let (row, height) = (rows.start, rows.len());
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
            }
        }
    }
}
