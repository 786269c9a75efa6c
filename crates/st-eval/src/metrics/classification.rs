//! Two classes told apart by a threshold on a score. Higher scores are more similar, label `true` is the similar class.

/// The best accuracy of any threshold.
///
/// ```
/// let best = st_eval::metrics::best_accuracy(&[0.9, 0.8, 0.1], &[true, true, false]);
/// assert_eq!((best.accuracy, best.threshold), (1.0, (0.8 + 0.1) / 2.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AccuracyThreshold {
    /// Part of the pairs on the right side, 0 to 1.
    pub accuracy: f64,
    /// Pairs that score above it count as similar.
    pub threshold: f32,
}

/// The best F1 of any threshold.
///
/// ```
/// let best = st_eval::metrics::best_f1(&[0.9, 0.8, 0.1], &[true, true, false]);
/// assert_eq!((best.f1, best.precision, best.recall), (1.0, 1.0, 1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct F1Threshold {
    /// 2·precision·recall / (precision + recall).
    pub f1: f64,
    /// Similar pairs among those above the threshold.
    pub precision: f64,
    /// Part of the similar pairs that lies above the threshold.
    pub recall: f64,
    /// Pairs that score above it count as similar.
    pub threshold: f32,
}

/// Indices by decreasing score, equal scores in their order.
fn by_decreasing_score(scores: &[f32], labels: &[bool]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len().min(labels.len())).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// The cut with the best accuracy: (similar before it + dissimilar after it) / all.
///
/// Cuts lie between neighbours in the order of decreasing scores, never before the first or after the last; the first
/// of equally good ones wins; the threshold is the midpoint of its neighbours. Accuracy 0 and threshold −1 when there
/// is no cut.
///
/// ```
/// let best = st_eval::metrics::best_accuracy(&[4.0, 3.0, 2.0, 1.0], &[true, false, true, false]);
/// assert_eq!((best.accuracy, best.threshold), (0.75, 3.5));
/// ```
#[must_use]
pub fn best_accuracy(scores: &[f32], labels: &[bool]) -> AccuracyThreshold {
    let order = by_decreasing_score(scores, labels);
    let mut best = AccuracyThreshold { accuracy: 0.0, threshold: -1.0 };
    let mut similar_before = 0usize;
    let mut dissimilar_after = order.iter().filter(|&&index| !labels[index]).count();
    for neighbours in order.windows(2) {
        if labels[neighbours[0]] {
            similar_before += 1;
        } else {
            dissimilar_after -= 1;
        }
        let accuracy = (similar_before + dissimilar_after) as f64 / order.len() as f64;
        if accuracy > best.accuracy {
            best = AccuracyThreshold { accuracy, threshold: midpoint(scores[neighbours[0]], scores[neighbours[1]]) };
        }
    }
    best
}

/// The cut with the best F1; cuts and thresholds as in [`best_accuracy`]. All 0 when no cut has a similar pair above.
///
/// ```
/// let best = st_eval::metrics::best_f1(&[4.0, 3.0, 2.0, 1.0], &[true, false, true, false]);
/// assert_eq!((best.f1, best.threshold), (0.8, 1.5));
/// ```
#[must_use]
pub fn best_f1(scores: &[f32], labels: &[bool]) -> F1Threshold {
    let order = by_decreasing_score(scores, labels);
    let similar = order.iter().filter(|&&index| labels[index]).count();
    let mut best = F1Threshold { f1: 0.0, precision: 0.0, recall: 0.0, threshold: 0.0 };
    let mut correct = 0usize;
    for (index, neighbours) in order.windows(2).enumerate() {
        correct += usize::from(labels[neighbours[0]]);
        if correct == 0 {
            continue;
        }
        let precision = correct as f64 / (index + 1) as f64;
        let recall = correct as f64 / similar as f64;
        let f1 = 2.0 * precision * recall / (precision + recall);
        if f1 > best.f1 {
            let threshold = midpoint(scores[neighbours[0]], scores[neighbours[1]]);
            best = F1Threshold { f1, precision, recall, threshold };
        }
    }
    best
}

fn midpoint(a: f32, b: f32) -> f32 {
    (a + b) / 2.0
}

/// Average precision: Σₙ (Rₙ − Rₙ₋₁) · Pₙ over the distinct scores, highest first, with Pₙ and Rₙ precision and
/// recall of all pairs that score at least as high (scikit-learn's `average_precision_score`). 0 without a similar pair.
///
/// ```
/// let precision = st_eval::metrics::average_precision(&[3.0, 2.0, 1.0], &[true, false, true]);
/// assert!((precision - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
/// ```
#[must_use]
pub fn average_precision(scores: &[f32], labels: &[bool]) -> f64 {
    let order = by_decreasing_score(scores, labels);
    let similar = order.iter().filter(|&&index| labels[index]).count();
    if similar == 0 {
        return 0.0;
    }
    let (mut seen, mut correct, mut sum) = (0usize, 0usize, 0.0);
    for group in order.chunk_by(|&a, &b| scores[a] == scores[b]) {
        let found = group.iter().filter(|&&index| labels[index]).count();
        seen += group.len();
        correct += found;
        sum += found as f64 / similar as f64 * (correct as f64 / seen as f64);
    }
    sum
}

/// Matthews' correlation of labels and predictions: (TP·TN − FP·FN) / √((TP+FP)(TP+FN)(TN+FP)(TN+FN)); 0 where the
/// denominator is 0.
///
/// ```
/// assert_eq!(st_eval::metrics::matthews_correlation(&[true, false], &[true, false]), 1.0);
/// ```
#[must_use]
pub fn matthews_correlation(labels: &[bool], predictions: &[bool]) -> f64 {
    let (mut tp, mut tn, mut fp, mut r#fn) = (0.0f64, 0.0f64, 0.0f64, 0.0f64);
    for pair in labels.iter().zip(predictions) {
        match pair {
            (true, true) => tp += 1.0,
            (false, false) => tn += 1.0,
            (false, true) => fp += 1.0,
            (true, false) => r#fn += 1.0,
        }
    }
    let denominator = ((tp + fp) * (tp + r#fn) * (tn + fp) * (tn + r#fn)).sqrt();
    if denominator == 0.0 { 0.0 } else { (tp * tn - fp * r#fn) / denominator }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thresholds_lie_between_neighbours() {
        // Order: 0.9 t, 0.7 f, 0.6 t, 0.2 f. After each cut: 3/4, 2/4, 3/4: the first 3/4 wins.
        let (scores, labels) = ([0.2, 0.9, 0.6, 0.7], [false, true, true, false]);
        assert_eq!(best_accuracy(&scores, &labels), AccuracyThreshold { accuracy: 0.75, threshold: (0.9 + 0.7) / 2.0 });
        // F1 after each cut: 2/3, 1/2, 4/5.
        let f1 = best_f1(&scores, &labels);
        assert!((f1.f1 - 0.8).abs() < 1e-12 && f1.recall == 1.0 && (f1.precision - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(f1.threshold, (0.6 + 0.2) / 2.0);
    }

    #[test]
    fn without_cuts_the_initial_values_stay() {
        assert_eq!(best_accuracy(&[], &[]), AccuracyThreshold { accuracy: 0.0, threshold: -1.0 });
        assert_eq!(best_accuracy(&[1.0], &[true]).threshold, -1.0);
        assert_eq!(best_f1(&[1.0, 0.0], &[false, false]).f1, 0.0);
        assert_eq!(average_precision(&[1.0], &[false]), 0.0);
        assert_eq!(matthews_correlation(&[true, true], &[true, true]), 0.0);
    }

    #[test]
    fn ties_count_together() {
        // One group of 3 with 2 similar: precision 2/3 at full recall.
        assert!((average_precision(&[1.0; 3], &[true, false, true]) - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn matthews_by_hand() {
        // TP 2, FN 1, FP 1, TN 1: (2 − 1) / √(3·3·2·2) = 1/6.
        let labels = [true, true, true, false, false];
        let predictions = [true, true, false, true, false];
        assert!((matthews_correlation(&labels, &predictions) - 1.0 / 6.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_order_of_the_pairs_is_no_matter(pairs in prop::collection::vec((-1.0f32..1.0, any::<bool>()), 0..30)) {
            let (scores, labels): (Vec<f32>, Vec<bool>) = pairs.iter().copied().unzip();
            let (reversed, flipped): (Vec<f32>, Vec<bool>) = pairs.iter().rev().copied().unzip();
            prop_assert!((average_precision(&scores, &labels) - average_precision(&reversed, &flipped)).abs() < 1e-12);
        }
    }
}
