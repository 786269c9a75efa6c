//! Mined pairs against known duplicates.

/// What a list of mined pairs is worth.
///
/// ```
/// let score = st_eval::metrics::score_mined_pairs(&[(0.9, true), (0.5, false)], 1);
/// assert_eq!((score.average_precision, score.f1), (1.0, 1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MiningScore {
    /// Σ of the precision at each duplicate found / number of duplicates.
    pub average_precision: f64,
    /// The best F1 on the way.
    pub f1: f64,
    /// Precision there.
    pub precision: f64,
    /// Recall there.
    pub recall: f64,
    /// The midpoint of the score there and the next one.
    pub threshold: f64,
}

/// Walks pairs by decreasing score; `true` marks a duplicate, `duplicates` is how many there are in all.
///
/// At each duplicate: precision = duplicates so far / pairs so far, recall = duplicates so far / all. Everything stays
/// 0 when none is found; the average precision is NaN when there are none to find.
#[must_use]
pub fn score_mined_pairs(pairs: &[(f32, bool)], duplicates: usize) -> MiningScore {
    let mut best = MiningScore { average_precision: 0.0, f1: 0.0, precision: 0.0, recall: 0.0, threshold: 0.0 };
    let (mut correct, mut sum) = (0usize, 0.0);
    for (index, &(score, duplicate)) in pairs.iter().enumerate() {
        if !duplicate {
            continue;
        }
        correct += 1;
        let precision = correct as f64 / (index + 1) as f64;
        let recall = correct as f64 / duplicates as f64;
        let f1 = 2.0 * precision * recall / (precision + recall);
        sum += precision;
        if f1 > best.f1 {
            let next = pairs.get(index + 1).map_or(score, |next| next.0);
            let threshold = (f64::from(score) + f64::from(next)) / 2.0;
            best = MiningScore { f1, precision, recall, threshold, ..best };
        }
    }
    MiningScore { average_precision: sum / duplicates as f64, ..best }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worked_example() {
        // Duplicates at ranks 1 and 3 of 4 pairs, 4 to find. Precision 1, 2/3; recall 1/4, 2/4; F1 2/5, 4/7.
        let score = score_mined_pairs(&[(0.75, true), (0.5, false), (0.5, true), (0.25, false)], 4);
        assert!((score.average_precision - (1.0 + 2.0 / 3.0) / 4.0).abs() < 1e-12);
        assert!((score.f1 - 4.0 / 7.0).abs() < 1e-12);
        assert_eq!((score.recall, score.threshold), (0.5, 0.375));
    }

    #[test]
    fn the_last_pair_is_its_own_neighbour() {
        assert_eq!(score_mined_pairs(&[(0.5, true)], 1).threshold, 0.5);
        assert_eq!(score_mined_pairs(&[(0.5, false)], 1).f1, 0.0);
        assert!(score_mined_pairs(&[], 0).average_precision.is_nan());
    }
}
