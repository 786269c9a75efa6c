//! The inner loops of training: gradients, and the forward passes that gradients need something from.
//!
//! Written and compiled as the loops beside this folder: once over [`Vector`](super::vector::Vector), for every
//! instruction set into a table, [`TrainingKernels`].

pub(crate) mod activation;
pub(crate) mod attention;
mod attention_gradient;
pub(crate) mod norm;
pub(crate) mod outer;
pub(crate) mod update;

use super::unrolled;
use crate::InstructionSet;

/// One instruction set's kernels of training.
#[derive(Debug)]
pub(crate) struct TrainingKernels {
    /// Outer products by vectors − 1 and rows − 1.
    pub(crate) outer: &'static [&'static [outer::OuterKernel]],
    pub(crate) activate: activation::ActivateKernel,
    pub(crate) activation_gradient: activation::ActivationGradientKernel,
    pub(crate) norm_gradient: norm::NormGradientKernel,
    pub(crate) attend: attention::HeadKernel,
    pub(crate) attention_gradient: attention::HeadGradientKernel,
    pub(crate) adam: update::AdamKernel,
    pub(crate) sum_of_squares: update::SumOfSquaresKernel,
    pub(crate) add_scaled: update::AddScaledKernel,
}

impl TrainingKernels {
    /// The kernels of an instruction set, or `None` where the machine lacks it.
    pub(crate) fn of(set: InstructionSet) -> Option<&'static Self> {
        if !set.is_available() {
            return None;
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Some(&x86::AVX512),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Some(&x86::AVX2),
            InstructionSet::Portable => Some(&PORTABLE),
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    /// The kernels that every machine runs.
    pub(crate) fn portable() -> &'static Self {
        &PORTABLE
    }

    /// Rows of a full outer product.
    pub(crate) fn outer_rows(&self) -> usize {
        self.outer[0].len()
    }
}

/// Compiles every kernel for one vector type.
macro_rules! training_kernels {
    ($vector:ty, $rows:tt x [$($vectors:literal),*], #[$feature:meta]) => {
        TrainingKernels {
            outer: &[$(&training_kernels!(@outers $vector, $vectors, $rows, #[$feature])),*],
            activate: training_kernels!(
                activation::activate::<$vector>, (call: &activation::ActivateCall) -> (), #[$feature]
            ),
            activation_gradient: training_kernels!(
                activation::gradient::<$vector>, (call: &activation::ActivationGradientCall) -> (), #[$feature]
            ),
            norm_gradient: training_kernels!(
                norm::gradient::<$vector>, (call: &norm::NormGradientCall) -> (), #[$feature]
            ),
            attend: training_kernels!(
                attention::attend::<$vector>, (call: &attention::HeadCall<'_>) -> (), #[$feature]
            ),
            attention_gradient: training_kernels!(
                attention_gradient::gradient::<$vector>, (call: &attention::HeadGradientCall<'_>) -> (), #[$feature]
            ),
            adam: training_kernels!(update::adam::<$vector>, (call: &update::AdamCall) -> (), #[$feature]),
            sum_of_squares: training_kernels!(
                update::sum_of_squares::<$vector>, (numbers: *const f32, len: usize) -> f64, #[$feature]
            ),
            add_scaled: training_kernels!(
                update::add_scaled::<$vector>,
                (to: *mut f32, from: *const f32, factor: f32, len: usize) -> (), #[$feature]
            ),
        }
    };
    (@outers $vector:ty, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            training_kernels!(@outer $vector, $rows, $vectors, #[$feature])
        }),*]
    };
    (@outer $vector:ty, $rows:literal, $vectors:literal, #[$feature:meta]) => {{
        #[$feature]
        unsafe fn outer(call: &outer::OuterCall<f32>) {
            // SAFETY: the caller's promise is the kernel's.
            unsafe { outer::outer::<$vector, $rows, $vectors>(call) }
        }
        outer as outer::OuterKernel
    }};
    ($kernel:expr, ($($argument:ident: $type:ty),*) -> $result:ty, #[$feature:meta]) => {{
        #[$feature]
        unsafe fn kernel($($argument: $type),*) -> $result {
            // SAFETY: the caller's promise is the kernel's.
            unsafe { $kernel($($argument),*) }
        }
        kernel
    }};
}

#[expect(unsafe_code, reason = "calls of kernels")]
static PORTABLE: TrainingKernels = training_kernels!(super::portable::Lanes, [1, 2, 3, 4] x [1], #[inline(never)]);

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls of kernels")]
mod x86 {
    use std::arch::x86_64::{__m256, __m512};

    use super::{TrainingKernels, activation, attention, attention_gradient, norm, outer, update};

    pub(super) static AVX512: TrainingKernels = training_kernels!(
        __m512, [1, 2, 3, 4, 5, 6, 7, 8] x [1, 2, 3],
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
    );

    pub(super) static AVX2: TrainingKernels = training_kernels!(
        __m256, [1, 2, 3, 4, 5, 6] x [1, 2],
        #[target_feature(enable = "avx2,fma,f16c")]
    );
}
