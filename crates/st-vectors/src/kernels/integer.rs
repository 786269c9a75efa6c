//! Exact sums over stored integers: one row against many. One body each, compiled for several instruction sets.

/// `out[j]` = the sum for the row given first and row `j` of the rows given second.
pub(crate) type RowScores<T> = fn(&[T], &[T], &mut [i64]);

/// Products per partial sum: 255² · this fits 31 bits.
const CHUNK: usize = 1 << 15;

#[inline(always)]
fn dot_i8_body(a: &[i8], b: &[i8]) -> i64 {
    a.chunks(CHUNK)
        .zip(b.chunks(CHUNK))
        .map(|(a, b)| i64::from(a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>()))
        .sum()
}

#[inline(always)]
fn dot_u8_body(a: &[u8], b: &[u8]) -> i64 {
    a.chunks(CHUNK)
        .zip(b.chunks(CHUNK))
        .map(|(a, b)| i64::from(a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum::<i32>()))
        .sum()
}

#[inline(always)]
fn hamming_u8_body(a: &[u8], b: &[u8]) -> i64 {
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    let words = words_a.iter().zip(words_b);
    let whole: u64 = words.map(|(&a, &b)| ones(u64::from_ne_bytes(a) ^ u64::from_ne_bytes(b))).sum();
    let rest: u64 = rest_a.iter().zip(rest_b).map(|(&a, &b)| ones(u64::from(a ^ b))).sum();
    -((whole + rest) as i64)
}

#[inline(always)]
fn hamming_i8_body(a: &[i8], b: &[i8]) -> i64 {
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    let word = |bytes: &[i8; 8]| u64::from_ne_bytes(bytes.map(|byte| byte as u8));
    let whole: u64 = words_a.iter().zip(words_b).map(|(a, b)| ones(word(a) ^ word(b))).sum();
    let rest: u64 = rest_a.iter().zip(rest_b).map(|(&a, &b)| ones(u64::from((a ^ b) as u8))).sum();
    -((whole + rest) as i64)
}

#[inline(always)]
fn ones(word: u64) -> u64 {
    u64::from(word.count_ones())
}

#[inline(always)]
fn rows<T>(query: &[T], rows: &[T], out: &mut [i64], pair: impl Fn(&[T], &[T]) -> i64) {
    match query.len() {
        0 => out.fill(0),
        width => out.iter_mut().zip(rows.chunks_exact(width)).for_each(|(out, row)| *out = pair(query, row)),
    }
}

macro_rules! dispatched {
    ($(#[$doc:meta])* $name:ident, $body:ident, $element:ty) => {
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls behind run-time detection")]
        pub(crate) fn $name() -> RowScores<$element> {
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq")]
            fn avx512(query: &[$element], all: &[$element], out: &mut [i64]) {
                rows(query, all, out, |a, b| $body(a, b));
            }
            #[target_feature(enable = "avx2,popcnt")]
            fn avx2(query: &[$element], all: &[$element], out: &mut [i64]) {
                rows(query, all, out, |a, b| $body(a, b));
            }
            if is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vpopcntdq")
            {
                // SAFETY: the processor has avx512bw (and with it avx512f), avx512vl and avx512vpopcntdq.
                |query, all, out| unsafe { avx512(query, all, out) }
            } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("popcnt") {
                // SAFETY: the processor has avx2 and popcnt.
                |query, all, out| unsafe { avx2(query, all, out) }
            } else {
                |query, all, out| rows(query, all, out, $body)
            }
        }

        $(#[$doc])*
        #[cfg(not(target_arch = "x86_64"))]
        pub(crate) fn $name() -> RowScores<$element> {
            |query, all, out| rows(query, all, out, $body)
        }
    };
}

dispatched!(
    /// The function for Σ a·b.
    dot_i8, dot_i8_body, i8
);
dispatched!(
    /// The function for Σ a·b.
    dot_u8, dot_u8_body, u8
);
dispatched!(
    /// The function for minus the number of bits that differ.
    hamming_u8, hamming_u8_body, u8
);
dispatched!(
    /// The function for minus the number of bits that differ.
    hamming_i8, hamming_i8_body, i8
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(values: &[u8]) -> Vec<i8> {
        values.iter().map(|&x| x as i8).collect()
    }

    fn one<T>(scores: RowScores<T>, a: &[T], b: &[T]) -> i64 {
        let mut out = [i64::MIN];
        scores(a, b, &mut out);
        out[0]
    }

    proptest! {
        #[test]
        fn the_chosen_functions_agree_with_the_plain_sums(pairs in prop::collection::vec(any::<(u8, u8)>(), 0..300)) {
            let (a, b): (Vec<u8>, Vec<u8>) = pairs.iter().copied().unzip();
            let product: i64 = pairs.iter().map(|&(a, b)| i64::from(a) * i64::from(b)).sum();
            let signed_product: i64 = pairs.iter().map(|&(a, b)| i64::from(a as i8) * i64::from(b as i8)).sum();
            let bits: i64 = pairs.iter().map(|&(a, b)| i64::from((a ^ b).count_ones())).sum();
            prop_assert_eq!(one(dot_u8(), &a, &b), product);
            prop_assert_eq!(one(dot_i8(), &signed(&a), &signed(&b)), signed_product);
            prop_assert_eq!(one(hamming_u8(), &a, &b), -bits);
            prop_assert_eq!(one(hamming_i8(), &signed(&a), &signed(&b)), -bits);
        }
    }

    #[test]
    fn long_rows_do_not_overflow() {
        let high = vec![255u8; 100_000];
        assert_eq!(one(dot_u8(), &high, &high), 255 * 255 * 100_000);
        let low = vec![-128i8; 200_000];
        assert_eq!(one(dot_i8(), &low, &low), 128 * 128 * 200_000);
    }

    #[test]
    fn many_rows() {
        let mut out = [7; 3];
        dot_i8()(&[1, -2], &[1, 1, 0, 3, 5, 0], &mut out);
        assert_eq!(out, [-1, -6, 5]);
    }
}
