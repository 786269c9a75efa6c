use candle_core::Tensor;

use super::differentiable::{columns, kl_divergence};
use super::similarity::PairwiseSimilarity;
use crate::error::{Result, TrainError};
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "DistillKLDivLoss",
    aliases: &["DistillKLDiv"],
    columns: "(query, document, document, […])",
    at_least: 2,
    at_most: None,
    labels: "a teacher's score of each document",
    formula: "T²·KL(softmax(teacher / T) ‖ softmax(student / T))",
    paper: Some("https://arxiv.org/abs/2010.11386"),
};

/// Learns a teacher's distribution over the documents of a query.
///
/// # Formula
/// T²·mean over rows of Σⱼ pᵢⱼ·(ln pᵢⱼ − ln qᵢⱼ), with p = softmax(y / T) of the teacher's scores and q = softmax(s / T) of
/// sᵢⱼ = sim(queryᵢ, documentᵢⱼ); sim is the dot product and T = 1 unless set otherwise.
///
/// # Columns
/// Query and k documents; labels `[rows, k]`.
///
/// # When to use
/// To distil a cross-encoder where the order of several documents matters more than exact margins.
///
/// # See also
/// [`MarginMseLoss`](super::MarginMseLoss), [`MseLoss`](super::MseLoss).
///
/// # Reference
/// Lin, Yang and Lin, *Distilling Dense Representations for Ranking using Tightly-Coupled Teachers*, 2020,
/// <https://arxiv.org/abs/2010.11386>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::DistillKlDivLoss;
/// use st_train::{Loss, Targets};
///
/// let row = |x: f64, y: f64| Tensor::new(&[[x, y]], &Device::Cpu);
/// let columns = [row(1.0, 1.0)?, row(2.0, 1.0)?, row(1.0, 0.0)?]; // scores 3 and 1
/// let same = Targets::Matrix(Tensor::new(&[[5f64, 3.0]], &Device::Cpu)?); // the same distribution
/// assert!(DistillKlDivLoss::new().compute(&columns, &same)?.to_scalar::<f64>()?.abs() < 1e-15);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct DistillKlDivLoss {
    similarity: PairwiseSimilarity,
    temperature: f64,
}

impl Default for DistillKlDivLoss {
    fn default() -> Self {
        Self { similarity: PairwiseSimilarity::Dot, temperature: 1.0 }
    }
}

impl DistillKlDivLoss {
    /// Dot product, temperature 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the similarity of query and document.
    #[must_use]
    pub fn similarity(mut self, similarity: PairwiseSimilarity) -> Self {
        self.similarity = similarity;
        self
    }

    /// Sets the temperature; higher ones make distributions flatter.
    ///
    /// # Errors
    /// When it is not above 0.
    pub fn temperature(mut self, temperature: f64) -> Result<Self> {
        if temperature.is_nan() || temperature <= 0.0 {
            return Err(TrainError::option("temperature", format!("is {temperature}, but must be above 0")));
        }
        self.temperature = temperature;
        Ok(self)
    }
}

impl Described for DistillKlDivLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for DistillKlDivLoss {
    fn compute(&self, given: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let columns = columns(&CARD, given)?;
        let scores = columns[1..].iter().map(|document| self.similarity.pairs(&columns[0], document));
        let scores = Tensor::stack(&scores.collect::<Result<Vec<_>>>()?, 1)?;
        let labels = targets.tensor(&CARD, &columns[0])?;
        if labels.dims() != scores.dims() {
            let message =
                format!("labels have shape {:?}, expected {:?}: {}", labels.dims(), scores.dims(), CARD.labels);
            return Err(CARD.error(message));
        }
        let divergence = kl_divergence(&(labels / self.temperature)?, &(scores / self.temperature)?)?;
        Ok((divergence * self.temperature.powi(2))?)
    }
}
