//! [`Vector`]: the few operations that every kernel is written in.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::strip_call::Strips;

/// Lanes of 32-bit floats. A kernel is written once over this trait and compiled once per instruction set.
///
/// # Safety
/// Every method may only be called where the processor has the instructions of the implementing type; `load…`, `store`
/// and `transpose` need as many readable or writable numbers as they touch. Alignment is not needed.
pub(crate) trait Vector: Copy {
    /// Numbers per vector; divides [`super::STEP`].
    const LANES: usize;

    unsafe fn splat(number: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn load_bf16(from: *const u16) -> Self;
    /// Pairs of bfloat16, one per lane: the first numbers of all, and the second.
    unsafe fn load_pairs(from: *const u16) -> [Self; 2];
    unsafe fn load_f16(from: *const u16) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    unsafe fn div(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn min(self, other: Self) -> Self;
    /// The magnitude, or the positive limit where that is smaller.
    unsafe fn magnitude_up_to(self, limit: Self) -> Self;
    /// The smaller of the first and the number, the larger of the second and the number; the first must not be above 0 or be
    /// `0.0`, the second not below or be `-0.0`.
    unsafe fn widen(range: (Self, Self), number: Self) -> (Self, Self);
    /// `self · factor + summand`, rounded once where the processor can.
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self;
    /// Square root, correctly rounded.
    unsafe fn sqrt(self) -> Self;
    /// `value` where `self` is above 0, else 0.
    unsafe fn where_positive(self, value: Self) -> Self;
    /// To the nearest whole number, ties to even.
    unsafe fn round(self) -> Self;
    /// `self · 2^power` for whole powers; zero where the result would be denormal or smaller.
    unsafe fn scale_by_power(self, power: Self) -> Self;
    /// The first `count` lanes of `self`, then those of `other`.
    unsafe fn first_then(self, count: usize, other: Self) -> Self;
    /// Each four lanes times the Hadamard matrix of four points: `a + b + c + d`, `a − b + c − d`, `a + b − c − d`,
    /// `a − b − c + d`.
    unsafe fn mix_fours(self) -> Self;
    /// Sum of the lanes, always in the same order.
    unsafe fn sum(self) -> f32;
    /// Largest lane.
    unsafe fn largest(self) -> f32;
    /// Smallest lane.
    unsafe fn smallest(self) -> f32;
    /// Stores the lowest byte of each number's bits: those of the four first lanes, of the four second lanes, and so on.
    unsafe fn store_low_bytes(numbers: [Self; 4], to: *mut u8);
    /// Writes the transpose of a `LANES × LANES` block, of which `rows ≤ LANES` rows exist and the others are zeros.
    unsafe fn transpose(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize);
    /// The strips of this type; see [`super::strip`].
    fn strips() -> &'static Strips;
    /// The pointer, in a way that makes the compiler keep it in a register of its own.
    #[inline(always)]
    fn in_register<T>(pointer: *const T) -> *const T {
        pointer
    }
}
