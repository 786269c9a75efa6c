use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{exactly, relu};
use super::distance::SiameseDistanceMetric;
use super::settings;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "ContrastiveLoss",
    aliases: &["Contrastive"],
    columns: "(sentence a, sentence b)",
    at_least: 2,
    at_most: Some(2),
    labels: "1 or 0 per pair",
    formula: "½(y·d² + (1 − y)·relu(margin − d)²)",
    paper: Some("https://doi.org/10.1109/CVPR.2006.100"),
};

/// Draws positive pairs together and pushes negative pairs apart, up to a margin.
///
/// # Formula
/// ½·(y·d² + (1 − y)·relu(m − d)²), mean over rows (or their sum); d is a [`SiameseDistanceMetric`], m = 0.5.
///
/// # Columns
/// Two texts; 1 for a positive, 0 for a negative pair.
///
/// # When to use
/// For pairs labelled 1 or 0. [`OnlineContrastiveLoss`](super::OnlineContrastiveLoss) takes the same data and usually ends better.
///
/// # See also
/// [`OnlineContrastiveLoss`](super::OnlineContrastiveLoss), [`ContrastiveTensionLoss`](super::ContrastiveTensionLoss).
///
/// # Reference
/// Hadsell, Chopra and LeCun, *Dimensionality Reduction by Learning an Invariant Mapping*, 2006,
/// <https://doi.org/10.1109/CVPR.2006.100>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::ContrastiveLoss;
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f32, 1.0], [1.0, 0.0]], &Device::Cpu)?; // distances 1 and 0
/// let value = ContrastiveLoss::new().compute(&[a, b], &Targets::Classes(vec![1, 0]))?;
/// assert_eq!(value.to_scalar::<f32>()?, (0.5 + 0.5 * 0.25) / 2.0);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ContrastiveLoss {
    metric: SiameseDistanceMetric,
    margin: f64,
    average: bool,
}

impl Default for ContrastiveLoss {
    fn default() -> Self {
        Self { metric: SiameseDistanceMetric::CosineDistance, margin: 0.5, average: true }
    }
}

impl ContrastiveLoss {
    /// Cosine distance, margin 0.5, mean.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the distance.
    #[must_use]
    pub fn metric(mut self, metric: SiameseDistanceMetric) -> Self {
        self.metric = metric;
        self
    }

    /// Sets the distance beyond which negatives are left alone.
    #[must_use]
    pub fn margin(mut self, margin: f64) -> Self {
        self.margin = margin;
        self
    }

    /// Sets whether rows are averaged (`size_average`) or summed.
    #[must_use]
    pub fn average(mut self, average: bool) -> Self {
        self.average = average;
        self
    }
}

impl Described for ContrastiveLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(settings([
            ("distance_metric", json!(self.metric.name())),
            ("margin", json!(self.margin)),
            ("size_average", json!(self.average)),
        ]))
    }
}

impl Loss for ContrastiveLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let [a, b] = exactly(&CARD, columns)?;
        let distances = self.metric.pairs(&a, &b)?;
        let labels = Targets::Scores(targets.scores(&CARD, a.dim(0)?)?).tensor(&CARD, &distances)?;
        let near = labels.mul(&distances.sqr()?)?;
        let far = (1.0 - &labels)?.mul(&relu(&(self.margin - &distances)?)?.sqr()?)?;
        let rows = ((near + far)? * 0.5)?;
        Ok(if self.average { rows.mean_all()? } else { rows.sum_all()? })
    }
}
