//! Kernels of plain Rust, and the lanes they are written in.
#![expect(unsafe_code, reason = "pointers to rows of matrices")]

use super::strip_call::Strips;
use super::vector::Vector;

super::kernels! {
    vector: Lanes,
    tile: [1, 2, 3, 4] x [1],
    strip: [1, 2, 3, 4],
    #[inline(never)]
}

/// Plain Rust lanes.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Lanes([f32; 8]);

impl Lanes {
    #[inline(always)]
    pub(super) fn from_integers(integers: [i32; 8]) -> Self {
        Self(integers.map(|integer| integer as f32))
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(self.0.map(f))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }
}

impl Vector for Lanes {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(number: f32) -> Self {
        Self([number; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has 8 readable numbers.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const u16) -> Self {
        // SAFETY: the caller has 8 readable numbers.
        Self(unsafe { from.cast::<[u16; 8]>().read_unaligned() }.map(|bits| f32::from_bits(u32::from(bits) << 16)))
    }
    #[inline(always)]
    unsafe fn load_pairs(from: *const u16) -> [Self; 2] {
        // SAFETY: the caller has 16 readable numbers.
        let pairs = unsafe { from.cast::<[[u16; 2]; 8]>().read_unaligned() };
        [0, 1].map(|place| Self(pairs.map(|pair| f32::from_bits(u32::from(pair[place]) << 16))))
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const u16) -> Self {
        // SAFETY: the caller has 8 readable numbers.
        Self(unsafe { from.cast::<[u16; 8]>().read_unaligned() }.map(|bits| half::f16::from_bits(bits).to_f32()))
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has room for 8 numbers.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) };
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn magnitude_up_to(self, limit: Self) -> Self {
        self.zip(limit, |number, limit| if number.abs() < limit { number.abs() } else { limit })
    }
    #[inline(always)]
    unsafe fn widen(range: (Self, Self), number: Self) -> (Self, Self) {
        // SAFETY: plain Rust.
        unsafe { (range.0.min(number), range.1.max(number)) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, summand: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + summand.0[i]))
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }
    #[inline(always)]
    unsafe fn where_positive(self, value: Self) -> Self {
        self.zip(value, |x, value| if x > 0.0 { value } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // Adding and taking away 1.5·2²³ rounds to a whole number without a call into the mathematics library.
        const SHIFT: f32 = 12_582_912.0;
        self.map(|x| if x.abs() < 4_194_304.0 { (x + SHIFT) - SHIFT } else { x })
    }
    #[inline(always)]
    unsafe fn scale_by_power(self, power: Self) -> Self {
        self.zip(power, |x, power| {
            let power = power.clamp(-127.0, 127.0);
            x * f32::from_bits((((power as i32) + 127) as u32) << 23)
        })
    }
    #[inline(always)]
    unsafe fn first_then(self, count: usize, other: Self) -> Self {
        Self(std::array::from_fn(|i| if i < count { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn mix_fours(self) -> Self {
        let pairs: [f32; 8] = std::array::from_fn(|i| {
            let other = self.0[i ^ 1];
            if i & 1 == 0 { self.0[i] + other } else { other - self.0[i] }
        });
        Self(std::array::from_fn(|i| {
            let other = pairs[i ^ 2];
            if i & 2 == 0 { pairs[i] + other } else { other - pairs[i] }
        }))
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
    #[inline(always)]
    unsafe fn largest(self) -> f32 {
        self.0.iter().fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
    }
    #[inline(always)]
    unsafe fn smallest(self) -> f32 {
        self.0.iter().fold(f32::INFINITY, |m, &x| if x < m { x } else { m })
    }
    #[inline(always)]
    unsafe fn store_low_bytes(numbers: [Self; 4], to: *mut u8) {
        let bytes: [[u8; 4]; 8] = std::array::from_fn(|lane| numbers.map(|number| number.0[lane].to_bits() as u8));
        // SAFETY: the caller has room for 32 bytes.
        unsafe { to.cast::<[[u8; 4]; 8]>().write_unaligned(bytes) };
    }
    #[inline(always)]
    unsafe fn transpose(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) {
        for column in 0..8 {
            for row in 0..8 {
                // SAFETY: the caller has `rows` readable rows and 8 writable ones.
                unsafe {
                    *to.add(column * to_stride + row) = if row < rows { *from.add(row * stride + column) } else { 0.0 };
                }
            }
        }
    }
    fn strips() -> &'static Strips {
        &STRIPS
    }
}
