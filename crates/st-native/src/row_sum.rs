//! [`RowSum`]: adding up rows of a table.
#![expect(unsafe_code, reason = "calls of functions compiled for more instructions than every processor has")]

use half::{bf16, f16};

use crate::InstructionSet;

/// Rows that are added in one pass over the sum.
const BLOCK: usize = 8;
/// Numbers that are converted at a time.
const LANES: usize = 16;

/// Adds rows of a table to a sum, for networks that are nothing but a table of token vectors.
///
/// What limits it is the memory that the rows come from; with 8-bit integers or half precision it is the conversion. Rows
/// are added in the order in which they come, so that a sum does not depend on the instruction set, except that a factor
/// may be multiplied and added with one rounding instead of two.
///
/// ```
/// let mut sum = [1.0, 2.0];
/// st_native::RowSum::detect().add(&[&[1.0f32, 0.5][..], &[2.0, 4.0]], &mut sum);
/// assert_eq!(sum, [4.0, 6.5]);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RowSum(InstructionSet);

impl RowSum {
    /// With the fastest instructions that this machine has.
    #[must_use]
    pub fn detect() -> Self {
        Self(InstructionSet::detect())
    }

    /// With the given instructions; `None` where the machine lacks them.
    #[must_use]
    pub fn with(set: InstructionSet) -> Option<Self> {
        set.is_available().then_some(Self(set))
    }

    /// `sum[c] += Σ rows[r][c]`. Numbers that a row has beyond the length of the sum are left out.
    ///
    /// # Panics
    /// When a row is shorter than the sum.
    pub fn add<E: RowElement>(self, rows: &[&[E]], sum: &mut [f32]) {
        match self.0 {
            // SAFETY: `with` and `detect` have found the instructions.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { E::add_avx512(rows, sum) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { E::add_avx2(rows, sum) },
            _ => E::add_portable(rows, sum),
        }
    }

    /// `sum[c] += Σ rows[r][c] · factors[r]`; as many rows as there are factors.
    ///
    /// # Panics
    /// When a row is shorter than the sum.
    pub fn add_scaled<E: RowElement>(self, rows: &[&[E]], factors: &[f32], sum: &mut [f32]) {
        match self.0 {
            // SAFETY: `with` and `detect` have found the instructions.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512 => unsafe { E::add_scaled_avx512(rows, factors, sum) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => unsafe { E::add_scaled_avx2(rows, factors, sum) },
            _ => E::add_scaled_portable(rows, factors, sum),
        }
    }
}

/// Types of numbers in tables: 32-bit floats, half precision, bfloat16, and 8-bit integers that stand for themselves.
pub trait RowElement: Copy + sealed::Compiled {}

impl RowElement for f32 {}
impl RowElement for f16 {}
impl RowElement for bf16 {}
impl RowElement for i8 {}

mod sealed {
    /// Both sums, compiled per instruction set.
    pub trait Compiled: Sized {
        fn add_portable(rows: &[&[Self]], sum: &mut [f32]);
        fn add_scaled_portable(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]);
        /// # Safety
        /// The processor must have AVX2, FMA and F16C.
        #[cfg(target_arch = "x86_64")]
        unsafe fn add_avx2(rows: &[&[Self]], sum: &mut [f32]);
        /// # Safety
        /// The processor must have AVX2, FMA and F16C.
        #[cfg(target_arch = "x86_64")]
        unsafe fn add_scaled_avx2(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]);
        /// # Safety
        /// The processor must have AVX-512 F, DQ, BW and VL.
        #[cfg(target_arch = "x86_64")]
        unsafe fn add_avx512(rows: &[&[Self]], sum: &mut [f32]);
        /// # Safety
        /// The processor must have AVX-512 F, DQ, BW and VL.
        #[cfg(target_arch = "x86_64")]
        unsafe fn add_scaled_avx512(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]);
    }
}

/// How numbers of a type become 32-bit floats.
trait Convert {
    type Stored: Copy;
    fn one(number: Self::Stored) -> f32;
    fn lanes(numbers: &[Self::Stored; LANES]) -> [f32; LANES];
}

struct Floats;
struct Halves;
struct BrainFloats;
struct Bytes;

impl Convert for Floats {
    type Stored = f32;
    #[inline(always)]
    fn one(number: f32) -> f32 {
        number
    }
    #[inline(always)]
    fn lanes(numbers: &[f32; LANES]) -> [f32; LANES] {
        *numbers
    }
}

impl Convert for Halves {
    type Stored = f16;
    #[inline(always)]
    fn one(number: f16) -> f32 {
        number.to_f32()
    }
    #[inline(always)]
    fn lanes(numbers: &[f16; LANES]) -> [f32; LANES] {
        numbers.map(f16::to_f32)
    }
}

impl Convert for BrainFloats {
    type Stored = bf16;
    #[inline(always)]
    fn one(number: bf16) -> f32 {
        f32::from_bits(u32::from(number.to_bits()) << 16)
    }
    #[inline(always)]
    fn lanes(numbers: &[bf16; LANES]) -> [f32; LANES] {
        numbers.map(Self::one)
    }
}

impl Convert for Bytes {
    type Stored = i8;
    #[inline(always)]
    fn one(number: i8) -> f32 {
        f32::from(number)
    }
    #[inline(always)]
    fn lanes(numbers: &[i8; LANES]) -> [f32; LANES] {
        numbers.map(f32::from)
    }
}

/// Half precision by the processor's own instruction. Only for functions that are compiled for F16C.
#[cfg(target_arch = "x86_64")]
struct HalvesF16c;

#[cfg(target_arch = "x86_64")]
impl Convert for HalvesF16c {
    type Stored = f16;
    #[inline(always)]
    fn one(number: f16) -> f32 {
        number.to_f32()
    }
    #[inline(always)]
    fn lanes(numbers: &[f16; LANES]) -> [f32; LANES] {
        use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
        let mut floats = [0f32; LANES];
        let from = numbers.as_ptr();
        let to = floats.as_mut_ptr();
        // SAFETY: both arrays hold sixteen numbers; the functions that use this type are compiled for F16C and called
        // only where the processor has it.
        unsafe {
            _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128(from.cast())));
            _mm256_storeu_ps(to.add(8), _mm256_cvtph_ps(_mm_loadu_si128(from.add(8).cast())));
        }
        floats
    }
}

#[inline(always)]
fn add_all<C: Convert>(rows: &[&[C::Stored]], sum: &mut [f32]) {
    let (blocks, rest) = rows.as_chunks::<BLOCK>();
    for (number, &block) in blocks.iter().enumerate() {
        fetch(&rows[(number + 1) * BLOCK..], sum.len());
        add_block::<C, BLOCK>(block, sum, |sum, number, _| sum + number);
    }
    for &row in rest {
        add_block::<C, 1>([row], sum, |sum, number, _| sum + number);
    }
}

/// Asks for the rows of the next block, so that they are at hand when they are added.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch<E>(rows: &[&[E]], length: usize) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    const LINE: usize = 64;
    for row in rows.iter().take(BLOCK) {
        for offset in (0..length * size_of::<E>()).step_by(LINE) {
            let line = row.as_ptr().wrapping_byte_add(offset);
            // SAFETY: fetching ahead changes nothing that the program sees, and never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
        }
    }
}

/// Other processors fetch ahead by themselves.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn fetch<E>(_: &[&[E]], _: usize) {}

#[inline(always)]
fn add_all_scaled<C: Convert>(rows: &[&[C::Stored]], factors: &[f32], sum: &mut [f32]) {
    let (blocks, rest) = rows.as_chunks::<BLOCK>();
    let (block_factors, rest_factors) = factors.as_chunks::<BLOCK>();
    for (number, (&block, factors)) in blocks.iter().zip(block_factors).enumerate() {
        fetch(&rows[(number + 1) * BLOCK..], sum.len());
        add_block::<C, BLOCK>(block, sum, |sum, number, row| sum + number * factors[row]);
    }
    for (&row, factor) in rest.iter().zip(rest_factors) {
        add_block::<C, 1>([row], sum, |sum, number, _| sum + number * factor);
    }
}

/// Takes `N` rows into the sum; `add` gets a sum, a number and the row's place in the block.
#[inline(always)]
fn add_block<C: Convert, const N: usize>(
    rows: [&[C::Stored]; N],
    sum: &mut [f32],
    add: impl Fn(f32, f32, usize) -> f32 + Copy,
) {
    let rows = rows.map(|row| &row[..sum.len()]);
    let (sum_lanes, sum_rest) = sum.as_chunks_mut::<LANES>();
    let split = sum_lanes.len();
    let lanes = rows.map(|row| &row.as_chunks::<LANES>().0[..split]);
    for (place, sums) in sum_lanes.iter_mut().enumerate() {
        let mut all = *sums;
        for (row, lanes) in lanes.iter().enumerate() {
            let numbers = C::lanes(&lanes[place]);
            for (sum, number) in all.iter_mut().zip(numbers) {
                *sum = add(*sum, number, row);
            }
        }
        *sums = all;
    }
    for (place, sum) in sum_rest.iter_mut().enumerate() {
        for (row, numbers) in rows.iter().enumerate() {
            *sum = add(*sum, C::one(numbers[split * LANES + place]), row);
        }
    }
}

/// Compiles both sums of a type for each instruction set. The bodies are plain Rust, which the compiler turns into the
/// vectors of the set; `f16` alone needs an instruction that it does not choose by itself.
macro_rules! compiled {
    ($type:ty, $portable:ident, $avx:ident) => {
        impl sealed::Compiled for $type {
            fn add_portable(rows: &[&[Self]], sum: &mut [f32]) {
                add_all::<$portable>(rows, sum);
            }
            fn add_scaled_portable(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]) {
                add_all_scaled::<$portable>(rows, factors, sum);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn add_avx2(rows: &[&[Self]], sum: &mut [f32]) {
                add_all::<$avx>(rows, sum);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            unsafe fn add_scaled_avx2(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]) {
                add_all_scaled::<$avx>(rows, factors, sum);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
            unsafe fn add_avx512(rows: &[&[Self]], sum: &mut [f32]) {
                add_all::<$avx>(rows, sum);
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,f16c")]
            unsafe fn add_scaled_avx512(rows: &[&[Self]], factors: &[f32], sum: &mut [f32]) {
                add_all_scaled::<$avx>(rows, factors, sum);
            }
        }
    };
}

compiled!(f32, Floats, Floats);
compiled!(bf16, BrainFloats, BrainFloats);
compiled!(i8, Bytes, Bytes);
#[cfg(target_arch = "x86_64")]
compiled!(f16, Halves, HalvesF16c);
#[cfg(not(target_arch = "x86_64"))]
compiled!(f16, Halves, Halves);

#[cfg(test)]
mod tests {
    use super::*;

    fn table<E>(count: usize, width: usize, number: impl Fn(f32) -> E) -> Vec<Vec<E>> {
        let value = |row: usize, column: usize| ((row * 31 + column * 17) % 101) as f32 / 8.0 - 6.0;
        (0..count).map(|row| (0..width).map(|column| number(value(row, column))).collect()).collect()
    }

    fn check<E: RowElement>(number: impl Fn(f32) -> E + Copy, to_f32: impl Fn(E) -> f32) {
        for set in InstructionSet::ALL.map(|(_, set)| set) {
            let Some(sums) = RowSum::with(set) else { continue };
            for (count, width) in [(0, 5), (1, 1), (3, 15), (8, 16), (9, 33), (21, 64), (16, 300)] {
                let table = table(count, width, number);
                let rows: Vec<&[E]> = table.iter().map(Vec::as_slice).collect();
                let factors: Vec<f32> = (0..count).map(|row| 0.25 * (row % 5) as f32 - 0.5).collect();
                let start: Vec<f32> = (0..width).map(|column| column as f32).collect();
                let mut plain = start.clone();
                let mut scaled = start.clone();
                sums.add(&rows, &mut plain);
                sums.add_scaled(&rows, &factors, &mut scaled);
                for column in 0..width {
                    let numbers = rows.iter().map(|row| to_f32(row[column]));
                    let expected = numbers.clone().fold(start[column], |sum, number| sum + number);
                    assert_eq!(plain[column], expected, "{set} {count}x{width} column {column}");
                    // Every product and sum of these numbers is exact, fused or not.
                    let expected = numbers.zip(&factors).fold(start[column], |sum, (x, factor)| sum + x * factor);
                    assert_eq!(scaled[column], expected, "{set} {count}x{width} column {column}, scaled");
                }
            }
        }
    }

    #[test]
    fn every_type_and_instruction_set_adds_in_order() {
        check(|x| x, |x| x);
        check(f16::from_f32, f16::to_f32);
        check(bf16::from_f32, bf16::to_f32);
        check(|x| x as i8, f32::from);
    }

    #[test]
    #[should_panic(expected = "range end index")]
    fn a_short_row_is_refused() {
        RowSum::detect().add(&[&[1.0f32][..]], &mut [0.0, 0.0]);
    }
}
