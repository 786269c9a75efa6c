//! [`disentangled_place`]: which row of DeBERTa's table of relative positions a distance reads.

/// The row of the table of relative positions `[2·span, hidden]` for a distance from key to query (the query's place less
/// the key's).
///
/// Distances up to half the span have a row each; larger ones share rows by logarithm, up to `max_distance`, in 32-bit
/// floats like the original's. Without `max_distance` every distance up to the span has a row. What is farther reads the
/// first or last row (He et al. 2021).
///
/// ```
/// use st_encoder::disentangled_place;
///
/// let place = |distance| disentangled_place(distance, 256, Some(512));
/// assert_eq!([-3, 0, 128, 200, 5000].map(place), [253, 256, 384, 425, 511]);
/// ```
#[must_use]
pub fn disentangled_place(distance: i64, span: usize, max_distance: Option<usize>) -> usize {
    let span_of_sign = i64::try_from(span).unwrap_or(i64::MAX / 4);
    let place = logarithmic(distance, span, max_distance).saturating_add(span_of_sign);
    place.clamp(0, (2 * span_of_sign - 1).max(0)) as usize
}

fn logarithmic(distance: i64, span: usize, max_distance: Option<usize>) -> i64 {
    let middle = (span / 2) as i64;
    match max_distance {
        Some(furthest) if distance.unsigned_abs() > middle.unsigned_abs() => {
            let far = furthest.saturating_sub(1) as f32;
            let share = (distance.unsigned_abs() as f32 / middle as f32).ln() / (far / middle as f32).ln();
            ((share * (middle - 1) as f32).ceil() as i64).saturating_add(middle).saturating_mul(distance.signum())
        }
        _ => distance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `make_log_bucket_position` with 256 and 512 (DeBERTa v3), transformers 4.57.
    #[test]
    fn buckets_are_those_of_transformers() {
        let distances = [-400, -300, -200, -129, -128, -5, 0, 5, 128, 129, 200, 300, 511, 600];
        let expected = [-233, -207, -169, -129, -128, -5, 0, 5, 128, 129, 169, 207, 255, 270];
        assert_eq!(distances.map(|distance| logarithmic(distance, 256, Some(512))), expected);
    }

    proptest! {
        /// Whatever a configuration says, no row outside the table is read.
        #[test]
        fn places_lie_in_their_table(span in 1usize..5000, furthest: Option<usize>, distance: i64) {
            prop_assert!(disentangled_place(distance, span, furthest) < 2 * span);
        }
    }
}
