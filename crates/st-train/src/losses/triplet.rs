use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{exactly, relu};
use super::distance::TripletDistanceMetric;
use super::{settings, whole};
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "TripletLoss",
    aliases: &["Triplet"],
    columns: "(anchor, positive, negative)",
    at_least: 3,
    at_most: Some(3),
    labels: "",
    formula: "relu(d(a, p) − d(a, n) + margin)",
    paper: Some("https://arxiv.org/abs/1703.07737"),
};

/// Wants the positive nearer to the anchor than the negative, by a margin.
///
/// # Formula
/// mean of relu(d(aᵢ, pᵢ) − d(aᵢ, nᵢ) + m); d is the Euclidean distance and m = 5 unless set otherwise.
///
/// With Euclidean and Manhattan distance, sentence-transformers 5.0 to 5.3 compute relu(d(a, n) − d(a, p) + m) instead,
/// which pushes positives away; 5.4 repaired that, and so it is here.
///
/// # Columns
/// Anchor, positive, negative. No labels.
///
/// # When to use
/// For triplets. [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss) takes the same data and learns
/// more from it; choose the margin by the spread of your embeddings (normalised ones are never further apart than 2).
///
/// # See also
/// [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss); the batch triplet losses, which only need
/// classes, such as [`BatchHardTripletLoss`](super::BatchHardTripletLoss).
///
/// # Reference
/// Hermans, Beyer and Leibe, *In Defense of the Triplet Loss for Person Re-Identification*, 2017,
/// <https://arxiv.org/abs/1703.07737>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::TripletLoss;
/// use st_train::{Described, Loss, Targets};
///
/// let row = |x: f32, y: f32| Tensor::new(&[[x, y]], &Device::Cpu);
/// let triplet = [row(0.0, 0.0)?, row(3.0, 4.0)?, row(0.0, 2.0)?]; // distances 5 and 2
/// assert_eq!(TripletLoss::new().margin(1.0).compute(&triplet, &Targets::None)?.to_scalar::<f32>()?, 4.0);
/// assert_eq!(TripletLoss::new().config().unwrap()["distance_metric"], "TripletDistanceMetric.EUCLIDEAN");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct TripletLoss {
    metric: TripletDistanceMetric,
    margin: f64,
}

impl Default for TripletLoss {
    fn default() -> Self {
        Self { metric: TripletDistanceMetric::Euclidean, margin: 5.0 }
    }
}

impl TripletLoss {
    /// Euclidean distance, margin 5.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the distance.
    #[must_use]
    pub fn metric(mut self, metric: TripletDistanceMetric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the margin (`triplet_margin`).
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }
}

impl Described for TripletLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let metric = json!(self.metric.name());
        Some(settings([("distance_metric", metric), ("triplet_margin", whole(self.margin))]))
    }
}

impl Loss for TripletLoss {
    fn compute(&self, columns: &[Tensor], _: &Targets) -> Result<Tensor> {
        let [anchor, positive, negative] = exactly(&CARD, columns)?;
        let near = self.metric.pairs(&anchor, &positive)?;
        let far = self.metric.pairs(&anchor, &negative)?;
        Ok(relu(&((near - far)? + self.margin)?)?.mean_all()?)
    }
}
