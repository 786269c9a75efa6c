use candle_core::Tensor;

use super::batch_distances::{hardest_gaps, margin_loss};
use super::differentiable::relu;
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "BatchHardTripletLoss",
    aliases: &["BatchHardTriplet"],
    columns: "(sentence)",
    at_least: 1,
    at_most: Some(1),
    labels: "a class per sentence",
    formula: "relu(furthest positive − nearest negative + margin)",
    paper: Some("https://arxiv.org/abs/1703.07737"),
};

/// Triplets of each sentence with its furthest sentence of the same class and its nearest of another.
///
/// # Formula
/// mean over i of relu(max_p d(i, p) − min_n d(i, n) + m), p ≠ i of the same class, n of another; d is a
/// [`BatchDistance`] and m = 5 unless set otherwise. Without a positive the first term is 0; without a negative the second
/// is the row's smallest plus its largest distance, as in the original.
///
/// # Columns
/// One text and its class. Batches need several texts of each of several classes: use the group-by-label sampler.
///
/// # When to use
/// For classified texts, where classes have at least two members.
///
/// # See also
/// [`BatchHardSoftMarginTripletLoss`](super::BatchHardSoftMarginTripletLoss) (no margin to choose), [`BatchSemiHardTripletLoss`](super::BatchSemiHardTripletLoss),
/// [`BatchAllTripletLoss`](super::BatchAllTripletLoss), [`TripletLoss`](super::TripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
/// <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchHardTripletLoss;
/// use st_train::{Loss, Targets};
///
/// // On a line: two sentences of class 0 at 0 and 1, two of class 1 at 3 and 7.
/// let x = Tensor::new(&[[0f64], [1.0], [3.0], [7.0]], &Device::Cpu)?;
/// let value = BatchHardTripletLoss::new().margin(2.0).compute(&[x], &Targets::Classes(vec![0, 0, 1, 1]))?;
/// // 1 − 3 + 2, 1 − 2 + 2, 4 − 2 + 2, 4 − 6 + 2
/// assert!((value.to_scalar::<f64>()? - 5.0 / 4.0).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct BatchHardTripletLoss {
    distance: BatchDistance,
    margin: f64,
}

margin_loss!(BatchHardTripletLoss);

impl Loss for BatchHardTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let gaps = hardest_gaps(&CARD, columns, targets, self.distance)?;
        Ok(relu(&(gaps + self.margin)?)?.mean_all()?)
    }
}
