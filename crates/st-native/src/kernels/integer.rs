//! Products of bytes: activations in 0..=255 per row, weights in −127..=127 per column, sums in 32 bits.
//!
//! No kernel saturates: a sum of `depth` terms of at most 255 · 127 fits 32 bits up to a depth of 66,000.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::peak::{PeakKernel, SUMS};
use super::portable::Lanes;
use super::tile::{Finish, prefetch};
use super::unrolled;
use super::vector::Vector;

/// What one tile works on.
#[derive(Debug)]
pub(crate) struct IntegerTileCall {
    /// Terms of every sum, a multiple of 4.
    pub(crate) depth: usize,
    /// First row of the input.
    pub(crate) input: *const u8,
    /// Bytes from one input row to the next.
    pub(crate) input_stride: usize,
    /// The panel: for each four terms the panel's columns, four bytes each.
    pub(crate) panel: *const i8,
    /// Value of one step of each column's weights.
    pub(crate) column_scale: *const f32,
    /// Sum of each column's weights.
    pub(crate) column_sum: *const f32,
    /// Added to each column.
    pub(crate) bias: *const f32,
    /// Value of one step of each row's bytes.
    pub(crate) row_scale: *const f32,
    /// Value of byte 0 in each row.
    pub(crate) row_offset: *const f32,
    /// First output row.
    pub(crate) output: *mut f32,
    /// Numbers from one output row to the next.
    pub(crate) output_stride: usize,
    /// What happens with the values.
    pub(crate) finish: Finish,
    /// Memory that will be needed soon: a cache line is fetched for every 8 terms.
    pub(crate) ahead: *const i8,
}

/// A tile kernel of bytes.
///
/// # Safety
/// The pointers of the call must be valid for the rows and columns of the kernel, and no other thread may use that part
/// of the output.
pub(crate) type IntegerTileKernel = unsafe fn(&IntegerTileCall);

/// Tiles of bytes: one way of multiplying them.
#[derive(Debug)]
pub(crate) struct IntegerKernels {
    /// Columns per vector.
    pub(crate) lanes: usize,
    /// By vectors − 1 and rows − 1.
    pub(crate) tiles: &'static [&'static [IntegerTileKernel]],
    /// As many products as the processor can do.
    pub(crate) peak: PeakKernel,
}

impl IntegerKernels {
    /// Columns of a full panel.
    pub(crate) fn panel(&self) -> usize {
        self.tiles.len() * self.lanes
    }

    /// Rows of a full tile.
    pub(crate) fn rows(&self) -> usize {
        self.tiles[0].len()
    }
}

/// Lanes of 32-bit sums of four products each.
///
/// # Safety
/// As for [`Vector`].
pub(super) trait Dot: Copy {
    /// The sums as numbers.
    type Number: Vector;
    /// Four bytes of a row, for every lane.
    type Bytes: Copy;
    /// Four weights for each lane.
    type Weights: Copy;
    unsafe fn zero() -> Self;
    unsafe fn bytes(from: *const u8) -> Self::Bytes;
    unsafe fn weights(from: *const i8) -> Self::Weights;
    unsafe fn dot(self, bytes: Self::Bytes, weights: Self::Weights) -> Self;
    unsafe fn number(self) -> Self::Number;
}

/// `ROWS × VECTORS` sums.
#[inline(always)]
pub(super) unsafe fn tile<D: Dot, const ROWS: usize, const VECTORS: usize>(call: &IntegerTileCall) {
    let lanes = D::Number::LANES;
    // SAFETY: the caller's promise; see `IntegerTileKernel`.
    unsafe {
        let stride = call.input_stride;
        let mut sums = [[D::zero(); VECTORS]; ROWS];
        let input = |group: usize| call.input.wrapping_add(3 * group * stride);
        let mut inputs = [0, 1, 2, 3, 4, 5].map(input);
        let mut panel = call.panel;
        let mut ahead = call.ahead;
        for _ in 0..call.depth / 8 {
            unrolled!(u in 0..2 => {
                let mut weights = [D::weights(panel.add(u * VECTORS * lanes * 4)); VECTORS];
                unrolled!(v in 0..VECTORS => {
                    weights[v] = D::weights(panel.add((u * VECTORS + v) * lanes * 4));
                });
                unrolled!(row in 0..ROWS => {
                    let bytes = D::bytes(inputs[row / 3].add(row % 3 * stride + 4 * u));
                    unrolled!(v in 0..VECTORS => { sums[row][v] = sums[row][v].dot(bytes, weights[v]); });
                });
            });
            prefetch(ahead.cast());
            ahead = ahead.wrapping_add(64);
            for input in &mut inputs[..ROWS.div_ceil(3)] {
                *input = D::Number::in_register(input.wrapping_add(8));
            }
            panel = panel.add(8 * VECTORS * lanes);
        }
        unrolled!(v in 0..VECTORS => {
            let column_scale = D::Number::load(call.column_scale.add(v * lanes));
            let column_sum = D::Number::load(call.column_sum.add(v * lanes));
            let bias = D::Number::load(call.bias.add(v * lanes));
            unrolled!(row in 0..ROWS => {
                let scale = column_scale.mul(D::Number::splat(*call.row_scale.add(row)));
                let base = column_sum.mul_add(D::Number::splat(*call.row_offset.add(row)), bias);
                let value = sums[row][v].number().mul_add(scale, base);
                let output = call.output.add(row * call.output_stride + v * lanes);
                match call.finish {
                    Finish::Store => value.store(output),
                    Finish::Add => value.add(D::Number::load(output)).store(output),
                    Finish::Multiply => value.mul(D::Number::load(output)).store(output),
                }
            });
        });
    }
}

/// As [`super::peak`], on bytes.
#[inline(always)]
pub(super) unsafe fn peak<D: Dot>(turns: usize) -> f32 {
    let (bytes, weights) = ([1u8; 4], [1i8; 64]);
    // SAFETY: the caller's processor has the instructions, and no vector is longer than 64 bytes.
    unsafe {
        let (bytes, weights) = (D::bytes(bytes.as_ptr()), D::weights(std::hint::black_box(&weights).as_ptr()));
        let mut sums = [D::zero(); SUMS];
        for _ in 0..turns {
            unrolled!(sum in 0..SUMS => { sums[sum] = sums[sum].dot(bytes, weights); });
        }
        sums.iter().fold(D::Number::splat(0.0), |total, sum| total.add(sum.number())).sum()
    }
}

/// Plain Rust sums.
#[derive(Clone, Copy)]
pub(super) struct PortableDot([i32; 8]);

impl Dot for PortableDot {
    type Number = Lanes;
    type Bytes = [i32; 4];
    type Weights = [[i8; 4]; 8];

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; 8])
    }
    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> [i32; 4] {
        // SAFETY: the caller has four readable bytes.
        unsafe { from.cast::<[u8; 4]>().read() }.map(i32::from)
    }
    #[inline(always)]
    unsafe fn weights(from: *const i8) -> [[i8; 4]; 8] {
        // SAFETY: the caller has 32 readable bytes.
        unsafe { from.cast::<[[i8; 4]; 8]>().read() }
    }
    #[inline(always)]
    unsafe fn dot(self, bytes: [i32; 4], weights: [[i8; 4]; 8]) -> Self {
        Self(std::array::from_fn(|lane| {
            (0..4).fold(self.0[lane], |sum, i| sum + bytes[i] * i32::from(weights[lane][i]))
        }))
    }
    #[inline(always)]
    unsafe fn number(self) -> Lanes {
        Lanes::from_integers(self.0)
    }
}

/// Compiles the tiles of one [`Dot`] and collects their table.
macro_rules! integer_kernels {
    (
        $table:ident, $dot:ty, $rows:tt x [$($vectors:literal),*], #[$feature:meta]
    ) => {
        pub(in crate::kernels) static $table: IntegerKernels = IntegerKernels {
            lanes: <<$dot as Dot>::Number as Vector>::LANES,
            tiles: &[$(&integer_kernels!(@tiles $dot, $vectors, $rows, #[$feature])),*],
            peak: {
                #[$feature]
                unsafe fn integer_peak(turns: usize) -> f32 {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { peak::<$dot>(turns) }
                }
                integer_peak
            },
        };
    };
    (@tiles $dot:ty, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            #[$feature]
            unsafe fn integer_tile(call: &IntegerTileCall) {
                // SAFETY: the caller's promise is the kernel's.
                unsafe { tile::<$dot, $rows, $vectors>(call) }
            }
            integer_tile as IntegerTileKernel
        }),*]
    };
}

integer_kernels! { PORTABLE, PortableDot, [1, 2, 3, 4] x [1, 2], #[inline(never)] }

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{Dot, IntegerKernels, IntegerTileCall, IntegerTileKernel, Vector, peak, tile};

    /// Implements [`Dot`] by intrinsics.
    macro_rules! dot {
        (
            $name:ident($sum:ty), $number:ty, $bytes:ty, $weights:ty;
            zero: $zero:expr;
            bytes: |$byte_source:ident| $get_bytes:expr;
            weights: |$weight_source:ident| $get_weights:expr;
            dot: |$sums:ident, $a:ident, $b:ident| $multiply:expr;
            number: |$integers:ident| $convert:expr;
        ) => {
            #[derive(Clone, Copy)]
            pub(super) struct $name($sum);

            impl Dot for $name {
                type Number = $number;
                type Bytes = $bytes;
                type Weights = $weights;

                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: the trait's contract: the processor has the instructions.
                    Self(unsafe { $zero })
                }
                #[inline(always)]
                unsafe fn bytes($byte_source: *const u8) -> $bytes {
                    // SAFETY: the trait's contract, with four readable bytes.
                    unsafe { $get_bytes }
                }
                #[inline(always)]
                unsafe fn weights($weight_source: *const i8) -> $weights {
                    // SAFETY: the trait's contract, with a readable vector.
                    unsafe { $get_weights }
                }
                #[inline(always)]
                unsafe fn dot(self, $a: $bytes, $b: $weights) -> Self {
                    let $sums = self.0;
                    // SAFETY: the trait's contract: the processor has the instructions.
                    Self(unsafe { $multiply })
                }
                #[inline(always)]
                unsafe fn number(self) -> $number {
                    let $integers = self.0;
                    // SAFETY: the trait's contract: the processor has the instructions.
                    unsafe { $convert }
                }
            }
        };
    }

    dot! {
        Vnni512(__m512i), __m512, __m512i, __m512i;
        zero: _mm512_setzero_si512();
        bytes: |from| _mm512_set1_epi32(from.cast::<i32>().read_unaligned());
        weights: |from| _mm512_loadu_si512(from.cast());
        dot: |sums, a, b| _mm512_dpbusd_epi32(sums, a, b);
        number: |integers| _mm512_cvtepi32_ps(integers);
    }

    dot! {
        Vnni256(__m256i), __m256, __m256i, __m256i;
        zero: _mm256_setzero_si256();
        bytes: |from| _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
        weights: |from| _mm256_loadu_si256(from.cast());
        dot: |sums, a, b| _mm256_dpbusd_avx_epi32(sums, a, b);
        number: |integers| _mm256_cvtepi32_ps(integers);
    }

    // Even and odd bytes are widened to 16 bits each, because the instruction that multiplies bytes saturates.
    dot! {
        Wide256(__m256i), __m256, (__m256i, __m256i), (__m256i, __m256i);
        zero: _mm256_setzero_si256();
        bytes: |from| {
            let bytes = _mm256_set1_epi32(from.cast::<i32>().read_unaligned());
            (_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes))
        };
        weights: |from| {
            let weights = _mm256_loadu_si256(from.cast());
            (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)), _mm256_srai_epi16::<8>(weights))
        };
        dot: |sums, a, b| _mm256_add_epi32(
            _mm256_add_epi32(sums, _mm256_madd_epi16(a.0, b.0)),
            _mm256_madd_epi16(a.1, b.1)
        );
        number: |integers| _mm256_cvtepi32_ps(integers);
    }

    integer_kernels! {
        VNNI512, Vnni512, [1, 2, 3, 4, 5, 6, 7, 8, 9] x [1, 2, 3],
        #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx512vnni")]
    }
    integer_kernels! {
        VNNI256, Vnni256, [1, 2, 3, 4, 5, 6] x [1, 2], #[target_feature(enable = "avx2,fma,f16c,avxvnni")]
    }
    integer_kernels! {
        WIDE256, Wide256, [1, 2, 3, 4] x [1, 2], #[target_feature(enable = "avx2,fma,f16c")]
    }
}
