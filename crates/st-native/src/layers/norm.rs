//! [`Norm`]: layer norm and root-mean-square norm.
#![expect(unsafe_code, reason = "calls of kernels")]

use st_encoder::NormSpec;

use super::{Run, padded};
use crate::kernels::norm::NormCall;
use crate::memory::Buffer;
use crate::split::Shared;

/// A norm with its weight and bias.
#[derive(Debug)]
pub(crate) struct Norm {
    spec: NormSpec,
    width: usize,
    weight: Buffer<f32>,
    bias: Buffer<f32>,
}

/// Fewer rows than this are not worth another thread.
const GRAIN: usize = 64;

impl Norm {
    pub(crate) fn new(spec: NormSpec, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let width = weight.len();
        let mut norm = Self { spec, width, weight: Buffer::zeroed(padded(width)), bias: Buffer::zeroed(padded(width)) };
        norm.weight[..width].copy_from_slice(weight);
        if spec.unit_offset {
            norm.weight[..width].iter_mut().for_each(|number| *number += 1.0);
        }
        if let Some(bias) = bias {
            norm.bias[..width].copy_from_slice(bias);
        }
        norm
    }

    /// Normalises rows in place.
    pub(crate) fn in_place(&self, run: Run, rows: usize, numbers: &mut [f32], stride: usize) {
        assert!(rows == 0 || numbers.len() >= (rows - 1) * stride + padded(self.width), "rows too short");
        let shared = Shared::new(numbers);
        run.split.over(rows, GRAIN, &|range| {
            let first = shared.at(range.start * stride);
            // SAFETY: the rows exist, and ranges do not overlap.
            unsafe { (run.kernels.normalise)(&self.call(range.len(), first, stride, first, stride)) };
        });
    }

    /// Normalises rows into others.
    pub(crate) fn apply(&self, run: Run, rows: usize, input: &[f32], output: &mut [f32], stride: usize) {
        let needed = rows.saturating_sub(1) * stride + padded(self.width);
        assert!(rows == 0 || input.len() >= needed && output.len() >= needed, "rows too short");
        let shared = Shared::new(output);
        run.split.over(rows, GRAIN, &|range| {
            let first = range.start * stride;
            let call = self.call(range.len(), input[first..].as_ptr(), stride, shared.at(first), stride);
            // SAFETY: the rows exist, and ranges do not overlap.
            unsafe { (run.kernels.normalise)(&call) };
        });
    }

    fn call(
        &self,
        rows: usize,
        input: *const f32,
        input_stride: usize,
        output: *mut f32,
        output_stride: usize,
    ) -> NormCall {
        NormCall {
            kind: self.spec.kind,
            epsilon: self.spec.epsilon as f32,
            width: self.width,
            weight: self.weight.as_ptr(),
            bias: self.bias.as_ptr(),
            rows,
            input,
            input_stride,
            output,
            output_stride,
        }
    }
}
