//! [`Integer`]: weights in bytes, activations quantised row by row.
//!
//! A layer computes `y = W·x + b`. Its input is centred and scaled per component, `v = (x − c) / s`, with `W·c` added to
//! the bias and `s` multiplied into the weights, so that components of unlike range share one scale without loss
//! (Xiao et al. 2023, SmoothQuant). `v` is quantised per row to 0..=255 between its own smallest and largest number, the
//! scaled weights per column to −127..=127. In between both are rotated alike ([`rotations`]; Ashkboos et al. 2024, QuaRot),
//! which leaves products as they are and numbers that stand out no longer standing out.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use st_encoder::Activation;

use super::Run;
use super::epilogue::Epilogue;
use crate::calibration::Observations;
use crate::kernels::integer::{IntegerKernels, IntegerTileCall};
use crate::kernels::quantise::{Levels, QuantiseCall, bytes_of, rotation_factor, rotations};
use crate::kernels::{Kernels, STEP};
use crate::memory::Buffer;
use crate::scratch::{Bytes, lend};
use crate::split::{Shared, evenly};

/// Packed bytes.
#[derive(Debug)]
pub(crate) struct Integer {
    kernels: &'static IntegerKernels,
    panels: Buffer<i8>,
    /// Value of a step, per column.
    scale: Buffer<f32>,
    /// Sum of the weights, per column.
    sum: Buffer<f32>,
    /// How the input is centred and scaled.
    transform: Transform,
}

/// What is done with every number before rows are rotated: a factor and a shift per column, [`rotation_factor`] included.
#[derive(Debug)]
struct Transform {
    factor: Buffer<f32>,
    shift: Buffer<f32>,
}

impl Transform {
    fn new(depth: usize, factor: impl Fn(usize) -> f32, centre: impl Fn(usize) -> f32) -> Self {
        let mut transform = Self { factor: Buffer::zeroed(depth), shift: Buffer::zeroed(depth) };
        for (start, points) in rotations(depth) {
            for j in start..start + points * STEP {
                transform.factor[j] = rotation_factor(points) * factor(j);
                transform.shift[j] = -centre(j) * transform.factor[j];
            }
        }
        transform
    }

    /// Quantises every row of `input`, which lie `stride` numbers apart, `rows` of them.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    fn apply(
        &self,
        kernels: &Kernels,
        levels: Levels,
        rows: usize,
        input: &[f32],
        stride: usize,
        activation: Option<Activation>,
        to: &mut Bytes,
    ) {
        let width = self.factor.len();
        assert!(rows == 0 || input.len() >= (rows - 1) * stride + width, "rows too short");
        to.reserve(rows, width);
        let call = QuantiseCall {
            levels,
            rows,
            width,
            input: input.as_ptr(),
            input_stride: stride,
            activation,
            factor: self.factor.as_ptr(),
            shift: self.shift.as_ptr(),
            rotated: to.rotated.as_mut_ptr(),
            output: to.bytes.as_mut_ptr(),
            scale: to.scale.as_mut_ptr(),
            offset: to.offset.as_mut_ptr(),
        };
        // SAFETY: the rows exist, and there is room for as many rows of bytes.
        unsafe { (kernels.quantise)(&call) };
    }
}

/// What turns rows of `width` numbers, as they are, into bytes, for measuring.
pub(crate) fn quantiser(
    kernels: &'static Kernels,
    width: usize,
    activation: Option<Activation>,
) -> impl Fn(usize, &[f32], &mut Bytes) {
    let transform = Transform::new(width, |_| 1.0, |_| 0.0);
    move |rows, input, bytes| {
        transform.apply(kernels, Levels::Unsigned, rows, input, width, activation, bytes);
    }
}

/// Rows that are quantised and pass over all panels before the next rows' turn.
const BLOCK: usize = 180;
/// Least spread of a component, as a part of the root mean square of all.
const LEAST_SPREAD: f32 = 0.02;

impl Integer {
    /// Quantises weights, given column by column of the output (`rows[i]` are the weights of output `i`), and returns what
    /// is to be added to the bias.
    pub(crate) fn new(
        run: Run,
        integer: &'static IntegerKernels,
        rows: &[f32],
        width: usize,
        depth: usize,
        seen: &Observations,
    ) -> (Self, Vec<f32>) {
        let centre: Vec<f32> = (0..depth).map(|j| seen.mean(j)).collect();
        let spread: Vec<f32> = (0..depth).map(|j| seen.spread(j)).collect();
        let scales = even_scales(rows, depth, &spread);
        let weights = Transform::new(depth, |j| scales[j], |_| 0.0);
        let mut layer = Self {
            kernels: integer,
            panels: Buffer::zeroed(width * bytes_of(depth)),
            scale: Buffer::zeroed(width),
            sum: Buffer::zeroed(width),
            transform: Transform::new(depth, |j| 1.0 / scales[j], |j| centre[j]),
        };
        let mut moved = vec![0.0; width];
        let panel = integer.panel();
        let parts = layer.panels.chunks_mut(panel * bytes_of(depth)).zip(rows.chunks(panel * depth));
        let numbers = layer.scale.chunks_mut(panel).zip(layer.sum.chunks_mut(panel)).zip(moved.chunks_mut(panel));
        // Every panel is one thread's alone.
        let tasks: Vec<_> = parts.zip(numbers).map(Mutex::new).collect();
        run.split.over(tasks.len(), 1, &|panels| {
            lend(|bytes: &mut Bytes| {
                for task in &tasks[panels] {
                    let ((to, rows), ((scale, sum), moved)) = &mut *task.lock().unwrap_or_else(PoisonError::into_inner);
                    let count = moved.len();
                    weights.apply(run.kernels, Levels::Signed, count, rows, depth, None, bytes);
                    scale.copy_from_slice(&bytes.scale[..count]);
                    for (column, row) in bytes.bytes.chunks_exact(bytes_of(depth)).enumerate().take(count) {
                        sum[column] = put(to, count, column, row) as f32 * scale[column];
                        moved[column] = dot(&rows[column * depth..(column + 1) * depth], &centre);
                    }
                }
            });
        });
        drop(tasks);
        (layer, moved)
    }

    /// # Safety
    /// Input and output hold the rows, and no other thread uses this part of the output.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(super) unsafe fn part(
        &self,
        kernels: &Kernels,
        bias: &[f32],
        rows: Range<usize>,
        panels: Range<usize>,
        input: &[f32],
        input_stride: usize,
        activation: Option<Activation>,
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        lend(|bytes: &mut Bytes| {
            for block in evenly(rows, BLOCK) {
                let (start, count) = (block.start, block.len());
                let input = &input[start * input_stride..];
                self.transform.apply(kernels, Levels::Unsigned, count, input, input_stride, activation, bytes);
                // SAFETY: the caller's promise.
                unsafe {
                    self.multiply(kernels, bias, bytes, count, panels.clone(), start, output, output_stride, epilogue);
                }
            }
        });
    }

    /// Multiplies `count` rows of bytes into the output's rows from `start` on.
    ///
    /// # Safety
    /// As for [`Self::part`].
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    unsafe fn multiply(
        &self,
        kernels: &Kernels,
        bias: &[f32],
        bytes: &Bytes,
        count: usize,
        panels: Range<usize>,
        start: usize,
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        let (width, panel) = (self.scale.len(), self.kernels.panel());
        let depth = bytes_of(self.transform.factor.len());
        let finish = epilogue.finish();
        for number in panels {
            let column = number * panel;
            let columns = panel.min(width - column);
            let tile_kernels = self.kernels.tiles[columns / self.kernels.lanes - 1];
            let weights = self.panels[column * depth..].as_ptr();
            for (tile, rows) in evenly(0..count, self.kernels.rows()).enumerate() {
                let (row, height) = (rows.start, rows.len());
                let first = output.at((start + row) * output_stride + column);
                let call = IntegerTileCall {
                    depth,
                    input: bytes.bytes[row * depth..].as_ptr(),
                    input_stride: depth,
                    panel: weights,
                    column_scale: self.scale[column..].as_ptr(),
                    column_sum: self.sum[column..].as_ptr(),
                    bias: bias[column..].as_ptr(),
                    row_scale: bytes.scale[row..].as_ptr(),
                    row_offset: bytes.offset[row..].as_ptr(),
                    output: first,
                    output_stride,
                    finish,
                    // A tile asks for `8 · depth` bytes of the next panel.
                    ahead: weights.wrapping_add(columns * depth + (tile * 8 * depth) % (columns * depth)),
                };
                // SAFETY: the tile lies inside the checked rows and panels.
                unsafe { tile_kernels[height - 1](&call) };
                if let Epilogue::Activate(kind) = epilogue {
                    // SAFETY: the tile just written.
                    unsafe { (kernels.activate_roughly)(kind, first, height, columns, output_stride) };
                }
            }
        }
    }

    /// Panels of the packed bytes.
    pub(super) fn panels(&self) -> usize {
        self.scale.len().div_ceil(self.kernels.panel())
    }
}

/// Puts a column's bytes in their places among a panel's `columns` columns, and returns their sum.
fn put(panel: &mut [i8], columns: usize, column: usize, bytes: &[u8]) -> i32 {
    let mut sum = 0;
    let groups = panel.as_chunks_mut::<4>().0.iter_mut().skip(column).step_by(columns);
    for (to, from) in groups.zip(bytes.as_chunks::<4>().0) {
        *to = from.map(u8::cast_signed);
        sum += to.iter().map(|&weight| i32::from(weight)).sum::<i32>();
    }
    sum
}

/// Sum of products.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; STEP];
    for (a, b) in a.as_chunks::<STEP>().0.iter().zip(b.as_chunks::<STEP>().0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

/// Scales per component, `√(spread / weight)`: of all scales those with which the rounding of inputs and of weights
/// together costs least, where both are rounded in steps in proportion to their size. A component that hardly varies
/// counts as if it did by a part of what others do: calibration may have missed where it does.
fn even_scales(rows: &[f32], depth: usize, spread: &[f32]) -> Vec<f32> {
    let mut squares = vec![0.0f32; depth];
    for weights in rows.chunks_exact(depth) {
        for (square, weight) in squares.iter_mut().zip(weights) {
            *square += weight * weight;
        }
    }
    let floor = LEAST_SPREAD * (spread.iter().map(|spread| spread * spread).sum::<f32>() / depth as f32).sqrt();
    let scale = |(&square, &spread): (&f32, &f32)| {
        if square > 0.0 && spread > 0.0 { (spread.max(floor) / square.sqrt()).sqrt() } else { 1.0 }
    };
    squares.iter().zip(spread).map(scale).collect()
}
