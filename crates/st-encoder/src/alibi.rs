//! [`alibi_slopes`]: the slopes of linear attention biases.

/// Slope of each head's linear bias: the score of a query and a key `d` places apart loses `slope · d`.
///
/// For `n` heads, a power of two, the slopes are `2^(−8/n), 2^(−16/n), …, 2^(−8)` (Press et al. 2022). For other counts
/// the authors' code takes those of the next smaller power of two and then every other one of the next larger.
///
/// ```
/// assert_eq!(st_encoder::alibi_slopes(4), [0.25, 0.0625, 0.015625, 0.00390625]);
/// assert_eq!(st_encoder::alibi_slopes(3), [0.0625, 0.00390625, 0.25]);
/// ```
#[must_use]
pub fn alibi_slopes(heads: usize) -> Vec<f64> {
    let of_power = |count: usize| (1..=count).map(move |head| (-8.0 * head as f64 / count as f64).exp2());
    if heads.is_power_of_two() {
        return of_power(heads).collect();
    }
    let larger = heads.next_power_of_two();
    of_power(larger / 2).chain(of_power(larger).step_by(2)).take(heads).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The slopes of jina-embeddings-v2-base-en (12 heads): those of 8 heads, then every other one of 16.
    #[test]
    fn twelve_heads() {
        let eight = (1..=8).map(|head| 0.5f64.powi(head));
        let between = [0.5, 1.5, 2.5, 3.5].map(|exponent: f64| (-exponent).exp2());
        let expected: Vec<f64> = eight.chain(between).collect();
        assert_eq!(alibi_slopes(12), expected);
    }

    #[test]
    fn there_is_one_slope_per_head() {
        for heads in 0..70 {
            assert_eq!(alibi_slopes(heads).len(), heads);
        }
    }
}
