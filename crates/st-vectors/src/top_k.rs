//! The best few of many scores.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A float score that can be ordered: NaN counts as −∞, and both zeros are equal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score(f32);

impl Score {
    pub(crate) fn new(score: f32) -> Self {
        Self(if score.is_nan() { f32::NEG_INFINITY } else { score + 0.0 })
    }

    pub(crate) fn value(self) -> f32 {
        self.0
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// A corpus row with its score. The order puts the better one first: higher score, then smaller index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate<S> {
    pub(crate) score: S,
    pub(crate) id: usize,
}

impl<S: Ord> Ord for Candidate<S> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.cmp(&self.score).then(self.id.cmp(&other.id))
    }
}

impl<S: Ord> PartialOrd for Candidate<S> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Keeps the best `limit` candidates; the worst of them is on top of the heap.
#[derive(Debug, Clone)]
pub(crate) struct TopK<S> {
    limit: usize,
    heap: BinaryHeap<Candidate<S>>,
}

impl<S: Ord + Copy> TopK<S> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, heap: BinaryHeap::new() }
    }

    pub(crate) fn push(&mut self, score: S, id: usize) {
        let candidate = Candidate { score, id };
        if self.heap.len() < self.limit {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// The score that a further candidate has to reach; none while there is room.
    fn worst(&self) -> Option<S> {
        if self.heap.len() < self.limit { None } else { self.heap.peek().map(|worst| worst.score) }
    }

    /// The better candidates of two sets.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        for candidate in other.heap {
            self.push(candidate.score, candidate.id);
        }
        self
    }

    /// The candidates, best first.
    pub(crate) fn into_sorted(self) -> Vec<Candidate<S>> {
        self.heap.into_sorted_vec()
    }
}

/// What a kernel writes: a number that makes a score.
pub(crate) trait RawScore: Copy + PartialOrd {
    /// Its ordered form.
    type Ordered: Ord + Copy;
    fn ordered(self) -> Self::Ordered;
    fn raw(ordered: Self::Ordered) -> Self;
}

impl RawScore for f32 {
    type Ordered = Score;
    fn ordered(self) -> Score {
        Score::new(self)
    }
    fn raw(ordered: Score) -> Self {
        ordered.value()
    }
}

impl RawScore for i64 {
    type Ordered = i64;
    fn ordered(self) -> i64 {
        self
    }
    fn raw(ordered: i64) -> Self {
        ordered
    }
}

impl<S: Ord + Copy> TopK<S> {
    /// Pushes the scores of consecutive rows, the first of which is `first`; later calls must have larger rows.
    pub(crate) fn push_all<R: RawScore<Ordered = S>>(&mut self, scores: &[R], first: usize) {
        const STRIP: usize = 32;
        if self.limit == 0 {
            return;
        }
        for (strip, scores) in scores.chunks(STRIP).enumerate() {
            if let Some(worst) = self.worst() {
                let worst = R::raw(worst);
                // A later row must be strictly better. No early exit, so that the compiler compares a vector at once.
                if !scores.iter().fold(false, |found, &score| found | (score > worst)) {
                    continue;
                }
            }
            for (offset, &score) in scores.iter().enumerate() {
                self.push(score.ordered(), first + strip * STRIP + offset);
            }
        }
    }
}

/// Merges the results of two parts of a corpus, query by query.
pub(crate) fn merge_all<S: Ord + Copy>(left: Vec<TopK<S>>, right: Vec<TopK<S>>) -> Vec<TopK<S>> {
    left.into_iter().zip(right).map(|(left, right)| left.merge(right)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_smaller_index_and_nan_comes_last() {
        let mut top = TopK::new(4);
        top.push_all(&[f32::NAN, 1.0, 0.0, -0.0, 1.0], 10);
        let ids: Vec<usize> = top.into_sorted().iter().map(|candidate| candidate.id).collect();
        assert_eq!(ids, [11, 14, 12, 13]);
    }

    #[test]
    fn no_room_at_all() {
        let mut top = TopK::new(0);
        top.push_all(&[1.0; 100], 0);
        top.push(Score::new(2.0), 7);
        assert!(top.into_sorted().is_empty());
    }
}
