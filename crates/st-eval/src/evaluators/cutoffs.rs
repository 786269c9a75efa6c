//! [`Cutoffs`] and the means over queries at them.

use st_vectors::SimilarityFunction;

use crate::metrics::RankedQuery;
use crate::report::python_float;
use crate::{EvalError, Result};

/// At which ranks retrieval is measured.
///
/// ```
/// let cutoffs = st_eval::Cutoffs { ndcg: vec![10, 100], ..Default::default() };
/// assert_eq!(cutoffs.accuracy, [1, 3, 5, 10]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cutoffs {
    /// Of accuracy.
    pub accuracy: Vec<usize>,
    /// Of precision and recall.
    pub precision_recall: Vec<usize>,
    /// Of the mean reciprocal rank.
    pub mrr: Vec<usize>,
    /// Of NDCG; the largest gives the primary metric.
    pub ndcg: Vec<usize>,
    /// Of the mean average precision.
    pub map: Vec<usize>,
}

impl Default for Cutoffs {
    fn default() -> Self {
        Self {
            accuracy: vec![1, 3, 5, 10],
            precision_recall: vec![1, 3, 5, 10],
            mrr: vec![10],
            ndcg: vec![10],
            map: vec![100],
        }
    }
}

impl Cutoffs {
    /// Every list with its name.
    fn lists(&self) -> [(&'static str, &[usize]); 5] {
        [
            ("accuracy_at_k", &self.accuracy),
            ("precision_recall_at_k", &self.precision_recall),
            ("mrr_at_k", &self.mrr),
            ("ndcg_at_k", &self.ndcg),
            ("map_at_k", &self.map),
        ]
    }

    /// Cut-offs count from 1, and NDCG needs one.
    pub(crate) fn check(&self) -> Result<()> {
        if let Some((name, _)) = self.lists().iter().find(|(_, list)| list.contains(&0)) {
            return Err(EvalError::Option { message: format!("`{name}` counts from 1, it cannot hold 0") });
        }
        if self.ndcg.is_empty() {
            let message = "`ndcg_at_k` is empty, but the primary metric is NDCG: give at least one cut-off".to_owned();
            return Err(EvalError::Option { message });
        }
        Ok(())
    }

    pub(crate) fn largest(&self) -> usize {
        self.lists().iter().flat_map(|(_, list)| list.iter().copied()).max().unwrap_or(0)
    }

    pub(crate) fn largest_ndcg(&self) -> usize {
        self.ndcg.iter().copied().max().unwrap_or(0)
    }

    /// Values looked up by measure and cut-off.
    pub(crate) fn scores_from(&self, value: impl Fn(&str, usize) -> f64) -> RetrievalScores {
        let of = |name: &str, cutoffs: &[usize]| cutoffs.iter().map(|&k| (k, value(name, k))).collect();
        RetrievalScores {
            accuracy: of("accuracy", &self.accuracy),
            precision: of("precision", &self.precision_recall),
            recall: of("recall", &self.precision_recall),
            ndcg: of("ndcg", &self.ndcg),
            mrr: of("mrr", &self.mrr),
            map: of("map", &self.map),
        }
    }

    /// The means over queries of (is each hit relevant, number of relevant documents).
    pub(crate) fn score(&self, queries: impl Iterator<Item = (Vec<bool>, usize)>) -> RetrievalScores {
        let mut scores = self.scores_from(|_, _| 0.0);
        let mut count = 0usize;
        for (hits, relevant) in queries {
            let query = RankedQuery::new(&hits, relevant);
            let add = |means: &mut Vec<(usize, f64)>, measure: &dyn Fn(usize) -> f64| {
                means.iter_mut().for_each(|(k, sum)| *sum += measure(*k));
            };
            add(&mut scores.accuracy, &|k| query.accuracy_at(k));
            add(&mut scores.precision, &|k| query.precision_at(k));
            add(&mut scores.recall, &|k| query.recall_at(k));
            add(&mut scores.ndcg, &|k| query.ndcg_at(k));
            add(&mut scores.mrr, &|k| query.reciprocal_rank_at(k));
            add(&mut scores.map, &|k| query.average_precision_at(k));
            count += 1;
        }
        for (_, means) in scores.lists_mut() {
            means.iter_mut().for_each(|(_, sum)| *sum /= count as f64);
        }
        scores
    }
}

/// Means per measure and cut-off, in the order of the cut-offs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RetrievalScores {
    accuracy: Vec<(usize, f64)>,
    precision: Vec<(usize, f64)>,
    recall: Vec<(usize, f64)>,
    ndcg: Vec<(usize, f64)>,
    mrr: Vec<(usize, f64)>,
    map: Vec<(usize, f64)>,
}

impl RetrievalScores {
    fn lists_mut(&mut self) -> [(&'static str, &mut Vec<(usize, f64)>); 6] {
        [
            ("accuracy", &mut self.accuracy),
            ("precision", &mut self.precision),
            ("recall", &mut self.recall),
            ("ndcg", &mut self.ndcg),
            ("mrr", &mut self.mrr),
            ("map", &mut self.map),
        ]
    }

    /// In the order of the metrics.
    fn lists(&self) -> [(&'static str, &[(usize, f64)]); 6] {
        [
            ("accuracy", &self.accuracy),
            ("precision", &self.precision),
            ("recall", &self.recall),
            ("ndcg", &self.ndcg),
            ("mrr", &self.mrr),
            ("map", &self.map),
        ]
    }

    pub(crate) fn metrics(&self, function: SimilarityFunction) -> Vec<(String, f64)> {
        let of = |(name, means): (&str, &[(usize, f64)])| -> Vec<(String, f64)> {
            means.iter().map(|(k, mean)| (format!("{function}_{name}@{k}"), *mean)).collect()
        };
        self.lists().into_iter().flat_map(of).collect()
    }

    pub(crate) fn ndcg_at_largest(&self) -> f64 {
        self.ndcg.iter().max_by_key(|(k, _)| *k).map_or(f64::NAN, |(_, mean)| *mean)
    }

    /// In the order of the CSV file: precision and recall by turns.
    fn by_column(&self) -> Vec<(&'static str, usize, f64)> {
        let of = |name: &'static str, means: &[(usize, f64)]| -> Vec<_> {
            means.iter().map(|&(k, mean)| (name, k, mean)).collect()
        };
        let mut cells = of("Accuracy", &self.accuracy);
        for (precision, recall) in self.precision.iter().zip(&self.recall) {
            cells.push(("Precision", precision.0, precision.1));
            cells.push(("Recall", recall.0, recall.1));
        }
        cells.extend(of("MRR", &self.mrr));
        cells.extend(of("NDCG", &self.ndcg));
        cells.extend(of("MAP", &self.map));
        cells
    }

    pub(crate) fn columns(&self, function: SimilarityFunction) -> Vec<String> {
        self.by_column().into_iter().map(|(name, k, _)| format!("{function}-{name}@{k}")).collect()
    }

    pub(crate) fn cells(&self) -> Vec<String> {
        self.by_column().into_iter().map(|(_, _, mean)| python_float(mean)).collect()
    }

    pub(crate) fn log(&self) {
        let shares = [("Accuracy", &self.accuracy), ("Precision", &self.precision), ("Recall", &self.recall)];
        for (name, means) in shares {
            means.iter().for_each(|(k, mean)| log::info!("{name}@{k}: {:.2}%", mean * 100.0));
        }
        for (name, means) in [("MRR", &self.mrr), ("NDCG", &self.ndcg), ("MAP", &self.map)] {
            means.iter().for_each(|(k, mean)| log::info!("{name}@{k}: {mean:.4}"));
        }
    }
}
