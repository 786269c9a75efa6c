//! How well two series go together.

/// Pearson's correlation: Σ (xᵢ−x̄)(yᵢ−ȳ) / (‖x−x̄‖ · ‖y−ȳ‖), within −1 and 1.
///
/// NaN when the series differ in length, are empty, or one of them is constant.
///
/// ```
/// assert!(st_eval::metrics::pearson(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]) > 1.0 - 1e-12);
/// ```
#[must_use]
pub fn pearson(x: &[f64], y: &[f64]) -> f64 {
    if x.len() != y.len() || x.is_empty() {
        return f64::NAN;
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut products, mut squares_x, mut squares_y) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (x, y) = (x - mean_x, y - mean_y);
        products += x * y;
        squares_x += x * x;
        squares_y += y * y;
    }
    (products / (squares_x.sqrt() * squares_y.sqrt())).clamp(-1.0, 1.0)
}

/// Spearman's correlation: [`pearson`] of the [`average_ranks`]. NaN where Pearson's is, and when a value is NaN.
///
/// ```
/// assert!(st_eval::metrics::spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]) > 1.0 - 1e-12);
/// ```
#[must_use]
pub fn spearman(x: &[f64], y: &[f64]) -> f64 {
    if x.iter().chain(y).any(|value| value.is_nan()) {
        return f64::NAN;
    }
    pearson(&average_ranks(x), &average_ranks(y))
}

/// The ranks of values from 1, smallest first; equal values share the mean of their ranks.
///
/// ```
/// assert_eq!(st_eval::metrics::average_ranks(&[5.0, 1.0, 5.0]), [2.5, 1.0, 2.5]);
/// ```
#[must_use]
pub fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|&a, &b| values[a] == values[b]) {
        // Ranks start + 1 up to start + length, on average:
        let rank = start as f64 + (group.len() as f64 + 1.0) / 2.0;
        for &index in group {
            ranks[index] = rank;
        }
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_worked_example() {
        // fixtures/README.md: toy correlation, float64 from the formulas.
        let labels = [1.0, 2.0, 2.0, 3.0, 5.0, 4.5];
        let scores = [0.2, 0.1, 0.3, 0.3, 0.9, 0.95];
        assert!((pearson(&labels, &scores) - 0.919774325295115).abs() < 1e-12);
        assert!((spearman(&labels, &scores) - 0.8088235294117647).abs() < 1e-12);
        assert_eq!(average_ranks(&labels), [1.0, 2.5, 2.5, 4.0, 6.0, 5.0]);
    }

    #[test]
    fn constant_empty_and_unequal_series_have_none() {
        assert!(pearson(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
        assert!(pearson(&[], &[]).is_nan());
        assert!(pearson(&[1.0], &[1.0, 2.0]).is_nan());
        assert!(spearman(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]).is_nan());
    }

    proptest! {
        #[test]
        fn ranks_sum_to_the_triangle(values in prop::collection::vec(-3i8..3, 0..40)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let n = values.len() as f64;
            prop_assert!((average_ranks(&values).iter().sum::<f64>() - n * (n + 1.0) / 2.0).abs() < 1e-9);
        }

        #[test]
        fn spearman_sees_only_the_order(values in prop::collection::vec((-4.0f64..4.0, -4.0f64..4.0), 3..30)) {
            let (x, y): (Vec<f64>, Vec<f64>) = values.into_iter().unzip();
            let bent: Vec<f64> = y.iter().map(|value| value.exp()).collect();
            prop_assert!((spearman(&x, &y) - spearman(&x, &bent)).abs() < 1e-9);
        }
    }
}
