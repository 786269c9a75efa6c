use candle_core::Tensor;

use super::differentiable::{columns, mean_squared};
use crate::error::Result;
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "MSELoss",
    aliases: &["MSE"],
    columns: "(sentence, [sentence, …])",
    at_least: 1,
    at_most: None,
    labels: "a teacher's embedding per row",
    formula: "MSE(embedding, label)",
    paper: Some("https://arxiv.org/abs/2004.09813"),
};

/// Learns a teacher's embeddings.
///
/// # Formula
/// mean over rows and components of (e − y)². Several columns all learn the same y: a sentence and its translations, for
/// which a teacher embedded the sentence.
///
/// # Columns
/// One or more texts; labels `[rows, dimension]`.
///
/// # When to use
/// To make a smaller, faster or multilingual model that agrees with a teacher.
///
/// # See also
/// [`MarginMseLoss`](super::MarginMseLoss) and [`DistillKlDivLoss`](super::DistillKlDivLoss) learn a teacher's scores;
/// [`MatryoshkaLoss`](super::MatryoshkaLoss) around this one cuts the teacher's embeddings as well.
///
/// # Reference
/// Reimers and Gurevych, *Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation*, 2020,
/// <https://arxiv.org/abs/2004.09813>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::MseLoss;
/// use st_train::{Loss, Targets};
///
/// let teacher = Targets::Matrix(Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?);
/// let english = Tensor::new(&[[1f32, 0.0]], &Device::Cpu)?;
/// let german = Tensor::new(&[[0f32, 0.0]], &Device::Cpu)?;
/// assert_eq!(MseLoss::new().compute(&[english, german], &teacher)?.to_scalar::<f32>()?, 0.25);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MseLoss {}

impl MseLoss {
    /// The loss; it has no settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Described for MseLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for MseLoss {
    fn compute(&self, given: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let columns = columns(&CARD, given)?;
        let labels = targets.tensor(&CARD, &columns[0])?;
        if labels.dims() != columns[0].dims() {
            let (found, expected) = (labels.dims(), columns[0].dims());
            return Err(CARD.error(format!("labels have shape {found:?}, embeddings {expected:?}")));
        }
        let labels = vec![labels; columns.len()];
        mean_squared(&Tensor::cat(&columns, 0)?, &Tensor::cat(&labels, 0)?)
    }
}
