//! Hard negatives: corpus vectors that are near a query without being among its positives.

use crate::{Embeddings, Hit, Result, SearchOptions, SimilarityFunction, VectorError, semantic_search};

/// Which of the remaining candidates of a query become its negatives.
///
/// ```
/// assert_eq!(st_vectors::NegativeSampling::default(), st_vectors::NegativeSampling::Top);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NegativeSampling {
    /// Those with the highest scores.
    #[default]
    Top,
    /// Distinct random ones, the same for the same seed. (The original draws from Python's unseeded generator.)
    Random {
        /// Where the sequence starts.
        seed: u64,
    },
}

/// Options of [`mine_hard_negatives`]; the defaults are the original's.
///
/// ```
/// use st_vectors::HardNegativeOptions;
/// let options = HardNegativeOptions::new().num_negatives(5).relative_margin(0.05);
/// assert_eq!(options.candidates(2), 0 + 10 * 5 + 2);
/// assert_eq!(HardNegativeOptions::new().candidates(1), 0 + 3 + 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct HardNegativeOptions {
    /// Best candidates that are left out: the first ones are likely to be positives that nobody marked.
    pub range_min: usize,
    /// Candidates that are looked at; `None`: [`HardNegativeOptions::candidates`].
    pub range_max: Option<usize>,
    /// Candidates with a higher score are dropped.
    pub max_score: Option<f32>,
    /// Candidates with a lower score are dropped.
    pub min_score: Option<f32>,
    /// Candidates with score + margin > the query's lowest positive score are dropped.
    pub absolute_margin: Option<f32>,
    /// Candidates with score > the query's lowest positive score · (1 − margin) are dropped.
    pub relative_margin: Option<f32>,
    /// Negatives per query.
    pub num_negatives: usize,
    /// Which candidates are taken.
    pub sampling: NegativeSampling,
    /// Positives may be candidates too: for data sets that re-rank what a first stage finds.
    pub include_positives: bool,
    /// What scores a query with a document.
    pub score_function: SimilarityFunction,
    /// The largest number of pairs of one query, by which more candidates are looked at; `None`: its number of positives.
    /// Larger than that where a data set says the same pair twice, which the original counts twice.
    pub most_positives: Option<usize>,
}

impl Default for HardNegativeOptions {
    fn default() -> Self {
        Self {
            range_min: 0,
            range_max: None,
            max_score: None,
            min_score: None,
            absolute_margin: None,
            relative_margin: None,
            num_negatives: 3,
            sampling: NegativeSampling::Top,
            include_positives: false,
            score_function: SimilarityFunction::Cosine,
            most_positives: None,
        }
    }
}

impl HardNegativeOptions {
    /// Three negatives, the nearest ones, without margins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`HardNegativeOptions::range_min`].
    #[must_use]
    pub fn range_min(mut self, candidates: usize) -> Self {
        self.range_min = candidates;
        self
    }

    /// Sets [`HardNegativeOptions::range_max`].
    #[must_use]
    pub fn range_max(mut self, candidates: usize) -> Self {
        self.range_max = Some(candidates);
        self
    }

    /// Sets [`HardNegativeOptions::max_score`].
    #[must_use]
    pub fn max_score(mut self, score: f32) -> Self {
        self.max_score = Some(score);
        self
    }

    /// Sets [`HardNegativeOptions::min_score`].
    #[must_use]
    pub fn min_score(mut self, score: f32) -> Self {
        self.min_score = Some(score);
        self
    }

    /// Sets [`HardNegativeOptions::absolute_margin`].
    #[must_use]
    pub fn absolute_margin(mut self, margin: f32) -> Self {
        self.absolute_margin = Some(margin);
        self
    }

    /// Sets [`HardNegativeOptions::relative_margin`].
    #[must_use]
    pub fn relative_margin(mut self, margin: f32) -> Self {
        self.relative_margin = Some(margin);
        self
    }

    /// Sets [`HardNegativeOptions::num_negatives`].
    #[must_use]
    pub fn num_negatives(mut self, negatives: usize) -> Self {
        self.num_negatives = negatives;
        self
    }

    /// Sets [`HardNegativeOptions::sampling`].
    #[must_use]
    pub fn sampling(mut self, sampling: NegativeSampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Sets [`HardNegativeOptions::include_positives`].
    #[must_use]
    pub fn include_positives(mut self, include: bool) -> Self {
        self.include_positives = include;
        self
    }

    /// Sets [`HardNegativeOptions::score_function`].
    #[must_use]
    pub fn score_function(mut self, function: SimilarityFunction) -> Self {
        self.score_function = function;
        self
    }

    /// Sets [`HardNegativeOptions::most_positives`].
    #[must_use]
    pub fn most_positives(mut self, positives: usize) -> Self {
        self.most_positives = Some(positives);
        self
    }

    /// Candidates per query where [`HardNegativeOptions::range_max`] is not set: more where a margin or a highest
    /// score may drop some. `most_positives`: the largest number of positives of one query.
    #[must_use]
    pub fn candidates(&self, most_positives: usize) -> usize {
        let drops = self.absolute_margin.is_some() || self.relative_margin.is_some() || self.max_score.is_some();
        let each = if drops { self.num_negatives.saturating_mul(10) } else { self.num_negatives };
        self.range_max.unwrap_or_else(|| self.range_min.saturating_add(each).saturating_add(most_positives))
    }

    fn needs_positive_scores(&self) -> bool {
        self.absolute_margin.is_some() || self.relative_margin.is_some()
    }
}

/// How many candidates each rule dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Too near the lowest positive, by [`HardNegativeOptions::absolute_margin`].
    pub absolute_margin: usize,
    /// Too near the lowest positive, by [`HardNegativeOptions::relative_margin`].
    pub relative_margin: usize,
    /// Above [`HardNegativeOptions::max_score`].
    pub max_score: usize,
    /// Below [`HardNegativeOptions::min_score`].
    pub min_score: usize,
}

/// What [`mine_hard_negatives`] found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HardNegatives {
    /// Per query at most `num_negatives` corpus rows, by decreasing score.
    pub negatives: Vec<Vec<Hit>>,
    /// Per query the scores of its positives, in their order.
    pub positive_scores: Vec<Vec<f32>>,
    /// Candidates that were looked at, positives among them.
    pub candidates: usize,
    /// Candidates that options dropped, each counted by the first rule that dropped it.
    pub dropped: Dropped,
}

/// Scores other than those of the vectors: given a query's row and corpus rows, one score for each (a cross encoder).
pub type Rescore<'a> = dyn Fn(usize, &[usize]) -> Vec<f32> + 'a;

/// For each query the corpus rows nearest to it that are not its positives, within the margins (the original's
/// `mine_hard_negatives`). `positives[i]`: corpus rows of query `i`.
///
/// Candidates are the best `range_max + P` rows, where P is the largest number of positives of one query (fewer where
/// the corpus is smaller, where the original fails). Positives are dropped unless they are asked for; then whatever is
/// above a margin, above the highest or below the lowest score. Of the best `range_max` that remain, the first
/// `range_min` are left out.
///
/// # Errors
/// [`VectorError::DimensionMismatch`]; [`VectorError::RowMismatch`] when there is not one list of positives per query;
/// [`VectorError::RowOutOfRange`] for a positive outside the corpus.
///
/// ```
/// use st_vectors::{Embeddings, HardNegativeOptions, mine_hard_negatives};
/// let queries = Embeddings::from_rows([[1.0, 0.0]])?;
/// let corpus = Embeddings::from_rows([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])?;
/// let found = mine_hard_negatives(&queries, &corpus, &[vec![0]], &HardNegativeOptions::new().num_negatives(1))?;
/// assert_eq!(found.negatives[0][0].corpus_id, 1);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn mine_hard_negatives(
    queries: &Embeddings,
    corpus: &Embeddings,
    positives: &[Vec<usize>],
    options: &HardNegativeOptions,
) -> Result<HardNegatives> {
    mine_hard_negatives_with(queries, corpus, positives, options, None)
}

/// [`mine_hard_negatives`] with other scores for candidates and positives, such as a cross encoder's. As in the original
/// they are asked for only where a margin or a highest score is set; without one the vectors' own scores remain.
///
/// # Errors
/// As [`mine_hard_negatives`], and [`VectorError::RowMismatch`] when `rescore` gives another number of scores.
///
/// ```
/// use st_vectors::{Embeddings, HardNegativeOptions, mine_hard_negatives_with};
/// let queries = Embeddings::from_rows([[1.0, 0.0]])?;
/// let corpus = Embeddings::from_rows([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])?;
/// let options = HardNegativeOptions::new().num_negatives(1).max_score(5.0);
/// let by_row = |_: usize, rows: &[usize]| rows.iter().map(|&row| row as f32).collect();
/// let found = mine_hard_negatives_with(&queries, &corpus, &[vec![0]], &options, Some(&by_row))?;
/// assert_eq!(found.negatives[0][0].corpus_id, 2);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn mine_hard_negatives_with(
    queries: &Embeddings,
    corpus: &Embeddings,
    positives: &[Vec<usize>],
    options: &HardNegativeOptions,
    rescore: Option<&Rescore<'_>>,
) -> Result<HardNegatives> {
    check(queries, corpus, positives)?;
    let most_positives = positives.iter().map(Vec::len).max().unwrap_or(0);
    let most_positives = options.most_positives.unwrap_or(0).max(most_positives);
    let range_max = options.candidates(most_positives);
    let search = SearchOptions::new()
        .top_k(range_max.saturating_add(most_positives).min(corpus.rows()))
        .score_function(options.score_function);
    let rescore = rescore.filter(|_| options.needs_positive_scores() || options.max_score.is_some());
    let mut found = HardNegatives::default();
    for (query, mut hits) in semantic_search(queries, corpus, &search)?.into_iter().enumerate() {
        let own = &positives[query];
        let positive_scores = match rescore {
            Some(rescore) => {
                let ids: Vec<usize> = hits.iter().map(|hit| hit.corpus_id).collect();
                for (hit, score) in hits.iter_mut().zip(scores(rescore, query, &ids)?) {
                    hit.score = score;
                }
                scores(rescore, query, own)?
            }
            None => own_scores(queries, corpus, query, own, options.score_function)?,
        };
        found.candidates += hits.len();
        if !options.include_positives {
            hits.retain(|hit| !own.contains(&hit.corpus_id));
        }
        let lowest = positive_scores.iter().copied().fold(f32::INFINITY, f32::min);
        hits.retain(|hit| keep(hit.score, lowest, options, &mut found.dropped));
        // Rescored candidates are out of order.
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));
        hits.truncate(range_max);
        let mut hits = hits.split_off(options.range_min.min(hits.len()));
        if let NegativeSampling::Random { seed } = options.sampling {
            sample(&mut hits, options.num_negatives, seed ^ (query as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        hits.truncate(options.num_negatives);
        found.negatives.push(hits);
        found.positive_scores.push(positive_scores);
    }
    Ok(found)
}

fn check(queries: &Embeddings, corpus: &Embeddings, positives: &[Vec<usize>]) -> Result<()> {
    if positives.len() != queries.rows() {
        return Err(VectorError::RowMismatch { left: queries.rows(), right: positives.len() });
    }
    match positives.iter().flatten().find(|&&row| row >= corpus.rows()) {
        Some(&row) => Err(VectorError::RowOutOfRange { row, rows: corpus.rows() }),
        None => Ok(()),
    }
}

fn scores(rescore: &Rescore<'_>, query: usize, rows: &[usize]) -> Result<Vec<f32>> {
    let scores = rescore(query, rows);
    if scores.len() != rows.len() {
        return Err(VectorError::RowMismatch { left: rows.len(), right: scores.len() });
    }
    Ok(scores)
}

fn own_scores(
    queries: &Embeddings,
    corpus: &Embeddings,
    query: usize,
    own: &[usize],
    function: SimilarityFunction,
) -> Result<Vec<f32>> {
    if own.is_empty() {
        return Ok(Vec::new());
    }
    let one = Embeddings::from_rows([queries.row(query)])?;
    let rows = Embeddings::from_rows(own.iter().map(|&row| corpus.row(row)))?;
    Ok(function.similarity(&one, &rows)?.into_vec())
}

fn keep(score: f32, lowest_positive: f32, options: &HardNegativeOptions, dropped: &mut Dropped) -> bool {
    let too_near = |margin: Option<f32>, highest: fn(f32, f32, f32) -> bool| {
        margin.is_some_and(|margin| highest(score, margin, lowest_positive))
    };
    let count = if too_near(options.absolute_margin, |score, margin, lowest| score + margin > lowest) {
        &mut dropped.absolute_margin
    } else if too_near(options.relative_margin, |score, margin, lowest| score > lowest * (1.0 - margin)) {
        &mut dropped.relative_margin
    } else if options.max_score.is_some_and(|highest| score > highest) {
        &mut dropped.max_score
    } else if options.min_score.is_some_and(|lowest| score < lowest) {
        &mut dropped.min_score
    } else {
        return score > f32::NEG_INFINITY;
    };
    *count += 1;
    false
}

/// Keeps `count` random hits, in their order.
fn sample(hits: &mut Vec<Hit>, count: usize, seed: u64) {
    // SplitMix64 (Steele, Lea and Flood 2014).
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    };
    let mut left = hits.len();
    let mut wanted = count.min(left);
    // Selection sampling (Knuth, The Art of Computer Programming, volume 2, algorithm 3.4.2 S).
    hits.retain(|_| {
        let taken = next() % (left as u64) < wanted as u64;
        left -= 1;
        wanted -= usize::from(taken);
        taken
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(angles: &[f32]) -> Embeddings {
        Embeddings::from_rows(angles.iter().map(|angle| [angle.cos(), angle.sin()])).unwrap()
    }

    fn ids(found: &HardNegatives, query: usize) -> Vec<usize> {
        found.negatives[query].iter().map(|hit| hit.corpus_id).collect()
    }

    #[test]
    fn positives_are_left_out_unless_asked_for() {
        let (queries, corpus) = (circle(&[0.0]), circle(&[0.0, 0.1, 0.2, 0.3, 0.4]));
        let positives = [vec![0, 2]];
        let found = mine_hard_negatives(&queries, &corpus, &positives, &HardNegativeOptions::new()).unwrap();
        assert_eq!(ids(&found, 0), [1, 3, 4]);
        assert_eq!(found.positive_scores[0].len(), 2);
        assert!((found.positive_scores[0][1] - 0.2f32.cos()).abs() < 1e-6);
        let options = HardNegativeOptions::new().include_positives(true);
        let found = mine_hard_negatives(&queries, &corpus, &positives, &options).unwrap();
        assert_eq!(ids(&found, 0), [0, 1, 2]);
    }

    #[test]
    fn margins_and_limits_drop_and_count() {
        let (queries, corpus) = (circle(&[0.0]), circle(&[0.5, 0.1, 0.6, 0.8, 1.0, 1.5]));
        let run = |options: HardNegativeOptions| {
            mine_hard_negatives(&queries, &corpus, &[vec![0]], &options.num_negatives(5)).unwrap()
        };
        assert_eq!(ids(&run(HardNegativeOptions::new()), 0), [1, 2, 3, 4, 5]);
        // cos: 0.8776 (positive), 0.995, 0.825, 0.697, 0.540, 0.071
        let found = run(HardNegativeOptions::new().absolute_margin(0.1));
        assert_eq!((ids(&found, 0), found.dropped.absolute_margin), (vec![3, 4, 5], 2));
        let found = run(HardNegativeOptions::new().relative_margin(0.05));
        assert_eq!((ids(&found, 0), found.dropped.relative_margin), (vec![2, 3, 4, 5], 1));
        let found = run(HardNegativeOptions::new().max_score(0.6).min_score(0.1));
        assert_eq!((ids(&found, 0), found.dropped.max_score, found.dropped.min_score), (vec![4], 3, 1));
        assert_eq!(ids(&run(HardNegativeOptions::new().range_min(2)), 0), [3, 4, 5]);
        assert_eq!(ids(&run(HardNegativeOptions::new().range_min(1).range_max(3)), 0), [2, 3]);
    }

    #[test]
    fn random_negatives_repeat_and_come_from_the_range() {
        let angles: Vec<f32> = (0..50).map(|i| i as f32 * 0.02).collect();
        let (queries, corpus) = (circle(&[0.0, 0.5]), circle(&angles));
        let positives = [vec![0], vec![25]];
        let options =
            |seed| HardNegativeOptions::new().range_min(3).range_max(20).sampling(NegativeSampling::Random { seed });
        let run = |seed| mine_hard_negatives(&queries, &corpus, &positives, &options(seed)).unwrap();
        assert_eq!(run(7), run(7));
        assert!((0..20).any(|seed| run(seed).negatives != run(7).negatives));
        for (query, own) in positives.iter().enumerate() {
            let found = ids(&run(1), query);
            assert_eq!(found.len(), 3);
            assert!(!found.contains(&own[0]));
            assert!(run(1).negatives[query].is_sorted_by(|a, b| a.score >= b.score));
        }
    }

    #[test]
    fn a_small_corpus_gives_what_it_has() {
        let (queries, corpus) = (circle(&[0.0]), circle(&[0.0, 0.1]));
        let found = mine_hard_negatives(&queries, &corpus, &[vec![0]], &HardNegativeOptions::new()).unwrap();
        assert_eq!(ids(&found, 0), [1]);
    }

    #[test]
    fn wrong_rows_are_named() {
        let corpus = circle(&[0.0, 0.1]);
        let error = mine_hard_negatives(&corpus, &corpus, &[vec![0]], &HardNegativeOptions::new()).unwrap_err();
        assert_eq!(error, VectorError::RowMismatch { left: 2, right: 1 });
        let error =
            mine_hard_negatives(&corpus, &corpus, &[vec![0], vec![2]], &HardNegativeOptions::new()).unwrap_err();
        assert_eq!(error.to_string(), "row 2 is outside a matrix of 2 rows");
    }
}
