//! The similarity functions, every row against every row and row by row.

use std::ops::Range;

use rayon::prelude::*;

use crate::embeddings::floored_norm;
use crate::kernels::{self, Measure};
use crate::{Embeddings, Result, SimilarityFunction, SimilarityMatrix, VectorError};

/// Corpus rows per block of scores: small enough for the second-level cache.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Multiplications from which on work is spread over the cores.
const PARALLEL_PRODUCTS: usize = 1 << 18;

impl SimilarityFunction {
    /// Every row of `a` with every row of `b`: `[rows of a, rows of b]`, on all cores.
    ///
    /// # Errors
    /// [`VectorError::DimensionMismatch`] when the two differ in dimension.
    pub fn similarity(&self, a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
        let scorer = Scorer::new(*self, a, b)?;
        let (rows, columns) = (a.rows(), b.rows());
        let mut data = vec![0f32; rows.saturating_mul(columns)];
        if data.is_empty() {
            return SimilarityMatrix::new(data, rows, columns);
        }
        let corpus_norms = scorer.norms_on_all_cores(b.as_slice());
        let products = data.len().saturating_mul(a.dimension());
        let threads = if products < PARALLEL_PRODUCTS { 1 } else { rayon::current_num_threads() };
        if threads == 1 || rows >= threads * 4 {
            let height = rows.div_ceil(threads * 4).clamp(1, 128).min(rows);
            let work = |(index, out): (usize, &mut [f32])| {
                let start = index * height;
                scorer.fill(start..(start + height).min(rows), b, &corpus_norms, 0..columns, out, columns);
            };
            if threads == 1 {
                data.chunks_mut(height * columns).enumerate().for_each(work);
            } else {
                data.par_chunks_mut(height * columns).enumerate().for_each(work);
            }
        } else {
            // Few rows: each core takes some columns.
            let width = columns.div_ceil(threads * 4).max(BLOCK_ROWS);
            let spans: Vec<Vec<f32>> = (0..columns.div_ceil(width))
                .into_par_iter()
                .map(|span| {
                    let span = span * width..((span + 1) * width).min(columns);
                    let mut out = vec![0f32; rows * span.len()];
                    scorer.fill(0..rows, b, &corpus_norms, span.clone(), &mut out, span.len());
                    out
                })
                .collect();
            for (row, out) in data.chunks_exact_mut(columns).enumerate() {
                for (out, span) in out.chunks_mut(width).zip(&spans) {
                    out.copy_from_slice(&span[row * out.len()..][..out.len()]);
                }
            }
        }
        SimilarityMatrix::new(data, rows, columns)
    }

    /// Each row of `a` with the row of `b` at the same place.
    ///
    /// # Errors
    /// [`VectorError::DimensionMismatch`] or [`VectorError::RowMismatch`] when the two differ in shape.
    pub fn similarity_pairwise(&self, a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
        check_pairs(a, b)?;
        let pair = |row: usize| self.pair(a.row(row), b.row(row));
        Ok(if a.as_slice().len() < PARALLEL_PRODUCTS {
            (0..a.rows()).map(pair).collect()
        } else {
            (0..a.rows()).into_par_iter().with_min_len(64).map(pair).collect()
        })
    }

    /// The score of two vectors of one length.
    fn pair(self, a: &[f32], b: &[f32]) -> f32 {
        let sum = kernels::pair(self.measure(), a, b);
        match self {
            Self::Cosine => sum / (floored_norm(a) * floored_norm(b)),
            _ => self.finish(sum),
        }
    }

    fn measure(self) -> Measure {
        match self {
            Self::Cosine | Self::Dot => Measure::Dot,
            Self::Euclidean => Measure::SquaredDistance,
            Self::Manhattan => Measure::AbsoluteDistance,
        }
    }

    /// From the sum of a kernel to the score; cosine is also divided by the norms.
    fn finish(self, sum: f32) -> f32 {
        match self {
            Self::Cosine | Self::Dot => sum,
            Self::Euclidean => -sum.sqrt(),
            Self::Manhattan => -sum,
        }
    }
}

/// A set of queries, ready to be compared with blocks of a corpus.
pub(crate) struct Scorer<'a> {
    function: SimilarityFunction,
    queries: &'a Embeddings,
    query_norms: Vec<f32>,
}

impl<'a> Scorer<'a> {
    pub(crate) fn new(function: SimilarityFunction, queries: &'a Embeddings, corpus: &Embeddings) -> Result<Self> {
        check_dimensions(queries, corpus)?;
        let mut out = Self { function, queries, query_norms: Vec::new() };
        out.query_norms = out.norms_on_all_cores(queries.as_slice());
        Ok(out)
    }

    /// Norms of rows, where the function needs them.
    pub(crate) fn norms(&self, rows: &[f32]) -> Vec<f32> {
        match (self.function, self.queries.dimension()) {
            (SimilarityFunction::Cosine, dimension @ 1..) => rows.chunks_exact(dimension).map(floored_norm).collect(),
            _ => Vec::new(),
        }
    }

    fn norms_on_all_cores(&self, rows: &[f32]) -> Vec<f32> {
        match (self.function, self.queries.dimension()) {
            (SimilarityFunction::Cosine, dimension @ 1..) if rows.len() >= PARALLEL_PRODUCTS => {
                rows.par_chunks_exact(dimension).with_min_len(BLOCK_ROWS).map(floored_norm).collect()
            }
            _ => self.norms(rows),
        }
    }

    /// Scores of some queries with the `corpus` rows, whose norms are given: `out[i · stride + j]`.
    pub(crate) fn block(&self, queries: Range<usize>, corpus: &[f32], norms: &[f32], out: &mut [f32], stride: usize) {
        let dimension = self.queries.dimension();
        if dimension == 0 {
            return;
        }
        let columns = corpus.len() / dimension;
        let rows = self.queries.row_span(queries.start, queries.end);
        kernels::block(self.function.measure(), rows, corpus, dimension, out, stride);
        for (query, out) in queries.zip(out.chunks_mut(stride)) {
            let out = &mut out[..columns];
            match self.function {
                SimilarityFunction::Cosine => {
                    let norm = self.query_norms[query];
                    out.iter_mut().zip(norms).for_each(|(score, other)| *score /= norm * other);
                }
                SimilarityFunction::Dot => {}
                function => out.iter_mut().for_each(|score| *score = function.finish(*score)),
            }
        }
    }

    /// [`Scorer::block`] over the `span` of corpus rows, block after block.
    fn fill(
        &self,
        queries: Range<usize>,
        corpus: &Embeddings,
        corpus_norms: &[f32],
        span: Range<usize>,
        out: &mut [f32],
        stride: usize,
    ) {
        for start in span.clone().step_by(BLOCK_ROWS) {
            let end = (start + BLOCK_ROWS).min(span.end);
            let norms = corpus_norms.get(start..end).unwrap_or_default();
            self.block(queries.clone(), corpus.row_span(start, end), norms, &mut out[start - span.start..], stride);
        }
    }
}

pub(crate) fn check_dimensions(a: &Embeddings, b: &Embeddings) -> Result<()> {
    if a.dimension() == b.dimension() || a.is_empty() || b.is_empty() {
        Ok(())
    } else {
        Err(VectorError::DimensionMismatch { left: a.dimension(), right: b.dimension() })
    }
}

fn check_pairs(a: &Embeddings, b: &Embeddings) -> Result<()> {
    if a.rows() != b.rows() {
        return Err(VectorError::RowMismatch { left: a.rows(), right: b.rows() });
    }
    check_dimensions(a, b)
}

/// [`SimilarityFunction::Cosine`] of every row of `a` with every row of `b`.
///
/// # Errors
/// [`VectorError::DimensionMismatch`] when the two differ in dimension.
pub fn cos_sim(a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
    SimilarityFunction::Cosine.similarity(a, b)
}

/// [`SimilarityFunction::Dot`] of every row of `a` with every row of `b`.
///
/// # Errors
/// [`VectorError::DimensionMismatch`] when the two differ in dimension.
pub fn dot_score(a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
    SimilarityFunction::Dot.similarity(a, b)
}

/// [`SimilarityFunction::Euclidean`] of every row of `a` with every row of `b`.
///
/// # Errors
/// [`VectorError::DimensionMismatch`] when the two differ in dimension.
pub fn euclidean_sim(a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
    SimilarityFunction::Euclidean.similarity(a, b)
}

/// [`SimilarityFunction::Manhattan`] of every row of `a` with every row of `b`.
///
/// # Errors
/// [`VectorError::DimensionMismatch`] when the two differ in dimension.
pub fn manhattan_sim(a: &Embeddings, b: &Embeddings) -> Result<SimilarityMatrix> {
    SimilarityFunction::Manhattan.similarity(a, b)
}

/// [`SimilarityFunction::Cosine`] row by row.
///
/// # Errors
/// When the two differ in shape.
pub fn pairwise_cos_sim(a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
    SimilarityFunction::Cosine.similarity_pairwise(a, b)
}

/// [`SimilarityFunction::Dot`] row by row.
///
/// # Errors
/// When the two differ in shape.
pub fn pairwise_dot_score(a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
    SimilarityFunction::Dot.similarity_pairwise(a, b)
}

/// [`SimilarityFunction::Euclidean`] row by row.
///
/// # Errors
/// When the two differ in shape.
pub fn pairwise_euclidean_sim(a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
    SimilarityFunction::Euclidean.similarity_pairwise(a, b)
}

/// [`SimilarityFunction::Manhattan`] row by row.
///
/// # Errors
/// When the two differ in shape.
pub fn pairwise_manhattan_sim(a: &Embeddings, b: &Embeddings) -> Result<Vec<f32>> {
    SimilarityFunction::Manhattan.similarity_pairwise(a, b)
}

/// The normalised angle of AnglE (arXiv 2309.12871), row by row.
///
/// The first half of a row is read as real parts, the second as imaginary: x = (a, b), y = (c, d). The result is
/// |Σ(ac + bd) + Σ(bc − ad)| / (‖x‖ · ‖y‖), summed in double precision. It is NaN where a row is zero, as the
/// original's.
///
/// # Errors
/// When the two differ in shape; [`VectorError::OddDimension`] for rows without halves.
pub fn pairwise_angle_sim(x: &Embeddings, y: &Embeddings) -> Result<Vec<f32>> {
    check_pairs(x, y)?;
    if !x.dimension().is_multiple_of(2) {
        return Err(VectorError::OddDimension { dimension: x.dimension() });
    }
    Ok(x.rows_iter().zip(y.rows_iter()).map(|(x, y)| angle(x, y)).collect())
}

fn angle(x: &[f32], y: &[f32]) -> f32 {
    let half = x.len() / 2;
    let (mut sum, mut x_squares, mut y_squares) = (0f64, 0f64, 0f64);
    for k in 0..half {
        let (a, b) = (f64::from(x[k]), f64::from(x[k + half]));
        let (c, d) = (f64::from(y[k]), f64::from(y[k + half]));
        sum += a * c + b * d + b * c - a * d;
        x_squares += a * a + b * b;
        y_squares += c * c + d * d;
    }
    (sum.abs() / (x_squares.sqrt() * y_squares.sqrt())) as f32
}
