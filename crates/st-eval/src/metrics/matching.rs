//! Rows against rows: translations, triplets, squared distances.

use st_vectors::{Embeddings, SimilarityMatrix, VectorError};

/// How often the row at the same place is the most similar one.
///
/// ```
/// use st_eval::metrics::matching_accuracy;
/// use st_vectors::SimilarityMatrix;
/// let scores = SimilarityMatrix::new(vec![0.9, 0.1, 0.8, 0.2], 2, 2)?;
/// let matching = matching_accuracy(&scores);
/// assert_eq!((matching.forward, matching.backward), (0.5, 1.0));
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    /// Part of the rows whose best column is their own.
    pub forward: f64,
    /// Part of the columns whose best row is their own.
    pub backward: f64,
    /// The rows that missed, each with the column that was better.
    pub wrong: Vec<(usize, usize)>,
}

/// Arg-max on the diagonal, both ways; the first of equal scores counts. NaN without rows.
#[must_use]
pub fn matching_accuracy(scores: &SimilarityMatrix) -> Matching {
    let mut wrong = Vec::new();
    let mut best_rows: Vec<(usize, f32)> = Vec::new();
    for (index, row) in scores.rows_iter().enumerate() {
        let mut best = 0;
        for (column, &score) in row.iter().enumerate() {
            if score > row[best] {
                best = column;
            }
            match best_rows.get_mut(column) {
                Some(best) if score > best.1 => *best = (index, score),
                Some(_) => {}
                None => best_rows.push((index, score)),
            }
        }
        if best != index {
            wrong.push((index, best));
        }
    }
    let rows = scores.rows() as f64;
    let forward = (scores.rows() - wrong.len()) as f64 / rows;
    let own = best_rows.iter().enumerate().filter(|(column, (row, _))| column == row).count();
    Matching { forward, backward: own as f64 / scores.columns() as f64, wrong }
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
        let scores = vec![0.5, 0.5, 0.1, /**/ 0.9, 0.8, 0.9, /**/ 0.2, 0.3, 0.4];
        let matching = matching_accuracy(&SimilarityMatrix::new(scores, 3, 3).unwrap());
        // Rows: 0 (the first of equals), 0, 2. Columns: rows 1, 1, 1.
        assert_eq!(matching.wrong, [(1, 0)]);
        assert_eq!((matching.forward, matching.backward), (2.0 / 3.0, 1.0 / 3.0));
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
