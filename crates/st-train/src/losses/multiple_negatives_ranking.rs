use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{columns, diagonal_cross_entropy};
use super::settings;
use super::similarity::Similarity;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "MultipleNegativesRankingLoss",
    aliases: &["MultipleNegativesRanking", "MNRL", "InfoNCE", "NTXentLoss"],
    columns: "(anchor, positive, [negative, …])",
    at_least: 2,
    at_most: None,
    labels: "",
    formula: "CE over rows of scale·sim(anchors, [positives; negatives]), row i wanting column i",
    paper: Some("https://arxiv.org/abs/1705.00652"),
};

/// Ranks each anchor's positive above all other texts of the batch.
///
/// # Formula
/// With a the anchors and c all positives followed by all negatives: mean over i of
/// −ln (exp(s·sim(aᵢ, cᵢ)) / Σⱼ exp(s·sim(aᵢ, cⱼ))); sim is the cosine and s = 20 unless set otherwise. Every other row's
/// positive, and every negative of the batch, is a negative.
///
/// # Columns
/// Anchor, positive, and any number of hard negatives. No labels; a batch should hold no text twice.
///
/// # When to use
/// For retrieval and wherever there are pairs of related texts. Larger batches are harder and better: see
/// [`CachedMultipleNegativesRankingLoss`](super::CachedMultipleNegativesRankingLoss) where memory ends.
///
/// # See also
/// [`MultipleNegativesSymmetricRankingLoss`](super::MultipleNegativesSymmetricRankingLoss) ranks the other way as well;
/// [`GistEmbedLoss`](super::GistEmbedLoss) lets a guide strike out false negatives.
///
/// # Reference
/// Henderson and others, *Efficient Natural Language Response Suggestion for Smart Reply*, 2017,
/// <https://arxiv.org/abs/1705.00652>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::MultipleNegativesRankingLoss;
/// use st_train::{Described, Loss, Targets};
///
/// let loss = MultipleNegativesRankingLoss::new().scale(1.0);
/// let a = Tensor::new(&[[1f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let value = loss.compute(&[a.clone(), a], &Targets::None)?; // cosines: 1 on the diagonal, else 0
/// assert!((value.to_scalar::<f64>()? - (1.0 + (-1f64).exp()).ln()).abs() < 1e-15);
/// assert_eq!(serde_json::to_string(&loss.config())?, r#"{"scale":1.0,"similarity_fct":"cos_sim","gather_across_devices":false}"#);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MultipleNegativesRankingLoss {
    scale: f64,
    similarity: Similarity,
}

impl Default for MultipleNegativesRankingLoss {
    fn default() -> Self {
        Self { scale: 20.0, similarity: Similarity::Cosine }
    }
}

impl MultipleNegativesRankingLoss {
    /// Scale 20, cosine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the inverse of the temperature. With the dot product 1 is usual.
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

impl Described for MultipleNegativesRankingLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(ranking_settings(self.scale, self.similarity))
    }
}

impl Loss for MultipleNegativesRankingLoss {
    fn compute(&self, columns: &[Tensor], _: &Targets) -> Result<Tensor> {
        diagonal_cross_entropy(&candidate_scores(&CARD, columns, self.scale, self.similarity)?)
    }
}

/// The settings of a ranking loss. One process trains on one device, so nothing is ever gathered from others.
pub(super) fn ranking_settings(scale: f64, similarity: Similarity) -> Map<String, Value> {
    settings([
        ("scale", json!(scale)),
        ("similarity_fct", json!(similarity.name())),
        ("gather_across_devices", json!(false)),
    ])
}

/// scale·sim of every anchor with all positives and then all negatives, `[rows, rows·(columns − 1)]`.
pub(super) fn candidate_scores(
    card: &LossCard,
    given: &[Tensor],
    scale: f64,
    similarity: Similarity,
) -> Result<Tensor> {
    let columns = columns(card, given)?;
    let candidates = Tensor::cat(&columns[1..], 0)?;
    Ok((similarity.matrix(&columns[0], &candidates)? * scale)?)
}
