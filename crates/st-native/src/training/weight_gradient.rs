//! The gradient of a weight: a product that sums over rows.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use super::attention::Matrix;
use super::compute::Compute;
use super::panels::halves;
use crate::kernels::STEP;
use crate::kernels::pairs::PairKernels;
use crate::kernels::training::outer::{OuterCall, prefetch_far};
use crate::split::Shared;

/// Rows whose products are summed before the sum goes to memory. Part of what a result is, to the bit.
const BLOCK: usize = 256;
/// Outputs that are packed together: a multiple of the height of every set's tile.
const GROUP: usize = 3 * STEP;

/// One gradient `[outputs, inputs]` with both padded to [`STEP`].
struct Outer<'a> {
    rows: usize,
    /// Gradient of the layer's output.
    left: Matrix<'a>,
    /// The layer's input.
    right: Matrix<'a>,
    output: Shared<'a>,
    output_stride: usize,
    sums: Option<Shared<'a>>,
    add: bool,
}

impl Compute {
    /// The gradients of a linear layer's weight `[outputs, inputs]` and, if wanted, bias: `gradientᵀ·input` and the sums of
    /// `gradient`'s columns; added to what is there where `add` is set.
    ///
    /// `gradient` has as many columns as `bias` would have numbers, `input` as many as the weight.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn linear_weight_gradient(
        &self,
        gradient: Matrix<'_>,
        input: Matrix<'_>,
        weight: &mut [f32],
        bias: Option<&mut [f32]>,
        add: bool,
    ) {
        let (outputs, inputs, rows) = (gradient.width, input.width, gradient.rows());
        assert_eq!(rows, input.rows(), "gradient and input differ in rows");
        assert_eq!(weight.len(), outputs * inputs, "a weight of another shape");
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == outputs), "a bias of another length");
        let (wide_outputs, wide_inputs) = (outputs.next_multiple_of(STEP), inputs.next_multiple_of(STEP));
        if rows == 0 {
            if !add {
                weight.fill(0.0);
                bias.into_iter().for_each(|bias| bias.fill(0.0));
            }
            return;
        }
        if wide_outputs == outputs && wide_inputs == inputs {
            let (output, sums) = (Shared::new(weight), bias.map(Shared::new));
            let outer = Outer { rows, left: gradient, right: input, output, output_stride: inputs, sums, add };
            self.outer(&outer, 0..outputs, 0..inputs);
            return;
        }
        let (mut wide, mut wide_sums) = (self.numbers(wide_outputs * wide_inputs), self.numbers(wide_outputs));
        let outer = Outer {
            rows,
            left: gradient,
            right: input,
            output: Shared::new(&mut wide),
            output_stride: wide_inputs,
            sums: Some(Shared::new(&mut wide_sums)),
            add: false,
        };
        self.outer(&outer, 0..wide_outputs, 0..wide_inputs);
        let put = |to: &mut [f32], from: &[f32]| {
            for (to, from) in to.iter_mut().zip(from) {
                *to = if add { *to + from } else { *from };
            }
        };
        for (to, from) in weight.chunks_exact_mut(inputs).zip(wide.chunks_exact(wide_inputs)) {
            put(to, from);
        }
        bias.into_iter().for_each(|bias| put(bias, &wide_sums));
    }

    /// Adds the gradient of a bias alone: sums of columns, in the order of rows.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn add_column_sums(&self, gradient: Matrix<'_>, sums: &mut [f32]) {
        assert_eq!(sums.len(), gradient.width, "a bias of another length");
        let shared = Shared::new(sums);
        self.over(gradient.width, 2 * STEP, &|columns| {
            // SAFETY: ranges of columns do not overlap.
            let sums = unsafe { shared.part(columns.clone()) };
            for row in gradient.numbers.chunks_exact(gradient.stride) {
                let row = &row[gradient.start..][columns.clone()];
                sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += number);
            }
        });
    }

    fn outer(&self, outer: &Outer<'_>, outputs: Range<usize>, inputs: Range<usize>) {
        self.halve(outer, outputs, inputs, 2 * self.threads.next_power_of_two());
    }

    /// Cuts the longer side in two until there are enough pieces.
    fn halve(&self, outer: &Outer<'_>, outputs: Range<usize>, inputs: Range<usize>, pieces: usize) {
        const SMALL: usize = 96;
        let longest = outputs.len().max(inputs.len());
        if pieces <= 1 || self.threads == 1 || longest <= SMALL {
            // SAFETY: no two pieces share outputs and inputs.
            unsafe { self.outer_piece(outer, outputs, inputs) };
            return;
        }
        let cut = |range: &Range<usize>| range.start + (range.len() / 2).next_multiple_of(STEP).min(range.len());
        if outputs.len() >= inputs.len() {
            let (middle, end) = (cut(&outputs), outputs.end);
            let right = inputs.clone();
            rayon::join(
                || self.halve(outer, outputs.start..middle, inputs, pieces / 2),
                || self.halve(outer, middle..end, right, pieces / 2),
            );
        } else {
            let (middle, end) = (cut(&inputs), inputs.end);
            let left = outputs.clone();
            rayon::join(
                || self.halve(outer, outputs, inputs.start..middle, pieces / 2),
                || self.halve(outer, left, middle..end, pieces / 2),
            );
        }
    }

    /// # Safety
    /// No other thread uses this part of the output.
    unsafe fn outer_piece(&self, outer: &Outer<'_>, outputs: Range<usize>, inputs: Range<usize>) {
        let (lanes, tallest) = (self.kernels.lanes, self.training.outer_rows());
        let panel = self.training.outer.len() * lanes;
        let (mut left, mut right) = (self.numbers(BLOCK * GROUP), self.numbers(BLOCK * inputs.len()));
        let sums = outer.sums.filter(|_| inputs.start == 0);
        // A pair takes the place of a number, so of the rounded sides there is half as much.
        let halved = if self.pairs.is_some() { BLOCK.div_ceil(2) } else { 0 };
        let (mut left_pairs, mut right_pairs) = (self.numbers(halved * GROUP), self.numbers(halved * inputs.len()));
        for start in (0..outer.rows).step_by(BLOCK) {
            let depth = BLOCK.min(outer.rows - start);
            let add = outer.add || start > 0;
            for offset in (0..inputs.len()).step_by(panel) {
                let columns = panel.min(inputs.len() - offset);
                let to = &mut right[offset * depth..][..columns * depth];
                outer.right.pack(start, inputs.start + offset, columns, to);
                if let Some(pairs) = self.pairs {
                    let joined = depth.div_ceil(2);
                    let place = &mut right_pairs[offset * joined..][..columns * joined];
                    pairs.join_rows(to, columns, halves(place));
                }
            }
            for group in outputs.clone().step_by(GROUP) {
                let height = GROUP.min(outputs.end - group);
                let left = &mut left[..height * depth];
                outer.left.pack(start, group, height, left);
                if let Some(sums) = sums {
                    // SAFETY: the caller's promise; pieces that start at input 0 have outputs of their own.
                    let sums = unsafe { sums.part(group..group + height) };
                    if !add {
                        sums.fill(0.0);
                    }
                    for row in left.chunks_exact(height) {
                        // SAFETY: both are `height` long, a multiple of a vector.
                        unsafe { (self.training.add_scaled)(sums.as_mut_ptr(), row.as_ptr(), 1.0, height) };
                    }
                }
                if let Some(pairs) = self.pairs {
                    pairs.join_rows(left, height, halves(&mut left_pairs));
                    // SAFETY: the caller's promise; both sides are packed.
                    unsafe {
                        outer.pair_tiles(pairs, depth, group..group + height, &inputs, &left_pairs, &right_pairs, add)
                    };
                    continue;
                }
                for offset in (0..inputs.len()).step_by(panel) {
                    let columns = panel.min(inputs.len() - offset);
                    let tiles = self.training.outer[columns / lanes - 1];
                    for row in (0..height).step_by(tallest) {
                        let rows = tallest.min(height - row);
                        let place = (group + row) * outer.output_stride + inputs.start + offset;
                        let last = outer.output.at(place + (rows - 1) * outer.output_stride + columns);
                        debug_assert!(!last.is_null());
                        let call = OuterCall {
                            depth,
                            left: left[row..].as_ptr(),
                            left_stride: height,
                            panel: right[offset * depth..].as_ptr(),
                            output: outer.output.at(place),
                            output_stride: outer.output_stride,
                            add,
                        };
                        // SAFETY: the tile lies inside this piece, and both packed sides hold `depth` terms of it.
                        unsafe { tiles[rows - 1](&call) };
                    }
                }
            }
        }
    }
}

impl Outer<'_> {
    /// The tiles of a group of outputs and all inputs of a piece, of pairs; `depth` counts rows.
    ///
    /// # Safety
    /// No other thread uses this part of the output, and both sides hold `depth` rows' pairs of it.
    #[expect(clippy::too_many_arguments, reason = "a product has two sides and a result")]
    unsafe fn pair_tiles(
        &self,
        pairs: &PairKernels,
        depth: usize,
        outputs: Range<usize>,
        inputs: &Range<usize>,
        left: &[f32],
        right: &[f32],
        add: bool,
    ) {
        let (joined, panel, height) = (depth.div_ceil(2), pairs.outer.len() * pairs.lanes, outputs.len());
        for offset in (0..inputs.len()).step_by(panel) {
            let columns = panel.min(inputs.len() - offset);
            let tiles = pairs.outer[columns / pairs.lanes - 1];
            for row in (0..height).step_by(tiles.len()) {
                let rows = tiles.len().min(height - row);
                let place = (outputs.start + row) * self.output_stride + inputs.start + offset;
                let call = OuterCall {
                    depth: joined,
                    left: left[row..].as_ptr().cast::<u16>(),
                    left_stride: height,
                    panel: right[offset * joined..].as_ptr().cast::<u16>(),
                    output: self.output.at(place),
                    output_stride: self.output_stride,
                    add,
                };
                // SAFETY: the tile lies inside this piece, and both packed sides hold its pairs.
                unsafe { tiles[rows - 1](&call) };
            }
        }
    }
}

impl Matrix<'_> {
    /// Copies `columns` columns of the rows that `to` has room for, side by side; what lies beyond the width are zeros.
    fn pack(&self, start: usize, first: usize, columns: usize, to: &mut [f32]) {
        let real = columns.min(self.width.saturating_sub(first));
        for (row, to) in to.chunks_exact_mut(columns).enumerate() {
            if real > 0 {
                let place = (start + row) * self.stride + self.start + first;
                let from = &self.numbers[place..];
                // The next columns of these rows come next, and a row is too far from the one before for the processor
                // to see that by itself.
                for line in (0..real).step_by(STEP) {
                    prefetch_far(from.as_ptr().wrapping_add(columns + line));
                }
                to[..real].copy_from_slice(&from[..real]);
            }
            to[real..].fill(0.0);
        }
    }
}
