//! Inner loops, one set per instruction set, chosen at run time.
//!
//! A value depends only on its two rows: every kernel adds in one order per pair of rows, whatever tile the pair falls
//! into, so scores are bitwise the same however the work was cut. Kernels of different instruction sets may differ in
//! the last bits.

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and calls behind run-time detection")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and calls behind run-time detection")]
mod avx512;
pub(crate) mod byte_products;
pub(crate) mod integer;
mod portable;

use std::sync::LazyLock;

/// What a kernel sums over the dimensions of two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Σ a·b
    Dot,
    /// Σ (a−b)²
    SquaredDistance,
    /// Σ |a−b|
    AbsoluteDistance,
}

/// A measure as a type, so that each kernel is compiled for it.
trait Kind {
    const MEASURE: Measure;
}
struct Dot;
impl Kind for Dot {
    const MEASURE: Measure = Measure::Dot;
}
struct SquaredDistance;
impl Kind for SquaredDistance {
    const MEASURE: Measure = Measure::SquaredDistance;
}
struct AbsoluteDistance;
impl Kind for AbsoluteDistance {
    const MEASURE: Measure = Measure::AbsoluteDistance;
}

/// Rows against rows; see [`block`] for the arguments.
type Block = fn(Measure, &[f32], &[f32], usize, &mut [f32], usize);

/// The best kernel of this processor.
static BLOCK: LazyLock<Block> =
    LazyLock::new(|| available().first().map_or(portable::block as Block, |&(_, kernel)| kernel));

/// Kernels that this processor runs, fastest first.
#[cfg(target_arch = "x86_64")]
fn available() -> Vec<(&'static str, Block)> {
    let mut out = Vec::new();
    out.extend(avx512::detect().map(|kernel| ("avx512", kernel)));
    out.extend(avx2::detect().map(|kernel| ("avx2", kernel)));
    out.push(("portable", portable::block as Block));
    out
}

/// Kernels that this processor runs, fastest first.
#[cfg(not(target_arch = "x86_64"))]
fn available() -> Vec<(&'static str, Block)> {
    vec![("portable", portable::block as Block)]
}

/// `out[i · stride + j]` = the measure of row `i` of `a` and row `j` of `b`, both row-major with `dimension` columns.
///
/// `out` reaches at least to the last pair; values between the rows of `out` are left alone.
pub(crate) fn block(measure: Measure, a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    if dimension > 0 {
        BLOCK(measure, a, b, dimension, out, stride);
    }
}

/// The measure of two rows of one length; the same bits as in a [`block`].
pub(crate) fn pair(measure: Measure, a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let mut out = [0.0];
    block(measure, &a[..length], &b[..length], length, &mut out, 1);
    out[0]
}

/// Σ a·b of two rows of one length; the same bits as in a [`block`].
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    pair(Measure::Dot, a, b)
}

/// A part of a block: `height` rows of `a` from `i`, `width` rows of `b` from `j`.
struct Tile {
    i: usize,
    height: usize,
    j: usize,
    width: usize,
}

/// Rows of `b` that stay in the first-level cache while all rows of `a` pass.
const GROUP: usize = 16;

/// Cuts `rows` × `columns` into tiles of `height` × `width`, with tiles of height or width 1 at the edges.
fn for_each_tile(rows: usize, columns: usize, height: usize, width: usize, mut run: impl FnMut(&Tile)) {
    for group in (0..columns).step_by(GROUP) {
        let group_end = (group + GROUP).min(columns);
        let mut i = 0;
        while i < rows {
            let height = if i + height <= rows { height } else { 1 };
            let mut j = group;
            while j < group_end {
                let width = if j + width <= group_end { width } else { 1 };
                run(&Tile { i, height, j, width });
                j += width;
            }
            i += height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of both signs and several magnitudes.
    fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// The sum in double precision, and the sum of its terms' magnitudes.
    fn exact(measure: Measure, a: &[f32], b: &[f32]) -> (f64, f64) {
        let term = |(&a, &b): (&f32, &f32)| {
            let (a, b) = (f64::from(a), f64::from(b));
            match measure {
                Measure::Dot => a * b,
                Measure::SquaredDistance => (a - b) * (a - b),
                Measure::AbsoluteDistance => (a - b).abs(),
            }
        };
        let terms = || a.iter().zip(b).map(term);
        (terms().sum(), terms().map(f64::abs).sum())
    }

    #[test]
    fn every_kernel_is_right_and_does_not_depend_on_the_tile() {
        for (name, kernel) in available() {
            for dimension in [1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 384] {
                for (rows, columns) in [(1, 1), (1, 5), (4, 4), (5, 3), (9, 21), (13, 40)] {
                    let a = values(rows * dimension, 1);
                    let b = values(columns * dimension, 2);
                    for measure in [Measure::Dot, Measure::SquaredDistance, Measure::AbsoluteDistance] {
                        let stride = columns + 2;
                        let mut out = vec![f32::NAN; rows * stride];
                        kernel(measure, &a, &b, dimension, &mut out, stride);
                        for i in 0..rows {
                            for j in 0..columns {
                                let (x, y) = (&a[i * dimension..][..dimension], &b[j * dimension..][..dimension]);
                                let found = out[i * stride + j];
                                let (expected, magnitude) = exact(measure, x, y);
                                let error = (f64::from(found) - expected).abs() / magnitude;
                                assert!(error < 6e-7, "{name} {measure:?} {dimension}: {error}");
                                let mut alone = [0.0];
                                kernel(measure, x, y, dimension, &mut alone, 1);
                                assert_eq!(
                                    found.to_bits(),
                                    alone[0].to_bits(),
                                    "{name} {measure:?} {dimension} {i} {j}"
                                );
                                kernel(measure, y, x, dimension, &mut alone, 1);
                                assert_eq!(found.to_bits(), alone[0].to_bits(), "{name} {measure:?}: not symmetric");
                            }
                            assert!(out[i * stride + columns..][..2].iter().all(|x| x.is_nan()), "wrote between rows");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn no_dimensions_and_no_rows() {
        assert_eq!(pair(Measure::Dot, &[], &[]), 0.0);
        block(Measure::Dot, &[], &[1.0, 2.0], 2, &mut [], 1);
        block(Measure::Dot, &[1.0, 2.0], &[], 2, &mut [], 0);
    }
}
