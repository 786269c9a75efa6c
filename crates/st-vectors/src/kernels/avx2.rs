//! AVX2 with FMA: tiles of 3 × 4 rows, one register of 8 partial sums per pair.

use std::arch::x86_64::*;

use super::{AbsoluteDistance, Block, Dot, Kind, Measure, SquaredDistance, for_each_tile};

const LANES: usize = 8;
const HEIGHT: usize = 3;
const WIDTH: usize = 4;

/// The kernel, where this processor has the instructions.
pub(super) fn detect() -> Option<Block> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(block as Block)
}

fn block(measure: Measure, a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    // SAFETY: `detect` hands this function out only after it has seen avx2 and fma.
    unsafe {
        match measure {
            Measure::Dot => rows::<Dot>(a, b, dimension, out, stride),
            Measure::SquaredDistance => rows::<SquaredDistance>(a, b, dimension, out, stride),
            Measure::AbsoluteDistance => rows::<AbsoluteDistance>(a, b, dimension, out, stride),
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn rows<K: Kind>(a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    for_each_tile(a.len() / dimension, b.len() / dimension, HEIGHT, WIDTH, |tile| {
        let (x, y) = (&a[tile.i * dimension..], &b[tile.j * dimension..]);
        let out = &mut out[tile.i * stride + tile.j..];
        match (tile.height, tile.width) {
            (HEIGHT, WIDTH) => store(&sums::<K, HEIGHT, WIDTH>(x, y, dimension), out, stride),
            (HEIGHT, _) => store(&sums::<K, HEIGHT, 1>(x, y, dimension), out, stride),
            (_, WIDTH) => store(&sums::<K, 1, WIDTH>(x, y, dimension), out, stride),
            _ => store(&sums::<K, 1, 1>(x, y, dimension), out, stride),
        }
    });
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn step<K: Kind>(sum: __m256, a: __m256, b: __m256) -> __m256 {
    match K::MEASURE {
        Measure::Dot => _mm256_fmadd_ps(a, b, sum),
        Measure::SquaredDistance => {
            let difference = _mm256_sub_ps(a, b);
            _mm256_fmadd_ps(difference, difference, sum)
        }
        Measure::AbsoluteDistance => {
            let difference = _mm256_sub_ps(a, b);
            _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0), difference))
        }
    }
}

/// The last `count` < 8 values of a row, then zeros.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn load_rest(values: &[f32], offset: usize, count: usize) -> __m256 {
    let mut rest = [0f32; LANES];
    rest[..count].copy_from_slice(&values[offset..offset + count]);
    // SAFETY: `rest` is eight values long.
    unsafe { _mm256_loadu_ps(rest.as_ptr()) }
}

/// Partial sums of the first `M` rows of `a` with the first `N` rows of `b`: lane `k` holds the dimensions `8·t + k`.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn sums<K: Kind, const M: usize, const N: usize>(a: &[f32], b: &[f32], dimension: usize) -> [[__m256; N]; M] {
    assert!(a.len() >= M * dimension && b.len() >= N * dimension);
    let mut sums = [[_mm256_setzero_ps(); N]; M];
    let whole = dimension - dimension % LANES;
    let mut offset = 0;
    while offset < whole {
        let mut rows = [_mm256_setzero_ps(); M];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: offset + 8 ≤ dimension and i < M, so the 8 values lie inside a (asserted above).
            *row = unsafe { _mm256_loadu_ps(a.as_ptr().add(i * dimension + offset)) };
        }
        for j in 0..N {
            // SAFETY: offset + 8 ≤ dimension and j < N, so the 8 values lie inside b (asserted above).
            let column = unsafe { _mm256_loadu_ps(b.as_ptr().add(j * dimension + offset)) };
            for (sums, &row) in sums.iter_mut().zip(&rows) {
                sums[j] = step::<K>(sums[j], row, column);
            }
        }
        offset += LANES;
    }
    if offset < dimension {
        let count = dimension - offset;
        for (i, sums) in sums.iter_mut().enumerate() {
            let row = load_rest(a, i * dimension + offset, count);
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = step::<K>(*sum, row, load_rest(b, j * dimension + offset, count));
            }
        }
    }
    sums
}

/// Adds lanes 4 apart, then 2 and 1 apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn total(sums: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps::<1>(sums));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store<const M: usize, const N: usize>(sums: &[[__m256; N]; M], out: &mut [f32], stride: usize) {
    for (i, sums) in sums.iter().enumerate() {
        for (out, &sum) in out[i * stride..][..N].iter_mut().zip(sums) {
            *out = total(sum);
        }
    }
}
