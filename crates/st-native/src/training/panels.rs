//! [`Panels`]: weights packed for one step, and products with them.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use super::compute::Compute;
use super::linear::Weight;
use super::pool::Pooled;
use crate::kernels::STEP;
use crate::kernels::pairs::{PairKernels, PairTileCall};
use crate::kernels::tile::{Finish, TileCall};
use crate::split::{Shared, evenly};

/// A matrix `[depth, width]` in panels of columns, both padded with zeros to a multiple of [`STEP`], and a bias.
pub(super) struct Panels {
    /// Or pairs of bfloat16, where [`Compute`] multiplies those.
    numbers: Pooled,
    bias: Pooled,
    /// Without padding.
    pub(super) depth: usize,
    /// Without padding.
    pub(super) width: usize,
}

/// Numbers of a block of input rows: they stay in the second-level cache while all panels pass.
const BLOCK: usize = 1 << 17;

/// Row of a list of weights that are stacked.
fn stacked<'a>(weights: &[Weight<'a>], inputs: usize, mut row: usize) -> Option<(&'a [f32], usize)> {
    for weight in weights {
        if row < weight.outputs {
            return Some((&weight.numbers[row * inputs..], weight.outputs - row));
        }
        row -= weight.outputs;
    }
    None
}

impl Compute {
    /// Packs stacked weights `[outputs, inputs]` for `x·Wᵀ + b`.
    pub(super) fn pack_transposed(&self, weights: &[Weight<'_>], inputs: usize) -> Panels {
        let width: usize = weights.iter().map(|weight| weight.outputs).sum();
        let (depth, lanes) = (inputs.next_multiple_of(STEP), self.kernels.lanes);
        let mut bias = self.numbers(width.next_multiple_of(STEP));
        bias.fill(0.0);
        let mut start = 0;
        for weight in weights {
            if let Some(numbers) = weight.bias {
                bias[start..start + weight.outputs].copy_from_slice(&numbers[..weight.outputs]);
            }
            start += weight.outputs;
        }
        let numbers = self.panels(depth, width, |column, columns, to| {
            for lane in (0..columns).step_by(lanes) {
                let rows = stacked(weights, inputs, column + lane);
                if let Some((rows, count)) = rows.filter(|(_, count)| *count >= lanes && inputs == depth) {
                    debug_assert!(count >= lanes && rows.len() >= lanes * inputs);
                    for term in (0..depth).step_by(lanes) {
                        let to = &mut to[term * columns + lane..][..(lanes - 1) * columns + lanes];
                        let from = rows[term..].as_ptr();
                        // SAFETY: `lanes` rows of `lanes` numbers exist on both sides.
                        unsafe { (self.kernels.transpose)(from, inputs, lanes, to.as_mut_ptr(), columns) };
                    }
                } else {
                    for offset in 0..lanes {
                        let row = stacked(weights, inputs, column + lane + offset).map(|(row, _)| row);
                        for term in 0..depth {
                            let number = row.filter(|_| term < inputs).map_or(0.0, |row| row[term]);
                            to[term * columns + lane + offset] = number;
                        }
                    }
                }
            }
        });
        Panels { numbers, bias, depth: inputs, width }
    }

    /// Packs stacked weights `[outputs, inputs]` for `g·W`.
    pub(super) fn pack_plain(&self, weights: &[Weight<'_>], inputs: usize) -> Panels {
        let outputs: usize = weights.iter().map(|weight| weight.outputs).sum();
        let mut bias = self.numbers(inputs.next_multiple_of(STEP));
        bias.fill(0.0);
        let numbers = self.panels(outputs.next_multiple_of(STEP), inputs, |column, columns, to| {
            let real = columns.min(inputs.saturating_sub(column));
            let rows = weights.iter().flat_map(|weight| weight.numbers[..weight.outputs * inputs].chunks_exact(inputs));
            let mut places = to.chunks_exact_mut(columns);
            for (row, to) in rows.zip(&mut places) {
                if real > 0 {
                    to[..real].copy_from_slice(&row[column..column + real]);
                }
                to[real..].fill(0.0);
            }
            places.for_each(|to| to.fill(0.0));
        });
        Panels { numbers, bias, depth: outputs, width: inputs }
    }

    /// Fills panels: `fill` gets a panel's first column, its columns and its place.
    fn panels(&self, depth: usize, width: usize, fill: impl Fn(usize, usize, &mut [f32]) + Sync) -> Pooled {
        let (panel, width) = (self.kernels.panel(), width.next_multiple_of(STEP));
        let Some(pairs) = self.pairs else {
            let mut numbers = self.numbers(depth * width);
            let shared = Shared::new(&mut numbers);
            self.over(width.div_ceil(panel), 1, &|panels| {
                for column in panels.map(|index| index * panel) {
                    let columns = panel.min(width - column);
                    // SAFETY: panels do not overlap.
                    let place = unsafe { shared.part(column * depth..(column + columns) * depth) };
                    fill(column, columns, place);
                }
            });
            return numbers;
        };
        let mut numbers = self.numbers(depth * width / 2);
        let shared = Shared::new(&mut numbers);
        self.over(width.div_ceil(panel), 1, &|panels| {
            let mut wide = self.numbers(panel * depth);
            for column in panels.map(|index| index * panel) {
                let columns = panel.min(width - column);
                fill(column, columns, &mut wide[..columns * depth]);
                // SAFETY: panels do not overlap, and a pair takes the place of a number.
                let place = unsafe { shared.part(column * depth / 2..(column + columns) * depth / 2) };
                pairs.join_rows(&wide[..columns * depth], columns, halves(place));
            }
        });
        numbers
    }

    /// `output = input·M + bias` for the rows of a range, on this thread; `input` begins at row 0, `output` too.
    ///
    /// # Safety
    /// No other thread may use these rows of the output.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(super) unsafe fn product(
        &self,
        panels: &Panels,
        rows: Range<usize>,
        input: &[f32],
        input_stride: usize,
        output: Shared<'_>,
        output_stride: usize,
        finish: Finish,
    ) {
        if rows.is_empty() {
            return;
        }
        let (depth, width) = (panels.depth, panels.width);
        assert!(input.len() >= (rows.end - 1) * input_stride + depth, "input too short");
        assert!(!output.at((rows.end - 1) * output_stride + width).is_null(), "output too short");
        let height = (BLOCK / depth.max(1)).clamp(4 * STEP, 16 * STEP);
        if depth.is_multiple_of(STEP) && width.is_multiple_of(STEP) {
            let blocks = rows.len().div_ceil(height);
            for block in 0..blocks {
                let at = |block| rows.start + rows.len() * block / blocks;
                // SAFETY: the caller's promise; lengths were checked.
                unsafe {
                    self.tiles(panels, at(block)..at(block + 1), input, input_stride, output, output_stride, finish);
                }
            }
            return;
        }
        let (wide_depth, wide) = (depth.next_multiple_of(STEP), width.next_multiple_of(STEP));
        let (mut from, mut to) = (self.numbers(height * wide_depth), self.numbers(height * wide));
        for start in rows.clone().step_by(height) {
            let count = height.min(rows.end - start);
            for (row, from) in from.chunks_exact_mut(wide_depth).take(count).enumerate() {
                from[..depth].copy_from_slice(&input[(start + row) * input_stride..][..depth]);
                from[depth..].fill(0.0);
            }
            let target = Shared::new(&mut to);
            // SAFETY: the memory is this thread's.
            unsafe { self.tiles(panels, 0..count, &from, wide_depth, target, wide, Finish::Store) };
            for (row, sums) in to.chunks_exact(wide).take(count).enumerate() {
                let first = (start + row) * output_stride;
                // SAFETY: the caller's promise.
                let target = unsafe { output.part(first..first + width) };
                for (target, sum) in target.iter_mut().zip(sums) {
                    match finish {
                        Finish::Store => *target = *sum,
                        Finish::Add => *target += *sum,
                        Finish::Multiply => *target *= *sum,
                    }
                }
            }
        }
    }

    /// # Safety
    /// Input and output hold the rows in padded width, and no other thread uses this part of the output.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    unsafe fn tiles(
        &self,
        panels: &Panels,
        rows: Range<usize>,
        input: &[f32],
        input_stride: usize,
        output: Shared<'_>,
        output_stride: usize,
        finish: Finish,
    ) {
        if let Some(pairs) = self.pairs {
            // SAFETY: the caller's promise.
            return unsafe { self.pair_tiles(pairs, panels, rows, input, input_stride, output, output_stride, finish) };
        }
        let kernels = self.kernels;
        let (depth, width) = (panels.depth.next_multiple_of(STEP), panels.width.next_multiple_of(STEP));
        for column in (0..width).step_by(kernels.panel()) {
            let columns = kernels.panel().min(width - column);
            let tiles = kernels.tiles_f32[columns / kernels.lanes - 1];
            let weights = panels.numbers[column * depth..].as_ptr().cast::<u8>();
            let panel_bytes = kernels.panel() * depth * 4;
            for (tile, rows) in evenly(rows.clone(), kernels.rows()).enumerate() {
                let (row, height) = (rows.start, rows.len());
                let call = TileCall {
                    depth,
                    input: input[row * input_stride..].as_ptr(),
                    input_stride,
                    panel: weights,
                    bias: panels.bias[column..].as_ptr(),
                    output: output.at(row * output_stride + column),
                    output_stride,
                    finish,
                    // A tile asks for `16 · depth` bytes of the next panel.
                    ahead: weights.wrapping_add(panel_bytes + (tile * 16 * depth) % panel_bytes),
                };
                // SAFETY: the tile lies inside the rows that the caller has.
                unsafe { tiles[height - 1](&call) };
            }
        }
    }

    /// As [`Self::tiles`], of pairs.
    ///
    /// # Safety
    /// As for [`Self::tiles`].
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    unsafe fn pair_tiles(
        &self,
        pairs: &PairKernels,
        panels: &Panels,
        rows: Range<usize>,
        input: &[f32],
        input_stride: usize,
        output: Shared<'_>,
        output_stride: usize,
        finish: Finish,
    ) {
        let (depth, width) = (panels.depth.next_multiple_of(STEP), panels.width.next_multiple_of(STEP));
        let (first, rounded_rows) = (rows.start, rows.len());
        let mut rounded = self.numbers(rounded_rows * depth / 2);
        for (row, to) in rows.zip(rounded.chunks_exact_mut(depth / 2)) {
            let from = &input[row * input_stride..][..depth];
            // SAFETY: both have so many numbers, a multiple of a vector.
            unsafe { (pairs.narrow)(from.as_ptr(), depth, halves(to).as_mut_ptr()) };
        }
        for column in (0..width).step_by(pairs.panel()) {
            let columns = pairs.panel().min(width - column);
            let tiles = pairs.tiles[columns / pairs.lanes - 1];
            let weights = panels.numbers[column * depth / 2..].as_ptr().cast::<u16>();
            let panel_numbers = pairs.panel() * depth;
            for (tile, rows) in evenly(0..rounded_rows, pairs.rows()).enumerate() {
                let (row, height) = (rows.start, rows.len());
                let call = PairTileCall {
                    depth,
                    input: rounded[row * depth / 2..].as_ptr().cast(),
                    input_stride: depth,
                    panel: weights,
                    bias: panels.bias[column..].as_ptr(),
                    output: output.at((first + row) * output_stride + column),
                    output_stride,
                    finish,
                    // A tile asks for `8 · depth` bytes of the next panel.
                    ahead: weights.wrapping_add(panel_numbers + (tile * 4 * depth) % panel_numbers),
                };
                // SAFETY: the tile lies inside the rows that the caller has.
                unsafe { tiles[height - 1](&call) };
            }
        }
    }
}

/// Numbers of 16 bits in the place of 32-bit ones.
pub(super) fn halves(numbers: &mut [f32]) -> &mut [u16] {
    // SAFETY: two take the place of one, whose alignment is more than enough, and any bits are numbers of both kinds.
    unsafe { std::slice::from_raw_parts_mut(numbers.as_mut_ptr().cast(), 2 * numbers.len()) }
}
