use candle_core::Tensor;
use serde_json::{Map, Value};

use super::differentiable::diagonal_cross_entropy;
use super::multiple_negatives_ranking::{candidate_scores, ranking_settings};
use super::similarity::Similarity;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "MultipleNegativesSymmetricRankingLoss",
    aliases: &["MultipleNegativesSymmetricRanking", "MNSRL"],
    columns: "(anchor, positive, [negative, …])",
    at_least: 2,
    at_most: None,
    labels: "",
    formula: "half of the ranking loss, half of the same from positives to anchors",
    paper: None,
};

/// Ranks positives for anchors, and anchors for positives.
///
/// # Formula
/// Half of [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss), and half of the mean over i of
/// −ln (exp(s·sim(aᵢ, pᵢ)) / Σⱼ exp(s·sim(aⱼ, pᵢ))): given a positive, find its anchor. Hard negatives only take part in
/// the first half.
///
/// # Columns
/// Anchor, positive, and any number of hard negatives. No labels.
///
/// # When to use
/// Where either side may be the query: duplicates, paraphrases, question and answer both ways.
///
/// # See also
/// [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss),
/// [`CachedMultipleNegativesSymmetricRankingLoss`](super::CachedMultipleNegativesSymmetricRankingLoss).
///
/// # Reference
/// The two-way form of Henderson and others, 2017, <https://arxiv.org/abs/1705.00652>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::{MultipleNegativesRankingLoss, MultipleNegativesSymmetricRankingLoss};
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f64, 0.2], [0.1, 1.0]], &Device::Cpu)?;
/// let p = Tensor::new(&[[0.9f64, 0.0], [0.5, 1.0]], &Device::Cpu)?;
/// let one_way = MultipleNegativesRankingLoss::new();
/// let forth = one_way.compute(&[a.clone(), p.clone()], &Targets::None)?.to_scalar::<f64>()?;
/// let back = one_way.compute(&[p.clone(), a.clone()], &Targets::None)?.to_scalar::<f64>()?;
/// let both = MultipleNegativesSymmetricRankingLoss::new().compute(&[a, p], &Targets::None)?.to_scalar::<f64>()?;
/// assert!((both - (forth + back) / 2.0).abs() < 1e-14);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MultipleNegativesSymmetricRankingLoss {
    scale: f64,
    similarity: Similarity,
}

impl Default for MultipleNegativesSymmetricRankingLoss {
    fn default() -> Self {
        Self { scale: 20.0, similarity: Similarity::Cosine }
    }
}

impl MultipleNegativesSymmetricRankingLoss {
    /// Scale 20, cosine.
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

    /// Sets the similarity.
    #[must_use]
    pub fn similarity(mut self, similarity: Similarity) -> Self {
        self.similarity = similarity;
        self
    }
}

impl Described for MultipleNegativesSymmetricRankingLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(ranking_settings(self.scale, self.similarity))
    }
}

impl Loss for MultipleNegativesSymmetricRankingLoss {
    fn compute(&self, columns: &[Tensor], _: &Targets) -> Result<Tensor> {
        let scores = candidate_scores(&CARD, columns, self.scale, self.similarity)?;
        let back = scores.narrow(1, 0, scores.dim(0)?)?.t()?;
        Ok(((diagonal_cross_entropy(&scores)? + diagonal_cross_entropy(&back)?)? * 0.5)?)
    }
}
