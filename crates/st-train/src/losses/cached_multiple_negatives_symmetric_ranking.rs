use candle_core::backprop::GradStore;
use serde_json::{Map, Value};

use super::gradient_cache::{GradientCache, cached_loss};
use super::multiple_negatives_symmetric_ranking::{CARD as PLAIN, MultipleNegativesSymmetricRankingLoss};
use super::refuse_static_embedding;
use crate::error::Result;
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "CachedMultipleNegativesSymmetricRankingLoss",
    aliases: &["CachedMultipleNegativesSymmetricRanking", "CMNSRL"],
    ..PLAIN
};

/// [`MultipleNegativesSymmetricRankingLoss`] over large batches in the memory of a mini-batch.
///
/// # Formula
/// That of [`MultipleNegativesSymmetricRankingLoss`]; value and gradients are the same. See [`GradientCache`] for how.
///
/// # Columns
/// Anchor, positive, and any number of hard negatives. No labels.
///
/// # When to use
/// Wherever [`MultipleNegativesSymmetricRankingLoss`] is used, with batches of thousands. Not for static embeddings.
///
/// # See also
/// [`MultipleNegativesSymmetricRankingLoss`], [`CachedMultipleNegativesRankingLoss`](super::CachedMultipleNegativesRankingLoss).
///
/// # Reference
/// Gao and others, 2021, <https://arxiv.org/abs/2101.06983>.
///
/// ```
/// use st_train::Described;
/// use st_train::losses::{CachedMultipleNegativesSymmetricRankingLoss, MultipleNegativesSymmetricRankingLoss};
///
/// let loss = CachedMultipleNegativesSymmetricRankingLoss::new(MultipleNegativesSymmetricRankingLoss::new(), 32)?;
/// let keys: Vec<String> = loss.config().unwrap().keys().cloned().collect();
/// assert_eq!(keys, ["scale", "similarity_fct", "mini_batch_size", "gather_across_devices"]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct CachedMultipleNegativesSymmetricRankingLoss {
    cache: GradientCache,
}

impl CachedMultipleNegativesSymmetricRankingLoss {
    /// The plain loss, cached; the original's mini-batches hold 32 texts unless told otherwise.
    ///
    /// # Errors
    /// When mini-batches would be empty.
    pub fn new(loss: MultipleNegativesSymmetricRankingLoss, mini_batch_size: usize) -> Result<Self> {
        Ok(Self { cache: GradientCache::new(loss, mini_batch_size)? })
    }
}

cached_loss!(CachedMultipleNegativesSymmetricRankingLoss, PLAIN);
