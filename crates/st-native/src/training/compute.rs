//! [`Compute`]: kernels, threads and memory of a training step.

use std::ops::Range;
use std::sync::Arc;

use super::pool::{Pool, Pooled};
use crate::InstructionSet;
use crate::kernels::Kernels;
use crate::kernels::pairs::PairKernels;
use crate::kernels::training::TrainingKernels;

/// Where operations run: an instruction set's kernels, a number of threads (of the current rayon pool), and memory that is
/// used again. Clones share the memory.
///
/// ```
/// use st_native::training::{Compute, Weight};
///
/// let compute = Compute::detect();
/// let weight = [1.0, 0.0, 0.0, 10.0, 1.0, 1.0];
/// let mut output = [0.0; 3];
/// let weights = [Weight { numbers: &weight, bias: None, outputs: 3 }];
/// compute.linear(&[1.0, 2.0], 2, &weights, &mut output);
/// assert_eq!(output, [1.0, 20.0, 3.0]);
/// ```
#[derive(Debug, Clone)]
pub struct Compute {
    pub(super) set: InstructionSet,
    pub(super) kernels: &'static Kernels,
    pub(super) training: &'static TrainingKernels,
    pub(super) threads: usize,
    /// Products of bfloat16 instead of 32-bit floats.
    pub(super) pairs: Option<&'static PairKernels>,
    pool: Arc<Pool>,
}

/// Pieces of work per thread: more than one, so that a thread that was held up does not hold up the others.
const PIECES: usize = 4;

impl Compute {
    /// The fastest kernels of this machine, on all threads of the current rayon pool.
    #[must_use]
    pub fn detect() -> Self {
        let threads = rayon::current_num_threads();
        Self::with(InstructionSet::detect(), threads).unwrap_or_else(|| Self {
            set: InstructionSet::Portable,
            kernels: Kernels::portable(),
            training: TrainingKernels::portable(),
            threads,
            pairs: None,
            pool: Arc::default(),
        })
    }

    /// The given kernels on so many threads; `None` where the machine lacks the instructions.
    #[must_use]
    pub fn with(set: InstructionSet, threads: usize) -> Option<Self> {
        Some(Self {
            set,
            kernels: Kernels::of(set)?,
            training: TrainingKernels::of(set)?,
            threads: threads.max(1),
            pairs: None,
            pool: Arc::default(),
        })
    }

    /// The same, with inputs, weights and gradients of linear layers rounded to bfloat16 before they are multiplied; sums are
    /// in 32 bits, and so is all else: attention, norms, activations. Such products are 1.6 to 1.9 times as fast where the
    /// processor multiplies bfloat16, and slower than 32-bit ones where it does not.
    ///
    /// ```
    /// use st_native::training::{Compute, Weight};
    ///
    /// let small = 2.0_f32.powi(-12);
    /// let weights = [Weight { numbers: &[1.0, small], bias: None, outputs: 1 }];
    /// let mut output = [0.0; 1];
    /// Compute::detect().with_bf16_products().linear(&[1.0 + small, 1.0], 2, &weights, &mut output);
    /// assert_eq!(output, [1.0 + small]); // the first input was rounded to 1; the sum of products was not rounded
    /// ```
    #[must_use]
    pub fn with_bf16_products(mut self) -> Self {
        self.pairs = Some(self.kernels.pairs());
        self
    }

    /// The instruction set.
    #[must_use]
    pub fn instructions(&self) -> InstructionSet {
        self.set
    }

    /// Numbers of any value from the memory that is kept.
    #[must_use]
    pub fn numbers(&self, len: usize) -> Pooled {
        self.pool.take(len)
    }

    /// Zeros of the caller's own, where large in memory that is quick to fill.
    ///
    /// ```
    /// assert_eq!(st_native::training::Compute::zeros(3), [0.0; 3]);
    /// ```
    #[must_use]
    pub fn zeros(len: usize) -> Vec<f32> {
        crate::memory::zeroed_vec(len)
    }

    /// Gives memory that waits for its next use back to the system.
    pub fn release_memory(&self) {
        self.pool.clear();
    }

    /// Calls `work` on ranges that cover `0..count`, at once on several threads. All but the last are multiples of `grain`.
    pub(super) fn over(&self, count: usize, grain: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let units = count.div_ceil(grain.max(1));
        let pieces = if self.threads == 1 { 1 } else { (PIECES * self.threads).min(units) };
        let at = |piece: usize| (units * piece / pieces * grain.max(1)).min(count);
        if count > 0 {
            fork(0..pieces, &|piece| work(at(piece)..at(piece + 1)));
        }
    }
}

/// Calls `work` on every number of a range, at once on several threads.
pub(super) fn fork(pieces: Range<usize>, work: &(dyn Fn(usize) + Sync)) {
    if pieces.len() <= 1 {
        pieces.for_each(work);
        return;
    }
    let middle = pieces.start + pieces.len() / 2;
    rayon::join(|| fork(pieces.start..middle, work), || fork(middle..pieces.end, work));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn ranges_cover_everything_once_in_grains() {
        for threads in [1, 2, 5] {
            let compute = Compute::with(InstructionSet::Portable, threads).unwrap();
            for (count, grain) in [(0, 4), (1, 4), (100, 7), (64, 16), (9, 1)] {
                let seen = Mutex::new(vec![0; count]);
                compute.over(count, grain, &|range| {
                    assert!(
                        range.start.is_multiple_of(grain) && (range.end.is_multiple_of(grain) || range.end == count)
                    );
                    range.for_each(|i| seen.lock().unwrap()[i] += 1);
                });
                assert!(seen.into_inner().unwrap().iter().all(|&n| n == 1));
            }
        }
    }
}
