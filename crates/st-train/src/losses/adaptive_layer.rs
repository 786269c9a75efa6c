use candle_core::Tensor;
use serde_json::{Map, Value, json};

use super::differentiable::{at_least_f32, kl_divergence};
use super::gradient_cache::bound;
use super::settings;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{EmbeddingModel, InputKind, Parameters, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "AdaptiveLayerLoss",
    aliases: &["AdaptiveLayer"],
    columns: "those of the inner loss",
    at_least: 1,
    at_most: None,
    labels: "those of the inner loss",
    formula: "loss of the last layer + loss of earlier layers + KL(last layer ‖ earlier layer)",
    paper: Some("https://arxiv.org/abs/2402.14776"),
};

/// Another loss at several layers of the same transformer, so that layers can be removed.
///
/// # Formula
/// w_last·ℓ(e) + Σ_ℓ (w_prior·ℓ(e_ℓ) / ((1 + ℓ)·k) + w_kl·T·KL(softmax(e / T) ‖ softmax(e_ℓ / T))) over k drawn layers
/// ℓ: e_ℓ are the embeddings made of hidden state ℓ, 0 being the output of the embedding layer, and e those of the last
/// layer. T = 0.3, all weights 1 and k = 1 unless set otherwise; KL is the mean over all texts, and with T = 0 there is
/// none.
///
/// As in sentence-transformers 5.2 the last layer's embeddings are not detached in KL, and 1 / (1 + ℓ) favours early
/// layers; see [`AdaptiveLayerLoss::detach_last_layer`] and [`AdaptiveLayerLoss::skip_embedding_layer`] for what 5.7 and
/// 5.1 do.
///
/// # Columns
/// Those of the inner loss.
///
/// # When to use
/// To get a model of which the first layers alone do well: nearly as many times faster as layers are removed.
///
/// # See also
/// [`Matryoshka2dLoss`](super::Matryoshka2dLoss) cuts components as well; [`MatryoshkaLoss`](super::MatryoshkaLoss) only
/// those.
///
/// # Reference
/// Li and others, *2D Matryoshka Sentence Embeddings*, 2024, <https://arxiv.org/abs/2402.14776>.
///
/// ```
/// use st_train::Described;
/// use st_train::losses::{AdaptiveLayerLoss, CoSentLoss};
///
/// let loss = AdaptiveLayerLoss::new(CoSentLoss::new()).layers_per_step(None);
/// let config = r#"{"loss":"CoSENTLoss","n_layers_per_step":-1,"last_layer_weight":1.0,"prior_layers_weight":1.0,"kl_div_weight":1.0,"kl_temperature":0.3}"#;
/// assert_eq!(serde_json::to_string(&loss.config())?, config);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug)]
pub struct AdaptiveLayerLoss {
    pub(super) inner: Box<dyn Objective>,
    pub(super) layers: LayerSettings,
}

/// The settings of layers, with those of [`super::Matryoshka2dLoss`].
#[derive(Debug, Clone, Copy)]
pub(super) struct LayerSettings {
    pub(super) per_step: Option<usize>,
    pub(super) last_weight: f64,
    pub(super) prior_weight: f64,
    pub(super) kl_weight: f64,
    pub(super) kl_temperature: f64,
    pub(super) detach: bool,
    pub(super) skip_embedding: bool,
}

impl Default for LayerSettings {
    fn default() -> Self {
        Self {
            per_step: Some(1),
            last_weight: 1.0,
            prior_weight: 1.0,
            kl_weight: 1.0,
            kl_temperature: 0.3,
            detach: false,
            skip_embedding: false,
        }
    }
}

impl AdaptiveLayerLoss {
    /// A loss at the last layer and one drawn earlier layer per step.
    #[must_use]
    pub fn new(inner: impl Objective + 'static) -> Self {
        Self { inner: Box::new(inner), layers: LayerSettings::default() }
    }

    /// Sets how many earlier layers each step draws (`n_layers_per_step`); `None`, 0, or as many as there are: all.
    #[must_use]
    pub fn layers_per_step(mut self, count: Option<usize>) -> Self {
        self.layers.per_step = count.filter(|&count| count > 0);
        self
    }

    /// Sets the weight of the last layer's loss.
    #[must_use]
    pub fn last_layer_weight(mut self, weight: f64) -> Self {
        self.layers.last_weight = weight;
        self
    }

    /// Sets the weight of the earlier layers' losses.
    #[must_use]
    pub fn prior_layers_weight(mut self, weight: f64) -> Self {
        self.layers.prior_weight = weight;
        self
    }

    /// Sets the weight of the divergence from the last layer.
    #[must_use]
    pub fn kl_div_weight(mut self, weight: f64) -> Self {
        self.layers.kl_weight = weight;
        self
    }

    /// Sets the temperature of the divergence from the last layer; 0: no divergence.
    #[must_use]
    pub fn kl_temperature(mut self, temperature: f64) -> Self {
        self.layers.kl_temperature = temperature;
        self
    }

    /// Sets whether the divergence only moves the earlier layers (as from sentence-transformers 5.7) and not the last one
    /// towards them.
    #[must_use]
    pub fn detach_last_layer(mut self, detach: bool) -> Self {
        self.layers.detach = detach;
        self
    }

    /// Sets whether the output of the embedding layer is left out (as in sentence-transformers 5.1).
    #[must_use]
    pub fn skip_embedding_layer(mut self, skip: bool) -> Self {
        self.layers.skip_embedding = skip;
        self
    }
}

impl Described for AdaptiveLayerLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(settings([
            ("loss", json!(self.inner.card().name)),
            ("n_layers_per_step", self.layers.per_step.map_or(json!(-1), |count| json!(count))),
            ("last_layer_weight", json!(self.layers.last_weight)),
            ("prior_layers_weight", json!(self.layers.prior_weight)),
            ("kl_div_weight", json!(self.layers.kl_weight)),
            ("kl_temperature", json!(self.layers.kl_temperature)),
        ]))
    }

    fn inner(&self) -> Option<&dyn Described> {
        Some(&self.inner)
    }

    fn parameters(&self) -> Parameters {
        self.inner.parameters()
    }
}

impl Objective for AdaptiveLayerLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        if model.input_kind() != InputKind::Transformer || model.layers().is_none_or(|layers| layers < 2) {
            let message = "needs the layers of a transformer, and the model's first module is none; use MatryoshkaLoss";
            return Err(CARD.error(message));
        }
        if self.inner.mini_batch_size().is_some() {
            log::warn!("MatryoshkaLoss is not compatible with {}.", self.inner.card().name);
        }
        self.inner.check(model)
    }

    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(None)
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        let LayerSettings { last_weight, prior_weight, kl_weight, kl_temperature, .. } = self.layers;
        // The layers of every column.
        let mut with_layers = pass.clone().with_layers(true);
        let (mut last, mut layers) = (Vec::new(), Vec::new());
        for column in batch.columns {
            let embedded = batch.model.embed(column, &mut with_layers)?;
            last.push(embedded.sentences);
            layers.push(embedded.layers.ok_or_else(|| CARD.error("the model gives no layers"))?);
        }
        *pass.random_mut() = with_layers.random().clone();
        let count = layers.iter().map(Vec::len).min().unwrap_or(0);
        let mut sum = (bound(&self.inner, batch, pass)?(&last, batch.targets)? * last_weight)?;
        let all = joined(&last)?;
        let all = if self.layers.detach { all.detach() } else { all };

        let first = usize::from(self.layers.skip_embedding);
        let mut chosen: Vec<usize> = (first..count.saturating_sub(1)).collect();
        if let Some(wanted) = self.layers.per_step.filter(|&wanted| wanted < chosen.len()) {
            let order = pass.random_mut().permutation(chosen.len());
            chosen = order.into_iter().take(wanted).map(|index| chosen[index]).collect();
        }
        for &layer in &chosen {
            let embeddings = batch.columns.iter().zip(&layers).map(|(column, layers)| {
                let hidden = layers.get(layer).ok_or_else(|| CARD.error(format!("there is no layer {layer}")))?;
                batch.model.embed_layer(column, hidden, pass)
            });
            let embeddings = embeddings.collect::<Result<Vec<_>>>()?;
            let value = bound(&self.inner, batch, pass)?(&embeddings, batch.targets)?;
            #[expect(clippy::cast_precision_loss, reason = "models have few layers")]
            let share = ((1 + layer - first) * chosen.len()) as f64;
            sum = (sum + (value * (prior_weight / share))?)?;
            if kl_temperature > 0.0 {
                let (teacher, student) = ((&all / kl_temperature)?, (joined(&embeddings)? / kl_temperature)?);
                sum = (sum + (kl_divergence(&teacher, &student)? * (kl_temperature * kl_weight))?)?;
            }
        }
        Ok(LossValue::new(sum))
    }
}

fn joined(columns: &[Tensor]) -> Result<Tensor> {
    if columns.is_empty() {
        return Err(TrainError::invalid("a batch without columns"));
    }
    at_least_f32(&Tensor::cat(columns, 0)?)
}
