//! Ranked results of one query.

/// The hits of one query, best first, and how many relevant documents there are.
///
/// All measures are 0 where nothing relevant was found; `k` counts from 1.
///
/// ```
/// use st_eval::metrics::RankedQuery;
/// let query = RankedQuery::new(&[false, true, true], 4);
/// assert_eq!(query.accuracy_at(1), 0.0);
/// assert_eq!(query.precision_at(2), 0.5);
/// assert_eq!(query.recall_at(3), 0.5);
/// assert_eq!(query.reciprocal_rank_at(10), 0.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankedQuery<'a> {
    hits: &'a [bool],
    relevant: usize,
}

impl<'a> RankedQuery<'a> {
    /// `hits[i]`: is the document at rank i+1 relevant; `relevant`: the number of relevant documents, found or not.
    #[must_use]
    pub fn new(hits: &'a [bool], relevant: usize) -> Self {
        Self { hits, relevant }
    }

    fn top(&self, k: usize) -> &'a [bool] {
        &self.hits[..k.min(self.hits.len())]
    }

    fn found_at(&self, k: usize) -> f64 {
        self.top(k).iter().filter(|&&relevant| relevant).count() as f64
    }

    /// 1 when any of the first `k` is relevant.
    #[must_use]
    pub fn accuracy_at(&self, k: usize) -> f64 {
        if self.top(k).contains(&true) { 1.0 } else { 0.0 }
    }

    /// Relevant among the first `k`, by `k`, even where there are fewer hits.
    #[must_use]
    pub fn precision_at(&self, k: usize) -> f64 {
        self.found_at(k) / k as f64
    }

    /// Relevant among the first `k`, by all relevant.
    #[must_use]
    pub fn recall_at(&self, k: usize) -> f64 {
        self.found_at(k) / self.relevant as f64
    }

    /// 1 / rank of the first relevant within `k`.
    #[must_use]
    pub fn reciprocal_rank_at(&self, k: usize) -> f64 {
        self.top(k).iter().position(|&relevant| relevant).map_or(0.0, |index| 1.0 / (index + 1) as f64)
    }

    /// DCG / ideal DCG, with gain 1 for a relevant hit, discount log₂(rank + 1), and the ideal of min(k, relevant) ones.
    #[must_use]
    pub fn ndcg_at(&self, k: usize) -> f64 {
        let gains = self.top(k).iter().enumerate().filter(|(_, relevant)| **relevant);
        gains.map(|(index, _)| discount(index)).sum::<f64>() / (0..k.min(self.relevant)).map(discount).sum::<f64>()
    }

    /// Σ over relevant ranks r ≤ k of (relevant up to r / r), by min(k, relevant).
    #[must_use]
    pub fn average_precision_at(&self, k: usize) -> f64 {
        let (mut found, mut sum) = (0usize, 0.0);
        for (index, _) in self.top(k).iter().enumerate().filter(|(_, relevant)| **relevant) {
            found += 1;
            sum += found as f64 / (index + 1) as f64;
        }
        sum / k.min(self.relevant) as f64
    }
}

/// 1 / log₂(index + 2).
fn discount(index: usize) -> f64 {
    1.0 / ((index + 2) as f64).log2()
}

/// NDCG within the first `k` over the mean of all orders of equally scored documents (scikit-learn's `ndcg_score`).
///
/// Each document of a group of equal scores gets the mean gain of the group. 0 when nothing is relevant.
///
/// ```
/// // One relevant among two equal: the mean of ranks 1 and 2.
/// let ndcg = st_eval::metrics::tie_averaged_ndcg(&[0.5, 0.5], &[true, false], 10);
/// assert!((ndcg - (1.0 + 1.0 / 3f64.log2()) / 2.0).abs() < 1e-12);
/// ```
#[must_use]
pub fn tie_averaged_ndcg(scores: &[f32], relevant: &[bool], k: usize) -> f64 {
    let mut order: Vec<usize> = (0..scores.len().min(relevant.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let within = |index: usize| if index < k { discount(index) } else { 0.0 };
    let (mut rank, mut dcg) = (0, 0.0);
    for group in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let gain = group.iter().filter(|&&index| relevant[index]).count() as f64 / group.len() as f64;
        dcg += gain * (rank..rank + group.len()).map(within).sum::<f64>();
        rank += group.len();
    }
    let all = order.iter().filter(|&&index| relevant[index]).count();
    if all == 0 { 0.0 } else { dcg / (0..all).map(within).sum::<f64>() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_worked_example() {
        // fixtures/README.md: toy ranking 7 1 3 5 2 9 with 3, 7 and 9 relevant, float64 from the formulas.
        let query = RankedQuery::new(&[true, false, true, false, false, true], 3);
        let close = |value: f64, expected: f64| assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        close(query.precision_at(5), 0.4);
        close(query.recall_at(5), 0.6666666666666666);
        close(query.reciprocal_rank_at(10), 1.0);
        close(query.ndcg_at(5), 0.7039180890341347);
        close(query.ndcg_at(10), 0.8710785440003369);
        close(query.average_precision_at(100), 0.7222222222222222);
        close(query.average_precision_at(2), 0.5);
        close(query.accuracy_at(1), 1.0);
    }

    #[test]
    fn nothing_found() {
        let query = RankedQuery::new(&[false, false], 2);
        let values = [query.accuracy_at(5), query.precision_at(5), query.recall_at(5), query.reciprocal_rank_at(5)];
        assert_eq!(values, [0.0; 4]);
        assert_eq!((query.ndcg_at(5), query.average_precision_at(5)), (0.0, 0.0));
        assert_eq!(tie_averaged_ndcg(&[1.0], &[false], 3), 0.0);
    }

    proptest! {
        #[test]
        fn without_ties_both_ndcg_are_one(hits in prop::collection::vec(any::<bool>(), 1..20), k in 1usize..25) {
            let relevant = hits.iter().filter(|&&hit| hit).count();
            prop_assume!(relevant > 0);
            let scores: Vec<f32> = (0..hits.len()).map(|index| -(index as f32)).collect();
            let plain = RankedQuery::new(&hits, relevant).ndcg_at(k);
            prop_assert!((plain - tie_averaged_ndcg(&scores, &hits, k)).abs() < 1e-12);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&plain));
        }
    }
}
