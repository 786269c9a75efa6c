//! Dot products of stored bytes, many queries against many rows: tiles of 4 × 4 with the VNNI instruction, which
//! multiplies unsigned by signed bytes. One side is moved by 128, and the sum that this adds is taken off again.

use super::integer::{self, RowScores};

/// `out[q · rows + r]` = Σ over the dimensions of query `q` with row `r`. Arguments: queries, rows, dimensions, out.
pub(crate) type Products<T> = fn(&[T], &[T], usize, &mut [i64]);

/// Dimensions whose moved products surely fit 31 bits: 255 · 128 · this.
#[cfg(target_arch = "x86_64")]
const MOST_DIMENSIONS: usize = 1 << 16;

/// Σ a·b of signed bytes.
pub(crate) fn signed() -> Products<i8> {
    #[cfg(target_arch = "x86_64")]
    if vnni::available() {
        return |queries, rows, width, out| match vnni::signed(queries, rows, width, out) {
            true => {}
            false => one_by_one(integer::dot_i8(), queries, rows, width, out),
        };
    }
    |queries, rows, width, out| one_by_one(integer::dot_i8(), queries, rows, width, out)
}

/// Σ a·b of unsigned bytes.
pub(crate) fn unsigned() -> Products<u8> {
    #[cfg(target_arch = "x86_64")]
    if vnni::available() {
        return |queries, rows, width, out| match vnni::unsigned(queries, rows, width, out) {
            true => {}
            false => one_by_one(integer::dot_u8(), queries, rows, width, out),
        };
    }
    |queries, rows, width, out| one_by_one(integer::dot_u8(), queries, rows, width, out)
}

/// Minus the number of bits that differ, of unsigned bytes.
pub(crate) fn differing_unsigned() -> Products<u8> {
    |queries, rows, width, out| one_by_one(integer::hamming_u8(), queries, rows, width, out)
}

/// Minus the number of bits that differ, of signed bytes.
pub(crate) fn differing_signed() -> Products<i8> {
    |queries, rows, width, out| one_by_one(integer::hamming_i8(), queries, rows, width, out)
}

/// Each query against all rows.
fn one_by_one<T>(scores: RowScores<T>, queries: &[T], rows: &[T], width: usize, out: &mut [i64]) {
    if width == 0 {
        return out.fill(0);
    }
    let count = rows.len() / width;
    for (query, out) in queries.chunks_exact(width).zip(out.chunks_exact_mut(count.max(1))) {
        scores(query, rows, out);
    }
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector loads and calls behind run-time detection")]
mod vnni {
    use std::arch::x86_64::*;

    use super::MOST_DIMENSIONS;

    const LANES: usize = 64;
    const SIDE: usize = 4;

    pub(super) fn available() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni")
    }

    /// False where the sums might not fit; nothing is written then.
    pub(super) fn signed(queries: &[i8], rows: &[i8], width: usize, out: &mut [i64]) -> bool {
        if width == 0 || width > MOST_DIMENSIONS {
            return false;
        }
        // Queries become the unsigned side: (q + 128)·r = q·r + 128·r.
        let moved: Vec<u8> = queries.iter().map(|&value| value.cast_unsigned() ^ 0x80).collect();
        let rows = bits(rows);
        // SAFETY: `signed` is only handed out where `available` is true.
        unsafe { tiles::<true>(&moved, rows, width, out) };
        true
    }

    /// False where the sums might not fit; nothing is written then.
    pub(super) fn unsigned(queries: &[u8], rows: &[u8], width: usize, out: &mut [i64]) -> bool {
        if width == 0 || width > MOST_DIMENSIONS {
            return false;
        }
        // Queries become the signed side: (q − 128)·r = q·r − 128·r.
        let moved: Vec<u8> = queries.iter().map(|&value| value ^ 0x80).collect();
        // SAFETY: `unsigned` is only handed out where `available` is true.
        unsafe { tiles::<false>(&moved, rows, width, out) };
        true
    }

    /// Signed bytes as their bit patterns.
    fn bits(values: &[i8]) -> &[u8] {
        // SAFETY: i8 and u8 have the same size, alignment and valid bit patterns; the lifetime is that of the argument.
        unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), values.len()) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn tiles<const SIGNED: bool>(queries: &[u8], rows: &[u8], width: usize, out: &mut [i64]) {
        let (height, count) = (queries.len() / width, rows.len() / width);
        assert!(out.len() >= height * count);
        let mut ones = [0i64; SIDE];
        for row in (0..count).step_by(SIDE) {
            let across = SIDE.min(count - row);
            let some = &rows[row * width..(row + across) * width];
            for (sum, row) in ones.iter_mut().zip(some.chunks_exact(width)) {
                *sum = i64::from(row_sum::<SIGNED>(row)) * if SIGNED { -128 } else { 128 };
            }
            for query in (0..height).step_by(SIDE) {
                let down = SIDE.min(height - query);
                let asked = &queries[query * width..(query + down) * width];
                let mut write = |i: usize, j: usize, sum: i32| {
                    out[(query + i) * count + row + j] = i64::from(sum) + ones[j];
                };
                if down == SIDE && across == SIDE {
                    for (i, sums) in square::<SIGNED>(asked, some, width).into_iter().enumerate() {
                        sums.into_iter().enumerate().for_each(|(j, sum)| write(i, j, sum));
                    }
                } else {
                    for (i, asked) in asked.chunks_exact(width).enumerate() {
                        for (j, row) in some.chunks_exact(width).enumerate() {
                            write(i, j, pair::<SIGNED>(asked, row));
                        }
                    }
                }
            }
        }
    }

    /// 64 bytes from `at`, zeros beyond the end.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn load(values: &[u8], at: usize) -> __m512i {
        let left = values.len().saturating_sub(at).min(LANES);
        let mask = if left == LANES { u64::MAX } else { (1u64 << left) - 1 };
        // SAFETY: the mask reads no byte beyond the end of `values`; masked-off bytes are not accessed.
        unsafe { _mm512_maskz_loadu_epi8(mask, values.as_ptr().wrapping_add(at).cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn step<const SIGNED: bool>(sum: __m512i, query: __m512i, row: __m512i) -> __m512i {
        if SIGNED { _mm512_dpbusd_epi32(sum, query, row) } else { _mm512_dpbusd_epi32(sum, row, query) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn row_sum<const SIGNED: bool>(row: &[u8]) -> i32 {
        let ones = _mm512_set1_epi8(1);
        let mut sum = _mm512_setzero_si512();
        for at in (0..row.len()).step_by(LANES) {
            sum = step::<SIGNED>(sum, ones, load(row, at));
        }
        _mm512_reduce_add_epi32(sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn pair<const SIGNED: bool>(query: &[u8], row: &[u8]) -> i32 {
        let mut sum = _mm512_setzero_si512();
        for at in (0..row.len()).step_by(LANES) {
            sum = step::<SIGNED>(sum, load(query, at), load(row, at));
        }
        _mm512_reduce_add_epi32(sum)
    }

    /// Four queries with four rows. Queries' bytes beyond the end are zeros or meet zeros of the rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    fn square<const SIGNED: bool>(queries: &[u8], rows: &[u8], width: usize) -> [[i32; SIDE]; SIDE] {
        let mut sums = [[_mm512_setzero_si512(); SIDE]; SIDE];
        let asked: [&[u8]; SIDE] = std::array::from_fn(|i| &queries[i * width..(i + 1) * width]);
        let rows: [&[u8]; SIDE] = std::array::from_fn(|j| &rows[j * width..(j + 1) * width]);
        let whole = width - width % LANES;
        for at in (0..whole).step_by(LANES) {
            let row = rows.map(|row| load_whole(row, at));
            for (sums, query) in sums.iter_mut().zip(&asked) {
                let query = load_whole(query, at);
                for (sum, row) in sums.iter_mut().zip(row) {
                    *sum = step::<SIGNED>(*sum, query, row);
                }
            }
        }
        if whole < width {
            let row = rows.map(|row| load(row, whole));
            for (sums, query) in sums.iter_mut().zip(&asked) {
                let query = load(query, whole);
                for (sum, row) in sums.iter_mut().zip(row) {
                    *sum = step::<SIGNED>(*sum, query, row);
                }
            }
        }
        sums.map(|sums| four(sums))
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load_whole(values: &[u8], at: usize) -> __m512i {
        debug_assert!(at + LANES <= values.len());
        // SAFETY: `square` reads whole vectors inside rows of `width` bytes only.
        unsafe { _mm512_loadu_si512(values.as_ptr().add(at).cast()) }
    }

    /// The sums of four registers' lanes.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn four(sums: [__m512i; SIDE]) -> [i32; SIDE] {
        let halves = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low, high) = (halves(sums[0], sums[1]), halves(sums[2], sums[3]));
        let quarters = _mm512_add_epi32(_mm512_unpacklo_epi64(low, high), _mm512_unpackhi_epi64(low, high));
        let pairs = _mm256_add_epi32(_mm512_castsi512_si256(quarters), _mm512_extracti64x4_epi64::<1>(quarters));
        let sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        [
            _mm_extract_epi32::<0>(sums),
            _mm_extract_epi32::<1>(sums),
            _mm_extract_epi32::<2>(sums),
            _mm_extract_epi32::<3>(sums),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all<T: Copy>(products: Products<T>, queries: &[T], rows: &[T], width: usize) -> Vec<i64> {
        let mut out = vec![i64::MIN; (queries.len() / width) * (rows.len() / width)];
        products(queries, rows, width, &mut out);
        out
    }

    fn plain<T: Copy + Into<i64>>(queries: &[T], rows: &[T], width: usize) -> Vec<i64> {
        let dot = |a: &[T], b: &[T]| a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum();
        queries.chunks_exact(width).flat_map(|q| rows.chunks_exact(width).map(move |r| dot(q, r))).collect()
    }

    proptest! {
        #[test]
        fn tiles_agree_with_plain_sums(
            width in 1usize..200,
            queries in 0usize..11,
            rows in 0usize..11,
            seed: u64,
        ) {
            let mut state = seed;
            let mut bytes = |count: usize| -> Vec<u8> {
                (0..count).map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Extremes are common.
                    [(state >> 40) as u8, 0, 255, 128, 127][(state >> 60) as usize % 5]
                }).collect()
            };
            let (a, b) = (bytes(queries * width), bytes(rows * width));
            prop_assert_eq!(all(unsigned(), &a, &b, width), plain(&a, &b, width));
            let (a, b): (Vec<i8>, Vec<i8>) =
                (a.iter().map(|&x| x as i8).collect(), b.iter().map(|&x| x as i8).collect());
            prop_assert_eq!(all(signed(), &a, &b, width), plain(&a, &b, width));
        }
    }

    #[test]
    fn long_rows_do_not_overflow() {
        for width in [1 << 16, (1 << 16) + 1] {
            let high = vec![255u8; width];
            assert_eq!(all(unsigned(), &high, &high, width), [255 * 255 * width as i64]);
            let low = vec![-128i8; width];
            assert_eq!(all(signed(), &low, &low, width), [128 * 128 * width as i64]);
        }
    }
}
