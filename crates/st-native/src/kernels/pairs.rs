//! Products of bfloat16: a pair of terms in every 32-bit lane, sums in 32 bits.
//!
//! Processors with AVX-512's bfloat16 extension multiply and add a pair per lane at once, twice as many terms as with
//! 32-bit floats. The twin of plain vectors widens each pair and takes two multiply-adds: the same rounding of the inputs,
//! so nearly the same results, at no gain in speed.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use std::marker::PhantomData;

use half::bf16;

use super::peak::{PeakKernel, SUMS};
use super::portable::Lanes;
use super::tile::{Finish, prefetch};
use super::training::outer::OuterCall;
use super::unrolled;
use super::vector::Vector;

/// What one tile works on.
#[derive(Debug)]
pub(crate) struct PairTileCall {
    /// Terms of every sum, a multiple of 8.
    pub(crate) depth: usize,
    /// First row of the input; `depth` numbers each.
    pub(crate) input: *const u16,
    /// Numbers from one input row to the next, even.
    pub(crate) input_stride: usize,
    /// The panel: for each two terms the panel's columns, a pair each.
    pub(crate) panel: *const u16,
    /// What the sums start from, one number per column.
    pub(crate) bias: *const f32,
    /// First output row.
    pub(crate) output: *mut f32,
    /// Numbers from one output row to the next.
    pub(crate) output_stride: usize,
    /// What happens with the sums.
    pub(crate) finish: Finish,
    /// Memory that will be needed soon: a cache line is fetched for every 8 terms.
    pub(crate) ahead: *const u16,
}

/// A tile kernel of pairs.
///
/// # Safety
/// The pointers of the call must be valid for the rows and columns of the kernel, and no other thread may use that part
/// of the output.
pub(crate) type PairTileKernel = unsafe fn(&PairTileCall);

/// Rounds to bfloat16, to nearest, ties to even: from, count (a multiple of [`super::STEP`]), to.
pub(crate) type NarrowKernel = unsafe fn(*const f32, usize, *mut u16);
/// Rounds two rows and makes pairs of them: first, second (null for zeros), count (a multiple of the lanes), to.
pub(crate) type JoinKernel = unsafe fn(*const f32, *const f32, usize, *mut u16);

/// A tile kernel of sums over rows.
///
/// # Safety
/// As for [`super::training::outer::OuterKernel`].
pub(crate) type OuterKernel = unsafe fn(&OuterCall<u16>);

/// One way of multiplying pairs.
#[derive(Debug)]
pub(crate) struct PairKernels {
    /// Columns per vector.
    pub(crate) lanes: usize,
    /// By vectors − 1 and rows − 1; as many vectors as the 32-bit tiles of the same instruction set have.
    pub(crate) tiles: &'static [&'static [PairTileKernel]],
    pub(crate) narrow: NarrowKernel,
    pub(crate) join: JoinKernel,
    /// Products that sum over rows, for gradients of weights; by vectors − 1 and rows − 1.
    pub(crate) outer: &'static [&'static [OuterKernel]],
    /// As many products as the processor can do.
    pub(crate) peak: PeakKernel,
}

impl PairKernels {
    /// Columns of a full panel.
    pub(crate) fn panel(&self) -> usize {
        self.tiles.len() * self.lanes
    }

    /// Rows of a full tile.
    pub(crate) fn rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// Makes pairs of each two rows of `columns` numbers, a multiple of the lanes; of an odd number of rows the last one's
    /// partners are zeros.
    pub(crate) fn join_rows(&self, rows: &[f32], columns: usize, to: &mut [u16]) {
        assert!(columns.is_multiple_of(self.lanes), "columns are no vectors");
        for (two, to) in rows.chunks(2 * columns).zip(to.chunks_exact_mut(2 * columns)) {
            let second = if two.len() > columns { two[columns..].as_ptr() } else { std::ptr::null() };
            // SAFETY: both rows have so many numbers, a multiple of a vector, and the target as many pairs.
            unsafe { (self.join)(two.as_ptr(), second, columns, to.as_mut_ptr()) };
        }
    }
}

/// Lanes of 32-bit sums of two products each.
///
/// # Safety
/// As for [`Vector`].
pub(super) trait PairDot {
    /// The sums.
    type Number: Vector;
    /// One pair, for every lane.
    type Left: Copy;
    /// A pair for each lane.
    type Right: Copy;
    unsafe fn left(from: *const u16) -> Self::Left;
    unsafe fn right(from: *const u16) -> Self::Right;
    unsafe fn dot(sums: Self::Number, left: Self::Left, right: Self::Right) -> Self::Number;
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u16);
    unsafe fn join(first: *const f32, second: *const f32, count: usize, to: *mut u16);
}

/// `ROWS × VECTORS` sums.
#[inline(always)]
pub(super) unsafe fn tile<D: PairDot, const ROWS: usize, const VECTORS: usize>(call: &PairTileCall) {
    const UNROLL: usize = 4;
    let lanes = D::Number::LANES;
    // SAFETY: the caller's promise; see `PairTileKernel`.
    unsafe {
        let stride = call.input_stride;
        let mut sums = [[D::Number::splat(0.0); VECTORS]; ROWS];
        unrolled!(v in 0..VECTORS => {
            let bias = D::Number::load(call.bias.add(v * lanes));
            unrolled!(row in 0..ROWS => { sums[row][v] = bias; });
        });
        let input = |group: usize| call.input.wrapping_add(3 * group * stride);
        let mut inputs = [0, 1, 2, 3, 4, 5].map(input);
        let mut panel = call.panel;
        let mut ahead = call.ahead;
        for _ in 0..call.depth / (2 * UNROLL) {
            unrolled!(u in 0..UNROLL => {
                let mut weights = [D::right(panel.add(u * VECTORS * lanes * 2)); VECTORS];
                unrolled!(v in 0..VECTORS => {
                    weights[v] = D::right(panel.add((u * VECTORS + v) * lanes * 2));
                });
                unrolled!(row in 0..ROWS => {
                    let pair = D::left(inputs[row / 3].add(row % 3 * stride + 2 * u));
                    unrolled!(v in 0..VECTORS => { sums[row][v] = D::dot(sums[row][v], pair, weights[v]); });
                });
            });
            prefetch(ahead.cast());
            ahead = ahead.wrapping_add(32);
            for input in &mut inputs[..ROWS.div_ceil(3)] {
                *input = D::Number::in_register(input.wrapping_add(2 * UNROLL));
            }
            panel = panel.add(2 * UNROLL * VECTORS * lanes);
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => {
                let output = call.output.add(row * call.output_stride + v * lanes);
                let sum = sums[row][v];
                match call.finish {
                    Finish::Store => sum.store(output),
                    Finish::Add => sum.add(D::Number::load(output)).store(output),
                    Finish::Multiply => sum.mul(D::Number::load(output)).store(output),
                }
            });
        });
    }
}

/// A tile of a product that sums over rows; see [`super::training::outer`]. The depth counts pairs of rows.
#[inline(always)]
pub(super) unsafe fn outer<D: PairDot, const ROWS: usize, const VECTORS: usize>(call: &OuterCall<u16>) {
    let lanes = D::Number::LANES;
    // SAFETY: the caller's promise; see `OuterKernel`.
    unsafe {
        call.prefetch_output(ROWS, VECTORS * lanes);
        let mut sums = [[D::Number::splat(0.0); VECTORS]; ROWS];
        let (mut left, mut panel) = (call.left, call.panel);
        for _ in 0..call.depth {
            let mut columns = [D::right(panel); VECTORS];
            unrolled!(v in 0..VECTORS => { columns[v] = D::right(panel.add(2 * v * lanes)); });
            unrolled!(row in 0..ROWS => {
                let pair = D::left(left.add(2 * row));
                unrolled!(v in 0..VECTORS => { sums[row][v] = D::dot(sums[row][v], pair, columns[v]); });
            });
            left = left.wrapping_add(2 * call.left_stride);
            panel = panel.wrapping_add(2 * VECTORS * lanes);
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => {
                let output = call.output.add(row * call.output_stride + v * lanes);
                let sum = if call.add { sums[row][v].add(D::Number::load(output)) } else { sums[row][v] };
                sum.store(output);
            });
        });
    }
}

/// As [`super::peak`], on pairs.
#[inline(always)]
pub(super) unsafe fn peak<D: PairDot>(turns: usize) -> f32 {
    let ones = [bf16::ONE.to_bits(); 32];
    // SAFETY: the caller's processor has the instructions, and no vector is longer than 64 bytes.
    unsafe {
        let (left, right) = (D::left(ones.as_ptr()), D::right(std::hint::black_box(&ones).as_ptr()));
        let mut sums = [D::Number::splat(0.0); SUMS];
        for _ in 0..turns {
            unrolled!(sum in 0..SUMS => { sums[sum] = D::dot(sums[sum], left, right); });
        }
        sums.iter().fold(D::Number::splat(0.0), |total, sum| total.add(*sum)).sum()
    }
}

/// Pairs that are widened: the twin.
pub(super) struct Widened<V>(PhantomData<V>);

impl<V: Vector> PairDot for Widened<V> {
    type Number = V;
    type Left = [V; 2];
    type Right = [V; 2];

    #[inline(always)]
    unsafe fn left(from: *const u16) -> [V; 2] {
        // SAFETY: the caller has two readable numbers.
        let pair = unsafe { from.cast::<[u16; 2]>().read_unaligned() };
        // SAFETY: the trait's contract.
        pair.map(|bits| unsafe { V::splat(bf16::from_bits(bits).to_f32()) })
    }
    #[inline(always)]
    unsafe fn right(from: *const u16) -> [V; 2] {
        // SAFETY: the trait's contract, with a readable vector.
        unsafe { V::load_pairs(from) }
    }
    #[inline(always)]
    unsafe fn dot(sums: V, left: [V; 2], right: [V; 2]) -> V {
        // SAFETY: the trait's contract.
        unsafe { left[1].mul_add(right[1], left[0].mul_add(right[0], sums)) }
    }
    #[inline(always)]
    unsafe fn narrow(from: *const f32, count: usize, to: *mut u16) {
        // SAFETY: the caller has so many numbers, and room for as many.
        let (from, to) =
            unsafe { (std::slice::from_raw_parts(from, count), std::slice::from_raw_parts_mut(to, count)) };
        for (to, from) in to.iter_mut().zip(from) {
            *to = bf16::from_f32(*from).to_bits();
        }
    }
    #[inline(always)]
    unsafe fn join(first: *const f32, second: *const f32, count: usize, to: *mut u16) {
        for i in 0..count {
            // SAFETY: the caller has so many numbers, and room for as many pairs.
            unsafe {
                let second = if second.is_null() { 0.0 } else { *second.add(i) };
                let pair = [*first.add(i), second].map(|number| bf16::from_f32(number).to_bits());
                to.add(2 * i).cast::<[u16; 2]>().write_unaligned(pair);
            }
        }
    }
}

/// Compiles the tiles of one [`PairDot`] and collects their table.
macro_rules! pair_kernels {
    (
        $table:ident, $dot:ty, $rows:tt x [$($vectors:literal),*], outer $outer:tt, #[$feature:meta]
    ) => {
        pub(in crate::kernels) static $table: PairKernels = PairKernels {
            lanes: <<$dot as PairDot>::Number as Vector>::LANES,
            tiles: &[$(&pair_kernels!(@tiles $dot, $vectors, $rows, #[$feature])),*],
            narrow: {
                #[$feature]
                unsafe fn narrow(from: *const f32, count: usize, to: *mut u16) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { <$dot as PairDot>::narrow(from, count, to) }
                }
                narrow
            },
            join: {
                #[$feature]
                unsafe fn join(first: *const f32, second: *const f32, count: usize, to: *mut u16) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { <$dot as PairDot>::join(first, second, count, to) }
                }
                join
            },
            outer: &[$(&pair_kernels!(@outers $dot, $vectors, $outer, #[$feature])),*],
            peak: {
                #[$feature]
                unsafe fn pair_peak(turns: usize) -> f32 {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { peak::<$dot>(turns) }
                }
                pair_peak
            },
        };
    };
    (@tiles $dot:ty, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            #[$feature]
            unsafe fn pair_tile(call: &PairTileCall) {
                // SAFETY: the caller's promise is the kernel's.
                unsafe { tile::<$dot, $rows, $vectors>(call) }
            }
            pair_tile as PairTileKernel
        }),*]
    };
    (@outers $dot:ty, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            #[$feature]
            unsafe fn outer_pairs(call: &OuterCall<u16>) {
                // SAFETY: the caller's promise is the kernel's.
                unsafe { outer::<$dot, $rows, $vectors>(call) }
            }
            outer_pairs as OuterKernel
        }),*]
    };
}

pair_kernels! { PORTABLE, Widened<Lanes>, [1, 2, 3, 4] x [1], outer [1, 2, 3, 4], #[inline(never)] }

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{
        OuterCall, OuterKernel, PairDot, PairKernels, PairTileCall, PairTileKernel, Vector, Widened, outer, peak, tile,
    };

    /// AVX-512 with its bfloat16 extension.
    pub(super) struct Dot512;

    impl PairDot for Dot512 {
        type Number = __m512;
        type Left = __m512i;
        type Right = __m512i;

        #[inline(always)]
        unsafe fn left(from: *const u16) -> __m512i {
            // SAFETY: the trait's contract, with two readable numbers.
            unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
        }
        #[inline(always)]
        unsafe fn right(from: *const u16) -> __m512i {
            // SAFETY: the trait's contract, with a readable vector.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn dot(sums: __m512, left: __m512i, right: __m512i) -> __m512 {
            // SAFETY: the trait's contract; all types are 512 bits.
            unsafe {
                let left = std::mem::transmute::<__m512i, __m512bh>(left);
                _mm512_dpbf16_ps(sums, left, std::mem::transmute::<__m512i, __m512bh>(right))
            }
        }
        #[inline(always)]
        unsafe fn narrow(from: *const f32, count: usize, to: *mut u16) {
            for i in (0..count).step_by(__m512::LANES) {
                // SAFETY: the caller has so many numbers, a multiple of a vector, and room for as many.
                unsafe {
                    let half = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.add(i)));
                    _mm256_storeu_si256(to.add(i).cast(), std::mem::transmute::<__m256bh, __m256i>(half));
                }
            }
        }
        #[inline(always)]
        unsafe fn join(first: *const f32, second: *const f32, count: usize, to: *mut u16) {
            for i in (0..count).step_by(__m512::LANES) {
                // SAFETY: the caller has so many numbers, a multiple of a vector, and room for as many pairs.
                unsafe {
                    let second = if second.is_null() { _mm512_setzero_ps() } else { _mm512_loadu_ps(second.add(i)) };
                    let pairs = super::super::attention_bf16::pairs(_mm512_loadu_ps(first.add(i)), second);
                    _mm512_storeu_si512(to.add(2 * i).cast(), pairs);
                }
            }
        }
    }

    pair_kernels! {
        DOT512, Dot512, [1, 2, 3, 4, 5, 6, 7, 8, 9] x [1, 2, 3], outer [1, 2, 3, 4, 5, 6, 7, 8],
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512bf16")]
    }
    pair_kernels! {
        WIDENED512, Widened<__m512>, [1, 2, 3, 4, 5, 6] x [1, 2, 3], outer [1, 2, 3, 4, 5, 6],
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
    }
    pair_kernels! {
        WIDENED256, Widened<__m256>, [1, 2, 3, 4] x [1, 2], outer [1, 2, 3, 4],
        #[target_feature(enable = "avx2,fma,f16c")]
    }
}
