use std::sync::Arc;

use candle_core::backprop::GradStore;
use serde_json::{Map, Value, json};

use super::gist_embed::{CARD as PLAIN, GistSettings, Guide};
use super::gradient_cache::{bound_backward, bound_forward};
use super::refuse_static_embedding;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "CachedGISTEmbedLoss",
    aliases: &["CachedGISTEmbed", "CachedGIST"],
    columns: "(anchor, positive, [negative, …])",
    at_most: None,
    ..PLAIN
};

/// [`GistEmbedLoss`](super::GistEmbedLoss) over large batches in the memory of a mini-batch.
///
/// # Formula
/// That of [`GistEmbedLoss`](super::GistEmbedLoss), with any number of hard negatives; value and gradients are the same.
/// See [`GradientCache`](super::GradientCache) for how.
///
/// # Columns
/// Anchor, positive, and any number of hard negatives. No labels.
///
/// # When to use
/// Where [`GistEmbedLoss`](super::GistEmbedLoss) is used, with batches of thousands. Not for static embeddings.
///
/// # See also
/// [`GistEmbedLoss`](super::GistEmbedLoss),
/// [`CachedMultipleNegativesRankingLoss`](super::CachedMultipleNegativesRankingLoss).
///
/// # Reference
/// Solatorio, 2024, <https://arxiv.org/abs/2402.16829>; Gao and others, 2021, <https://arxiv.org/abs/2101.06983>.
///
/// ```
/// # use std::sync::Arc;
/// use st_train::Objective;
/// use st_train::losses::{CachedGistEmbedLoss, GistSettings};
/// use st_train::model::EmbeddingModel;
///
/// fn loss(guide: Arc<dyn EmbeddingModel>) -> st_train::Result<impl Objective> {
///     let settings = GistSettings { temperature: 0.05, ..GistSettings::default() };
///     Ok(CachedGistEmbedLoss::new(guide, 64)?.guide_name("BAAI/bge-small-en-v1.5").settings(settings))
/// }
/// ```
#[derive(Debug)]
pub struct CachedGistEmbedLoss {
    guide: Guide,
    model: Arc<dyn EmbeddingModel>,
    settings: GistSettings,
    mini_batch_size: usize,
}

impl CachedGistEmbedLoss {
    /// Guided by a model, with the original's settings; its mini-batches hold 32 texts unless told otherwise.
    ///
    /// # Errors
    /// When mini-batches would be empty.
    pub fn new(guide: Arc<dyn EmbeddingModel>, mini_batch_size: usize) -> Result<Self> {
        if mini_batch_size == 0 {
            return Err(TrainError::option("mini_batch_size", "is 0, but must be at least 1"));
        }
        let settings = GistSettings::default();
        Ok(Self { guide: Guide::new(Arc::clone(&guide), None), model: guide, settings, mini_batch_size })
    }

    /// Sets the guide's name, which model cards show.
    #[must_use]
    pub fn guide_name(mut self, name: &str) -> Self {
        self.guide = Guide::new(Arc::clone(&self.model), Some(name));
        self
    }

    /// Sets temperature, margin, and what is contrasted.
    #[must_use]
    pub fn settings(mut self, settings: GistSettings) -> Self {
        self.settings = settings;
        self
    }
}

impl Described for CachedGistEmbedLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        let mut config = Map::new();
        for (key, value) in self.settings.config(self.guide.shown()) {
            if key == "margin_strategy" {
                config.insert("mini_batch_size".to_owned(), json!(self.mini_batch_size));
            }
            config.insert(key, value);
        }
        Some(config)
    }
}

impl Objective for CachedGistEmbedLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        refuse_static_embedding(&CARD, &PLAIN, model)?;
        self.guide.check(model)
    }

    fn mini_batch_size(&self) -> Option<usize> {
        Some(self.mini_batch_size)
    }

    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        let guide = self.guide.embed(batch.columns, Some(self.mini_batch_size))?;
        Ok(Some(Box::new(move |columns, _| self.settings.of_card(&CARD, columns, &guide))))
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        bound_forward(self, batch, pass)
    }

    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        bound_backward(self, batch, pass, scale)
    }
}
