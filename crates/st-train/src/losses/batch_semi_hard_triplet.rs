use candle_core::Tensor;

use super::batch_distances::{Distances, best, margin_loss};
use super::batch_hard_triplet::CARD as HARD;
use super::differentiable::{elements, relu, zero};
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "BatchSemiHardTripletLoss",
    aliases: &["BatchSemiHardTriplet", "BatchSemiHard"],
    formula: "relu(d(a, p) − nearest negative beyond p + margin)",
    paper: Some("https://arxiv.org/abs/1503.03832"),
    ..HARD
};

/// Triplets of each positive pair with the nearest negative that is further away than the positive.
///
/// # Formula
/// mean over ordered pairs (a, p) of one class of relu(d(a, p) − d(a, n) + m): n is the nearest sentence of another class
/// with d(a, n) > d(a, p), else the furthest of another class. m = 5 unless set otherwise. Which n is chosen is not
/// differentiated. A batch without positive pairs has loss 0 (the original's is not a number).
///
/// # Columns
/// One text and its class.
///
/// # When to use
/// As [`BatchHardTripletLoss`](super::BatchHardTripletLoss), where the hardest negatives are mostly wrong labels.
///
/// # See also
/// [`BatchHardTripletLoss`](super::BatchHardTripletLoss), [`BatchAllTripletLoss`](super::BatchAllTripletLoss).
///
/// # Reference
/// Schroff, Kalenichenko and Philbin, *FaceNet*, 2015, <https://arxiv.org/abs/1503.03832>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchSemiHardTripletLoss;
/// use st_train::{Loss, Targets};
///
/// let x = Tensor::new(&[[0f64], [2.0], [1.0], [5.0]], &Device::Cpu)?;
/// let value = BatchSemiHardTripletLoss::new().margin(1.0).compute(&[x], &Targets::Classes(vec![0, 0, 1, 2]))?;
/// // From 0: 2 − 5 + 1 < 0. From 2: the negatives at distance 1 and 3, of which 3 is beyond: 2 − 3 + 1 = 0.
/// assert!(value.to_scalar::<f64>()?.abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BatchSemiHardTripletLoss {
    distance: BatchDistance,
    margin: f64,
}

margin_loss!(BatchSemiHardTripletLoss);

impl Loss for BatchSemiHardTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let distances = Distances::new(&CARD, columns, targets, self.distance)?;
        let (rows, classes) = (distances.rows(), &distances.classes);
        let (mut near, mut far) = (Vec::new(), Vec::new());
        for i in 0..rows {
            let row = distances.row(i);
            let negatives = || (0u32..).zip(row).filter(|(j, _)| classes[*j as usize] != classes[i]);
            // Without any negative the original takes the smallest distance, which is that to itself.
            let smallest = best(row.iter().copied(), f64::lt).unwrap_or_default().0;
            let furthest = negatives().reduce(|best, next| if next.1 > best.1 { next } else { best });
            for p in (0..rows).filter(|&p| p != i && classes[p] == classes[i]) {
                let beyond = negatives().filter(|(_, distance)| **distance > row[p]);
                let chosen = beyond.reduce(|best, next| if next.1 < best.1 { next } else { best }).or(furthest);
                #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2¹⁶ rows")]
                let place = |column: usize| (i * rows + column) as u32;
                near.push(place(p));
                far.push(place(chosen.map_or(smallest, |(index, _)| index) as usize));
            }
        }
        match (elements(&distances.matrix, &near)?, elements(&distances.matrix, &far)?) {
            (Some(near), Some(far)) => Ok(relu(&((near - far)? + self.margin)?)?.mean_all()?),
            _ => zero(&distances.matrix),
        }
    }
}
