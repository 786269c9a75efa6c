use candle_core::Tensor;

use super::contrastive::CARD as PAIRS;
use super::differentiable::{elements, exactly, numbers, relu, zero};
use super::distance::SiameseDistanceMetric;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "OnlineContrastiveLoss",
    aliases: &["OnlineContrastive"],
    formula: "Σ d² of hard positives + Σ relu(margin − d)² of hard negatives",
    paper: None,
    ..PAIRS
};

/// [`ContrastiveLoss`](super::ContrastiveLoss) over the hard pairs of a batch only.
///
/// # Formula
/// Σ d² over hard positives + Σ relu(m − d)² over hard negatives. A negative is hard when it is nearer than the furthest
/// positive, a positive when it is further than the nearest negative. With fewer than two positives (negatives) their
/// own side's mean is the threshold. Which pairs are hard is not differentiated.
///
/// # Columns
/// Two texts; 1 for a positive, 0 for a negative pair.
///
/// # When to use
/// For pairs labelled 1 or 0; it usually ends better than [`ContrastiveLoss`](super::ContrastiveLoss).
///
/// # See also
/// [`ContrastiveLoss`](super::ContrastiveLoss), [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss) for positive pairs only.
///
/// # Reference
/// None; the hard pairs of Hadsell, Chopra and LeCun, 2006, <https://doi.org/10.1109/CVPR.2006.100>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::OnlineContrastiveLoss;
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f32, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f32, 1.0], [1.0, 0.0]], &Device::Cpu)?;
/// let value = OnlineContrastiveLoss::new().compute(&[a, b], &Targets::Classes(vec![1, 0]))?;
/// assert_eq!(value.to_scalar::<f32>()?, 0.0); // one of each: neither is harder than the mean of its side
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct OnlineContrastiveLoss {
    metric: SiameseDistanceMetric,
    margin: f64,
}

impl Default for OnlineContrastiveLoss {
    fn default() -> Self {
        Self { metric: SiameseDistanceMetric::CosineDistance, margin: 0.5 }
    }
}

impl OnlineContrastiveLoss {
    /// Cosine distance, margin 0.5.
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
}

impl Described for OnlineContrastiveLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for OnlineContrastiveLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let [a, b] = exactly(&CARD, columns)?;
        let labels = targets.classes(&CARD, a.dim(0)?)?;
        let distances = self.metric.pairs(&a, &b)?;
        let values = numbers(&distances)?;
        let labelled = |label: i64| -> Vec<(u32, f64)> {
            let all = (0u32..).zip(&labels).zip(&values);
            all.filter(|((_, found), _)| **found == label).map(|((index, _), value)| (index, *value)).collect()
        };
        let (negatives, positives) = (labelled(0), labelled(1));
        let furthest = if positives.len() > 1 {
            positives.iter().map(|pair| pair.1).fold(f64::NEG_INFINITY, f64::max)
        } else {
            mean(&negatives)
        };
        let nearest = if negatives.len() > 1 {
            negatives.iter().map(|pair| pair.1).fold(f64::INFINITY, f64::min)
        } else {
            mean(&positives)
        };
        let indices = |pairs: &[(u32, f64)], hard: &dyn Fn(f64) -> bool| -> Vec<u32> {
            pairs.iter().filter(|pair| hard(pair.1)).map(|pair| pair.0).collect()
        };
        let mut sum = zero(&distances)?;
        if let Some(near) = elements(&distances, &indices(&positives, &|distance| distance > nearest))? {
            sum = (sum + near.sqr()?.sum_all()?)?;
        }
        if let Some(far) = elements(&distances, &indices(&negatives, &|distance| distance < furthest))? {
            sum = (sum + relu(&(self.margin - far)?)?.sqr()?.sum_all()?)?;
        }
        Ok(sum)
    }
}

/// Mean; not a number of nothing, which nothing is smaller or larger than.
fn mean(pairs: &[(u32, f64)]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
    let count = pairs.len() as f64;
    pairs.iter().map(|pair| pair.1).sum::<f64>() / count
}
