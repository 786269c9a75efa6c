//! The tile of a product: a few rows times one panel of packed weights, all sums in registers.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::unrolled;
use super::vector::Vector;

/// What one tile works on.
#[derive(Debug)]
pub(crate) struct TileCall {
    /// Terms of every sum, a multiple of 4.
    pub(crate) depth: usize,
    /// First row of the input; `depth` numbers each.
    pub(crate) input: *const f32,
    /// Numbers from one input row to the next.
    pub(crate) input_stride: usize,
    /// The panel: for each depth the panel's columns, in the stored format.
    pub(crate) panel: *const u8,
    /// What the sums start from, one number per column.
    pub(crate) bias: *const f32,
    /// First output row.
    pub(crate) output: *mut f32,
    /// Numbers from one output row to the next.
    pub(crate) output_stride: usize,
    /// What happens with the sums.
    pub(crate) finish: Finish,
    /// Memory that will be needed soon: a cache line is fetched for every 4 terms.
    pub(crate) ahead: *const u8,
}

/// What happens with a product's sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// They are the output.
    Store,
    /// They are added to the output (residual connection).
    Add,
    /// They are multiplied with the output (gate).
    Multiply,
}

/// A tile kernel.
///
/// # Safety
/// The pointers of the call must be valid for the rows and columns of the kernel, and no other thread may use that part
/// of the output.
pub(crate) type TileKernel = unsafe fn(&TileCall);

/// A format in which weights are stored.
pub(crate) trait Stored {
    /// The stored number.
    type Number;
    /// Loads a vector of numbers.
    ///
    /// # Safety
    /// As [`Vector::load`].
    unsafe fn load<V: Vector>(from: *const Self::Number) -> V;
}

/// 32-bit floats.
pub(super) struct F32;
/// bfloat16.
pub(super) struct Bf16;
/// 16-bit floats.
pub(super) struct F16;

impl Stored for F32 {
    type Number = f32;
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load(from) }
    }
}

impl Stored for Bf16 {
    type Number = u16;
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u16) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_bf16(from) }
    }
}

impl Stored for F16 {
    type Number = u16;
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const u16) -> V {
        // SAFETY: the caller's promise.
        unsafe { V::load_f16(from) }
    }
}

/// Terms per turn of the loop.
const UNROLL: usize = 4;

/// `ROWS × VECTORS` sums. Input rows are reached from one pointer per three rows.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, W: Stored, const ROWS: usize, const VECTORS: usize>(call: &TileCall) {
    // SAFETY: the caller's promise; see `TileKernel`.
    unsafe {
        let stride = call.input_stride;
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        unrolled!(v in 0..VECTORS => {
            let bias = V::load(call.bias.add(v * V::LANES));
            unrolled!(row in 0..ROWS => { sums[row][v] = bias; });
        });
        let input = |group: usize| call.input.wrapping_add(3 * group * stride);
        let mut inputs = [0, 1, 2, 3, 4, 5].map(input);
        let mut panel = call.panel.cast::<W::Number>();
        let mut ahead = call.ahead;
        for _ in 0..call.depth / UNROLL {
            unrolled!(u in 0..UNROLL => {
                let mut weights = [V::splat(0.0); VECTORS];
                unrolled!(v in 0..VECTORS => { weights[v] = W::load::<V>(panel.add((u * VECTORS + v) * V::LANES)); });
                unrolled!(row in 0..ROWS => {
                    let input = V::splat(*inputs[row / 3].add(row % 3 * stride + u));
                    unrolled!(v in 0..VECTORS => { sums[row][v] = input.mul_add(weights[v], sums[row][v]); });
                });
            });
            prefetch(ahead);
            ahead = ahead.wrapping_add(64);
            for input in &mut inputs[..ROWS.div_ceil(3)] {
                *input = V::in_register(input.wrapping_add(UNROLL));
            }
            panel = panel.add(UNROLL * VECTORS * V::LANES);
        }
        unrolled!(row in 0..ROWS => {
            unrolled!(v in 0..VECTORS => {
                let output = call.output.add(row * call.output_stride + v * V::LANES);
                let sum = sums[row][v];
                match call.finish {
                    Finish::Store => sum.store(output),
                    Finish::Add => sum.add(V::load(output)).store(output),
                    Finish::Multiply => sum.mul(V::load(output)).store(output),
                }
            });
        });
    }
}

/// Widens `count` numbers, a multiple of [`super::STEP`].
#[inline(always)]
pub(super) unsafe fn widen<V: Vector, W: Stored>(from: *const W::Number, count: usize, to: *mut f32) {
    for i in (0..count).step_by(V::LANES) {
        // SAFETY: the caller has so many numbers, and room for as many.
        unsafe { W::load::<V>(from.add(i)).store(to.add(i)) };
    }
}

/// Asks for a cache line in the second level.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
