//! What the batch triplet losses share: distances within a batch, and the choice of triplets by them.

use candle_core::{Device, Tensor};

use super::differentiable::{exactly, numbers, one_per_row};
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{LossCard, Targets};

/// Distances within a batch: what can be differentiated, and the numbers by which triplets are chosen.
pub(super) struct Distances {
    /// `[rows, rows]`.
    pub(super) matrix: Tensor,
    /// The same numbers, row after row.
    pub(super) values: Vec<f64>,
    /// Class of each row.
    pub(super) classes: Vec<i64>,
}

impl Distances {
    pub(super) fn new(card: &LossCard, columns: &[Tensor], targets: &Targets, distance: BatchDistance) -> Result<Self> {
        let [x] = exactly(card, columns)?;
        let classes = targets.classes(card, x.dim(0)?)?;
        let matrix = distance.matrix(&x)?;
        Ok(Self { values: numbers(&matrix)?, matrix, classes })
    }

    pub(super) fn rows(&self) -> usize {
        self.classes.len()
    }

    pub(super) fn row(&self, i: usize) -> &[f64] {
        &self.values[i * self.rows()..(i + 1) * self.rows()]
    }
}

/// Index of the first element that no other beats.
pub(super) fn best(values: impl Iterator<Item = f64>, beats: fn(&f64, &f64) -> bool) -> Option<(u32, f64)> {
    (0u32..).zip(values).reduce(|best, next| if beats(&next.1, &best.1) { next } else { best })
}

/// max over positives − min over negatives, `[rows]`.
pub(super) fn hardest_gaps(
    card: &LossCard,
    columns: &[Tensor],
    targets: &Targets,
    distance: BatchDistance,
) -> Result<Tensor> {
    let distances = Distances::new(card, columns, targets, distance)?;
    let (mut positive, mut negative, mut largest) = (Vec::new(), Vec::new(), Vec::new());
    let (mut has_positive, mut has_no_negative) = (Vec::new(), Vec::new());
    for i in 0..distances.rows() {
        let (row, classes) = (distances.row(i), &distances.classes);
        let is_positive = |j: usize| j != i && classes[j] == classes[i];
        let pairs = row.iter().copied().enumerate();
        let positives = pairs.clone().map(|(j, d)| if is_positive(j) { d } else { 0.0 });
        let (furthest, _) = best(positives, f64::gt).unwrap_or_default();
        let (most, maximum) = best(row.iter().copied(), f64::gt).unwrap_or_default();
        let negatives = pairs.map(|(j, d)| if classes[j] == classes[i] { d + maximum } else { d });
        let (nearest, _) = best(negatives, f64::lt).unwrap_or_default();
        has_positive.push(f64::from(is_positive(furthest as usize)));
        has_no_negative.push(f64::from(classes[nearest as usize] == classes[i]));
        positive.push(furthest);
        negative.push(nearest);
        largest.push(most);
    }
    let matrix = &distances.matrix;
    let constant = |numbers: Vec<f64>| -> Result<Tensor> {
        let rows = numbers.len();
        Ok(Tensor::from_vec(numbers, rows, &Device::Cpu)?.to_dtype(matrix.dtype())?.to_device(matrix.device())?)
    };
    let furthest = one_per_row(matrix, &positive)?.mul(&constant(has_positive)?)?;
    let nearest =
        (one_per_row(matrix, &negative)? + one_per_row(matrix, &largest)?.mul(&constant(has_no_negative)?)?)?;
    Ok(furthest.sub(&nearest)?)
}

/// What the losses of a `distance` and a `margin` share: the defaults of the original and how both are set.
macro_rules! margin_loss {
    ($loss:ident) => {
        impl Default for $loss {
            fn default() -> Self {
                Self { distance: BatchDistance::Euclidean, margin: 5.0 }
            }
        }

        impl $loss {
            /// Euclidean distance, margin 5.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// Sets the distance.
            #[must_use]
            pub fn distance(mut self, distance: BatchDistance) -> Self {
                self.distance = distance;
                self
            }

            /// Sets the margin.
            #[must_use]
            pub fn margin(mut self, margin: f64) -> Self {
                self.margin = margin;
                self
            }
        }

        impl Described for $loss {
            fn card(&self) -> &'static LossCard {
                &CARD
            }
        }
    };
}
pub(super) use margin_loss;
