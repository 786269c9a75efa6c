//! The inner loops, once per instruction set.
//!
//! Each kernel is written once, generic over [`vector::Vector`], and compiled for every instruction set into a table of
//! function pointers, [`Kernels`]. The table is chosen once, when an encoder is loaded. The portable table is the twin
//! that the others are tested against, and what runs where no other set exists.
//!
//! Within a table the order of every sum is fixed: an element of a product is one accumulator that walks the depth from
//! 0, whatever the height and width of the tile it is in. That is what makes results independent of batches, threads
//! and splits, to the bit.

mod activation;
pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
mod attention_bf16;
mod attention_call;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exponential;
pub(crate) mod integer;
pub(crate) mod norm;
pub(crate) mod observe;
pub(crate) mod pairs;
pub(crate) mod peak;
mod portable;
pub(crate) mod quantise;
pub(crate) mod relative;
pub(crate) mod strip;
mod strip_call;
#[cfg(test)]
#[expect(unsafe_code, reason = "calls of kernels")]
mod tests;
pub(crate) mod tile;
pub(crate) mod training;
mod vector;

use st_encoder::Activation;

use crate::InstructionSet;

/// Rows of every matrix are padded with zeros to a multiple of this, so that kernels need no tails.
pub(crate) const STEP: usize = 16;

/// Applies an activation to a block: kind, first number, rows, columns (a multiple of [`STEP`]), stride.
pub(crate) type ActivationKernel = unsafe fn(Activation, *mut f32, usize, usize, usize);
/// Widens 16-bit floats: from, count (a multiple of [`STEP`]), to.
pub(crate) type WidenKernel = unsafe fn(*const u16, usize, *mut f32);
/// Transposes up to `lanes` rows: from, stride, rows, to, stride.
pub(crate) type TransposeKernel = unsafe fn(*const f32, usize, usize, *mut f32, usize);

/// One instruction set's kernels.
#[derive(Debug)]
pub(crate) struct Kernels {
    /// Numbers per vector.
    pub(crate) lanes: usize,
    /// Tile kernels by vectors − 1 and rows − 1, per weight format.
    pub(crate) tiles_f32: &'static [&'static [tile::TileKernel]],
    pub(crate) tiles_bf16: &'static [&'static [tile::TileKernel]],
    pub(crate) tiles_f16: &'static [&'static [tile::TileKernel]],
    pub(crate) widen_f16: WidenKernel,
    pub(crate) activate: ActivationKernel,
    /// As `activate`, faster and to within 7·10⁻⁴, for what becomes bytes.
    pub(crate) activate_roughly: ActivationKernel,
    pub(crate) normalise: norm::NormKernel,
    pub(crate) attend: attention::AttentionKernel,
    pub(crate) transpose: TransposeKernel,
    pub(crate) peak: peak::PeakKernel,
    pub(crate) quantise: quantise::QuantiseKernel,
    pub(crate) observe: observe::ObserveKernel,
}

impl Kernels {
    /// The kernels of an instruction set, or `None` where the machine lacks it.
    pub(crate) fn of(set: InstructionSet) -> Option<&'static Self> {
        if !set.is_available() {
            return None;
        }
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => Some(&avx512::KERNELS),
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => Some(&avx2::KERNELS),
            InstructionSet::Portable => Some(&portable::KERNELS),
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }

    /// The kernels that every machine runs.
    pub(crate) fn portable() -> &'static Self {
        &portable::KERNELS
    }

    /// The fastest way to multiply bytes within an instruction set.
    pub(crate) fn integer(set: InstructionSet) -> &'static integer::IntegerKernels {
        match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 if std::arch::is_x86_feature_detected!("avx512vnni") => &integer::x86::VNNI512,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx2 if std::arch::is_x86_feature_detected!("avxvnni") => {
                &integer::x86::VNNI256
            }
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 | InstructionSet::Avx2 => &integer::x86::WIDE256,
            _ => &integer::PORTABLE,
        }
    }

    /// The fastest way to multiply bfloat16.
    pub(crate) fn pairs(&self) -> &'static pairs::PairKernels {
        #[cfg(target_arch = "x86_64")]
        if self.multiplies_pairs() {
            return &pairs::x86::DOT512;
        }
        self.widened_pairs()
    }

    /// Products of bfloat16 by means of what every processor of this set has.
    pub(crate) fn widened_pairs(&self) -> &'static pairs::PairKernels {
        #[cfg(target_arch = "x86_64")]
        if std::ptr::eq(self, &avx512::KERNELS) {
            return &pairs::x86::WIDENED512;
        } else if std::ptr::eq(self, &avx2::KERNELS) {
            return &pairs::x86::WIDENED256;
        }
        &pairs::PORTABLE
    }

    /// Whether the processor multiplies pairs of bfloat16, and this table may use it.
    #[cfg(target_arch = "x86_64")]
    fn multiplies_pairs(&self) -> bool {
        std::ptr::eq(self, &avx512::KERNELS) && std::arch::is_x86_feature_detected!("avx512bf16")
    }

    /// The fastest attention for networks that multiply bytes or bfloat16.
    pub(crate) fn attend_narrowed(&self) -> attention::AttentionKernel {
        #[cfg(target_arch = "x86_64")]
        if self.multiplies_pairs() {
            return attention_bf16::attend;
        }
        self.attend
    }

    /// Columns of a full panel of packed weights.
    pub(crate) fn panel(&self) -> usize {
        self.tiles_f32.len() * self.lanes
    }

    /// Rows of a full tile.
    pub(crate) fn rows(&self) -> usize {
        self.tiles_f32[0].len()
    }
}

/// Writes a loop over `0..count` out, for `count ≤ 16` known when compiling. Sums stay in registers only when the compiler
/// sees every index as a number, and it does not unroll loops of this size by itself.
macro_rules! unrolled {
    ($index:ident in 0..$count:expr => $body:block) => {
        super::unrolled!(@each $index, $count, $body, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    };
    (@each $index:ident, $count:expr, $body:block, $($number:literal),*) => {
        $(if $number < $count {
            let $index: usize = $number;
            $body
        })*
    };
}
use unrolled;

/// Implements methods of [`vector::Vector`] by intrinsics.
#[cfg(target_arch = "x86_64")]
macro_rules! vector_methods {
    () => {};
    ($name:ident($first:ident $(, $argument:ident : $type:ty)*) -> $result:ty $body:block $($rest:tt)*) => {
        #[inline(always)]
        unsafe fn $name($first $(, $argument: $type)*) -> $result {
            // SAFETY: the trait's contract: the processor has the instructions, pointers are valid for a vector.
            unsafe { $body }
        }
        super::vector_methods! { $($rest)* }
    };
    ($name:ident($($argument:ident : $type:ty),*) -> $result:ty $body:block $($rest:tt)*) => {
        #[inline(always)]
        unsafe fn $name($($argument: $type),*) -> $result {
            // SAFETY: the trait's contract: the processor has the instructions, pointers are valid for a vector.
            unsafe { $body }
        }
        super::vector_methods! { $($rest)* }
    };
}
#[cfg(target_arch = "x86_64")]
use vector_methods;

/// Compiles every generic kernel for one vector type and collects the table.
macro_rules! kernels {
    (
        vector: $vector:ty,
        tile: $rows:tt x [$($vectors:literal),*],
        strip: $strips:tt,
        #[$feature:meta]
    ) => {
        /// This vector's strips.
        pub(super) static STRIPS: Strips = [
            [
                &super::kernels!(@strips $vector, false, 1, $strips, #[$feature]),
                &super::kernels!(@strips $vector, false, 2, $strips, #[$feature]),
            ],
            [
                &super::kernels!(@strips $vector, true, 1, $strips, #[$feature]),
                &super::kernels!(@strips $vector, true, 2, $strips, #[$feature]),
            ],
        ];

        pub(super) static KERNELS: super::Kernels = super::Kernels {
            lanes: <$vector as super::vector::Vector>::LANES,
            tiles_f32: &[$(&super::kernels!(@tiles $vector, super::tile::F32, $vectors, $rows, #[$feature])),*],
            tiles_bf16: &[$(&super::kernels!(@tiles $vector, super::tile::Bf16, $vectors, $rows, #[$feature])),*],
            tiles_f16: &[$(&super::kernels!(@tiles $vector, super::tile::F16, $vectors, $rows, #[$feature])),*],
            widen_f16: {
                #[$feature]
                unsafe fn widen_f16(from: *const u16, count: usize, to: *mut f32) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::tile::widen::<$vector, super::tile::F16>(from, count, to) }
                }
                widen_f16
            },
            activate: {
                #[$feature]
                unsafe fn activate(
                    kind: st_encoder::Activation, first: *mut f32, rows: usize, columns: usize, stride: usize,
                ) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::activation::activate::<$vector>(kind, first, rows, columns, stride) }
                }
                activate
            },
            activate_roughly: {
                #[$feature]
                unsafe fn activate_roughly(
                    kind: st_encoder::Activation, first: *mut f32, rows: usize, columns: usize, stride: usize,
                ) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::activation::activate_roughly::<$vector>(kind, first, rows, columns, stride) }
                }
                activate_roughly
            },
            normalise: {
                #[$feature]
                unsafe fn normalise(call: &super::norm::NormCall) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::norm::normalise::<$vector>(call) }
                }
                normalise
            },
            attend: {
                #[$feature]
                unsafe fn attend(call: &super::attention::AttentionCall) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::attention::attend::<$vector>(call) }
                }
                attend
            },
            peak: {
                #[$feature]
                unsafe fn peak(turns: usize) -> f32 {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::peak::peak::<$vector>(turns) }
                }
                peak
            },
            quantise: {
                #[$feature]
                unsafe fn quantise(call: &super::quantise::QuantiseCall) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::quantise::quantise::<$vector>(call) }
                }
                quantise
            },
            observe: {
                #[$feature]
                unsafe fn observe(call: &super::observe::ObserveCall) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { super::observe::observe::<$vector>(call) }
                }
                observe
            },
            transpose: {
                #[$feature]
                unsafe fn transpose(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
                    // SAFETY: the caller's promise is the kernel's.
                    unsafe { <$vector as super::vector::Vector>::transpose(from, stride, rows, to, to_stride) }
                }
                transpose
            },
        };
    };
    (@tiles $vector:ty, $format:ty, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            super::kernels!(@tile $vector, $format, $rows, $vectors, #[$feature])
        }),*]
    };
    (@tile $vector:ty, $format:ty, $rows:literal, $vectors:literal, #[$feature:meta]) => {{
        #[$feature]
        unsafe fn tile(call: &super::tile::TileCall) {
            // SAFETY: the caller's promise is the kernel's.
            unsafe { super::tile::tile::<$vector, $format, $rows, $vectors>(call) }
        }
        tile as super::tile::TileKernel
    }};
    (@strips $vector:ty, $transposed:literal, $vectors:literal, [$($rows:literal),*], #[$feature:meta]) => {
        [$({
            super::kernels!(@strip $vector, $transposed, $rows, $vectors, #[$feature])
        }),*]
    };
    (@strip $vector:ty, $transposed:literal, $rows:literal, $vectors:literal, #[$feature:meta]) => {{
        #[$feature]
        unsafe fn strip(call: &super::strip::StripCall) {
            // SAFETY: the caller's promise is the kernel's.
            unsafe { super::strip::strip::<$vector, $transposed, $rows, $vectors>(call) }
        }
        strip as super::strip::StripKernel
    }};
}
use kernels;
