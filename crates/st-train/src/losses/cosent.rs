use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{elements, exactly, log_sum_exp, zero};
use super::settings;
use super::similarity::PairwiseSimilarity;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "CoSENTLoss",
    aliases: &["CoSENT"],
    columns: "(sentence a, sentence b)",
    at_least: 2,
    at_most: Some(2),
    labels: "a similarity per pair",
    formula: "ln(1 + Σ over pairs with yᵢ < yⱼ of exp(scale·(simᵢ − simⱼ)))",
    paper: Some("https://doi.org/10.1109/TASLP.2024.3402087"),
};

/// Ranks pairs by their labels.
///
/// # Formula
/// ln(1 + Σ exp(s·(simᵢ − simⱼ))) over all i, j of the batch with yᵢ < yⱼ; sim is the pairwise cosine and s = 20 unless set
/// otherwise. A batch whose labels are all equal has loss 0.
///
/// # Columns
/// Two texts and a similarity. Only the order of the similarities counts.
///
/// # When to use
/// For pairs with graded similarities, instead of [`CosineSimilarityLoss`](super::CosineSimilarityLoss).
///
/// # See also
/// [`AngleLoss`](super::AngleLoss) (the same with an angle), [`CosineSimilarityLoss`](super::CosineSimilarityLoss).
///
/// # Reference
/// Huang and others, *CoSENT: Consistent Sentence Embedding via Similarity Ranking*, 2024,
/// <https://doi.org/10.1109/TASLP.2024.3402087>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::CoSentLoss;
/// use st_train::{Loss, Targets};
///
/// let a = Tensor::new(&[[1f64, 0.0], [1.0, 0.0]], &Device::Cpu)?;
/// let b = Tensor::new(&[[0f64, 1.0], [1.0, 0.0]], &Device::Cpu)?; // cosines 0 and 1
/// let loss = CoSentLoss::new().scale(1.0).compute(&[a, b], &Targets::Scores(vec![0.9, 0.1]))?; // in the wrong order
/// assert!((loss.to_scalar::<f64>()? - (1.0 + 1f64.exp()).ln()).abs() < 1e-15);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct CoSentLoss {
    scale: f64,
    similarity: PairwiseSimilarity,
}

impl Default for CoSentLoss {
    fn default() -> Self {
        Self { scale: 20.0, similarity: PairwiseSimilarity::Cosine }
    }
}

impl CoSentLoss {
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

    /// Sets the similarity of a pair.
    #[must_use]
    pub fn similarity(mut self, similarity: PairwiseSimilarity) -> Self {
        self.similarity = similarity;
        self
    }
}

impl Described for CoSentLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(settings([("scale", json!(self.scale)), ("similarity_fct", json!(self.similarity.name()))]))
    }
}

impl Loss for CoSentLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        ranked_pairs(&CARD, columns, targets, self.scale, self.similarity)
    }
}

/// ln(1 + Σ exp(scale·(simᵢ − simⱼ))) over yᵢ < yⱼ.
pub(super) fn ranked_pairs(
    card: &LossCard,
    columns: &[Tensor],
    targets: &Targets,
    scale: f64,
    similarity: PairwiseSimilarity,
) -> Result<Tensor> {
    let [a, b] = exactly(card, columns)?;
    let labels = targets.scores(card, a.dim(0)?)?;
    let scores = (similarity.pairs(&a, &b)? * scale)?;
    let differences = scores.unsqueeze(1)?.broadcast_sub(&scores.unsqueeze(0)?)?;
    let rows = labels.len();
    let mut places = Vec::new();
    for i in 0..rows {
        for j in 0..rows {
            if labels[i] < labels[j] {
                #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2¹⁶ rows")]
                places.push((i * rows + j) as u32);
            }
        }
    }
    let one = zero(&scores)?.unsqueeze(0)?; // e⁰
    let exponents = match elements(&differences, &places)? {
        Some(chosen) => Tensor::cat(&[one, chosen], 0)?,
        None => one,
    };
    Ok(log_sum_exp(&exponents, 0)?.squeeze(0)?)
}
