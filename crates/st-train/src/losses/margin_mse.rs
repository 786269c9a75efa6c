use candle_core::Tensor;

use super::differentiable::{columns, mean_squared};
use super::similarity::PairwiseSimilarity;
use crate::error::{Result, TrainError};
use crate::loss::{Described, Loss, LossCard, Targets};

pub(super) const CARD: LossCard = LossCard {
    name: "MarginMSELoss",
    aliases: &["MarginMSE"],
    columns: "(query, positive, negative, […])",
    at_least: 3,
    at_most: None,
    labels: "a teacher's margin per negative, or its scores of the positive and each negative",
    formula: "MSE(sim(q, p) − sim(q, n), margin)",
    paper: Some("https://arxiv.org/abs/2010.02666"),
};

/// Learns a teacher's margins between a positive and negatives.
///
/// # Formula
/// mean over rows i and negatives j of ((sim(qᵢ, pᵢ) − sim(qᵢ, nᵢⱼ)) − mᵢⱼ)²; sim is the dot product unless set otherwise.
///
/// # Columns
/// Query, positive, one or more negatives. Labels: one margin per row; or `[rows, k]` margins for k negatives; or
/// `[rows, k + 1]` scores of the positive and the negatives, from which margins are taken.
///
/// # When to use
/// To distil a cross-encoder into an embedding model over mined negatives.
///
/// # See also
/// [`DistillKlDivLoss`](super::DistillKlDivLoss) (distributions instead of margins), [`MseLoss`](super::MseLoss)
/// (a teacher's embeddings).
///
/// # Reference
/// Hofstätter and others, *Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge Distillation*,
/// 2021, <https://arxiv.org/abs/2010.02666>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::MarginMseLoss;
/// use st_train::{Loss, Targets};
///
/// let row = |x: f32, y: f32| Tensor::new(&[[x, y]], &Device::Cpu);
/// let columns = [row(1.0, 1.0)?, row(2.0, 1.0)?, row(1.0, 0.0)?]; // scores 3 and 1
/// assert_eq!(MarginMseLoss::new().compute(&columns, &Targets::Scores(vec![1.5]))?.to_scalar::<f32>()?, 0.25);
/// let scores = Targets::Matrix(Tensor::new(&[[4f32, 2.5]], &Device::Cpu)?);
/// assert_eq!(MarginMseLoss::new().compute(&columns, &scores)?.to_scalar::<f32>()?, 0.25);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MarginMseLoss {
    similarity: PairwiseSimilarity,
}

impl Default for MarginMseLoss {
    fn default() -> Self {
        Self { similarity: PairwiseSimilarity::Dot }
    }
}

impl MarginMseLoss {
    /// Dot product.
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
}

impl Described for MarginMseLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Loss for MarginMseLoss {
    fn compute(&self, given: &[Tensor], targets: &Targets) -> Result<Tensor> {
        let columns = columns(&CARD, given)?;
        let (rows, negatives) = (columns[0].dim(0)?, columns.len() - 2);
        let positive = self.similarity.pairs(&columns[0], &columns[1])?;
        let margins = columns[2..].iter().map(|negative| {
            let score = self.similarity.pairs(&columns[0], negative)?;
            Ok(positive.sub(&score)?)
        });
        let margins = Tensor::stack(&margins.collect::<Result<Vec<_>>>()?, 1)?;
        let labels = targets.tensor(&CARD, &columns[0]).map_err(|_| wrong_shape(targets, rows, negatives))?;
        let labels = match labels.dims() {
            [_, k] if *k == negatives + 1 => labels.narrow(1, 0, 1)?.broadcast_sub(&labels.narrow(1, 1, negatives)?)?,
            [_] if negatives == 1 => labels.unsqueeze(1)?,
            [_, k] if *k == negatives => labels,
            _ => return Err(wrong_shape(targets, rows, negatives)),
        };
        mean_squared(&margins, &labels)
    }
}

fn wrong_shape(targets: &Targets, rows: usize, negatives: usize) -> TrainError {
    let found = match targets {
        Targets::Matrix(matrix) => format!("{:?}", matrix.dims()),
        Targets::None => "[]".to_owned(),
        // The original has turned a column into rows by then.
        other => format!("[{}, 1]", other.rows().unwrap_or(0)),
    };
    TrainError::invalid(format!(
        "Labels shape torch.Size({found}) does not match expected shape ({rows}, {negatives}). Ensure that your dataset \
         labels/scores are 1) lists of differences between positive scores and negatives scores (length \
         `num_negatives`), or 2) lists of positive and negative scores (length `num_negatives + 1`)."
    ))
}
