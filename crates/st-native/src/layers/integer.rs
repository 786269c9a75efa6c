//! [`Integer`]: weights in bytes, activations quantised row by row.
//!
//! A layer computes `y = W·x + b`. Its input is centred and scaled per component, `v = (x − c) / s`, with `W·c` added to
//! the bias and `s` multiplied into the weights, so that components of unlike range share one scale without loss
//! (Xiao et al. 2023, SmoothQuant). `v` is quantised per row to 0..=255 between its own smallest and largest number, the
//! scaled weights per column to −127..=127. In between both are rotated alike ([`rotate`]; Ashkboos et al. 2024, QuaRot),
//! which leaves products as they are and numbers that stand out no longer standing out.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use super::epilogue::Epilogue;
use crate::calibration::Observations;
use crate::kernels::integer::{IntegerKernels, IntegerTileCall};
use crate::kernels::quantise::{QuantiseCall, rotate, rotation_factor, rotations};
use crate::kernels::tile::Finish;
use crate::kernels::{Kernels, STEP};
use crate::memory::Buffer;
use crate::scratch::{Bytes, lend};
use crate::split::Shared;

/// Packed bytes.
#[derive(Debug)]
pub(crate) struct Integer {
    kernels: &'static IntegerKernels,
    panels: Buffer<i8>,
    /// Value of a step, per column.
    scale: Buffer<f32>,
    /// Sum of the weights, per column.
    sum: Buffer<f32>,
    /// `1 / s` per component of the input.
    factor: Buffer<f32>,
    /// `−c / s` per component of the input.
    shift: Buffer<f32>,
}

/// Rows that are quantised and pass over all panels before the next rows' turn.
const BLOCK: usize = 180;
/// How far the ranges of the input's components are evened out, from not at all to fully; the best is taken.
const EVENNESS: [f32; 6] = [0.0, 0.3, 0.5, 0.65, 0.8, 1.0];
/// Of the outputs, one in this many is looked at to choose.
const EVERY: usize = 4;

impl Integer {
    /// Quantises weights, given column by column of the output (`rows[i]` are the weights of output `i`), and returns what
    /// is to be added to the bias.
    pub(crate) fn new(
        kernels: &'static IntegerKernels,
        rows: &[f32],
        width: usize,
        depth: usize,
        seen: &Observations,
    ) -> (Self, Vec<f32>) {
        let centre: Vec<f32> = (0..depth).map(|j| seen.mean(j)).collect();
        let spread: Vec<f32> =
            (0..depth).map(|j| (seen.largest[j] - centre[j]).max(centre[j] - seen.smallest[j])).collect();
        let scales = choose_scales(rows, depth, seen, &centre, &spread);
        let mut integer = Self {
            kernels,
            panels: Buffer::zeroed(width * depth),
            scale: Buffer::zeroed(width),
            sum: Buffer::zeroed(width),
            factor: Buffer::zeroed(depth),
            shift: Buffer::zeroed(depth),
        };
        for (start, points) in rotations(depth) {
            for j in start..start + points * STEP {
                integer.factor[j] = rotation_factor(points) / scales[j];
                integer.shift[j] = -centre[j] * integer.factor[j];
            }
        }
        let panel = kernels.panel();
        let mut moved = vec![0.0; width];
        let mut scaled = vec![0.0; depth];
        for (column, weights) in rows.chunks_exact(depth).enumerate() {
            for ((scaled, weight), scale) in scaled.iter_mut().zip(weights).zip(&scales) {
                *scaled = weight * scale;
            }
            rotate(&mut scaled);
            moved[column] = weights.iter().zip(&centre).map(|(w, c)| f64::from(*w) * f64::from(*c)).sum::<f64>() as f32;
            let largest = scaled.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            if largest == 0.0 {
                continue;
            }
            let step = largest / 127.0;
            let first = column / panel * panel;
            let columns = panel.min(width - first);
            let to = &mut integer.panels[first * depth..];
            let mut sum = 0i64;
            for (j, weight) in scaled.iter().enumerate() {
                let quantised = (weight / step).round() as i8;
                sum += i64::from(quantised);
                to[j / 4 * columns * 4 + (column - first) * 4 + j % 4] = quantised;
            }
            integer.scale[column] = step;
            integer.sum[column] = sum as f32 * step;
        }
        (integer, moved)
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
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        let (depth, width, panel) = (self.factor.len(), self.scale.len(), self.kernels.panel());
        let finish = match epilogue {
            Epilogue::Store | Epilogue::Activate(_) => Finish::Store,
            Epilogue::Add => Finish::Add,
            Epilogue::Multiply => Finish::Multiply,
        };
        lend(|bytes: &mut Bytes| {
            let blocks = rows.len().div_ceil(BLOCK);
            let mut start = rows.start;
            for block in 0..blocks {
                let count = (rows.end - start).div_ceil(blocks - block);
                bytes.reserve(count, depth);
                let call = QuantiseCall {
                    rows: count,
                    width: depth,
                    input: input[start * input_stride..].as_ptr(),
                    input_stride,
                    factor: self.factor.as_ptr(),
                    shift: self.shift.as_ptr(),
                    rotated: bytes.rotated.as_mut_ptr(),
                    output: bytes.bytes.as_mut_ptr(),
                    scale: bytes.scale.as_mut_ptr(),
                    offset: bytes.offset.as_mut_ptr(),
                };
                // SAFETY: the rows exist, and there is room for as many rows of bytes.
                unsafe { (kernels.quantise)(&call) };
                let tiles = count.div_ceil(self.kernels.rows());
                for number in panels.clone() {
                    let column = number * panel;
                    let columns = panel.min(width - column);
                    let tile_kernels = self.kernels.tiles[columns / self.kernels.lanes - 1];
                    let mut row = 0;
                    for tile in 0..tiles {
                        let height = (count - row).div_ceil(tiles - tile);
                        let first = output.at((start + row) * output_stride + column);
                        let call = IntegerTileCall {
                            depth,
                            input: bytes.bytes[row * depth..].as_ptr(),
                            input_stride: depth,
                            panel: self.panels[column * depth..].as_ptr(),
                            column_scale: self.scale[column..].as_ptr(),
                            column_sum: self.sum[column..].as_ptr(),
                            bias: bias[column..].as_ptr(),
                            row_scale: bytes.scale[row..].as_ptr(),
                            row_offset: bytes.offset[row..].as_ptr(),
                            output: first,
                            output_stride,
                            finish,
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
                start += count;
            }
        });
    }

    /// Panels of the packed bytes.
    pub(super) fn panels(&self) -> usize {
        self.scale.len().div_ceil(self.kernels.panel())
    }
}

/// Scales per component, `spread^α / weight^(1−α)`, for the α with the least expected error: the steps of the input rows
/// times the scaled weights, and the steps of the weights times the scaled input, both as uniform noise, in relation to
/// what each row would give.
fn choose_scales(rows: &[f32], depth: usize, seen: &Observations, centre: &[f32], spread: &[f32]) -> Vec<f32> {
    let mut squares = vec![0.0f32; depth];
    for weights in rows.chunks_exact(depth) {
        for (square, weight) in squares.iter_mut().zip(weights) {
            *square += weight * weight;
        }
    }
    let mut best = (f64::INFINITY, vec![1.0; depth]);
    for evenness in EVENNESS {
        let scales: Vec<f32> = squares
            .iter()
            .zip(spread)
            .map(|(&square, &spread)| {
                if square > 0.0 && spread > 0.0 {
                    spread.powf(evenness) / square.sqrt().powf(1.0 - evenness)
                } else {
                    1.0
                }
            })
            .collect();
        let mut values = vec![0.0; depth];
        let (mut ranges, mut energy) = (0.0f64, 0.0f64);
        for row in seen.samples.chunks_exact(depth) {
            for (j, value) in values.iter_mut().enumerate() {
                *value = (row[j] - centre[j]) / scales[j];
            }
            rotate(&mut values);
            let low = values.iter().copied().fold(f32::INFINITY, f32::min);
            let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let result: f32 = row.iter().zip(&squares).map(|(number, square)| number * number * square).sum();
            let share = 1.0 / f64::from(result).max(f64::MIN_POSITIVE);
            ranges += f64::from((high - low) / 255.0).powi(2) * share;
            energy += f64::from(values.iter().map(|value| value * value).sum::<f32>()) * share;
        }
        let weight_energy: f64 = squares.iter().zip(&scales).map(|(q, s)| f64::from(q * s * s)).sum();
        let mut steps = 0.0;
        for weights in rows.chunks_exact(depth).step_by(EVERY) {
            for (j, value) in values.iter_mut().enumerate() {
                *value = weights[j] * scales[j];
            }
            rotate(&mut values);
            let largest = values.iter().fold(0.0f32, |m, w| m.max(w.abs()));
            steps += f64::from(largest / 127.0).powi(2) * EVERY as f64;
        }
        let error = ranges * weight_energy + steps * energy;
        if error < best.0 {
            best = (error, scales);
        }
    }
    best.1
}
