//! Activation functions over a block of numbers.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use st_encoder::Activation;

use super::exponential::{erf, exp2};
use super::unrolled;
use super::vector::Vector;

/// Applies an activation in place.
#[inline(always)]
pub(super) unsafe fn activate<V: Vector>(
    kind: Activation,
    first: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
) {
    // SAFETY: the caller has `rows` rows of `columns` numbers.
    unsafe {
        match kind {
            Activation::Gelu => each::<V>(first, rows, columns, stride, |x| gelu(x)),
            Activation::GeluTanh => each::<V>(first, rows, columns, stride, |x| gelu_tanh(x)),
            Activation::QuickGelu => each::<V>(first, rows, columns, stride, |x| quick_gelu(x)),
            Activation::Relu => each::<V>(first, rows, columns, stride, |x| x.max(V::splat(0.0))),
            Activation::Silu => each::<V>(first, rows, columns, stride, |x| x.mul(logistic(x))),
            Activation::Tanh => each::<V>(first, rows, columns, stride, |x| {
                // tanh(x) = 2·σ(2x) − 1 loses digits near 0, where tanh is nearly x.
                tanh(x)
            }),
        }
    }
}

/// As [`activate`], to within 7·10⁻⁴ where that is faster.
#[inline(always)]
pub(super) unsafe fn activate_roughly<V: Vector>(
    kind: Activation,
    first: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
) {
    // SAFETY: the caller has `rows` rows of `columns` numbers.
    unsafe {
        match kind {
            Activation::Gelu => each::<V>(first, rows, columns, stride, |x| gelu_roughly([x])[0]),
            _ => activate::<V>(kind, first, rows, columns, stride),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector>(first: *mut f32, rows: usize, columns: usize, stride: usize, f: impl Fn(V) -> V) {
    for row in 0..rows {
        for column in (0..columns).step_by(V::LANES) {
            // SAFETY: inside the block that the caller has.
            unsafe {
                let at = first.add(row * stride + column);
                f(V::load(at)).store(at);
            }
        }
    }
}

/// `x·Φ(x)`.
#[inline(always)]
pub(super) unsafe fn gelu<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        // Further down the result is 0 to 6·10⁻⁷, and the rounding of erf near −1 would count more.
        let x = x.max(V::splat(-5.2));
        let half = x.mul(V::splat(0.5));
        half.mul_add(erf(x.mul(V::splat(std::f32::consts::FRAC_1_SQRT_2))), half)
    }
}

/// Where the polynomial below ends; beyond, the last value is taken.
const GELU_END: f32 = 3.4;
/// Polynomial of −Φ(−t) on [0, 3.4], highest power first: fitted by linear programming so that the largest error of −t·Φ(−t)
/// is smallest, 6.9·10⁻⁴.
const GELU: [f32; 6] = [-2.183_39e-3, 2.110_984e-2, -5.536_208e-2, -5.666_212e-2, 4.447_196_6e-1, -5.102_354e-1];

/// `x·Φ(x) = max(x, 0) − |x|·Φ(−|x|)`, the second part by a polynomial.
#[inline(always)]
pub(super) unsafe fn gelu_roughly<V: Vector, const COUNT: usize>(x: [V; COUNT]) -> [V; COUNT] {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let mut inside = x;
        let mut sums = [V::splat(GELU[0]); COUNT];
        unrolled!(i in 0..COUNT => { inside[i] = x[i].magnitude_up_to(V::splat(GELU_END)); });
        for &coefficient in &GELU[1..] {
            unrolled!(i in 0..COUNT => { sums[i] = sums[i].mul_add(inside[i], V::splat(coefficient)); });
        }
        unrolled!(i in 0..COUNT => { sums[i] = inside[i].mul_add(sums[i], x[i].max(V::splat(0.0))); });
        sums
    }
}

/// `x·σ(2·√(2/π)·(x + 0.044715·x³))`, which is GELU's tanh approximation.
#[inline(always)]
pub(super) unsafe fn gelu_tanh<V: Vector>(x: V) -> V {
    const TWICE_ROOT: f32 = 1.595_769;
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let cubic = x.mul(x).mul(V::splat(0.044_715)).mul_add(x, x);
        x.mul(logistic(cubic.mul(V::splat(TWICE_ROOT))))
    }
}

/// Steepness of the logistic function that stands for Φ in [`quick_gelu`].
pub(super) const QUICK: f32 = 1.702;

/// `x·σ(1.702·x)`.
#[inline(always)]
pub(super) unsafe fn quick_gelu<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe { x.mul(logistic(x.mul(V::splat(QUICK)))) }
}

/// `1/(1 + e^−x)`.
#[inline(always)]
pub(super) unsafe fn logistic<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let power = exp2(x.mul(V::splat(-std::f32::consts::LOG2_E)).min(V::splat(126.0)));
        V::splat(1.0).div(power.add(V::splat(1.0)))
    }
}

/// Rational approximation of tanh on [−7.9, 7.9] (Eigen's), highest power first, in x².
const TANH_NUMERATOR: [f32; 7] =
    [-2.760_768_4e-16, 2.000_188e-13, -8.604_672e-11, 5.122_297e-8, 1.485_722_4e-5, 6.372_619e-4, 4.893_524_6e-3];
/// Denominator of the same.
const TANH_DENOMINATOR: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];

#[inline(always)]
pub(super) unsafe fn tanh<V: Vector>(x: V) -> V {
    // SAFETY: the caller's processor has the instructions.
    unsafe {
        let x = x.max(V::splat(-7.905_311)).min(V::splat(7.905_311));
        let square = x.mul(x);
        let mut numerator = V::splat(TANH_NUMERATOR[0]);
        for &coefficient in &TANH_NUMERATOR[1..] {
            numerator = numerator.mul_add(square, V::splat(coefficient));
        }
        let mut denominator = V::splat(TANH_DENOMINATOR[0]);
        for &coefficient in &TANH_DENOMINATOR[1..] {
            denominator = denominator.mul_add(square, V::splat(coefficient));
        }
        x.mul(numerator).div(denominator)
    }
}
