//! Exact search over stored vectors, with rescoring by the float queries.

use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::byte_products::{self, Products};
#[cfg(feature = "approximate")]
use crate::kernels::integer::{self, RowScores};
use crate::search::{check_at_least_one, chunks, parts};
use crate::top_k::{TopK, merge_all};
use crate::{
    Embeddings, Hit, Precision, QuantizedEmbeddings, Ranges, Result, SearchOptions, SimilarityFunction, VectorError,
    quantize_embeddings, semantic_search,
};

/// Stored rows that stay in the cache while all queries pass.
const BLOCK_ROWS: usize = 512;

/// Queries whose scores with such a block stay in the cache too.
const BLOCK_QUERIES: usize = 32;

/// Queries that pass over the corpus together.
const QUERY_CHUNK: usize = 128;

/// What searches a stored corpus: float vectors, or vectors stored like the corpus.
#[derive(Debug, Clone, Copy)]
pub enum SearchQueries<'a> {
    /// Float vectors; they are stored like the corpus for the search, and can rescore what it finds.
    Float(&'a Embeddings),
    /// Vectors of the corpus precision.
    Stored(&'a QuantizedEmbeddings),
}

impl<'a> From<&'a Embeddings> for SearchQueries<'a> {
    fn from(queries: &'a Embeddings) -> Self {
        Self::Float(queries)
    }
}

impl<'a> From<&'a QuantizedEmbeddings> for SearchQueries<'a> {
    fn from(queries: &'a QuantizedEmbeddings) -> Self {
        Self::Stored(queries)
    }
}

/// Options of [`semantic_search_quantized`].
///
/// ```
/// use st_vectors::QuantizedSearchOptions;
/// let options = QuantizedSearchOptions::new().top_k(3).rescore_multiplier(4);
/// assert_eq!((options.top_k, options.rescore, options.rescore_multiplier), (3, true, 4));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedSearchOptions {
    /// Hits per query.
    pub top_k: usize,
    /// Whether float queries score the hits again.
    pub rescore: bool,
    /// How many times `top_k` rows are scored again.
    pub rescore_multiplier: usize,
    /// The ranges that the corpus was stored with, for int8 and uint8; without them the queries' own are taken, which
    /// fits badly (a warning in the log says so).
    pub ranges: Option<Ranges>,
}

impl Default for QuantizedSearchOptions {
    fn default() -> Self {
        Self { top_k: 10, rescore: true, rescore_multiplier: 2, ranges: None }
    }
}

impl QuantizedSearchOptions {
    /// The ten best of twenty rescored rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`QuantizedSearchOptions::top_k`].
    #[must_use]
    pub fn top_k(mut self, hits: usize) -> Self {
        self.top_k = hits;
        self
    }

    /// Sets [`QuantizedSearchOptions::rescore`].
    #[must_use]
    pub fn rescore(mut self, rescore: bool) -> Self {
        self.rescore = rescore;
        self
    }

    /// Sets [`QuantizedSearchOptions::rescore_multiplier`].
    #[must_use]
    pub fn rescore_multiplier(mut self, times: usize) -> Self {
        self.rescore_multiplier = times;
        self
    }

    /// Sets [`QuantizedSearchOptions::ranges`].
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }
}

/// The best stored rows for each query, best first; equal scores by the smaller row. Exact, on all cores.
///
/// | corpus | score of the search |
/// | --- | --- |
/// | float32 | dot product |
/// | int8, uint8 | dot product of the stored integers |
/// | binary, ubinary | number of bits that differ; the smallest comes first |
///
/// With `rescore`, float queries and a corpus that is not float32, the best `top_k · rescore_multiplier` rows are
/// scored again by the dot product of the float query with the stored numbers (bits as 0 and 1), and the best `top_k`
/// by that score are the result. Where that cannot be, a warning in the log says so. binary and ubinary give the same
/// hits; the original unpacks binary bytes with their first bit flipped.
///
/// # Errors
/// [`VectorError::DimensionMismatch`], [`VectorError::PrecisionMismatch`] for stored queries of another precision,
/// [`VectorError::ZeroOption`] for a multiplier of 0, and those of [`quantize_embeddings`].
///
/// ```
/// use st_vectors::{Embeddings, Precision, QuantizedSearchOptions, quantize_embeddings, semantic_search_quantized};
/// let corpus = Embeddings::from_rows([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.5], [0.9, 0.8, -0.1]])?;
/// let stored = quantize_embeddings(&corpus, Precision::Ubinary, None, None)?;
/// let query = Embeddings::from(vec![0.2, 0.9, -0.3]);
/// let hits = semantic_search_quantized(&query, &stored, &QuantizedSearchOptions::new().top_k(1))?;
/// assert_eq!(hits[0][0].corpus_id, 2);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn semantic_search_quantized<'a>(
    queries: impl Into<SearchQueries<'a>>,
    corpus: &QuantizedEmbeddings,
    options: &QuantizedSearchOptions,
) -> Result<Vec<Vec<Hit>>> {
    let prepared = prepare(queries.into(), corpus, options)?;
    let hits = search_stored(prepared.stored(), corpus, prepared.limit)?;
    Ok(finish(&prepared, corpus, hits, options))
}

/// Queries as they are searched with, and what they are rescored with.
pub(crate) struct Prepared<'a> {
    made: Option<QuantizedEmbeddings>,
    given: Option<&'a QuantizedEmbeddings>,
    rescoring: Option<&'a Embeddings>,
    /// Hits that the search has to find for each query.
    pub(crate) limit: usize,
}

impl Prepared<'_> {
    /// The queries in the precision of the corpus.
    pub(crate) fn stored(&self) -> &QuantizedEmbeddings {
        static NONE: std::sync::LazyLock<QuantizedEmbeddings> =
            std::sync::LazyLock::new(|| QuantizedEmbeddings::from(Embeddings::zeros(0, 0)));
        self.made.as_ref().or(self.given).unwrap_or(&NONE)
    }
}

/// Checks queries and options, and stores float queries like the corpus.
pub(crate) fn prepare<'a>(
    queries: SearchQueries<'a>,
    corpus: &QuantizedEmbeddings,
    options: &QuantizedSearchOptions,
) -> Result<Prepared<'a>> {
    check_at_least_one("rescore_multiplier", options.rescore_multiplier)?;
    let precision = corpus.precision();
    let (made, given, float) = match queries {
        SearchQueries::Float(queries) => {
            check_dimensions(queries.rows(), queries.dimension(), corpus)?;
            let made = quantize_embeddings(queries, precision, options.ranges.as_ref(), None)?;
            (Some(made), None, Some(queries))
        }
        SearchQueries::Stored(queries) => (None, Some(queries), None),
    };
    let rescoring = float.filter(|_| options.rescore && precision != Precision::Float32);
    let times = if rescoring.is_some() { options.rescore_multiplier } else { 1 };
    let prepared = Prepared { made, given, rescoring, limit: options.top_k.saturating_mul(times) };
    let stored = prepared.stored();
    if stored.precision() != precision {
        return Err(VectorError::PrecisionMismatch { queries: stored.precision(), corpus: precision });
    }
    check_dimensions(stored.rows(), stored.original_dimension(), corpus)?;
    if options.rescore && rescoring.is_none() {
        let reason = if precision == Precision::Float32 { "the corpus is" } else { "the queries are" };
        let state = if precision == Precision::Float32 { "not quantized" } else { "quantized already" };
        log::warn!("Rescoring is enabled but {reason} {state}; pass `rescore(false)`.");
    }
    Ok(prepared)
}

/// Rescores what was found, where that was asked for and can be.
pub(crate) fn finish(
    prepared: &Prepared<'_>,
    corpus: &QuantizedEmbeddings,
    hits: Vec<Vec<Hit>>,
    options: &QuantizedSearchOptions,
) -> Vec<Vec<Hit>> {
    match prepared.rescoring {
        Some(queries) => rescore(queries, corpus, hits, options.top_k),
        None => hits,
    }
}

/// Some corpus rows with the scores that the exact search gives them, best first.
#[cfg(feature = "approximate")]
pub(crate) fn exact_scores(
    queries: &QuantizedEmbeddings,
    query: usize,
    corpus: &QuantizedEmbeddings,
    rows: impl Iterator<Item = usize>,
) -> Vec<Hit> {
    let bits = matches!(corpus.precision(), Precision::Binary | Precision::Ubinary);
    let mut scored: Vec<Hit> = rows
        .map(|row| {
            let score = match (
                queries.row_f32(query).zip(corpus.row_f32(row)),
                queries.row_i8(query).zip(corpus.row_i8(row)),
                queries.row_u8(query).zip(corpus.row_u8(row)),
            ) {
                (Some((a, b)), ..) => crate::kernels::pair(crate::kernels::Measure::Dot, a, b),
                (_, Some((a, b)), _) => one(a, b, if bits { integer::hamming_i8() } else { integer::dot_i8() }),
                (.., Some((a, b))) => one(a, b, if bits { integer::hamming_u8() } else { integer::dot_u8() }),
                _ => f32::NAN,
            };
            Hit { corpus_id: row, score: if bits { -score } else { score } }
        })
        .collect();
    let order = |hit: &Hit| if bits { -hit.score } else { hit.score };
    scored.sort_by(|a, b| order(b).total_cmp(&order(a)).then(a.corpus_id.cmp(&b.corpus_id)));
    scored
}

#[cfg(feature = "approximate")]
fn one<T>(query: &[T], row: &[T], scores: RowScores<T>) -> f32 {
    let mut score = [0i64];
    scores(query, row, &mut score);
    score[0] as f32
}

fn check_dimensions(queries: usize, dimension: usize, corpus: &QuantizedEmbeddings) -> Result<()> {
    if queries == 0 || corpus.is_empty() || dimension == corpus.original_dimension() {
        Ok(())
    } else {
        Err(VectorError::DimensionMismatch { left: dimension, right: corpus.original_dimension() })
    }
}

fn search_stored(queries: &QuantizedEmbeddings, corpus: &QuantizedEmbeddings, limit: usize) -> Result<Vec<Vec<Hit>>> {
    if let (Some(queries), Some(corpus)) = (queries.as_embeddings(), corpus.as_embeddings()) {
        let options = SearchOptions::new().top_k(limit).score_function(SimilarityFunction::Dot);
        return semantic_search(queries, corpus, &options);
    }
    if corpus.is_empty() {
        return Ok(vec![Vec::new(); queries.rows()]);
    }
    let bits = matches!(corpus.precision(), Precision::Binary | Precision::Ubinary);
    let tops = match (queries.as_i8().zip(corpus.as_i8()), queries.as_u8().zip(corpus.as_u8())) {
        // A signed byte of bits has its first bit flipped, on both sides: the number that differ stays the same.
        (Some((asked, rows)), _) => scan(
            asked,
            rows,
            corpus,
            limit,
            if bits { byte_products::differing_signed() } else { byte_products::signed() },
        ),
        (_, Some((asked, rows))) => scan(
            asked,
            rows,
            corpus,
            limit,
            if bits { byte_products::differing_unsigned() } else { byte_products::unsigned() },
        ),
        _ => Vec::new(),
    };
    let mut hits: Vec<Vec<Hit>> = tops.into_iter().map(|top| found(top, bits)).collect();
    // Vectors without dimensions have no values to take the number of queries from.
    hits.resize(queries.rows(), Vec::new());
    Ok(hits)
}

/// The hits of one query; bits are counted as differing, not as minus that.
fn found(top: TopK<i64>, bits: bool) -> Vec<Hit> {
    let best = top.into_sorted().into_iter();
    best.map(|best| Hit { corpus_id: best.id, score: if bits { -best.score } else { best.score } as f32 }).collect()
}

/// The best `limit` corpus rows for each query by an integer score.
fn scan<T: Sync>(
    queries: &[T],
    rows: &[T],
    corpus: &QuantizedEmbeddings,
    limit: usize,
    products: Products<T>,
) -> Vec<TopK<i64>> {
    let width = corpus.dimension();
    let mut out = Vec::new();
    for some in queries.chunks((QUERY_CHUNK * width).max(1)) {
        let none = || vec![TopK::new(limit); some.len() / width];
        let part = |part: Range<usize>| {
            let mut tops = none();
            let mut scores = vec![0i64; BLOCK_QUERIES * BLOCK_ROWS];
            for block in chunks(part.len(), BLOCK_ROWS) {
                let first = part.start + block.start;
                let rows = &rows[first * width..(part.start + block.end) * width];
                for (asked, tops) in some.chunks(BLOCK_QUERIES * width).zip(tops.chunks_mut(BLOCK_QUERIES)) {
                    let scores = &mut scores[..block.len() * tops.len()];
                    products(asked, rows, width, scores);
                    for (top, scores) in tops.iter_mut().zip(scores.chunks_exact(block.len())) {
                        top.push_all(scores, first);
                    }
                }
            }
            tops
        };
        out.extend(parts(0..corpus.rows(), BLOCK_ROWS).into_par_iter().map(part).reduce(none, merge_all));
    }
    out
}

/// Scores hits again: the float query with the stored numbers, summed in double precision.
fn rescore(queries: &Embeddings, corpus: &QuantizedEmbeddings, hits: Vec<Vec<Hit>>, top_k: usize) -> Vec<Vec<Hit>> {
    let rescored = hits.into_par_iter().enumerate().map(|(query, hits)| {
        let query = queries.row(query);
        let mut stored = vec![0f32; corpus.original_dimension()];
        let mut scored: Vec<(f64, usize)> = hits
            .iter()
            .map(|hit| {
                corpus.expand_row(hit.corpus_id, &mut stored);
                let products = query.iter().zip(&stored).map(|(&a, &b)| f64::from(a) * f64::from(b));
                let score: f64 = products.sum();
                (if score.is_nan() { f64::NEG_INFINITY } else { score + 0.0 }, hit.corpus_id)
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        scored.truncate(top_k);
        scored.into_iter().map(|(score, corpus_id)| Hit { corpus_id, score: score as f32 }).collect()
    });
    rescored.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(rows: usize, dimension: usize, precision: Precision) -> QuantizedEmbeddings {
        quantize_embeddings(&Embeddings::zeros(rows, dimension), precision, None, None).unwrap()
    }

    #[test]
    fn nothing_to_search_and_nothing_to_find() {
        let search = |queries: Embeddings, corpus: QuantizedEmbeddings| {
            semantic_search_quantized(&queries, &corpus, &QuantizedSearchOptions::new()).unwrap()
        };
        for (precision, _) in Precision::ALL {
            assert_eq!(search(Embeddings::zeros(2, 5), stored(0, 0, precision)), [vec![], vec![]]);
            assert!(search(Embeddings::zeros(0, 0), stored(3, 5, precision)).is_empty());
            assert_eq!(search(Embeddings::zeros(2, 0), stored(3, 0, precision)).len(), 2);
            assert_eq!(search(Embeddings::zeros(1, 5), stored(3, 5, precision))[0].len(), 3);
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let options = QuantizedSearchOptions::new();
        let corpus = stored(3, 9, Precision::Ubinary);
        let error = semantic_search_quantized(&stored(1, 9, Precision::Int8), &corpus, &options).unwrap_err();
        assert_eq!(error.to_string(), "queries of precision int8 cannot search a corpus of precision ubinary");
        let error = semantic_search_quantized(&stored(1, 10, Precision::Ubinary), &corpus, &options).unwrap_err();
        assert_eq!(error, VectorError::DimensionMismatch { left: 10, right: 9 });
        let error = semantic_search_quantized(&Embeddings::zeros(1, 8), &corpus, &options).unwrap_err();
        assert_eq!(error, VectorError::DimensionMismatch { left: 8, right: 9 });
        let error = semantic_search_quantized(&corpus, &corpus, &options.rescore_multiplier(0)).unwrap_err();
        assert_eq!(error, VectorError::ZeroOption { option: "rescore_multiplier" });
    }
}
