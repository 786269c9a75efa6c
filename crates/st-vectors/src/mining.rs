//! Pairs of similar vectors within one set.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use crate::search::{check_at_least_one, chunks, scan};
use crate::similarity::Scorer;
use crate::top_k::Score;
use crate::{Embeddings, Result, SimilarityFunction};

/// Pairs below this are never kept.
const FLOOR: f32 = -1.0;

/// Two rows of a set that are similar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParaphrasePair {
    /// Their score.
    pub score: f32,
    /// The smaller row.
    pub first: usize,
    /// The larger row.
    pub second: usize,
}

/// Options of [`paraphrase_mining_embeddings`].
///
/// ```
/// use st_vectors::MiningOptions;
/// assert_eq!(MiningOptions::new().top_k(5).top_k, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MiningOptions {
    /// Rows that are compared with a chunk of the others at a time.
    pub query_chunk_size: usize,
    /// Rows among which the `top_k` of a row are sought at a time: each chunk adds its own `top_k`.
    pub corpus_chunk_size: usize,
    /// Size of the queue of pairs; a pair counts twice in it, once from each side.
    pub max_pairs: usize,
    /// Similar rows that a row contributes per corpus chunk.
    pub top_k: usize,
    /// What decides how similar two vectors are.
    pub score_function: SimilarityFunction,
}

impl Default for MiningOptions {
    fn default() -> Self {
        Self {
            query_chunk_size: 5000,
            corpus_chunk_size: 100_000,
            max_pairs: 500_000,
            top_k: 100,
            score_function: SimilarityFunction::Cosine,
        }
    }
}

impl MiningOptions {
    /// The original's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`MiningOptions::query_chunk_size`].
    #[must_use]
    pub fn query_chunk_size(mut self, rows: usize) -> Self {
        self.query_chunk_size = rows;
        self
    }

    /// Sets [`MiningOptions::corpus_chunk_size`].
    #[must_use]
    pub fn corpus_chunk_size(mut self, rows: usize) -> Self {
        self.corpus_chunk_size = rows;
        self
    }

    /// Sets [`MiningOptions::max_pairs`].
    #[must_use]
    pub fn max_pairs(mut self, pairs: usize) -> Self {
        self.max_pairs = pairs;
        self
    }

    /// Sets [`MiningOptions::top_k`].
    #[must_use]
    pub fn top_k(mut self, rows: usize) -> Self {
        self.top_k = rows;
        self
    }

    /// Sets [`MiningOptions::score_function`].
    #[must_use]
    pub fn score_function(mut self, function: SimilarityFunction) -> Self {
        self.score_function = function;
        self
    }
}

/// The most similar pairs of rows, each once, by decreasing score.
///
/// Every row contributes its `top_k + 1` best rows of each corpus chunk (itself among them, as a rule). Pairs with a
/// score above −1 enter a queue; from the `max_pairs`-th on, each addition drops the lowest pair and its score becomes
/// the floor for later ones. Pairs of equal score are ordered by row.
///
/// # Errors
/// [`VectorError::ZeroOption`](crate::VectorError::ZeroOption) for a chunk size of 0.
///
/// ```
/// use st_vectors::{Embeddings, MiningOptions, paraphrase_mining_embeddings};
/// let embeddings = Embeddings::from_rows([[1.0, 0.0], [0.0, 1.0], [0.9, 0.1]])?;
/// let pairs = paraphrase_mining_embeddings(&embeddings, &MiningOptions::new())?;
/// assert_eq!((pairs[0].first, pairs[0].second, pairs.len()), (0, 2, 3));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn paraphrase_mining_embeddings(embeddings: &Embeddings, options: &MiningOptions) -> Result<Vec<ParaphrasePair>> {
    check_at_least_one("query_chunk_size", options.query_chunk_size)?;
    check_at_least_one("corpus_chunk_size", options.corpus_chunk_size)?;
    let scorer = Scorer::new(options.score_function, embeddings, embeddings)?;
    let limit = options.top_k.saturating_add(1);
    // The lowest (score, row, other row) on top.
    let mut queue = BinaryHeap::new();
    let (mut floor, mut added) = (Score::new(FLOOR), 0usize);
    for span in chunks(embeddings.rows(), options.corpus_chunk_size) {
        for queries in chunks(embeddings.rows(), options.query_chunk_size) {
            let found = scan(&scorer, queries.clone(), embeddings, span.clone(), limit);
            for (row, top) in queries.zip(found) {
                for other in top.into_sorted() {
                    if row == other.id || other.score <= floor {
                        continue;
                    }
                    queue.push(Reverse((other.score, row, other.id)));
                    added += 1;
                    if added >= options.max_pairs
                        && let Some(Reverse((lowest, ..))) = queue.pop()
                    {
                        floor = lowest;
                    }
                }
            }
        }
    }
    let mut seen = HashSet::new();
    let mut pairs = Vec::new();
    while let Some(Reverse((score, row, other))) = queue.pop() {
        let (first, second) = (row.min(other), row.max(other));
        if seen.insert((first, second)) {
            pairs.push(ParaphrasePair { score: score.value(), first, second });
        }
    }
    pairs.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(pairs)
}
