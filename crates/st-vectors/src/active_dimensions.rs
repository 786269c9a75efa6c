//! Active dimensions: the components of a vector that are not zero, which sparse embeddings have few of.

use crate::Embeddings;

/// Keeps the `max_active_dims` components of each row that are largest in absolute value and sets the others to zero (the
/// original's `select_max_active_dims`). Nothing changes for `None`, or for a limit that is not below the dimension.
///
/// Of equal components the first ones are kept; a NaN counts as larger than every number, as in PyTorch's `topk`.
///
/// ```
/// use st_vectors::{Embeddings, select_max_active_dims};
/// let mut embeddings = Embeddings::from_rows([[0.5, -2.0, 1.0], [0.0, 0.25, -0.25]])?;
/// select_max_active_dims(&mut embeddings, Some(1));
/// assert_eq!(embeddings.as_slice(), [0.0, -2.0, 0.0, 0.0, 0.25, 0.0]);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn select_max_active_dims(embeddings: &mut Embeddings, max_active_dims: Option<usize>) {
    let dimension = embeddings.dimension();
    let Some(kept) = max_active_dims.filter(|&kept| kept < dimension) else { return };
    let mut order: Vec<usize> = Vec::with_capacity(dimension);
    for index in 0..embeddings.rows() {
        let row = embeddings.row_mut(index);
        order.clear();
        order.extend(0..dimension);
        if kept > 0 {
            order.select_nth_unstable_by(kept - 1, |&a, &b| row[b].abs().total_cmp(&row[a].abs()).then(a.cmp(&b)));
        }
        for &component in &order[kept..] {
            row[component] = 0.0;
        }
    }
}

/// For each dimension the number of rows in which it is active, that is, not zero (the original's `compute_count_vector`).
/// NaN is not zero.
///
/// ```
/// use st_vectors::{Embeddings, compute_count_vector};
/// let embeddings = Embeddings::from_rows([[0.5, 0.0, 1.0], [0.0, 0.0, -0.25]])?;
/// assert_eq!(compute_count_vector(&embeddings), [1, 0, 2]);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
#[must_use]
pub fn compute_count_vector(embeddings: &Embeddings) -> Vec<u32> {
    let mut counts = vec![0; embeddings.dimension()];
    for row in embeddings.rows_iter() {
        for (count, &component) in counts.iter_mut().zip(row) {
            *count += u32::from(component != 0.0);
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_kept_is_at_least_as_large_as_what_is_not(
            row in proptest::collection::vec(-9i8..9, 1..40),
            kept in 0usize..45,
        ) {
            let before: Vec<f32> = row.iter().map(|&number| f32::from(number)).collect();
            let mut embeddings = Embeddings::from_rows([&before])?;
            select_max_active_dims(&mut embeddings, Some(kept));
            let after = embeddings.row(0);
            let active = before.iter().filter(|number| **number != 0.0).count();
            let counts = compute_count_vector(&embeddings);
            prop_assert_eq!(counts.iter().sum::<u32>() as usize, active.min(kept));
            let lost = before.iter().zip(after).filter(|(_, after)| **after == 0.0).map(|(before, _)| before.abs());
            let least = after.iter().map(|number| number.abs()).filter(|number| *number > 0.0).fold(f32::MAX, f32::min);
            prop_assert!(lost.fold(0.0, f32::max) <= least);
            prop_assert!(before.iter().zip(after).all(|(before, after)| after == before || *after == 0.0));
        }
    }

    #[test]
    fn no_limit_changes_nothing() -> crate::Result<()> {
        let before = Embeddings::from_rows([[1.0, f32::NAN, -3.0]])?;
        let mut after = before.clone();
        select_max_active_dims(&mut after, None);
        select_max_active_dims(&mut after, Some(3));
        assert_eq!(after.as_slice()[2], before.as_slice()[2]);
        select_max_active_dims(&mut after, Some(1));
        assert!(after.as_slice()[1].is_nan() && after.as_slice()[2] == 0.0);
        Ok(())
    }
}
