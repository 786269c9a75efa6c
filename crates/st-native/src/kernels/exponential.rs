//! Exponential and error function of vectors.
#![expect(unsafe_code, reason = "vector operations")]

use super::vector::Vector;

/// Polynomial of 2^f on [−½, ½] (Cephes `exp2f`), highest power first; relative error below 2·10⁻⁷.
const EXP2: [f32; 7] =
    [1.535_336_2e-4, 1.339_887_4e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, 6.931_472e-1, 1.0];

/// `2^x`; 0 for x below −149 and for −∞.
#[inline(always)]
pub(super) unsafe fn exp2<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let x = x.max(V::splat(-150.0));
        let whole = x.round();
        let fraction = x.sub(whole);
        let mut sum = V::splat(EXP2[0]);
        for &coefficient in &EXP2[1..] {
            sum = sum.mul_add(fraction, V::splat(coefficient));
        }
        sum.scale_by_power(whole)
    }
}

/// Numerator of erf(x)/x on [−4, 4] in x², highest power first (Eigen's rational approximation).
const ERF_NUMERATOR: [f32; 7] =
    [-2.726_142_3e-10, 2.770_681_4e-8, -2.101_024e-6, -5.692_506_4e-5, -7.349_906e-4, -2.954_6e-3, -1.609_603_3e-2];
/// Denominator of the same.
const ERF_DENOMINATOR: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];

/// The error function of numbers not below −4; absolute error below 4·10⁻⁷.
#[inline(always)]
pub(super) unsafe fn erf<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let x = x.min(V::splat(4.0));
        let square = x.mul(x);
        let mut numerator = V::splat(ERF_NUMERATOR[0]);
        for &coefficient in &ERF_NUMERATOR[1..] {
            numerator = numerator.mul_add(square, V::splat(coefficient));
        }
        let mut denominator = V::splat(ERF_DENOMINATOR[0]);
        for &coefficient in &ERF_DENOMINATOR[1..] {
            denominator = denominator.mul_add(square, V::splat(coefficient));
        }
        x.mul(numerator).div(denominator)
    }
}
