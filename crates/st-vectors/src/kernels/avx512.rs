//! AVX-512: tiles of 4 × 4 rows, one register of 16 partial sums per pair.

use std::arch::x86_64::*;

use super::{AbsoluteDistance, Block, Dot, Kind, Measure, SquaredDistance, for_each_tile};

const LANES: usize = 16;
const HEIGHT: usize = 4;
const WIDTH: usize = 4;

/// The kernel, where this processor has the instructions.
pub(super) fn detect() -> Option<Block> {
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512dq")).then_some(block as Block)
}

fn block(measure: Measure, a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    // SAFETY: `detect` hands this function out only after it has seen avx512f and avx512dq.
    unsafe {
        match measure {
            Measure::Dot => rows::<Dot>(a, b, dimension, out, stride),
            Measure::SquaredDistance => rows::<SquaredDistance>(a, b, dimension, out, stride),
            Measure::AbsoluteDistance => rows::<AbsoluteDistance>(a, b, dimension, out, stride),
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq")]
fn rows<K: Kind>(a: &[f32], b: &[f32], dimension: usize, out: &mut [f32], stride: usize) {
    for_each_tile(a.len() / dimension, b.len() / dimension, HEIGHT, WIDTH, |tile| {
        let (x, y) = (&a[tile.i * dimension..], &b[tile.j * dimension..]);
        let out = &mut out[tile.i * stride + tile.j..];
        match (tile.height, tile.width) {
            (HEIGHT, WIDTH) => store_square(&sums::<K, HEIGHT, WIDTH>(x, y, dimension), out, stride),
            (HEIGHT, _) => store(&sums::<K, HEIGHT, 1>(x, y, dimension), out, stride),
            (_, WIDTH) => store(&sums::<K, 1, WIDTH>(x, y, dimension), out, stride),
            _ => store(&sums::<K, 1, 1>(x, y, dimension), out, stride),
        }
    });
}

#[inline]
#[target_feature(enable = "avx512f")]
fn step<K: Kind>(sum: __m512, a: __m512, b: __m512) -> __m512 {
    match K::MEASURE {
        Measure::Dot => _mm512_fmadd_ps(a, b, sum),
        Measure::SquaredDistance => {
            let difference = _mm512_sub_ps(a, b);
            _mm512_fmadd_ps(difference, difference, sum)
        }
        Measure::AbsoluteDistance => _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b))),
    }
}

/// Partial sums of the first `M` rows of `a` with the first `N` rows of `b`: lane `k` holds the dimensions `16·t + k`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums<K: Kind, const M: usize, const N: usize>(a: &[f32], b: &[f32], dimension: usize) -> [[__m512; N]; M] {
    assert!(a.len() >= M * dimension && b.len() >= N * dimension);
    let mut sums = [[_mm512_setzero_ps(); N]; M];
    let whole = dimension - dimension % LANES;
    let mut offset = 0;
    while offset < whole {
        let mut columns = [_mm512_setzero_ps(); N];
        for (j, column) in columns.iter_mut().enumerate() {
            // SAFETY: offset + 16 ≤ dimension and j < N, so the 16 values lie inside b (asserted above).
            *column = unsafe { _mm512_loadu_ps(b.as_ptr().add(j * dimension + offset)) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: offset + 16 ≤ dimension and i < M, so the 16 values lie inside a (asserted above).
            let row = unsafe { _mm512_loadu_ps(a.as_ptr().add(i * dimension + offset)) };
            for (sum, &column) in sums.iter_mut().zip(&columns) {
                *sum = step::<K>(*sum, row, column);
            }
        }
        offset += LANES;
    }
    if offset < dimension {
        let mask: __mmask16 = (1 << (dimension - offset)) - 1;
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the mask admits only the dimension − offset values up to the row's end, inside a.
            let row = unsafe { _mm512_maskz_loadu_ps(mask, a.as_ptr().add(i * dimension + offset)) };
            for (j, sum) in sums.iter_mut().enumerate() {
                // SAFETY: as above, inside b.
                let column = unsafe { _mm512_maskz_loadu_ps(mask, b.as_ptr().add(j * dimension + offset)) };
                *sum = step::<K>(*sum, row, column);
            }
        }
    }
    sums
}

/// Adds lanes 8 apart, then 4, 2 and 1 apart.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn total(sums: __m512) -> f32 {
    let eight = _mm256_add_ps(_mm512_castps512_ps256(sums), _mm512_extractf32x8_ps::<1>(sums));
    let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn store<const M: usize, const N: usize>(sums: &[[__m512; N]; M], out: &mut [f32], stride: usize) {
    for (i, sums) in sums.iter().enumerate() {
        for (out, &sum) in out[i * stride..][..N].iter_mut().zip(sums) {
            *out = total(sum);
        }
    }
}

/// [`store`] for 4 × 4 sums: the additions of [`total`], for all sixteen at once.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn store_square(sums: &[[__m512; WIDTH]; HEIGHT], out: &mut [f32], stride: usize) {
    // Lanes 8 apart: the lower half is of x, the upper of y.
    let eight =
        |x, y| _mm512_add_ps(_mm512_shuffle_f32x4::<0b01_00_01_00>(x, y), _mm512_shuffle_f32x4::<0b11_10_11_10>(x, y));
    // Lanes 4 apart: one quarter for each of four sums.
    let four =
        |x, y| _mm512_add_ps(_mm512_shuffle_f32x4::<0b10_00_10_00>(x, y), _mm512_shuffle_f32x4::<0b11_01_11_01>(x, y));
    // Quarter i of column j: the four lanes left of sums[i][j].
    let mut columns = [_mm512_setzero_ps(); WIDTH];
    for (j, column) in columns.iter_mut().enumerate() {
        *column = four(eight(sums[0][j], sums[1][j]), eight(sums[2][j], sums[3][j]));
    }
    // Lanes 2 apart, then 1 apart, which also brings the four columns of a row together.
    let two = |x, y| _mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
    let (left, right) = (two(columns[0], columns[1]), two(columns[2], columns[3]));
    let all = _mm512_add_ps(_mm512_shuffle_ps::<0x44>(left, right), _mm512_shuffle_ps::<0xEE>(left, right));
    let mut totals = [0f32; 16];
    // SAFETY: `totals` is sixteen values long.
    unsafe { _mm512_storeu_ps(totals.as_mut_ptr(), all) };
    for (i, row) in totals.as_chunks::<WIDTH>().0.iter().enumerate() {
        out[i * stride..][..WIDTH].copy_from_slice(row);
    }
}
