//! [`Convolution`]: the hidden states of neighbouring tokens, mapped beside a block.
#![expect(unsafe_code, reason = "threads write disjoint rows")]

use std::ops::Range;

use st_encoder::{Activation, ConvolutionSpec, WeightFormat};

use super::linear::{Epilogue, Linear, Source};
use super::norm::Norm;
use super::packing::Axis;
use super::{Run, padded, spread};
use crate::kernels::Kernels;
use crate::memory::Buffer;
use crate::scratch::{Piece, lend};
use crate::split::{Shared, Split};

/// `norm(block(x) + act(conv(x)))` without the block: one product, whose inputs are windows of rows side by side.
#[derive(Debug)]
pub(crate) struct Convolution {
    pub(crate) taps: Linear,
    kernel: usize,
    /// Numbers of a row, padded.
    width: usize,
    activation: Activation,
    norm: Norm,
}

/// A row, and the rows of its sequence.
type Place = (usize, Range<usize>);

/// Rows whose windows are gathered and used before the next rows', so that they stay in the cache.
const BLOCK: usize = 108;
/// Fewer rows than this per thread, and threads share columns instead.
const ROWS_PER_THREAD: usize = 36;

impl Convolution {
    /// From a weight `[hidden, hidden / groups, kernel]` and its bias.
    pub(crate) fn new(
        kernels: &Kernels,
        format: WeightFormat,
        spec: &ConvolutionSpec,
        weight: &[f32],
        bias: &[f32],
        norm: Norm,
    ) -> Self {
        let (hidden, kernel, inputs) = (bias.len(), spec.kernel, bias.len() / spec.groups);
        // The taps of an output one after the other, with zeros where other groups' inputs are.
        let mut taps = Buffer::zeroed(hidden * kernel * hidden);
        for (output, weights) in weight.chunks_exact(inputs * kernel).enumerate() {
            let group = output / inputs * inputs;
            for (input, weights) in weights.chunks_exact(kernel).enumerate() {
                for (tap, weight) in weights.iter().enumerate() {
                    taps[(output * kernel + tap) * hidden + group + input] = *weight;
                }
            }
        }
        let source = Source { weight: &taps, bias: Some(bias), outputs: Axis::whole(hidden) };
        let taps = Linear::new(kernels, format, &[source], Axis { size: hidden, groups: kernel });
        Self { taps, kernel, width: padded(hidden), activation: spec.activation, norm }
    }

    /// Convolves the sequences whose first rows and the end are `offsets` into `output`, which has the input's stride and is
    /// as large as needed. With `first_only` each sequence's first row alone.
    pub(crate) fn apply(
        &self,
        run: Run,
        offsets: &[usize],
        input: &[f32],
        stride: usize,
        first_only: bool,
        output: &mut Buffer<f32>,
    ) {
        let sequences = offsets.windows(2).map(|pair| pair[0]..pair[1]);
        let wanted = |rows: &Range<usize>| rows.start..if first_only { rows.end.min(rows.start + 1) } else { rows.end };
        let places: Vec<Place> = sequences.flat_map(|rows| wanted(&rows).map(move |row| (row, rows.clone()))).collect();
        output.reserve(places.len() * stride);
        let output = &mut output[..places.len() * stride];
        let few = places.len() < ROWS_PER_THREAD * run.split.threads() && run.split.threads() > 1;
        if few || self.taps.on_trial() {
            lend(|piece: &mut Piece| self.block(run, &places, input, stride, output, piece));
            return;
        }
        let shared = Shared::new(output);
        let alone = Run { split: Split::none(), ..run };
        run.split.over(places.len(), ROWS_PER_THREAD, &|range| {
            lend(|piece: &mut Piece| {
                for start in range.clone().step_by(BLOCK) {
                    let end = range.end.min(start + BLOCK);
                    // SAFETY: every block has its own rows.
                    let output = unsafe { shared.part(start * stride..end * stride) };
                    self.block(alone, &places[start..end], input, stride, output, piece);
                }
            });
        });
    }

    fn block(&self, run: Run, places: &[Place], input: &[f32], stride: usize, output: &mut [f32], piece: &mut Piece) {
        let windows = spread(self.kernel * self.width);
        piece.inner.reserve(places.len() * windows);
        for ((row, sequence), window) in places.iter().zip(piece.inner.chunks_exact_mut(windows)) {
            for (tap, to) in window.chunks_exact_mut(self.width).take(self.kernel).enumerate() {
                // Zeros stand before and behind the sequence, never its neighbours.
                match (row + tap).checked_sub(self.kernel / 2).filter(|row| sequence.contains(row)) {
                    Some(row) => to.copy_from_slice(&input[row * stride..row * stride + self.width]),
                    None => to.fill(0.0),
                }
            }
        }
        let epilogue = Epilogue::Activate(self.activation);
        self.taps.apply(run, places.len(), &piece.inner, windows, output, stride, epilogue);
    }

    /// `hidden = norm(hidden + convolved)`.
    pub(crate) fn join(&self, run: Run, rows: usize, convolved: &[f32], hidden: &mut [f32], stride: usize) {
        for (sum, number) in hidden[..rows * stride].iter_mut().zip(&convolved[..rows * stride]) {
            *sum += number;
        }
        self.norm.in_place(run, rows, hidden, stride);
    }
}
