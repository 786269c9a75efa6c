use candle_core::{Device, Tensor};

use super::batch_distances::{Distances, margin_loss};
use super::batch_hard_triplet::CARD as HARD;
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "BatchAllTripletLoss",
    aliases: &["BatchAllTriplet", "BatchAll"],
    formula: "relu(d(a, p) − d(a, n) + margin) over all triplets, divided by the number of positive ones",
    ..HARD
};

/// All triplets of a batch that still violate the margin.
///
/// # Formula
/// Σ relu(d(a, p) − d(a, n) + m) over all triplets with a ≠ p of one class and n of another, divided by the number of
/// terms above 1e-16. m = 5 unless set otherwise.
///
/// # Columns
/// One text and its class.
///
/// # When to use
/// As [`BatchHardTripletLoss`](super::BatchHardTripletLoss), with a smoother gradient.
///
/// # See also
/// [`BatchHardTripletLoss`](super::BatchHardTripletLoss), [`BatchSemiHardTripletLoss`](super::BatchSemiHardTripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
/// <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchAllTripletLoss;
/// use st_train::{Loss, Targets};
///
/// let x = Tensor::new(&[[0f64], [1.0], [3.0]], &Device::Cpu)?;
/// let value = BatchAllTripletLoss::new().margin(1.5).compute(&[x], &Targets::Classes(vec![0, 0, 1]))?;
/// // From 0: 1 − 3 + 1.5 < 0. From 1: 1 − 2 + 1.5.
/// assert!((value.to_scalar::<f64>()? - 0.5).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BatchAllTripletLoss {
    distance: BatchDistance,
    margin: f64,
}

margin_loss!(BatchAllTripletLoss);

impl Loss for BatchAllTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        const COUNTED: f64 = 1e-16;
        let distances = Distances::new(&CARD, columns, targets, self.distance)?;
        let (rows, classes) = (distances.rows(), &distances.classes);
        // The sum is linear in the distances: each counts as often as it is a violating positive's, less as often as it
        // is a violating negative's. So no cube of triplets is made.
        let mut weights = vec![0f64; rows * rows];
        let (mut violating, mut counted) = (0f64, 0f64);
        for a in 0..rows {
            let row = distances.row(a);
            for p in (0..rows).filter(|&p| p != a && classes[p] == classes[a]) {
                for n in (0..rows).filter(|&n| classes[n] != classes[a]) {
                    let violation = row[p] - row[n] + self.margin;
                    if violation >= 0.0 {
                        weights[a * rows + p] += 1.0;
                        weights[a * rows + n] -= 1.0;
                        violating += 1.0;
                        counted += f64::from(violation > COUNTED);
                    }
                }
            }
        }
        let matrix = &distances.matrix;
        let weights = Tensor::from_vec(weights, (rows, rows), &Device::Cpu)?;
        let weights = weights.to_dtype(matrix.dtype())?.to_device(matrix.device())?;
        let sum = (matrix.mul(&weights)?.sum_all()? + violating * self.margin)?;
        Ok((sum / (counted + COUNTED))?)
    }
}
