//! [`Linear`]: `y = x·Wᵀ + b`, with what follows it done while the sums are at hand.
#![expect(unsafe_code, reason = "calls of kernels")]

use std::ops::Range;

use half::{bf16, f16};
use st_encoder::{Activation, WeightFormat};

use super::Run;
pub(crate) use super::epilogue::Epilogue;
use super::integer::Integer;
use super::packing::{Axis, Part, pack, place, unpack};
use super::pairs::Pairs;
use crate::InstructionSet;
use crate::calibration::{Observations, Seen, Trial, Turn};
use crate::kernels::tile::{TileCall, TileKernel};
use crate::kernels::{Kernels, STEP};
use crate::memory::Buffer;
use crate::scratch::{Widened, lend};
use crate::split::{Shared, evenly};

/// A linear layer with packed weights.
#[derive(Debug)]
pub(crate) struct Linear {
    depth: usize,
    width: usize,
    panels: Panels,
    bias: Buffer<f32>,
}

/// Packed weights in their format.
#[derive(Debug)]
enum Panels {
    F32(Buffer<f32>),
    Bf16(Buffer<u16>),
    F16(Buffer<u16>),
    Pairs(Pairs),
    Int8(Integer),
    /// In place of everything else: the layer on its way to bytes.
    OnTrial(Box<Trial<Linear>>),
}

/// A weight, its bias, and where its outputs stand.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) outputs: Axis,
}

/// Rows that pass over a panel before the next panel's turn: their inputs stay in the second-level cache.
const BLOCK: usize = 180;
/// From so many tiles on, a panel of 16-bit floats is widened once for all: the instruction that widens shares a unit with
/// the multiply-adds.
const WIDENED_TILES: usize = 3;
/// Fewer rows than this per thread, and threads share columns instead.
const ROWS_PER_THREAD: usize = 36;

impl Linear {
    /// Packs weights side by side.
    pub(crate) fn new(kernels: &Kernels, format: WeightFormat, sources: &[Source<'_>], inputs: Axis) -> Self {
        let parts: Vec<Part<'_>> =
            sources.iter().map(|source| Part { weight: source.weight, outputs: source.outputs }).collect();
        let packed = pack(kernels, &parts, inputs);
        let width = sources.iter().map(|source| source.outputs.padded()).sum();
        let mut bias = Buffer::zeroed(width);
        let mut start = 0;
        for source in sources {
            let end = start + source.outputs.padded();
            if let Some(numbers) = source.bias {
                place(numbers, source.outputs, &mut bias[start..end]);
            }
            start = end;
        }
        let depth = inputs.padded();
        let panels = match format {
            WeightFormat::BF16 => Panels::Bf16(halved(&packed, |x| bf16::from_f32(x).to_bits())),
            WeightFormat::F16 => Panels::F16(halved(&packed, |x| f16::from_f32(x).to_bits())),
            WeightFormat::BF16Products => Panels::Pairs(Pairs::new(kernels.pairs(), &packed, width, depth)),
            _ => Panels::F32(packed),
        };
        Self { depth, width, panels, bias }
    }

    /// Numbers of an output row, padding included.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Weights, padding included.
    pub(crate) fn weights(&self) -> usize {
        self.width * self.depth
    }

    /// From now on the layer learns from its inputs how its weights become bytes. Only 32-bit weights do.
    pub(crate) fn begin_trial(&mut self, set: InstructionSet, turn: Turn) {
        if matches!(self.panels, Panels::F32(_)) {
            let layer = std::mem::replace(
                self,
                Self { panels: Panels::F32(Buffer::default()), bias: Buffer::default(), ..*self },
            );
            self.panels = Panels::OnTrial(Box::new(Trial::new(set, turn, layer)));
        }
    }

    /// The layer becomes bytes, for inputs like those it saw. Without any it stays as it is.
    pub(crate) fn end_trial(&mut self, run: Run) {
        match std::mem::replace(&mut self.panels, Panels::F32(Buffer::default())) {
            Panels::OnTrial(trial) => {
                if let Some(layer) = trial.end(|set, layer, seen| layer.quantised(run, set, seen)) {
                    *self = layer;
                }
            }
            panels => self.panels = panels,
        }
    }

    /// Whether it is learning: all rows of a pass then have to come at once.
    pub(crate) fn on_trial(&self) -> bool {
        matches!(self.panels, Panels::OnTrial(_))
    }

    /// The same layer with weights in bytes, for inputs like those seen.
    pub(crate) fn quantised(&self, run: Run, set: InstructionSet, seen: &Observations) -> Self {
        let (kernels, panel) = (run.kernels, run.kernels.panel());
        let Panels::F32(packed) = &self.panels else { unreachable!("only 32-bit weights go on trial") };
        let numbers = self.width * self.depth;
        let (integer, moved) = lend(|rows: &mut Widened| {
            rows.0.reserve(numbers);
            let shared = Shared::new(&mut rows.0[..numbers]);
            run.split.over(self.width.div_ceil(panel), 1, &|panels| {
                for first in panels.map(|number| number * panel) {
                    let columns = panel.min(self.width - first);
                    let part = first * self.depth..(first + columns) * self.depth;
                    // SAFETY: every panel has its own rows.
                    unpack(kernels, &packed[part.clone()], columns, unsafe { shared.part(part) });
                }
            });
            Integer::new(run, Kernels::integer(set), &rows.0[..numbers], self.width, self.depth, seen)
        });
        let mut bias = Buffer::zeroed(self.width);
        for ((bias, old), moved) in bias.iter_mut().zip(&*self.bias).zip(moved) {
            *bias = old + moved;
        }
        Self { depth: self.depth, width: self.width, panels: Panels::Int8(integer), bias }
    }

    /// Whether the weights are bytes.
    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.panels, Panels::Int8(_))
    }

    /// Runs over `rows` rows of `input` (`input_stride` numbers from one to the next) into rows of `output`.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(crate) fn apply(
        &self,
        run: Run,
        rows: usize,
        input: &[f32],
        input_stride: usize,
        output: &mut [f32],
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        self.apply_to_activated(run, rows, input, input_stride, None, output, output_stride, epilogue);
    }

    /// As [`Self::apply`], of an activation of the input; only where weights are bytes, which the activation's values then
    /// become at once.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(crate) fn apply_to_activated(
        &self,
        run: Run,
        rows: usize,
        input: &[f32],
        input_stride: usize,
        activation: Option<Activation>,
        output: &mut [f32],
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        assert!(activation.is_none() || self.is_integer(), "an activation of the input is for bytes only");
        if rows == 0 {
            return;
        }
        assert!(input_stride >= self.depth && input.len() >= (rows - 1) * input_stride + self.depth, "input too short");
        assert!(
            output_stride >= self.width && output.len() >= (rows - 1) * output_stride + self.width,
            "output too short"
        );
        if let Panels::OnTrial(trial) = &self.panels {
            let seen = Seen { rows, depth: self.depth, input, stride: input_stride };
            let quantise = |set, layer: &Self, seen: &Observations| layer.quantised(run, set, seen);
            return trial.run(run.kernels, run.split, seen, quantise, |layer| {
                layer.apply(run, rows, input, input_stride, output, output_stride, epilogue);
            });
        }
        let output = Shared::new(output);
        let panels = match &self.panels {
            Panels::Int8(integer) => integer.panels(),
            _ => self.width.div_ceil(run.kernels.panel()),
        };
        let part = |rows: Range<usize>, panels: Range<usize>| {
            // SAFETY: lengths were checked, and calls differ in rows or in panels.
            unsafe {
                self.part(run.kernels, rows, panels, input, input_stride, activation, output, output_stride, epilogue);
            }
        };
        if rows >= ROWS_PER_THREAD * run.split.threads() {
            run.split.over(rows, ROWS_PER_THREAD, &|rows| part(rows, 0..panels));
        } else {
            run.split.over(panels, 1, &|panels| part(0..rows, panels));
        }
    }

    /// # Safety
    /// Input and output hold the rows, and no other thread uses this part of the output.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    unsafe fn part(
        &self,
        kernels: &Kernels,
        rows: Range<usize>,
        panels: Range<usize>,
        input: &[f32],
        input_stride: usize,
        activation: Option<Activation>,
        output: Shared<'_>,
        output_stride: usize,
        epilogue: Epilogue,
    ) {
        let (tiles, size, start) = match &self.panels {
            Panels::F32(numbers) => (kernels.tiles_f32, 4, numbers.as_ptr().cast::<u8>()),
            Panels::Bf16(numbers) => (kernels.tiles_bf16, 2, numbers.as_ptr().cast()),
            Panels::F16(numbers) => (kernels.tiles_f16, 2, numbers.as_ptr().cast()),
            Panels::OnTrial(_) => unreachable!("the layer on trial runs"),
            Panels::Pairs(pairs) => {
                let bias = &self.bias;
                // SAFETY: the caller's promise.
                return unsafe {
                    pairs.part(kernels, bias, rows, panels, input, input_stride, output, output_stride, epilogue)
                };
            }
            Panels::Int8(integer) => {
                // SAFETY: the caller's promise.
                return unsafe {
                    integer.part(
                        kernels,
                        &self.bias,
                        rows,
                        panels,
                        input,
                        input_stride,
                        activation,
                        output,
                        output_stride,
                        epilogue,
                    )
                };
            }
        };
        let finish = epilogue.finish();
        let panel_width = kernels.panel();
        let panel_bytes = panel_width * self.depth * size;
        for block in evenly(rows, BLOCK) {
            let widens = matches!(self.panels, Panels::F16(_)) && block.len().div_ceil(kernels.rows()) >= WIDENED_TILES;
            let tiles = if widens { kernels.tiles_f32 } else { tiles };
            for panel in panels.clone() {
                let column = panel * panel_width;
                let columns = panel_width.min(self.width - column);
                let stored = start.wrapping_add(panel * panel_bytes);
                let over_panel = |weights: *const u8| {
                    let kernels_of_width: &[TileKernel] = tiles[columns / kernels.lanes - 1];
                    for (tile, rows) in evenly(block.clone(), kernels.rows()).enumerate() {
                        let (row, height) = (rows.start, rows.len());
                        let first = output.at(row * output_stride + column);
                        let call = TileCall {
                            depth: self.depth,
                            input: input[row * input_stride..].as_ptr(),
                            input_stride,
                            panel: weights,
                            bias: self.bias[column..].as_ptr(),
                            output: first,
                            output_stride,
                            finish,
                            // A tile asks for `16 · depth` bytes of the next panel.
                            ahead: stored.wrapping_add(panel_bytes + (tile * 16 * self.depth) % panel_bytes),
                        };
                        // SAFETY: the tile lies inside the checked rows and panels.
                        unsafe { kernels_of_width[height - 1](&call) };
                        if let Epilogue::Activate(kind) = epilogue {
                            // SAFETY: the tile just written.
                            unsafe { (kernels.activate)(kind, first, height, columns, output_stride) };
                        }
                    }
                };
                if widens {
                    lend(|wide: &mut Widened| {
                        let count = columns * self.depth;
                        wide.0.reserve(count);
                        // SAFETY: the panel has so many numbers, and there is room for them.
                        unsafe { (kernels.widen_f16)(stored.cast(), count, wide.0.as_mut_ptr()) };
                        over_panel(wide.0.as_ptr().cast());
                    });
                } else {
                    over_panel(stored);
                }
            }
        }
    }
}

fn halved(numbers: &[f32], convert: impl Fn(f32) -> u16) -> Buffer<u16> {
    let mut halves = Buffer::zeroed(numbers.len());
    for (half, &number) in halves.iter_mut().zip(numbers) {
        *half = convert(number);
    }
    halves
}

const _: () = assert!(STEP.is_multiple_of(4), "tiles walk the depth by fours");
