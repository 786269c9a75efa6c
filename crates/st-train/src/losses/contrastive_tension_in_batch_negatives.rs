use candle_core::{Tensor, Var};

use super::contrastive_tension::ModelCopy;
use super::differentiable::{diagonal_cross_entropy, exactly};
use super::similarity::Similarity;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "ContrastiveTensionLossInBatchNegatives",
    aliases: &["ContrastiveTensionInBatchNegatives", "CTInBatchNegatives"],
    columns: "(sentence, the same sentence)",
    at_least: 2,
    at_most: Some(2),
    labels: "",
    formula: "(CE over rows + CE over columns) / 2 of sim(e₁(s), e₂(s))·exp(trained scale)",
    paper: Some("https://openreview.net/forum?id=Ov_sMNau-PF"),
};

/// Contrastive tension with the batch's other sentences as negatives.
///
/// # Formula
/// Half of the cross-entropy over rows and half of that over columns of S = exp(t)·sim(e₁(s), e₂(s)), wanting the
/// diagonal. e₂ is the model that is kept, e₁ a copy made when the loss is; both are trained, and so is t, which starts at
/// ln 20 unless set otherwise.
///
/// # Columns
/// A sentence, twice. No labels.
///
/// # When to use
/// For sentences without any labels, with large batches.
///
/// # See also
/// [`ContrastiveTensionLoss`](super::ContrastiveTensionLoss),
/// [`MultipleNegativesSymmetricRankingLoss`](super::MultipleNegativesSymmetricRankingLoss), which is this with one model
/// and a fixed scale.
///
/// # Reference
/// Carlsson and others, *Semantic Re-tuning with Contrastive Tension*, 2021,
/// <https://openreview.net/forum?id=Ov_sMNau-PF>.
///
/// ```
/// use st_train::Described;
/// use st_train::losses::{ContrastiveTensionLossInBatchNegatives, Similarity};
/// use st_train::model::EmbeddingModel;
///
/// /// A copy of the model, and the scale, are trained with the model.
/// fn trained_besides(model: &dyn EmbeddingModel) -> st_train::Result<usize> {
///     let loss = ContrastiveTensionLossInBatchNegatives::new(model, 20.0)?.similarity(Similarity::Cosine);
///     Ok(loss.parameters().len()) // the model's, and one
/// }
/// ```
#[derive(Debug)]
pub struct ContrastiveTensionLossInBatchNegatives {
    copy: ModelCopy,
    logit_scale: Var,
    similarity: Similarity,
}

impl ContrastiveTensionLossInBatchNegatives {
    /// Copies the model that is going to be trained; `scale` is what similarities are multiplied by at first.
    ///
    /// # Errors
    /// When `scale` is not above 0, or the device has no room for a copy.
    pub fn new(model: &dyn EmbeddingModel, scale: f64) -> Result<Self> {
        if scale.is_nan() || scale <= 0.0 {
            return Err(TrainError::option("scale", format!("is {scale}, but must be above 0")));
        }
        let logit_scale = Tensor::new(scale.ln(), &candle_core::Device::Cpu)?;
        let logit_scale = Var::from_tensor(&logit_scale.to_dtype(model.data_type())?.to_device(model.device())?)?;
        Ok(Self { copy: ModelCopy::new(model)?, logit_scale, similarity: Similarity::Cosine })
    }

    /// Sets the similarity.
    #[must_use]
    pub fn similarity(mut self, similarity: Similarity) -> Self {
        self.similarity = similarity;
        self
    }

    /// The logarithm of the scale, which is trained: a scalar.
    #[must_use]
    pub fn logit_scale(&self) -> &Var {
        &self.logit_scale
    }

    /// The loss, given the copy's embeddings of the first column and the model's of the second.
    ///
    /// # Errors
    /// When the columns are not two of the same shape.
    pub fn compute(&self, columns: &[Tensor]) -> Result<Tensor> {
        let [first, second] = exactly(&CARD, columns)?;
        let similarities = self.similarity.matrix(&first, &second)?;
        let scores = similarities.broadcast_mul(&self.logit_scale.to_dtype(similarities.dtype())?.exp()?)?;
        Ok(((diagonal_cross_entropy(&scores)? + diagonal_cross_entropy(&scores.t()?)?)? * 0.5)?)
    }
}

impl Described for ContrastiveTensionLossInBatchNegatives {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn parameters(&self) -> Parameters {
        let mut parameters = Parameters::new();
        // The names differ.
        let _ = parameters.push("logit_scale", self.logit_scale.clone());
        let _ = self.copy.add_parameters(&mut parameters);
        parameters
    }
}

impl Objective for ContrastiveTensionLossInBatchNegatives {
    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(None)
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        let embeddings = self.copy.embed(&CARD, batch, pass)?;
        Ok(LossValue::new(self.compute(&embeddings)?))
    }
}
