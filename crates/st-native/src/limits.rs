//! What the machine allows, and how near the kernels come: for benchmarks and `docs/performance.md`.
//!
//! Rates are per second of processor time of the calling thread, so that other work on the machine disturbs them little.

use std::time::Duration;

use st_encoder::{Activation, WeightFormat};

use crate::InstructionSet;
use crate::calibration::{Observations, Seen};
use crate::kernels::{Kernels, STEP, peak};
use crate::layers::Run;
use crate::layers::integer::quantiser;
use crate::layers::linear::{Epilogue, Linear, Source};
use crate::layers::packing::Axis;
use crate::memory::Buffer;
use crate::scratch::Bytes;
use crate::split::Split;
pub use crate::stages::{Stage, StageTimes, record};

/// Processor time that this thread has used; wall time where the system does not tell.
#[must_use]
pub fn thread_time() -> Duration {
    crate::stages::now()
}

/// Most floating-point operations per second: multiply-adds in registers, counted as two. 0 where the machine lacks the
/// instructions.
///
/// ```
/// use st_native::{InstructionSet, limits};
///
/// assert!(limits::multiply_add_peak(InstructionSet::detect()) > 1e8);
/// ```
#[must_use]
#[expect(unsafe_code, reason = "calls of kernels")]
pub fn multiply_add_peak(set: InstructionSet) -> f64 {
    const TURNS: usize = 1 << 18;
    let Some(kernels) = Kernels::of(set) else { return 0.0 };
    let start = thread_time();
    // SAFETY: the table exists only where the machine has the instructions.
    std::hint::black_box(unsafe { (kernels.peak)(TURNS) });
    (2 * TURNS * peak::SUMS * kernels.lanes) as f64 / (thread_time() - start).as_secs_f64()
}

/// Most operations per second on bytes: products of four with 32-bit sums in registers, counted as eight. 0 where the
/// machine lacks the instructions.
///
/// ```
/// use st_native::{InstructionSet, limits};
///
/// assert!(limits::byte_peak(InstructionSet::detect()) > 1e8);
/// ```
#[must_use]
#[expect(unsafe_code, reason = "calls of kernels")]
pub fn byte_peak(set: InstructionSet) -> f64 {
    const TURNS: usize = 1 << 18;
    if !set.is_available() {
        return 0.0;
    }
    let kernels = Kernels::integer(set);
    let start = thread_time();
    // SAFETY: the machine has the instructions.
    std::hint::black_box(unsafe { (kernels.peak)(TURNS) });
    (8 * TURNS * peak::SUMS * kernels.lanes) as f64 / (thread_time() - start).as_secs_f64()
}

/// Most operations per second on pairs of bfloat16: products of two with 32-bit sums in registers, counted as four. 0
/// where the machine lacks the instructions.
///
/// ```
/// use st_native::{InstructionSet, limits};
///
/// assert!(limits::pair_peak(InstructionSet::detect()) > 1e8);
/// ```
#[must_use]
#[expect(unsafe_code, reason = "calls of kernels")]
pub fn pair_peak(set: InstructionSet) -> f64 {
    const TURNS: usize = 1 << 18;
    let Some(kernels) = Kernels::of(set).map(Kernels::pairs) else { return 0.0 };
    let start = thread_time();
    // SAFETY: the machine has the instructions.
    std::hint::black_box(unsafe { (kernels.peak)(TURNS) });
    (4 * TURNS * peak::SUMS * kernels.lanes) as f64 / (thread_time() - start).as_secs_f64()
}

/// Operations per second of a product of `rows × inputs` with packed weights `outputs × inputs`, with an
/// activation in its epilogue if there is one. 0 where the machine lacks the instructions.
///
/// ```
/// use st_encoder::WeightFormat;
/// use st_native::{InstructionSet, limits};
///
/// assert!(limits::product_rate(InstructionSet::Portable, WeightFormat::F32, [16, 32, 32], None) > 0.0);
/// ```
#[must_use]
pub fn product_rate(
    set: InstructionSet,
    format: WeightFormat,
    [rows, inputs, outputs]: [usize; 3],
    activation: Option<Activation>,
) -> f64 {
    let Some(kernels) = Kernels::of(set) else { return 0.0 };
    let random = |count: usize, scale: f32| -> Vec<f32> {
        (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 * scale - scale).collect()
    };
    let weight = random(inputs * outputs, 0.05);
    let (inputs, outputs) = (Axis::whole(inputs), Axis::whole(outputs));
    let mut linear = Linear::new(kernels, format, &[Source { weight: &weight, bias: None, outputs }], inputs);
    let mut input = Buffer::zeroed(rows * inputs.padded());
    input.copy_from_slice(&random(rows * inputs.padded(), 1.0));
    let (stride, width) = (inputs.padded(), linear.width());
    let mut output = Buffer::zeroed(rows * width);
    let run = Run { kernels, split: Split::none() };
    if format == WeightFormat::Int8 {
        let mut seen = Observations::default();
        seen.add(kernels, run.split, Seen { rows, depth: stride, input: &input, stride });
        linear = linear.quantised(run, set, &seen);
    }
    let epilogue = activation.map_or(Epilogue::Store, Epilogue::Activate);
    let operations = 2.0 * (rows * inputs.len() * outputs.len()) as f64;
    let repeats = (2e8 / operations) as usize + 1;
    linear.apply(run, rows, &input, stride, &mut output, width, epilogue);
    let start = thread_time();
    for _ in 0..repeats {
        linear.apply(run, rows, &input, stride, &mut output, width, epilogue);
    }
    operations * repeats as f64 / (thread_time() - start).as_secs_f64()
}

/// Numbers a second of one thread's time that rows of `width` components, a multiple of 32, are turned into bytes at: their
/// activation taken first where there is one, then scaled, rotated and rounded. 0 where the set is not available.
///
/// ```
/// use st_native::{InstructionSet, limits};
///
/// assert!(limits::quantisation_rate(InstructionSet::Portable, [4, 64], None) > 0.0);
/// ```
#[must_use]
pub fn quantisation_rate(set: InstructionSet, [rows, width]: [usize; 2], activation: Option<Activation>) -> f64 {
    let Some(kernels) = Kernels::of(set) else { return 0.0 };
    let width = width.next_multiple_of(STEP);
    let input: Vec<f32> = (0..rows * width).map(|i| ((i * 7919 + 13) % 1009) as f32 / 252.25 - 2.0).collect();
    let quantise = quantiser(kernels, width, activation);
    let mut bytes = Bytes::default();
    let repeats = 10_000_000 / (rows * width).max(1) + 1;
    let start = thread_time();
    for _ in 0..repeats {
        quantise(rows, &input, &mut bytes);
    }
    (rows * width * repeats) as f64 / (thread_time() - start).as_secs_f64()
}
