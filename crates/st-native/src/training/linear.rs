//! Linear layers: `y = x·Wᵀ + b` and the gradients of `x`, `W` and `b`.
#![expect(unsafe_code, reason = "calls of kernels")]

use super::compute::Compute;
use crate::kernels::tile::Finish;
use crate::split::Shared;

/// A weight `[outputs, inputs]`, row-major, and its bias. Several of them with the same inputs are run as one product, their
/// outputs side by side.
///
/// ```
/// use st_native::training::Weight;
///
/// let weight = Weight { numbers: &[1.0, 2.0, 3.0, 4.0], bias: Some(&[0.5, 0.5]), outputs: 2 };
/// assert_eq!(weight.inputs(), 2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Weight<'a> {
    /// The numbers.
    pub numbers: &'a [f32],
    /// One number per output.
    pub bias: Option<&'a [f32]>,
    /// Rows.
    pub outputs: usize,
}

impl Weight<'_> {
    /// Columns.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.numbers.len() / self.outputs.max(1)
    }
}

/// Rows that a thread takes at once, at least.
const ROWS: usize = 36;

pub(super) fn check(weights: &[Weight<'_>], inputs: usize) -> usize {
    for weight in weights {
        assert_eq!(weight.numbers.len(), weight.outputs * inputs, "a weight of another shape");
        assert!(weight.bias.is_none_or(|bias| bias.len() == weight.outputs), "a bias of another length");
    }
    weights.iter().map(|weight| weight.outputs).sum()
}

impl Compute {
    /// `output = input·Wᵀ + b`: `input` is `[rows, inputs]`, `output` `[rows, Σ outputs]`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn linear(&self, input: &[f32], inputs: usize, weights: &[Weight<'_>], output: &mut [f32]) {
        let outputs = check(weights, inputs);
        let rows = output.len() / outputs.max(1);
        assert!(output.len() == rows * outputs && input.len() == rows * inputs, "rows of another length");
        let panels = self.pack_transposed(weights, inputs);
        let shared = Shared::new(output);
        self.over(rows, ROWS, &|rows| {
            // SAFETY: ranges of rows do not overlap.
            unsafe { self.product(&panels, rows, input, inputs, shared, outputs, Finish::Store) };
        });
    }

    /// The gradient of a linear layer's input: `output = gradient·W`, or added to it where `add` is set. `gradient` is
    /// `[rows, Σ outputs]`, `output` `[rows, inputs]`.
    ///
    /// # Panics
    /// When lengths do not fit.
    pub fn linear_input_gradient(
        &self,
        gradient: &[f32],
        inputs: usize,
        weights: &[Weight<'_>],
        output: &mut [f32],
        add: bool,
    ) {
        let outputs = check(weights, inputs);
        let rows = output.len() / inputs.max(1);
        assert!(output.len() == rows * inputs && gradient.len() == rows * outputs, "rows of another length");
        let panels = self.pack_plain(weights, inputs);
        let finish = if add { Finish::Add } else { Finish::Store };
        let shared = Shared::new(output);
        self.over(rows, ROWS, &|rows| {
            // SAFETY: ranges of rows do not overlap.
            unsafe { self.product(&panels, rows, gradient, outputs, shared, inputs, finish) };
        });
    }
}
