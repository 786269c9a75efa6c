use candle_core::Tensor;

use super::batch_distances::hardest_gaps;
use super::batch_hard_triplet::CARD as HARD;
use super::differentiable::soft_plus;
use super::distance::BatchDistance;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "BatchHardSoftMarginTripletLoss",
    aliases: &["BatchHardSoftMarginTriplet", "BatchHardSoftMargin"],
    formula: "ln(1 + exp(furthest positive − nearest negative))",
    ..HARD
};

/// [`BatchHardTripletLoss`](super::BatchHardTripletLoss) with a soft margin.
///
/// # Formula
/// mean over i of ln(1 + exp(max_p d(i, p) − min_n d(i, n))).
///
/// # Columns
/// One text and its class.
///
/// # When to use
/// As [`BatchHardTripletLoss`](super::BatchHardTripletLoss), where no margin fits all data; pairs never stop to matter.
///
/// # See also
/// [`BatchHardTripletLoss`](super::BatchHardTripletLoss), [`BatchSemiHardTripletLoss`](super::BatchSemiHardTripletLoss),
/// [`BatchAllTripletLoss`](super::BatchAllTripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, 2017, <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::BatchHardSoftMarginTripletLoss;
/// use st_train::{Loss, Targets};
///
/// let x = Tensor::new(&[[0f64], [1.0], [2.0]], &Device::Cpu)?;
/// let value = BatchHardSoftMarginTripletLoss::new().compute(&[x], &Targets::Classes(vec![0, 0, 1]))?;
/// let gap = |gap: f64| (1.0 + gap.exp()).ln(); // 1 − 2, 1 − 1, and 0 − 1 for the sentence without a positive
/// assert!((value.to_scalar::<f64>()? - (gap(-1.0) + gap(0.0) + gap(-1.0)) / 3.0).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BatchHardSoftMarginTripletLoss {
    distance: BatchDistance,
}

impl BatchHardSoftMarginTripletLoss {
    /// Euclidean distance.
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
}

impl Described for BatchHardSoftMarginTripletLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for BatchHardSoftMarginTripletLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        Ok(soft_plus(&hardest_gaps(&CARD, columns, targets, self.distance)?)?.mean_all()?)
    }
}
