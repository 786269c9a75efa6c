use candle_core::backprop::GradStore;
use serde_json::{Map, Value};

use super::gradient_cache::{GradientCache, cached_loss};
use super::multiple_negatives_ranking::{CARD as PLAIN, MultipleNegativesRankingLoss};
use super::refuse_static_embedding;
use crate::error::Result;
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "CachedMultipleNegativesRankingLoss",
    aliases: &["CachedMultipleNegativesRanking", "CMNRL"],
    paper: Some("https://arxiv.org/abs/2101.06983"),
    ..PLAIN
};

/// [`MultipleNegativesRankingLoss`] over large batches in the memory of a mini-batch.
///
/// # Formula
/// That of [`MultipleNegativesRankingLoss`]; value and gradients are the same. See [`GradientCache`] for how.
///
/// # Columns
/// Anchor, positive, and any number of hard negatives. No labels; a batch should hold no text twice.
///
/// # When to use
/// Wherever [`MultipleNegativesRankingLoss`] is used, with batches of thousands. Not for static embeddings, which have no
/// activations worth saving.
///
/// # See also
/// [`MultipleNegativesRankingLoss`], [`GradientCache`] for other losses.
///
/// # Reference
/// Gao and others, *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*, 2021,
/// <https://arxiv.org/abs/2101.06983>.
///
/// ```
/// use st_train::losses::{CachedMultipleNegativesRankingLoss, MultipleNegativesRankingLoss};
/// use st_train::{Described, Objective};
///
/// let loss = CachedMultipleNegativesRankingLoss::new(MultipleNegativesRankingLoss::new().scale(10.0), 64)?;
/// assert_eq!(loss.mini_batch_size(), Some(64));
/// assert_eq!(loss.config().unwrap()["mini_batch_size"], 64);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct CachedMultipleNegativesRankingLoss {
    cache: GradientCache,
}

impl CachedMultipleNegativesRankingLoss {
    /// The plain loss, cached; the original's mini-batches hold 32 texts unless told otherwise.
    ///
    /// # Errors
    /// When mini-batches would be empty.
    pub fn new(loss: MultipleNegativesRankingLoss, mini_batch_size: usize) -> Result<Self> {
        Ok(Self { cache: GradientCache::new(loss, mini_batch_size)? })
    }
}

cached_loss!(CachedMultipleNegativesRankingLoss, PLAIN);
