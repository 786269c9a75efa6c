//! What the inputs of linear layers look like: means and spreads per component.
#![expect(unsafe_code, reason = "calls of kernels")]

pub(crate) mod sample;

use std::cell::RefCell;
use std::collections::HashMap;

use crate::kernels::Kernels;
use crate::kernels::observe::ObserveCall;

/// The inputs that one layer has seen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observations {
    smallest: Vec<f32>,
    largest: Vec<f32>,
    sums: Vec<f32>,
    squares: Vec<f32>,
    rows: usize,
}

impl Observations {
    fn add(&mut self, kernels: &Kernels, rows: usize, input: &[f32], stride: usize, depth: usize) {
        if self.sums.is_empty() {
            self.smallest = vec![f32::INFINITY; depth];
            self.largest = vec![f32::NEG_INFINITY; depth];
            self.sums = vec![0.0; depth];
            self.squares = vec![0.0; depth];
        }
        assert!(depth == self.sums.len() && input.len() >= (rows - 1) * stride + depth, "rows too short");
        let call = ObserveCall {
            rows,
            width: depth,
            input: input.as_ptr(),
            input_stride: stride,
            smallest: self.smallest.as_mut_ptr(),
            largest: self.largest.as_mut_ptr(),
            sum: self.sums.as_mut_ptr(),
            squares: self.squares.as_mut_ptr(),
        };
        // SAFETY: the rows exist, and there is a number per column of what is found.
        unsafe { (kernels.observe)(&call) };
        self.rows += rows;
    }

    /// Adds what was seen elsewhere.
    pub(crate) fn merge(&mut self, other: &Self) {
        if self.sums.is_empty() {
            self.clone_from(other);
            return;
        }
        let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.sums, &other.sums);
        add(&mut self.squares, &other.squares);
        for j in 0..self.sums.len() {
            self.smallest[j] = self.smallest[j].min(other.smallest[j]);
            self.largest[j] = self.largest[j].max(other.largest[j]);
        }
        self.rows += other.rows;
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

thread_local! {
    static OBSERVING: RefCell<Option<HashMap<usize, Observations>>> = const { RefCell::new(None) };
}

/// Runs something and returns what the linear layers that ran on this thread meanwhile have seen, by their address.
pub(crate) fn observe(work: impl FnOnce()) -> HashMap<usize, Observations> {
    OBSERVING.set(Some(HashMap::new()));
    work();
    OBSERVING.take().unwrap_or_default()
}

/// Says that a layer runs over rows.
pub(crate) fn note(kernels: &Kernels, layer: usize, rows: usize, input: &[f32], stride: usize, depth: usize) {
    OBSERVING.with_borrow_mut(|observing| {
        if let Some(layers) = observing {
            layers.entry(layer).or_default().add(kernels, rows, input, stride, depth);
        }
    });
}
