//! Rows against rows: translations, triplets, squared distances.

use st_vectors::{Embeddings, SearchOptions, VectorError, semantic_search};

/// How often the row at the same place is the most similar one.
///
/// ```
/// use st_eval::metrics::matching_accuracy;
/// use st_vectors::Embeddings;
/// let source = Embeddings::from_rows([[1.0, 0.0], [0.9, 0.1]])?;
/// let target = Embeddings::from_rows([[1.0, 0.1], [0.0, 1.0]])?;
/// let matching = matching_accuracy(&source, &target)?;
/// assert_eq!((matching.forward, matching.backward, matching.wrong), (0.5, 0.5, vec![(1, 0)]));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// Part of the source rows whose best target row is their own.
    pub forward: f64,
    /// Part of the target rows whose best source row is their own.
    pub backward: f64,
    /// The source rows that missed, each with the target row that was better.
    pub wrong: Vec<(usize, usize)>,
}

/// The most similar row of the other side by cosine, both ways; the first of equal scores counts. NaN without rows.
///
/// Searched in chunks on all cores; there is never a matrix of all scores.
///
/// # Errors
/// [`VectorError::DimensionMismatch`].
pub fn matching_accuracy(source: &Embeddings, target: &Embeddings) -> Result<Matching, VectorError> {
    let best = |from: &Embeddings, to: &Embeddings| -> Result<Vec<Option<usize>>, VectorError> {
        let hits = semantic_search(from, to, &SearchOptions::new().top_k(1))?;
        Ok(hits.iter().map(|hits| hits.first().map(|hit| hit.corpus_id)).collect())
    };
    let misses = |best: &[Option<usize>]| -> Vec<(usize, usize)> {
        let missed = best.iter().enumerate().filter(|(row, best)| **best != Some(*row));
        missed.map(|(row, best)| (row, best.unwrap_or(0))).collect()
    };
    let part = |misses: usize, rows: usize| (rows - misses) as f64 / rows as f64;
    let wrong = misses(&best(source, target)?);
    let backward = misses(&best(target, source)?).len();
    let forward = part(wrong.len(), source.rows());
    Ok(Matching { forward, backward: part(backward, target.rows()), wrong })
}

/// Part of the triplets with `positive > negative + margin`. NaN without triplets.
///
/// ```
/// assert_eq!(st_eval::metrics::triplet_accuracy(&[0.9, 0.3], &[0.5, 0.25], 0.1), 0.5);
/// ```
#[must_use]
pub fn triplet_accuracy(positive: &[f32], negative: &[f32], margin: f32) -> f64 {
    let right = positive.iter().zip(negative).filter(|&(&positive, &negative)| positive > negative + margin).count();
    right as f64 / positive.len().min(negative.len()) as f64
}

/// The mean of (aᵢⱼ − bᵢⱼ)² over all components. NaN without any.
///
/// # Errors
/// [`VectorError::RowMismatch`] or [`VectorError::DimensionMismatch`] when the shapes differ.
///
/// ```
/// use st_vectors::Embeddings;
/// let (a, b) = (Embeddings::from_rows([[1.0, 2.0]])?, Embeddings::from_rows([[0.0, 4.0]])?);
/// assert_eq!(st_eval::metrics::mean_squared_error(&a, &b)?, 2.5);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn mean_squared_error(a: &Embeddings, b: &Embeddings) -> Result<f64, VectorError> {
    if a.rows() != b.rows() {
        return Err(VectorError::RowMismatch { left: a.rows(), right: b.rows() });
    }
    if a.dimension() != b.dimension() {
        return Err(VectorError::DimensionMismatch { left: a.dimension(), right: b.dimension() });
    }
    let sum: f64 = a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    Ok(sum / a.as_slice().len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_named() {
        // Cosines, row by row: 1, 1, 0 / 1, 1, 0 / 0, 0, 1.
        let source = Embeddings::from_rows([[1.0, 0.0], [3.0, 0.0], [0.0, 1.0]]).unwrap();
        let target = Embeddings::from_rows([[2.0, 0.0], [1.0, 0.0], [0.0, 5.0]]).unwrap();
        let matching = matching_accuracy(&source, &target).unwrap();
        // The first of equals is taken, so that the second row misses on both sides.
        assert_eq!(matching.wrong, [(1, 0)]);
        assert_eq!((matching.forward, matching.backward), (2.0 / 3.0, 2.0 / 3.0));
        assert!(matching_accuracy(&source, &Embeddings::zeros(3, 5)).is_err());
    }

    #[test]
    fn equal_scores_do_not_satisfy_a_triplet() {
        assert_eq!(triplet_accuracy(&[0.5, 0.6], &[0.5, 0.5], 0.0), 0.5);
    }

    #[test]
    fn shapes_must_fit() {
        let (one, two) = (Embeddings::zeros(1, 2), Embeddings::zeros(2, 2));
        assert_eq!(mean_squared_error(&one, &two), Err(VectorError::RowMismatch { left: 1, right: 2 }));
        let wide = Embeddings::zeros(1, 3);
        assert_eq!(mean_squared_error(&one, &wide), Err(VectorError::DimensionMismatch { left: 2, right: 3 }));
    }
}
