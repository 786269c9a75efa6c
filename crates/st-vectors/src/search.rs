//! Exact search over float vectors.

use std::ops::Range;

use rayon::prelude::*;

use crate::similarity::{BLOCK_ROWS, Scorer};
use crate::top_k::{Score, TopK, merge_all};
use crate::{Embeddings, Result, SimilarityFunction, VectorError};

/// Queries per block of scores.
const BLOCK_QUERIES: usize = 128;

/// A corpus vector that was found, and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// Row in the corpus.
    pub corpus_id: usize,
    /// Its score; NaN is reported as −∞.
    pub score: f32,
}

/// Options of [`semantic_search`].
///
/// ```
/// use st_vectors::{SearchOptions, SimilarityFunction};
/// let options = SearchOptions::new().top_k(3).score_function(SimilarityFunction::Dot);
/// assert_eq!((options.top_k, options.query_chunk_size), (3, 100));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SearchOptions {
    /// Queries that pass over the corpus together. Their partial results are all that a pass keeps.
    pub query_chunk_size: usize,
    /// Corpus rows of a pass, divided among the cores.
    pub corpus_chunk_size: usize,
    /// Hits per query.
    pub top_k: usize,
    /// What decides how well two vectors fit.
    pub score_function: SimilarityFunction,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            query_chunk_size: 100,
            corpus_chunk_size: 500_000,
            top_k: 10,
            score_function: SimilarityFunction::Cosine,
        }
    }
}

impl SearchOptions {
    /// 100 queries against 500,000 rows at a time, the ten best by cosine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`SearchOptions::query_chunk_size`].
    #[must_use]
    pub fn query_chunk_size(mut self, queries: usize) -> Self {
        self.query_chunk_size = queries;
        self
    }

    /// Sets [`SearchOptions::corpus_chunk_size`].
    #[must_use]
    pub fn corpus_chunk_size(mut self, rows: usize) -> Self {
        self.corpus_chunk_size = rows;
        self
    }

    /// Sets [`SearchOptions::top_k`].
    #[must_use]
    pub fn top_k(mut self, hits: usize) -> Self {
        self.top_k = hits;
        self
    }

    /// Sets [`SearchOptions::score_function`].
    #[must_use]
    pub fn score_function(mut self, function: SimilarityFunction) -> Self {
        self.score_function = function;
        self
    }
}

/// The best corpus rows for each query, by decreasing score; equal scores by the smaller row. Exact, on all cores.
///
/// Scores exist only for a cache-sized block at a time, never for all queries with the whole corpus. Vectors need not
/// be normalised for cosine.
///
/// # Errors
/// [`VectorError::DimensionMismatch`], and [`VectorError::ZeroOption`] for a chunk size of 0.
///
/// ```
/// use st_vectors::{Embeddings, SearchOptions, semantic_search};
/// let corpus = Embeddings::from_rows([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])?;
/// let queries = Embeddings::from(vec![3.0, 0.1]);
/// let hits = semantic_search(&queries, &corpus, &SearchOptions::new().top_k(2))?;
/// assert_eq!(hits[0].iter().map(|hit| hit.corpus_id).collect::<Vec<_>>(), [0, 2]);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn semantic_search(queries: &Embeddings, corpus: &Embeddings, options: &SearchOptions) -> Result<Vec<Vec<Hit>>> {
    check_at_least_one("query_chunk_size", options.query_chunk_size)?;
    check_at_least_one("corpus_chunk_size", options.corpus_chunk_size)?;
    let scorer = Scorer::new(options.score_function, queries, corpus)?;
    let mut results = Vec::with_capacity(queries.rows());
    for chunk in chunks(queries.rows(), options.query_chunk_size) {
        let none = vec![TopK::new(options.top_k); chunk.len()];
        let found = chunks(corpus.rows(), options.corpus_chunk_size)
            .map(|span| scan(&scorer, chunk.clone(), corpus, span, options.top_k))
            .fold(none, merge_all);
        results.extend(found.into_iter().map(|top| {
            let best = top.into_sorted().into_iter();
            best.map(|best| Hit { corpus_id: best.id, score: best.score.value() }).collect()
        }));
    }
    Ok(results)
}

pub(crate) fn check_at_least_one(option: &'static str, value: usize) -> Result<()> {
    if value == 0 { Err(VectorError::ZeroOption { option }) } else { Ok(()) }
}

/// `0..rows` in parts of `size` rows.
pub(crate) fn chunks(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(size).map(move |start| start..start.saturating_add(size).min(rows))
}

/// Parts of a span for the cores, each of several blocks where the span is long enough.
pub(crate) fn parts(span: Range<usize>, block: usize) -> Vec<Range<usize>> {
    let size = span.len().div_ceil(rayon::current_num_threads() * 4).next_multiple_of(block).max(block);
    chunks(span.len(), size).map(|part| span.start + part.start..span.start + part.end).collect()
}

/// The best `limit` rows of a span of the corpus for some queries.
pub(crate) fn scan(
    scorer: &Scorer<'_>,
    queries: Range<usize>,
    corpus: &Embeddings,
    span: Range<usize>,
    limit: usize,
) -> Vec<TopK<Score>> {
    let none = || vec![TopK::new(limit); queries.len()];
    parts(span, BLOCK_ROWS)
        .into_par_iter()
        .map(|part| {
            let mut tops = none();
            for_each_row(scorer, queries.clone(), corpus, part, |query, first, scores| {
                tops[query - queries.start].push_all(scores, first);
            });
            tops
        })
        .reduce(none, merge_all)
}

/// Calls `visit(query, first corpus row, scores of the rows from there)` for all pairs, block after block; for each
/// query the corpus rows come in order.
pub(crate) fn for_each_row(
    scorer: &Scorer<'_>,
    queries: Range<usize>,
    corpus: &Embeddings,
    span: Range<usize>,
    mut visit: impl FnMut(usize, usize, &[f32]),
) {
    let mut scores = vec![0f32; BLOCK_QUERIES.min(queries.len()) * BLOCK_ROWS];
    for block in chunks(span.len(), BLOCK_ROWS).map(|block| span.start + block.start..span.start + block.end) {
        let rows = corpus.row_span(block.start, block.end);
        let norms = scorer.norms(rows);
        for some in chunks(queries.len(), BLOCK_QUERIES) {
            let some = queries.start + some.start..queries.start + some.end;
            scorer.block(some.clone(), rows, &norms, &mut scores, BLOCK_ROWS);
            for (query, scores) in some.zip(scores.chunks_exact(BLOCK_ROWS)) {
                visit(query, block.start, &scores[..block.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small whole numbers, so that ties are common.
    fn coarse(rows: usize, dimension: usize, seed: u64) -> Embeddings {
        let mut state = seed;
        let data = (0..rows * dimension).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % 7) as f32 - 3.0
        });
        Embeddings::new(data.collect(), rows, dimension).unwrap()
    }

    proptest! {
        #[test]
        fn search_finds_what_sorting_all_scores_finds(
            queries in 0usize..6,
            rows in 0usize..700,
            dimension in 1usize..20,
            top_k in 0usize..15,
            query_chunk_size in 1usize..4,
            corpus_chunk_size in 1usize..900,
            function in 0usize..4,
            seed: u64,
        ) {
            let score_function = SimilarityFunction::ALL[function].0;
            let (queries, corpus) = (coarse(queries, dimension, seed), coarse(rows, dimension, !seed));
            let options = SearchOptions { query_chunk_size, corpus_chunk_size, top_k, score_function };
            let found = semantic_search(&queries, &corpus, &options).unwrap();
            let scores = score_function.similarity(&queries, &corpus).unwrap();
            prop_assert_eq!(found.len(), queries.rows());
            for (found, scores) in found.iter().zip(scores.rows_iter()) {
                let mut all: Vec<usize> = (0..rows).collect();
                all.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
                let ids: Vec<usize> = found.iter().map(|hit| hit.corpus_id).collect();
                prop_assert_eq!(&ids[..], &all[..top_k.min(rows)]);
                prop_assert!(found.iter().all(|hit| hit.score == scores[hit.corpus_id]));
            }
        }

        #[test]
        fn cosine_is_symmetric_and_pairwise_is_the_diagonal(rows in 1usize..40, dimension in 1usize..40, seed: u64) {
            let a = coarse(rows, dimension, seed);
            for (function, _) in SimilarityFunction::ALL {
                let scores = function.similarity(&a, &a).unwrap();
                let diagonal = function.similarity_pairwise(&a, &a).unwrap();
                for (i, &own) in diagonal.iter().enumerate() {
                    prop_assert_eq!(own, scores.row(i)[i]);
                    for j in 0..rows {
                        prop_assert_eq!(scores.get(i, j), scores.get(j, i));
                    }
                }
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_threads() {
        let (queries, corpus) = (coarse(9, 24, 5), coarse(5000, 24, 6));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let matrix = SimilarityFunction::Cosine.similarity(&queries, &corpus).unwrap();
                (semantic_search(&queries, &corpus, &SearchOptions::new().top_k(50)).unwrap(), matrix)
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn unusable_options_are_named() {
        let a = coarse(2, 3, 1);
        let error = semantic_search(&a, &a, &SearchOptions::new().corpus_chunk_size(0)).unwrap_err();
        assert_eq!(error.to_string(), "corpus_chunk_size must be at least 1");
        let error = semantic_search(&a, &coarse(2, 4, 1), &SearchOptions::new()).unwrap_err();
        assert_eq!(error, VectorError::DimensionMismatch { left: 3, right: 4 });
    }
}
