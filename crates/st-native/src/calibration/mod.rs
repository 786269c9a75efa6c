//! What the inputs of linear layers look like, means and spreads per component, and [`Trial`]: how layers learn it.
#![expect(unsafe_code, reason = "calls of kernels")]

pub(crate) mod sample;

use std::sync::{Mutex, OnceLock, PoisonError};

use crate::InstructionSet;
use crate::kernels::observe::ObserveCall;
use crate::kernels::{Kernels, STEP};
use crate::split::{Shared, Split};

/// The inputs that one layer has seen.
#[derive(Debug, Default)]
pub(crate) struct Observations {
    smallest: Vec<f32>,
    largest: Vec<f32>,
    sums: Vec<f32>,
    squares: Vec<f32>,
    rows: usize,
}

/// Rows of the input of a layer.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) rows: usize,
    /// Numbers of a row, a multiple of [`STEP`].
    pub(crate) depth: usize,
    pub(crate) input: &'a [f32],
    /// Numbers from one row to the next.
    pub(crate) stride: usize,
}

impl Observations {
    /// Looks at rows. Threads share columns, so that sums do not depend on their number.
    pub(crate) fn add(&mut self, kernels: &Kernels, split: Split, seen: Seen<'_>) {
        let Seen { rows, depth, input, stride } = seen;
        if self.sums.is_empty() {
            self.smallest = vec![f32::INFINITY; depth];
            self.largest = vec![f32::NEG_INFINITY; depth];
            self.sums = vec![0.0; depth];
            self.squares = vec![0.0; depth];
        }
        assert!(depth == self.sums.len() && input.len() >= (rows - 1) * stride + depth, "rows too short");
        let found = [&mut self.smallest, &mut self.largest, &mut self.sums, &mut self.squares];
        let [smallest, largest, sum, squares] = found.map(|numbers| Shared::new(numbers));
        split.over(depth / STEP, 1, &|steps| {
            let column = steps.start * STEP;
            let call = ObserveCall {
                rows,
                width: steps.len() * STEP,
                input: input[column..].as_ptr(),
                input_stride: stride,
                smallest: smallest.at(column),
                largest: largest.at(column),
                sum: sum.at(column),
                squares: squares.at(column),
            };
            // SAFETY: the rows exist, there is a number per column of what is found, and every thread has its own columns.
            unsafe { (kernels.observe)(&call) };
        });
        self.rows += rows;
    }

    /// Mean of component `j`.
    pub(crate) fn mean(&self, j: usize) -> f32 {
        self.sums[j] / self.rows.max(1) as f32
    }

    /// How far component `j` is from its mean: the geometric mean of the standard deviation, which the usual input is about,
    /// and the largest distance, for inputs that stand out.
    pub(crate) fn spread(&self, j: usize) -> f32 {
        let mean = self.mean(j);
        let deviation = (self.squares[j] / self.rows.max(1) as f32 - mean * mean).max(0.0).sqrt();
        (deviation * (self.largest[j] - mean).max(mean - self.smallest[j])).sqrt()
    }
}

/// When a layer on trial becomes bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// At its first run, whose rows are all that it learns from. Later layers then learn from what bytes make of them.
    AtOnce,
    /// When the trial ends.
    AtTheEnd,
}

/// A layer of 32-bit weights that learns as it runs, until it becomes a layer in bytes. Both are an `L`.
#[derive(Debug)]
pub(crate) struct Trial<L> {
    set: InstructionSet,
    turn: Turn,
    learning: Mutex<Learning<L>>,
    quantised: OnceLock<L>,
}

#[derive(Debug)]
struct Learning<L> {
    seen: Observations,
    /// `None` once there are bytes instead.
    layer: Option<L>,
}

impl<L> Trial<L> {
    pub(crate) fn new(set: InstructionSet, turn: Turn, layer: L) -> Self {
        let learning = Learning { seen: Observations::default(), layer: Some(layer) };
        Self { set, turn, learning: Mutex::new(learning), quantised: OnceLock::new() }
    }

    /// Looks at the rows of a run and calls `run` with the layer whose turn it is.
    pub(crate) fn run(
        &self,
        kernels: &Kernels,
        split: Split,
        seen: Seen<'_>,
        quantise: impl FnOnce(InstructionSet, &L, &Observations) -> L,
        run: impl FnOnce(&L),
    ) {
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = learning.layer.take() {
            learning.seen.add(kernels, split, seen);
            if self.turn == Turn::AtTheEnd {
                run(&layer);
                learning.layer = Some(layer);
                return;
            }
            let quantised = quantise(self.set, &layer, &learning.seen);
            drop(layer);
            run(self.quantised.get_or_init(|| quantised));
        } else if let Some(quantised) = self.quantised.get() {
            run(quantised);
        }
    }

    /// The layer in bytes, or as it was if it has not run.
    pub(crate) fn end(self, quantise: impl FnOnce(InstructionSet, &L, &Observations) -> L) -> Option<L> {
        let Learning { seen, layer } = self.learning.into_inner().unwrap_or_else(PoisonError::into_inner);
        match layer {
            Some(layer) if seen.rows > 0 => Some(quantise(self.set, &layer, &seen)),
            Some(layer) => Some(layer),
            None => self.quantised.into_inner(),
        }
    }
}
