use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{exactly, mean_squared, relu, row_cosines};
use super::settings;
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "CosineSimilarityLoss",
    aliases: &["CosineSimilarity"],
    columns: "(sentence a, sentence b)",
    at_least: 2,
    at_most: Some(2),
    labels: "a similarity per pair",
    formula: "MSE(T(cos(a, b)), label)",
    paper: None,
};

/// Regression of the cosine similarity of pairs.
///
/// # Formula
/// mean over rows of ℓ(T(cos(aᵢ, bᵢ)) − yᵢ); ℓ is the square ([`PairRegression::MeanSquared`]) and T the identity unless
/// set otherwise.
///
/// # Columns
/// Two texts and a similarity, usually between 0 and 1.
///
/// # When to use
/// For pairs with graded similarities. [`CoSentLoss`](super::CoSentLoss) and [`AngleLoss`](super::AngleLoss) take the
/// same data, use only the order of the labels, and usually end better.
///
/// # See also
/// [`CoSentLoss`](super::CoSentLoss), [`AngleLoss`](super::AngleLoss).
///
/// # Reference
/// Reimers and Gurevych, *Sentence-BERT*, 2019, <https://arxiv.org/abs/1908.10084> (regression objective).
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::CosineSimilarityLoss;
/// use st_train::{Described, Loss, Targets};
///
/// let loss = CosineSimilarityLoss::new();
/// let a = Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?;
/// let value = loss.compute(&[a.clone(), a], &Targets::Scores(vec![0.5]))?;
/// assert_eq!(value.to_scalar::<f32>()?, 0.25);
/// assert_eq!(loss.config().unwrap()["loss_fct"], "torch.nn.modules.loss.MSELoss");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct CosineSimilarityLoss {
    regression: PairRegression,
    transformation: ScoreTransformation,
}

/// How [`CosineSimilarityLoss`] measures the distance of score and label (`loss_fct`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PairRegression {
    /// Mean of squares.
    #[default]
    MeanSquared,
    /// Mean of absolute values.
    MeanAbsolute,
}

/// What [`CosineSimilarityLoss`] does to the cosine first (`cos_score_transformation`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScoreTransformation {
    /// Nothing.
    #[default]
    Identity,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// max(x, 0)
    Relu,
    /// Hyperbolic tangent.
    Tanh,
}

impl CosineSimilarityLoss {
    /// Mean squared error, no transformation.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how score and label are compared.
    #[must_use]
    pub fn regression(mut self, regression: PairRegression) -> Self {
        self.regression = regression;
        self
    }

    /// Sets what is done to the cosine first.
    #[must_use]
    pub fn transformation(mut self, transformation: ScoreTransformation) -> Self {
        self.transformation = transformation;
        self
    }
}

impl Described for CosineSimilarityLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let function = match self.regression {
            PairRegression::MeanSquared => "torch.nn.modules.loss.MSELoss",
            PairRegression::MeanAbsolute => "torch.nn.modules.loss.L1Loss",
        };
        Some(settings([("loss_fct", json!(function))]))
    }
}

impl Loss for CosineSimilarityLoss {
    fn compute(&self, columns: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let [a, b] = exactly(&CARD, columns)?;
        let cosines = row_cosines(&a, &b)?;
        let scores = match self.transformation {
            ScoreTransformation::Identity => cosines,
            ScoreTransformation::Sigmoid => (cosines.neg()?.exp()? + 1.0)?.recip()?,
            ScoreTransformation::Relu => relu(&cosines)?,
            ScoreTransformation::Tanh => cosines.tanh()?,
        };
        let rows = a.dim(0)?;
        let labels = Targets::Scores(targets.scores(&CARD, rows)?).tensor(&CARD, &scores)?;
        match self.regression {
            PairRegression::MeanSquared => mean_squared(&scores, &labels),
            PairRegression::MeanAbsolute => Ok(super::differentiable::absolute(&scores.sub(&labels)?)?.mean_all()?),
        }
    }
}
