use candle_core::Tensor;

use super::differentiable::{exactly, soft_plus};
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch, Targets};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "ContrastiveTensionLoss",
    aliases: &["ContrastiveTension", "CT"],
    columns: "(sentence, the same or another sentence)",
    at_least: 2,
    at_most: Some(2),
    labels: "1 for the same, 0 for another",
    formula: "Σ BCE(σ(e₁(s₁)·e₂(s₂)), label)",
    paper: Some("https://openreview.net/forum?id=Ov_sMNau-PF"),
};

/// Two copies of a model learn to agree on equal sentences and to disagree on others: no labelled data is needed.
///
/// # Formula
/// Σ over rows of ln(1 + exp(x)) − y·x with x = e₁(s₁)·e₂(s₂): the sum of binary cross-entropies. e₂ is the model that is
/// kept; e₁ is a copy of it, made when the loss is, and trained beside it.
///
/// # Columns
/// A sentence, and the same (1) or another sentence (0): one pair in eight is the same in the paper.
///
/// # When to use
/// For sentences without any labels.
/// [`ContrastiveTensionLossInBatchNegatives`](super::ContrastiveTensionLossInBatchNegatives) usually learns more.
///
/// # See also
/// [`ContrastiveTensionLossInBatchNegatives`](super::ContrastiveTensionLossInBatchNegatives),
/// [`DenoisingAutoEncoderLoss`](super::DenoisingAutoEncoderLoss).
///
/// # Reference
/// Carlsson and others, *Semantic Re-tuning with Contrastive Tension*, 2021,
/// <https://openreview.net/forum?id=Ov_sMNau-PF>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::Targets;
/// use st_train::losses::ContrastiveTensionLoss;
///
/// let row = |x: f64| Tensor::new(&[[x, 1.0]], &Device::Cpu);
/// let value = ContrastiveTensionLoss::compute(&[row(2.0)?, row(1.5)?], &Targets::Classes(vec![1]))?; // x = 4
/// assert!((value.to_scalar::<f64>()? - (1.0 + (-4f64).exp()).ln()).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct ContrastiveTensionLoss {
    copy: ModelCopy,
}

impl ContrastiveTensionLoss {
    /// Copies the model that is going to be trained.
    ///
    /// # Errors
    /// When the device has no room for a copy.
    pub fn new(model: &dyn EmbeddingModel) -> Result<Self> {
        Ok(Self { copy: ModelCopy::new(model)? })
    }

    /// The loss, given the copy's embeddings of the first column and the model's of the second.
    ///
    /// # Errors
    /// When the columns are not two of the same shape, or the labels are not as many.
    pub fn compute(columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let [first, second] = exactly(&CARD, columns)?;
        let scores = first.mul(&second)?.sum(1)?;
        let labels = Targets::Scores(targets.scores(&CARD, scores.dim(0)?)?).tensor(&CARD, &scores)?;
        Ok((soft_plus(&scores)? - scores.mul(&labels)?)?.sum_all()?)
    }
}

/// The copy of a model that contrastive tension trains beside it.
#[derive(Debug)]
pub(super) struct ModelCopy(Box<dyn EmbeddingModel>);

impl ModelCopy {
    pub(super) fn new(model: &dyn EmbeddingModel) -> Result<Self> {
        Ok(Self(model.copy()?))
    }

    /// The copy's embeddings of the first column, the model's of the second.
    pub(super) fn embed(
        &self,
        card: &LossCard,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
    ) -> Result<[Tensor; 2]> {
        let [first, second] = batch.columns else {
            return Err(card.error(format!("got {} columns, expected 2: {}", batch.columns.len(), card.columns)));
        };
        Ok([self.0.embed(first, pass)?.sentences, batch.model.embed(second, pass)?.sentences])
    }

    /// The copy's parameters, under the original's names.
    pub(super) fn add_parameters(&self, parameters: &mut Parameters) -> Result<(), TrainError> {
        parameters.extend("model1.", self.0.parameters())
    }
}

impl Described for ContrastiveTensionLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        // Nothing else has a name yet.
        let _ = self.copy.add_parameters(&mut parameters);
        parameters
    }
}

impl Objective for ContrastiveTensionLoss {
    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(None)
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        let embeddings = self.copy.embed(&CARD, batch, pass)?;
        Ok(LossValue::new(Self::compute(&embeddings, batch.targets)?))
    }
}
