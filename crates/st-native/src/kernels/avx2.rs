//! Kernels of 256-bit vectors.
#![expect(unsafe_code, reason = "processor intrinsics")]

use std::arch::x86_64::*;

use super::strip::Strips;
use super::vector::Vector;

impl Vector for __m256 {
    const LANES: usize = 8;

    super::vector_methods! {
        splat(number: f32) -> Self { _mm256_set1_ps(number) }
        load(from: *const f32) -> Self { _mm256_loadu_ps(from) }
        load_bf16(from: *const u16) -> Self {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast()))))
        }
        load_pairs(from: *const u16) -> [Self; 2] {
            let pairs = _mm256_loadu_si256(from.cast());
            let second = _mm256_and_si256(pairs, _mm256_set1_epi32(!0xffff));
            [_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)), _mm256_castsi256_ps(second)]
        }
        load_f16(from: *const u16) -> Self { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
        store(self, to: *mut f32) -> () { _mm256_storeu_ps(to, self) }
        add(self, other: Self) -> Self { _mm256_add_ps(self, other) }
        sub(self, other: Self) -> Self { _mm256_sub_ps(self, other) }
        mul(self, other: Self) -> Self { _mm256_mul_ps(self, other) }
        div(self, other: Self) -> Self { _mm256_div_ps(self, other) }
        max(self, other: Self) -> Self { _mm256_max_ps(self, other) }
        min(self, other: Self) -> Self { _mm256_min_ps(self, other) }
        magnitude_up_to(self, limit: Self) -> Self {
            _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self), limit)
        }
        widen(range: (Self, Self), number: Self) -> (Self, Self) {
            (_mm256_min_ps(range.0, number), _mm256_max_ps(range.1, number))
        }
        mul_add(self, factor: Self, summand: Self) -> Self { _mm256_fmadd_ps(self, factor, summand) }
        sqrt(self) -> Self { _mm256_sqrt_ps(self) }
        where_positive(self, value: Self) -> Self {
            _mm256_and_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self, _mm256_setzero_ps()), value)
        }
        round(self) -> Self { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self) }
        scale_by_power(self, power: Self) -> Self {
            let power = _mm256_max_ps(_mm256_min_ps(power, _mm256_set1_ps(127.0)), _mm256_set1_ps(-127.0));
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
            _mm256_mul_ps(self, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
        first_then(self, count: usize, other: Self) -> Self {
            let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let first = _mm256_cmpgt_epi32(_mm256_set1_epi32(count.min(8) as i32), lane);
            _mm256_blendv_ps(other, self, _mm256_castsi256_ps(first))
        }
        mix_fours(self) -> Self {
            let odd = _mm256_setr_ps(1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0);
            let pairs = _mm256_fmadd_ps(self, odd, _mm256_permute_ps::<0xb1>(self));
            let late = _mm256_setr_ps(1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0);
            _mm256_fmadd_ps(pairs, late, _mm256_permute_ps::<0x4e>(pairs))
        }
        sum(self) -> f32 {
            let half = _mm_add_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)))
        }
        largest(self) -> f32 {
            let half = _mm_max_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)))
        }
        smallest(self) -> f32 {
            let half = _mm_min_ps(_mm256_castps256_ps128(self), _mm256_extractf128_ps::<1>(self));
            let quarter = _mm_min_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_min_ss(quarter, _mm_movehdup_ps(quarter)))
        }
        store_low_bytes(numbers: [Self; 4], to: *mut u8) -> () {
            let byte = _mm256_set1_epi32(0xff);
            let [a, b, c, d] = numbers.map(|number| _mm256_and_si256(_mm256_castps_si256(number), byte));
            let first = _mm256_or_si256(a, _mm256_slli_epi32::<8>(b));
            let second = _mm256_or_si256(c, _mm256_slli_epi32::<8>(d));
            _mm256_storeu_si256(to.cast(), _mm256_or_si256(first, _mm256_slli_epi32::<16>(second)))
        }
        transpose(from: *const f32, stride: usize, rows: usize, to: *mut f32, to_stride: usize) -> () {
            let mut r = [_mm256_setzero_ps(); 8];
            for (i, row) in r.iter_mut().enumerate() {
                if i < rows {
                    *row = _mm256_loadu_ps(from.add(i * stride));
                }
            }
            let mut t = r;
            for i in 0..4 {
                t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
                t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
            }
            for a in [0, 4] {
                r[a] = _mm256_shuffle_ps::<0x44>(t[a], t[a + 2]);
                r[a + 1] = _mm256_shuffle_ps::<0xee>(t[a], t[a + 2]);
                r[a + 2] = _mm256_shuffle_ps::<0x44>(t[a + 1], t[a + 3]);
                r[a + 3] = _mm256_shuffle_ps::<0xee>(t[a + 1], t[a + 3]);
            }
            for i in 0..4 {
                _mm256_storeu_ps(to.add(i * to_stride), _mm256_permute2f128_ps::<0x20>(r[i], r[i + 4]));
                _mm256_storeu_ps(to.add((i + 4) * to_stride), _mm256_permute2f128_ps::<0x31>(r[i], r[i + 4]));
            }
        }
    }

    fn strips() -> &'static Strips {
        &STRIPS
    }
}

super::kernels! {
    vector: __m256,
    tile: [1, 2, 3, 4, 5, 6] x [1, 2],
    strip: [1, 2, 3, 4, 5, 6],
    #[target_feature(enable = "avx2,fma,f16c")]
}
