use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::cosent::ranked_pairs;
use super::settings;
use super::similarity::PairwiseSimilarity;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "AnglELoss",
    aliases: &["AnglE"],
    columns: "(sentence a, sentence b)",
    at_least: 2,
    at_most: Some(2),
    labels: "a similarity per pair",
    formula: "CoSENT with the angle in complex space",
    paper: Some("https://arxiv.org/abs/2309.12871"),
};

/// [`CoSentLoss`](super::CoSentLoss) with the angle in complex space instead of the cosine.
///
/// # Formula
/// ln(1 + Σ exp(s·(simᵢ − simⱼ))) over yᵢ < yⱼ, sim being [`PairwiseSimilarity::Angle`]. The cosine's gradient vanishes near
/// its top and bottom; the angle's does not.
///
/// # Columns
/// Two texts and a similarity. The dimension of the embeddings must be even.
///
/// # When to use
/// For pairs with graded similarities; try it beside [`CoSentLoss`](super::CoSentLoss).
///
/// # See also
/// [`CoSentLoss`](super::CoSentLoss), [`CosineSimilarityLoss`](super::CosineSimilarityLoss).
///
/// # Reference
/// Li and Li, *AoE: Angle-optimized Embeddings for Semantic Textual Similarity*, 2024, <https://arxiv.org/abs/2309.12871>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::AngleLoss;
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f64, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f64, 1.0], [1.0, 1.0]], &Device::Cpu)?; // angles 1 and 0
/// let loss = AngleLoss::new().scale(1.0).compute(&[a, b], &Targets::Scores(vec![0.1, 0.9]))?;
/// assert!((loss.to_scalar::<f64>()? - (1.0 + 1f64.exp()).ln()).abs() < 1e-15);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AngleLoss {
    scale: f64,
}

impl Default for AngleLoss {
    fn default() -> Self {
        Self { scale: 20.0 }
    }
}

impl AngleLoss {
    /// Scale 20.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the inverse of the temperature.
    #[must_use]
    pub fn scale(mut self, scale: f64) -> Self {
        self.scale = scale;
        self
    }
}

impl Described for AngleLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let similarity = PairwiseSimilarity::Angle.name();
        Some(settings([("scale", json!(self.scale)), ("similarity_fct", json!(similarity))]))
    }
}

impl Loss for AngleLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        ranked_pairs(&CARD, columns, targets, self.scale, PairwiseSimilarity::Angle)
    }
}
