use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use serde_json::{Map, Value, json};
use st_card::LossFacts;

use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch, differentiate, only_parameters};
use crate::model::{EmbeddingModel, Parameters, TrainingPass};

/// Any objective of sentence embeddings with the memory of a mini-batch: gradient caching.
///
/// # Formula
/// The value and the gradients are those of the objective over the whole batch. The batch is embedded in mini-batches and
/// only the embeddings e are kept; the objective gives its value and ∂L/∂e; then each mini-batch is embedded again, with
/// the same dropout, and ⟨e, ∂L/∂e⟩ is differentiated. So the model runs twice forward and once back, and only one
/// mini-batch's activations are alive at a time.
///
/// # Columns
/// Those of the objective.
///
/// # When to use
/// For losses that gain from large batches, where memory does not suffice. Costs about a fifth to a third of the speed.
///
/// # See also
/// [`CachedMultipleNegativesRankingLoss`](super::CachedMultipleNegativesRankingLoss) and the other two cached losses are
/// this around the plain ones.
///
/// # Reference
/// Gao and others, *Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup*, 2021,
/// <https://arxiv.org/abs/2101.06983>.
///
/// ```
/// use st_train::losses::{BatchAllTripletLoss, GradientCache};
/// use st_train::{Described, Objective};
///
/// let cached = GradientCache::new(BatchAllTripletLoss::new(), 16)?;
/// assert_eq!((cached.card().name, cached.mini_batch_size()), ("BatchAllTripletLoss", Some(16)));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct GradientCache {
    inner: Box<dyn Objective>,
    mini_batch_size: usize,
}

impl GradientCache {
    /// Embeds at most `mini_batch_size` texts of a column at once.
    ///
    /// # Errors
    /// When that is 0.
    pub fn new(inner: impl Objective + 'static, mini_batch_size: usize) -> Result<Self> {
        if mini_batch_size == 0 {
            return Err(TrainError::option("mini_batch_size", "is 0, but must be at least 1"));
        }
        Ok(Self { inner: Box::new(inner), mini_batch_size })
    }

    /// The settings of the objective, with the size of mini-batches put after `after`.
    pub(super) fn config_after(&self, after: &str) -> Option<Map<String, Value>> {
        let mut config = Map::new();
        for (key, value) in self.inner.config()? {
            let here = key == after;
            config.insert(key, value);
            if here {
                config.insert("mini_batch_size".to_owned(), json!(self.mini_batch_size));
            }
        }
        Some(config)
    }
}

impl Described for GradientCache {
    fn card(&self) -> &'static LossCard {
        self.inner.card()
    }

    fn config(&self) -> Option<Map<String, Value>> {
        self.inner.config()
    }

    fn inner(&self) -> Option<&dyn Described> {
        self.inner.inner()
    }

    fn parameters(&self) -> Parameters {
        self.inner.parameters()
    }

    fn facts(&self) -> LossFacts {
        self.inner.facts()
    }
}

impl Objective for GradientCache {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        self.inner.check(model)
    }

    fn mini_batch_size(&self) -> Option<usize> {
        Some(self.mini_batch_size)
    }

    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        self.inner.bind(batch, pass)
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

/// What an objective of embeddings is for this batch, or why it is none.
pub(super) fn bound<'a>(
    objective: &'a dyn Objective,
    batch: &ObjectiveBatch<'a>,
    pass: &mut TrainingPass,
) -> Result<Bound<'a>> {
    objective.bind(batch, pass)?.ok_or_else(|| {
        let message = "looks at more of the model than sentence embeddings, so it can be neither cached nor wrapped";
        objective.card().error(message)
    })
}

/// [`Objective::forward`] by way of [`Objective::bind`], in mini-batches where the objective asks for them.
pub(super) fn bound_forward(
    objective: &dyn Objective,
    batch: &ObjectiveBatch<'_>,
    pass: &mut TrainingPass,
) -> Result<LossValue> {
    let embeddings = match objective.mini_batch_size() {
        None => batch.embed(pass)?,
        Some(size) => {
            let columns = batch.columns.iter().map(|column| {
                let embedded = ranges(column.len(), size).map(|range| {
                    let sentences = batch.model.embed(&column.slice(range), pass)?.sentences;
                    Ok(sentences.detach())
                });
                joined(embedded.collect::<Result<Vec<_>>>()?)
            });
            columns.collect::<Result<Vec<_>>>()?
        }
    };
    Ok(LossValue::new(bound(objective, batch, pass)?(&embeddings, batch.targets)?))
}

/// [`Objective::backward`] by way of [`Objective::bind`], in mini-batches where the objective asks for them.
pub(super) fn bound_backward(
    objective: &dyn Objective,
    batch: &ObjectiveBatch<'_>,
    pass: &mut TrainingPass,
    scale: f64,
) -> Result<(LossValue, GradStore)> {
    let Some(size) = objective.mini_batch_size() else {
        let value = bound_forward(objective, batch, pass)?;
        let mut gradients = differentiate(&(value.total()? * scale)?)?;
        let kept = only_parameters(&mut gradients, &[batch.model.parameters(), &objective.parameters()]);
        return Ok((value.detach(), kept));
    };
    // 1. Embeddings without their history, and what the random state was before each mini-batch.
    let (mut leaves, mut passes) = (Vec::new(), Vec::new());
    for column in batch.columns {
        let (mut embedded, mut before) = (Vec::new(), Vec::new());
        for range in ranges(column.len(), size) {
            before.push(pass.clone());
            embedded.push(batch.model.embed(&column.slice(range), pass)?.sentences.detach());
        }
        leaves.push(Var::from_tensor(&joined(embedded)?)?);
        passes.push(before);
    }
    // 2. The value, and its gradient with respect to the embeddings and the objective's own parameters.
    let embeddings: Vec<Tensor> = leaves.iter().map(|leaf| leaf.as_tensor().clone()).collect();
    let value = bound(objective, batch, pass)?(&embeddings, batch.targets)?;
    let mut gradients = differentiate(&(&value * scale)?)?;
    let mut kept = only_parameters(&mut gradients, &[&objective.parameters()]);
    // 3. The same embeddings with their history, mini-batch by mini-batch.
    for ((column, leaf), before) in batch.columns.iter().zip(&leaves).zip(passes) {
        let Some(gradient) = gradients.remove(leaf) else { continue };
        for (range, mut pass) in ranges(column.len(), size).zip(before) {
            let part = gradient.narrow(0, range.start, range.len())?;
            let sentences = batch.model.embed(&column.slice(range), &mut pass)?.sentences;
            let mut found = differentiate(&sentences.mul(&part)?.sum_all()?)?;
            kept.extend(only_parameters(&mut found, &[batch.model.parameters()]))?;
        }
    }
    Ok((LossValue::new(value.detach()), kept))
}

/// 0 to `rows` in pieces of at most `size`.
pub(super) fn ranges(rows: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(size).map(move |start| start..rows.min(start + size))
}

/// Pieces of a column, one after the other.
pub(super) fn joined(pieces: Vec<Tensor>) -> Result<Tensor> {
    match pieces.as_slice() {
        [] => Err(TrainError::invalid("a batch without rows")),
        [only] => Ok(only.clone()),
        _ => Ok(Tensor::cat(&pieces, 0)?),
    }
}

/// A loss that is a plain one cached, under a name of its own: a field `cache`, a `CARD`, and the card of the plain loss,
/// which static embeddings are pointed to.
macro_rules! cached_loss {
    ($loss:ty, $plain:expr) => {
        impl Described for $loss {
            fn card(&self) -> &'static LossCard {
                &CARD
            }

            fn config(&self) -> Option<Map<String, Value>> {
                self.cache.config_after("similarity_fct")
            }
        }

        impl Objective for $loss {
            fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
                refuse_static_embedding(&CARD, &$plain, model)?;
                self.cache.check(model)
            }

            fn mini_batch_size(&self) -> Option<usize> {
                self.cache.mini_batch_size()
            }

            fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, pass: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
                self.cache.bind(batch, pass)
            }

            fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
                self.cache.forward(batch, pass)
            }

            fn backward(
                &self,
                batch: &ObjectiveBatch<'_>,
                pass: &mut TrainingPass,
                scale: f64,
            ) -> Result<(LossValue, GradStore)> {
                self.cache.backward(batch, pass, scale)
            }
        }
    };
}
pub(super) use cached_loss;
