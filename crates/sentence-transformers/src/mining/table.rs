//! Mined negatives as rows of a training set, and statistics about them.

use std::fmt;

use st_vectors::Hit;

use super::hard_negatives::MinedNegatives;

/// A row of the format "triplet".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Triplet<'a> {
    /// The query.
    pub anchor: &'a str,
    /// One of its positives.
    pub positive: &'a str,
    /// One of its negatives.
    pub negative: &'a str,
    /// Scores of the positive and of the negative with the query.
    pub scores: [f32; 2],
}

/// A row of the format "n-tuple".
#[derive(Debug, Clone, PartialEq)]
pub struct NegativeTuple<'a> {
    /// The query.
    pub anchor: &'a str,
    /// One of its positives.
    pub positive: &'a str,
    /// All its negatives, as many as were asked for.
    pub negatives: Vec<&'a str>,
    /// Scores of the positive, then of the negatives.
    pub scores: Vec<f32>,
}

/// A row of the format "labeled-pair".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LabeledPair<'a> {
    /// The query.
    pub anchor: &'a str,
    /// A positive or a negative.
    pub passage: &'a str,
    /// 1 for a positive, 0 for a negative.
    pub label: u8,
    /// Its score with the query.
    pub score: f32,
}

/// A row of the format "labeled-list".
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledList<'a> {
    /// The query.
    pub anchor: &'a str,
    /// A positive, then the negatives.
    pub passages: Vec<&'a str>,
    /// 1 for the positive, 0 for the negatives.
    pub labels: Vec<u8>,
    /// Scores of the passages with the query.
    pub scores: Vec<f32>,
}

/// One query's positive with its score and all negatives of the query.
struct Row<'a> {
    anchor: &'a str,
    positive: &'a str,
    score: f32,
    negatives: &'a [Hit],
}

impl MinedNegatives {
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.queries.iter().enumerate().flat_map(move |(query, anchor)| {
            let scores = &self.found.positive_scores[query];
            self.positives[query].iter().zip(scores).map(move |(&positive, &score)| Row {
                anchor,
                positive: &self.documents[positive],
                score,
                negatives: &self.found.negatives[query],
            })
        })
    }

    /// One row per query, positive and negative.
    pub fn triplets(&self) -> impl Iterator<Item = Triplet<'_>> {
        self.rows().flat_map(move |row| {
            row.negatives.iter().map(move |hit| Triplet {
                anchor: row.anchor,
                positive: row.positive,
                negative: &self.documents[hit.corpus_id],
                scores: [row.score, hit.score],
            })
        })
    }

    /// One row per query and positive, for queries for which all negatives were found.
    pub fn tuples(&self) -> impl Iterator<Item = NegativeTuple<'_>> {
        let wanted = self.options.num_negatives;
        self.rows().filter(move |row| row.negatives.len() == wanted).map(move |row| NegativeTuple {
            anchor: row.anchor,
            positive: row.positive,
            negatives: row.negatives.iter().map(|hit| self.documents[hit.corpus_id].as_str()).collect(),
            scores: std::iter::once(row.score).chain(row.negatives.iter().map(|hit| hit.score)).collect(),
        })
    }

    /// Per query its positives, then its negatives.
    pub fn labeled_pairs(&self) -> impl Iterator<Item = LabeledPair<'_>> {
        self.queries.iter().enumerate().flat_map(move |(query, anchor)| {
            let scores = &self.found.positive_scores[query];
            let pair =
                move |row: usize, label, score| LabeledPair { anchor, passage: &self.documents[row], label, score };
            let positives = self.positives[query].iter().zip(scores).map(move |(&row, &score)| pair(row, 1, score));
            let negatives = self.found.negatives[query].iter().map(move |hit| pair(hit.corpus_id, 0, hit.score));
            positives.chain(negatives)
        })
    }

    /// One row per query and positive with whatever negatives there are, left out when there are none.
    pub fn labeled_lists(&self) -> impl Iterator<Item = LabeledList<'_>> {
        self.rows().filter(|row| !row.negatives.is_empty()).map(move |row| {
            let negatives = row.negatives.iter();
            LabeledList {
                anchor: row.anchor,
                passages: std::iter::once(row.positive)
                    .chain(negatives.clone().map(|hit| self.documents[hit.corpus_id].as_str()))
                    .collect(),
                labels: std::iter::once(1).chain(negatives.clone().map(|_| 0)).collect(),
                scores: std::iter::once(row.score).chain(negatives.map(|hit| hit.score)).collect(),
            }
        })
    }

    /// How positives and negatives score, and what was dropped.
    #[must_use]
    pub fn statistics(&self) -> MiningStatistics {
        let positives = self.found.positive_scores.iter().flatten().copied().collect();
        let (mut negatives, mut differences) = (Vec::new(), Vec::new());
        for triplet in self.triplets() {
            negatives.push(triplet.scores[1]);
            differences.push(triplet.scores[0] - triplet.scores[1]);
        }
        let rows = self.positives.iter().map(Vec::len).sum::<usize>();
        let missing = (rows * self.options.num_negatives).saturating_sub(negatives.len());
        let dropped = self.found.dropped;
        MiningStatistics {
            positive: Spread::of(positives),
            negative: Spread::of(negatives),
            difference: Spread::of(differences),
            missing,
            candidates: self.found.candidates,
            dropped: [
                ("absolute_margin", dropped.absolute_margin),
                ("relative_margin", dropped.relative_margin),
                ("max_score", dropped.max_score),
                ("min_score", dropped.min_score),
            ],
        }
    }
}

/// One number of a spread.
type Figure = fn(&Spread) -> f64;

/// Statistics of a mined set, over triplets; its `Display` is a table.
#[derive(Debug, Clone, PartialEq)]
pub struct MiningStatistics {
    /// Scores of the positives.
    pub positive: Spread,
    /// Scores of the negatives.
    pub negative: Spread,
    /// Score of the positive less that of the negative.
    pub difference: Spread,
    /// Negatives that were asked for and not found.
    pub missing: usize,
    /// Candidates that were looked at.
    pub candidates: usize,
    /// Options and how many candidates they dropped.
    pub dropped: [(&'static str, usize); 4],
}

/// How numbers are spread. All NaN when there are none.
///
/// ```
/// let spread = sentence_transformers::Spread::of(vec![1.0, 2.0, 3.0, 4.0]);
/// assert_eq!((spread.count, spread.mean, spread.quartiles), (4, 2.5, [1.75, 2.5, 3.25]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation of a sample (n − 1).
    pub deviation: f64,
    /// The smallest.
    pub minimum: f64,
    /// Lower quartile, median and upper quartile, interpolated linearly.
    pub quartiles: [f64; 3],
    /// The largest.
    pub maximum: f64,
}

impl Spread {
    /// The spread of some numbers.
    #[must_use]
    pub fn of(mut numbers: Vec<f32>) -> Self {
        numbers.sort_by(f32::total_cmp);
        let count = numbers.len();
        let at = |part: f64| {
            let place = part * count.saturating_sub(1) as f64;
            let number = |index: usize| numbers.get(index).map_or(f64::NAN, |&number| f64::from(number));
            let (low, high) = (number(place.floor() as usize), number(place.ceil() as usize));
            low + (high - low) * place.fract()
        };
        let mean = numbers.iter().map(|&number| f64::from(number)).sum::<f64>() / count as f64;
        let squares = numbers.iter().map(|&number| (f64::from(number) - mean).powi(2)).sum::<f64>();
        Self {
            count,
            mean,
            deviation: if count > 1 { (squares / (count - 1) as f64).sqrt() } else { f64::NAN },
            minimum: at(0.0),
            quartiles: [at(0.25), at(0.5), at(0.75)],
            maximum: at(1.0),
        }
    }
}

impl fmt::Display for MiningStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = [self.positive, self.negative, self.difference];
        writeln!(f, "{:<6} {:>14} {:>14} {:>14}", "Metric", "Positive", "Negative", "Difference")?;
        writeln!(f, "{:<6} {:>14} {:>14}", "Count", self.positive.count, self.negative.count)?;
        let lines: [(&str, Figure); 8] = [
            ("Mean", |spread| spread.mean),
            ("Median", |spread| spread.quartiles[1]),
            ("Std", |spread| spread.deviation),
            ("Min", |spread| spread.minimum),
            ("25%", |spread| spread.quartiles[0]),
            ("50%", |spread| spread.quartiles[1]),
            ("75%", |spread| spread.quartiles[2]),
            ("Max", |spread| spread.maximum),
        ];
        for (name, value) in lines {
            let [positive, negative, difference] = columns.map(|column| value(&column));
            writeln!(f, "{name:<6} {positive:>14.4} {negative:>14.4} {difference:>14.4}")?;
        }
        for (option, count) in self.dropped.iter().filter(|(_, count)| *count > 0) {
            let share = 100.0 * *count as f64 / self.candidates.max(1) as f64;
            writeln!(f, "Skipped {count} potential negatives ({share:.2}%) due to the {option}.")?;
        }
        if self.missing > 0 {
            writeln!(
                f,
                "Could not find enough negatives for {} samples. Consider a larger range_max or weaker margins.",
                self.missing
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use st_vectors::{HardNegativeOptions, HardNegatives};

    use super::*;

    fn mined() -> MinedNegatives {
        let hit = |corpus_id, score| Hit { corpus_id, score };
        MinedNegatives {
            queries: ["q0", "q1"].map(str::to_owned).to_vec(),
            documents: ["d0", "d1", "d2", "d3"].map(str::to_owned).to_vec(),
            positives: vec![vec![0, 1], vec![2]],
            found: HardNegatives {
                negatives: vec![vec![hit(2, 0.5), hit(3, 0.25)], vec![hit(0, 0.125)]],
                positive_scores: vec![vec![1.0, 0.75], vec![0.5]],
                candidates: 8,
                ..HardNegatives::default()
            },
            options: HardNegativeOptions::new().num_negatives(2),
        }
    }

    #[test]
    fn every_format_has_the_rows_of_the_original() {
        let mined = mined();
        let triplets: Vec<_> = mined.triplets().map(|row| (row.anchor, row.positive, row.negative)).collect();
        let expected =
            [("q0", "d0", "d2"), ("q0", "d0", "d3"), ("q0", "d1", "d2"), ("q0", "d1", "d3"), ("q1", "d2", "d0")];
        assert_eq!(triplets, expected);
        let tuples: Vec<_> = mined.tuples().collect();
        assert_eq!(tuples.len(), 2);
        assert_eq!((&tuples[1].negatives[..], &tuples[1].scores[..]), (&["d2", "d3"][..], &[0.75, 0.5, 0.25][..]));
        let pairs: Vec<_> = mined.labeled_pairs().map(|row| (row.anchor, row.passage, row.label)).collect();
        let expected =
            [("q0", "d0", 1), ("q0", "d1", 1), ("q0", "d2", 0), ("q0", "d3", 0), ("q1", "d2", 1), ("q1", "d0", 0)];
        assert_eq!(pairs, expected);
        let lists: Vec<_> = mined.labeled_lists().collect();
        assert_eq!(lists.len(), 3);
        assert_eq!((&lists[2].passages[..], &lists[2].labels[..]), (&["d2", "d0"][..], &[1, 0][..]));
    }

    #[test]
    fn statistics_count_what_is_missing() {
        let statistics = mined().statistics();
        assert_eq!((statistics.positive.count, statistics.negative.count, statistics.missing), (3, 5, 1));
        assert!((statistics.difference.mean - (0.5 + 0.75 + 0.25 + 0.5 + 0.375) / 5.0).abs() < 1e-7);
        assert!(statistics.to_string().contains("Could not find enough negatives for 1 samples"));
    }
}
