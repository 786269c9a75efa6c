//! [`FeedForward`]: the two or three linear layers after attention.
#![expect(unsafe_code, reason = "threads write disjoint rows")]

use st_encoder::Activation;

use super::linear::{Epilogue, Linear};
use super::{Run, spread};
use crate::memory::Buffer;
use crate::scratch::{Piece, lend};
use crate::split::{Shared, Split, evenly};

/// `down(act(up(x)))`, or with a gate `down(act(gate(x)) ∘ up(x))`.
#[derive(Debug)]
pub(crate) struct FeedForward {
    pub(crate) up: Linear,
    pub(crate) gate: Option<Linear>,
    pub(crate) down: Linear,
    pub(crate) activation: Activation,
}

/// Rows whose inner activations are computed and used before the next rows', so that they stay in the cache.
const BLOCK: usize = 108;
/// The same where the weights are many: then they are what comes from afar.
const LARGE_BLOCK: usize = 216;
/// From so many weights of one linear layer on they are many.
const MANY_WEIGHTS: usize = 1 << 20;
/// Fewer rows than this per thread, and threads share columns instead.
const ROWS_PER_THREAD: usize = 36;

impl FeedForward {
    /// Runs over rows of `input` (or of `output`, where there is no input) and stores into or adds to `output`.
    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    pub(crate) fn apply(
        &self,
        run: Run,
        rows: usize,
        input: Option<&[f32]>,
        output: &mut [f32],
        stride: usize,
        epilogue: Epilogue,
        inner: &mut Buffer<f32>,
    ) {
        let few = rows < ROWS_PER_THREAD * run.split.threads() && run.split.threads() > 1;
        if few || self.down.on_trial() {
            self.block(run, rows, input, output, stride, epilogue, inner);
            return;
        }
        let most = if self.up.weights() < MANY_WEIGHTS { BLOCK } else { LARGE_BLOCK };
        let shared = Shared::new(output);
        let alone = Run { split: Split::none(), ..run };
        run.split.over(rows, ROWS_PER_THREAD, &|range| {
            lend(|piece: &mut Piece| {
                for block in evenly(range, most) {
                    let (start, count) = (block.start, block.len());
                    // SAFETY: every block has its own rows.
                    let output = unsafe { shared.part(start * stride..(start + count) * stride) };
                    let input = input.map(|input| &input[start * stride..(start + count) * stride]);
                    self.block(alone, count, input, output, stride, epilogue, &mut piece.inner);
                }
            });
        });
    }

    #[expect(clippy::too_many_arguments, reason = "a matrix is a slice and a stride")]
    fn block(
        &self,
        run: Run,
        rows: usize,
        input: Option<&[f32]>,
        output: &mut [f32],
        stride: usize,
        epilogue: Epilogue,
        inner: &mut Buffer<f32>,
    ) {
        let width = spread(self.up.width());
        inner.reserve(rows * width);
        let source = input.unwrap_or(output);
        match &self.gate {
            None if self.down.is_integer() => {
                self.up.apply(run, rows, source, stride, inner, width, Epilogue::Store);
                let activation = Some(self.activation);
                self.down.apply_to_activated(run, rows, inner, width, activation, output, stride, epilogue);
                return;
            }
            None => self.up.apply(run, rows, source, stride, inner, width, Epilogue::Activate(self.activation)),
            Some(gate) => {
                gate.apply(run, rows, source, stride, inner, width, Epilogue::Activate(self.activation));
                self.up.apply(run, rows, source, stride, inner, width, Epilogue::Multiply);
            }
        }
        self.down.apply(run, rows, inner, width, output, stride, epilogue);
    }
}
