//! Kernels of 512-bit vectors.
#![expect(unsafe_code, reason = "processor intrinsics")]

use std::arch::x86_64::*;

use super::strip::Strips;
use super::vector::Vector;

impl Vector for __m512 {
    const LANES: usize = 16;

    super::vector_methods! {
        splat(number: f32) -> Self { _mm512_set1_ps(number) }
        load(from: *const f32) -> Self { _mm512_loadu_ps(from) }
        load_bf16(from: *const u16) -> Self {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()))))
        }
        load_pairs(from: *const u16) -> [Self; 2] {
            let pairs = _mm512_loadu_si512(from.cast());
            let second = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
            [_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)), _mm512_castsi512_ps(second)]
        }
        load_f16(from: *const u16) -> Self { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
        store(self, to: *mut f32) -> () { _mm512_storeu_ps(to, self) }
        add(self, other: Self) -> Self { _mm512_add_ps(self, other) }
        sub(self, other: Self) -> Self { _mm512_sub_ps(self, other) }
        mul(self, other: Self) -> Self { _mm512_mul_ps(self, other) }
        div(self, other: Self) -> Self { _mm512_div_ps(self, other) }
        max(self, other: Self) -> Self { _mm512_max_ps(self, other) }
        min(self, other: Self) -> Self { _mm512_min_ps(self, other) }
        // 0x0a takes the smaller magnitude, without its sign.
        magnitude_up_to(self, limit: Self) -> Self { _mm512_range_ps::<0x0a>(self, limit) }
        widen(range: (Self, Self), number: Self) -> (Self, Self) {
            // Of bits as whole numbers the largest is the largest positive number, if there is one, and the largest without
            // a sign is the negative number farthest from 0.
            let [low, high, number] = [range.0, range.1, number].map(|numbers| _mm512_castps_si512(numbers));
            let (low, high) = (_mm512_max_epu32(low, number), _mm512_max_epi32(high, number));
            (_mm512_castsi512_ps(low), _mm512_castsi512_ps(high))
        }
        mul_add(self, factor: Self, summand: Self) -> Self { _mm512_fmadd_ps(self, factor, summand) }
        sqrt(self) -> Self { _mm512_sqrt_ps(self) }
        where_positive(self, value: Self) -> Self {
            _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(self, _mm512_setzero_ps()), value)
        }
        round(self) -> Self { _mm512_roundscale_ps::<0x08>(self) }
        scale_by_power(self, power: Self) -> Self { _mm512_scalef_ps(self, power) }
        first_then(self, count: usize, other: Self) -> Self {
            _mm512_mask_blend_ps(if count >= 16 { 0xffff } else { (1u16 << count) - 1 }, other, self)
        }
        mix_fours(self) -> Self {
            let odd = _mm512_broadcast_f32x4(_mm_setr_ps(1.0, -1.0, 1.0, -1.0));
            let pairs = _mm512_fmadd_ps(self, odd, _mm512_permute_ps::<0xb1>(self));
            let late = _mm512_broadcast_f32x4(_mm_setr_ps(1.0, 1.0, -1.0, -1.0));
            _mm512_fmadd_ps(pairs, late, _mm512_permute_ps::<0x4e>(pairs))
        }
        sum(self) -> f32 { _mm512_reduce_add_ps(self) }
        largest(self) -> f32 { _mm512_reduce_max_ps(self) }
        smallest(self) -> f32 { _mm512_reduce_min_ps(self) }
        store_low_bytes(numbers: [Self; 4], to: *mut u8) -> () {
            let [a, b, c, d] = numbers.map(|number| _mm512_castps_si512(number));
            // 0xca selects by the first operand between the second and the third.
            let byte = _mm512_set1_epi32(0xff);
            let first = _mm512_ternarylogic_epi32::<0xca>(byte, a, _mm512_slli_epi32::<8>(b));
            let second = _mm512_ternarylogic_epi32::<0xca>(byte, c, _mm512_slli_epi32::<8>(d));
            let halves = _mm512_set1_epi32(0xffff);
            let all = _mm512_ternarylogic_epi32::<0xca>(halves, first, _mm512_slli_epi32::<16>(second));
            _mm512_storeu_si512(to.cast(), all)
        }
        transpose(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) -> () {
            let mut r = [_mm512_setzero_ps(); 16];
            for (i, row) in r.iter_mut().enumerate() {
                if i < rows {
                    *row = _mm512_loadu_ps(from.add(i * stride));
                }
            }
            let d = |x| _mm512_castps_pd(x);
            let f = |x| _mm512_castpd_ps(x);
            let mut t = r;
            for i in 0..8 {
                t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for a in [0, 4, 8, 12] {
                r[a] = f(_mm512_unpacklo_pd(d(t[a]), d(t[a + 2])));
                r[a + 1] = f(_mm512_unpackhi_pd(d(t[a]), d(t[a + 2])));
                r[a + 2] = f(_mm512_unpacklo_pd(d(t[a + 1]), d(t[a + 3])));
                r[a + 3] = f(_mm512_unpackhi_pd(d(t[a + 1]), d(t[a + 3])));
            }
            for i in 0..4 {
                t[i] = _mm512_shuffle_f32x4::<0x88>(r[i], r[i + 4]);
                t[i + 4] = _mm512_shuffle_f32x4::<0xdd>(r[i], r[i + 4]);
                t[i + 8] = _mm512_shuffle_f32x4::<0x88>(r[i + 8], r[i + 12]);
                t[i + 12] = _mm512_shuffle_f32x4::<0xdd>(r[i + 8], r[i + 12]);
            }
            for i in 0..8 {
                r[i] = _mm512_shuffle_f32x4::<0x88>(t[i], t[i + 8]);
                r[i + 8] = _mm512_shuffle_f32x4::<0xdd>(t[i], t[i + 8]);
            }
            for (i, row) in r.iter().enumerate() {
                _mm512_storeu_ps(to.add(i * to_stride), *row);
            }
        }
    }

    fn strips() -> &'static Strips {
        &STRIPS
    }

    #[expect(clippy::pointers_in_nomem_asm_block, reason = "the pointer is not followed")]
    #[inline(always)]
    fn in_register<T>(pointer: *const T) -> *const T {
        let mut pointer = pointer;
        // SAFETY: no instruction; the compiler only believes that the register may have changed.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
        pointer
    }
}

super::kernels! {
    vector: __m512,
    tile: [1, 2, 3, 4, 5, 6, 7, 8, 9] x [1, 2, 3],
    strip: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    #[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl")]
}
