//! Attention in bfloat16 with 32-bit sums, for networks whose weights are bytes: the dot products of pairs are twice as
//! fast as 32-bit ones, and bytes have lost more than bfloat16 does. AVX-512 with its bfloat16 extension only; elsewhere
//! such networks use the ordinary kernel.
//!
//! Arranged as [`super::attention`]: one query per lane. Pairs are pairs of components for the scores and pairs of keys for
//! the values; each is one 32-bit lane.
#![expect(unsafe_code, reason = "processor intrinsics")]

use std::arch::x86_64::*;

use super::attention::{AttentionCall, QUERIES, keys_of, shifts, tiles};
use super::unrolled;
use super::vector::Vector;

/// Polynomial of 2^f on [0, 1], highest power first; relative error below 8·10⁻⁵, a twentieth of bfloat16's.
const EXP2: [f32; 4] = [0.078_023_01, 0.226_069_39, 0.695_832_85, 0.999_925_25];

/// Of two halves of a vector, one number of each in turn.
const ALTERNATING: [u16; 32] = {
    let mut order = [0; 32];
    let mut lane = 0;
    while lane < 16 {
        order[2 * lane] = lane as u16;
        order[2 * lane + 1] = lane as u16 + 16;
        lane += 1;
    }
    order
};

/// Numbers per vector.
const LANES: usize = 16;

/// Attention of one sequence and one key and value head; [`AttentionCall::halves`] must be given.
///
/// # Safety
/// As [`super::attention::AttentionKernel`], and the processor has AVX-512 with bfloat16.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
pub(super) unsafe fn attend(call: &AttentionCall) {
    let (tokens, head) = (call.tokens, call.head);
    // SAFETY: the caller's promise. Of the halves, the first part holds the keys' rows, the rest pairs of values.
    unsafe {
        let keys = call.halves;
        let values = call.halves.add(tokens * head);
        for token in 0..tokens {
            for component in (0..head).step_by(LANES) {
                let key = _mm512_loadu_ps(call.key.add(token * call.stride + component));
                _mm256_storeu_si256(keys.add(token * head + component).cast(), halves(key));
            }
        }
        for pair in 0..tokens.div_ceil(2) {
            for component in (0..head).step_by(LANES) {
                let at = call.value.add(2 * pair * call.stride + component);
                let first = _mm512_loadu_ps(at);
                let second =
                    if 2 * pair + 1 < tokens { _mm512_loadu_ps(at.add(call.stride)) } else { _mm512_setzero_ps() };
                _mm512_storeu_si512(values.add(2 * (pair * head + component)).cast(), pairs(first, second));
            }
        }
        for member in 0..call.group {
            let mut first = 0;
            while first < call.queries {
                if call.queries - first <= LANES {
                    block::<1>(call, member, first, keys, values);
                } else {
                    block::<2>(call, member, first, keys, values);
                }
                first += 2 * LANES;
            }
        }
    }
}

/// Rounded to bfloat16.
#[inline(always)]
unsafe fn halves(numbers: __m512) -> __m256i {
    // SAFETY: the caller's processor has the instruction; both types are 256 bits.
    unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(numbers)) }
}

/// Lane by lane a pair of bfloat16.
#[inline(always)]
pub(super) unsafe fn pairs(first: __m512, second: __m512) -> __m512i {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(second, first));
        _mm512_permutexvar_epi16(std::mem::transmute::<[u16; 32], __m512i>(ALTERNATING), both)
    }
}

/// The queries of `VECTORS` vectors from `first` on.
#[inline(always)]
unsafe fn block<const VECTORS: usize>(
    call: &AttentionCall,
    member: usize,
    first: usize,
    keys_of_head: *const u16,
    values: *const u16,
) {
    let (tokens, head, width) = (call.tokens, call.head, VECTORS * LANES);
    let rows = width.min(call.queries - first);
    let seen = keys_of(call.mask, first, tokens).start..keys_of(call.mask, first + rows - 1, tokens).end;
    // Pairs of values begin at even keys.
    let keys = seen.start / 2 * 2..seen.end;
    // SAFETY: the caller's promise. Rows past the last query are zeros.
    unsafe {
        let query = call.query.add(member * head + first * call.stride);
        let mut staged = [0u32; LANES * LANES];
        for vector in 0..VECTORS {
            for component in (0..head).step_by(2 * LANES) {
                let there = rows.saturating_sub(vector * LANES).min(LANES);
                let wide = (head - component).min(2 * LANES) / LANES;
                for row in 0..there {
                    for part in 0..wide {
                        let at = query.add((vector * LANES + row) * call.stride + component + part * LANES);
                        let to = staged.as_mut_ptr().add(row * LANES + part * LANES / 2);
                        _mm256_storeu_si256(to.cast(), halves(_mm512_loadu_ps(at)));
                    }
                }
                // Of a head with an odd number of vectors the last rows of the transpose are left over.
                let to = call.transposed.add(component / 2 * width + vector * LANES);
                __m512::transpose(staged.as_ptr().cast(), LANES, there, to, width);
            }
        }
        tiles(keys.len(), 12, |start, height| {
            let left = keys_of_head.add((keys.start + start) * head).cast();
            let output = call.scores.add(start * width);
            strip_of::<VECTORS, false>(height)(head / 2, left, head / 2, call.transposed, width, output, width);
        });
        let bias =
            if call.bias.is_null() { call.bias } else { call.bias.add(member * call.bias_stride + tokens - 1 + first) };
        let (factor, shift) = shifts::<__m512, VECTORS>(call.scores, keys.clone(), first, call.mask, call.scale, bias);
        let sums = powers::<VECTORS>(call.scores, keys.len(), factor, shift);
        let mut inverse = [0.0f32; QUERIES];
        for (v, sum) in sums.iter().enumerate() {
            _mm512_storeu_ps(inverse.as_mut_ptr().add(v * LANES), _mm512_div_ps(_mm512_set1_ps(1.0), *sum));
        }
        let output = call.output.add(member * head + first * call.output_stride);
        let value: *const f32 = values.add(keys.start * head).cast();
        tiles(rows, 12, |start, height| {
            let left = call.scores.add(start).cast_const();
            let mut component = 0;
            while component < head {
                let to = output.add(start * call.output_stride + component);
                let (depth, right) = (keys.len().div_ceil(2), value.add(component));
                if head - component >= 2 * LANES {
                    strip_of::<2, true>(height)(depth, left, width, right, head, to, call.output_stride);
                } else {
                    strip_of::<1, true>(height)(depth, left, width, right, head, to, call.output_stride);
                }
                component += 2 * LANES;
            }
        });
        for (row, &inverse) in inverse.iter().enumerate().take(rows) {
            for component in (0..head).step_by(LANES) {
                let at = output.add(row * call.output_stride + component);
                _mm512_storeu_ps(at, _mm512_mul_ps(_mm512_loadu_ps(at), _mm512_set1_ps(inverse)));
            }
        }
    }
}

/// Turns scores into pairs of powers of two keys each, in place, and returns the sums over the keys.
#[inline(always)]
unsafe fn powers<const VECTORS: usize>(
    scores: *mut f32,
    keys: usize,
    factor: __m512,
    shift: [__m512; VECTORS],
) -> [__m512; VECTORS] {
    let width = VECTORS * LANES;
    // SAFETY: the caller has `keys` rows of scores. A pair's row is written after both its rows were read.
    unsafe {
        let mut sums = [_mm512_setzero_ps(); VECTORS];
        for pair in 0..keys.div_ceil(2) {
            for v in 0..VECTORS {
                let at = scores.add(2 * pair * width + v * LANES);
                let first = power(_mm512_fmadd_ps(_mm512_loadu_ps(at), factor, shift[v]));
                let second = if 2 * pair + 1 < keys {
                    power(_mm512_fmadd_ps(_mm512_loadu_ps(at.add(width)), factor, shift[v]))
                } else {
                    _mm512_setzero_ps()
                };
                sums[v] = _mm512_add_ps(sums[v], _mm512_add_ps(first, second));
                _mm512_storeu_si512(scores.add(pair * width + v * LANES).cast(), pairs(first, second));
            }
        }
        sums
    }
}

/// `2^x`.
#[inline(always)]
unsafe fn power(x: __m512) -> __m512 {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        // 0x09 takes the largest whole number not above x away; of −∞ nothing is left, and its power is 0.
        let fraction = _mm512_reduce_ps::<0x09>(x);
        let mut sum = _mm512_set1_ps(EXP2[0]);
        for &coefficient in &EXP2[1..] {
            sum = _mm512_fmadd_ps(sum, fraction, _mm512_set1_ps(coefficient));
        }
        _mm512_scalef_ps(sum, x)
    }
}

/// Depth in pairs; left matrix and numbers to its next row (or depth); right matrix and numbers to its next row; output
/// and numbers to its next row.
type PairStrip = unsafe fn(usize, *const f32, usize, *const f32, usize, *mut f32, usize);

/// The strip of so many rows.
#[inline(always)]
fn strip_of<const VECTORS: usize, const TRANSPOSED: bool>(rows: usize) -> PairStrip {
    [
        strip::<1, VECTORS, TRANSPOSED>,
        strip::<2, VECTORS, TRANSPOSED>,
        strip::<3, VECTORS, TRANSPOSED>,
        strip::<4, VECTORS, TRANSPOSED>,
        strip::<5, VECTORS, TRANSPOSED>,
        strip::<6, VECTORS, TRANSPOSED>,
        strip::<7, VECTORS, TRANSPOSED>,
        strip::<8, VECTORS, TRANSPOSED>,
        strip::<9, VECTORS, TRANSPOSED>,
        strip::<10, VECTORS, TRANSPOSED>,
        strip::<11, VECTORS, TRANSPOSED>,
        strip::<12, VECTORS, TRANSPOSED>,
    ][rows - 1]
}

/// A small product of pairs; see [`super::strip`].
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
unsafe fn strip<const ROWS: usize, const VECTORS: usize, const TRANSPOSED: bool>(
    depth: usize,
    left: *const f32,
    left_stride: usize,
    right: *const f32,
    right_stride: usize,
    output: *mut f32,
    output_stride: usize,
) {
    // SAFETY: the caller's matrices have the rows and columns of the kernel.
    unsafe {
        let (row_step, depth_step) = if TRANSPOSED { (1, left_stride) } else { (left_stride, 1) };
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        let left = |group: usize| left.wrapping_add(3 * group * row_step);
        let mut lefts = [0, 1, 2, 3, 4, 5].map(left);
        let mut right = right;
        for _ in 0..depth {
            let mut columns = [_mm512_setzero_si512(); VECTORS];
            unrolled!(v in 0..VECTORS => { columns[v] = _mm512_loadu_si512(right.add(v * LANES).cast()); });
            unrolled!(row in 0..ROWS => {
                let pair = _mm512_set1_epi32(lefts[row / 3].add(row % 3 * row_step).cast::<i32>().read());
                unrolled!(v in 0..VECTORS => { sums[row][v] = dot(sums[row][v], pair, columns[v]); });
            });
            right = right.wrapping_add(right_stride);
            for left in &mut lefts[..ROWS.div_ceil(3)] {
                *left = __m512::in_register(left.wrapping_add(depth_step));
            }
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => {
                _mm512_storeu_ps(output.add(row * output_stride + v * LANES), sums[row][v]);
            });
        });
    }
}

/// Adds the products of pairs.
#[inline(always)]
unsafe fn dot(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
    // SAFETY: the caller's processor has the instruction; all types are 512 bits.
    unsafe {
        let left = std::mem::transmute::<__m512i, __m512bh>(left);
        _mm512_dpbf16_ps(sum, left, std::mem::transmute::<__m512i, __m512bh>(right))
    }
}
