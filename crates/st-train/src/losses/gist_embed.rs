use std::sync::Arc;

use candle_core::{Device, Tensor};
use serde_json::{Map, Value, json};

use super::differentiable::{columns, diagonal_cross_entropy};
use super::distance::cosine_matrix;
use super::gradient_cache::{bound_backward, bound_forward};
use super::settings;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch};
use crate::model::{Column, EmbeddingModel, InputKind, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "GISTEmbedLoss",
    aliases: &["GISTEmbed", "GIST"],
    columns: "(anchor, positive, [negative])",
    at_least: 2,
    at_most: Some(3),
    labels: "",
    formula: "ranking loss without the negatives that a guide finds nearer than the positive",
    paper: Some("https://arxiv.org/abs/2402.16829"),
};

/// Ranks positives above the batch's other texts, except those that a guide model takes for positives as well.
///
/// # Formula
/// Cross-entropy over rows of [a·p, a·a, p·p, a·n] / T, row i wanting aᵢ·pᵢ; all similarities are cosines. Where the guide's
/// similarity of a pair is above a threshold, and the pair is not the wanted one, the pair is struck out. The threshold
/// of row i is the guide's gᵢᵢ = cos(aᵢ, pᵢ), less a margin ([`GistMargin`]). T = 0.01 unless set otherwise.
///
/// With a relative margin and a negative gᵢᵢ the threshold moves up instead of down, as in sentence-transformers 5.2 (5.6
/// changed that).
///
/// The guide reads the same token ids where it would make the same ids of the texts, else the texts. (The original
/// decodes the ids for it, which loses capitals and rare characters.)
///
/// # Columns
/// Anchor, positive, and at most one hard negative. No labels.
///
/// # When to use
/// As [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss), where batches hold many false negatives and a
/// good model for the domain exists already.
///
/// # See also
/// [`CachedGistEmbedLoss`](super::CachedGistEmbedLoss) for large batches,
/// [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss).
///
/// # Reference
/// Solatorio, *GISTEmbed: Guided In-sample Selection of Training Negatives for Text Embedding Fine-tuning*, 2024,
/// <https://arxiv.org/abs/2402.16829>.
///
/// The formula alone, with the guide's embeddings given:
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::{GistMargin, GistSettings};
///
/// let a = Tensor::new(&[[1f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let p = Tensor::new(&[[1f64, 1.0], [0.0, 1.0]], &Device::Cpu)?;
/// let settings = GistSettings { temperature: 1.0, contrast_anchors: false, contrast_positives: false, ..Default::default() };
/// let value = |guide: &[Tensor]| -> st_train::Result<f64> {
///     Ok(settings.compute(&[a.clone(), p.clone()], guide)?.to_scalar()?)
/// };
/// let half = 0.5f64.sqrt(); // cosines of a and p: √½ 0; √½ 1
/// let without = value(&[a.clone(), p.clone()])?;
/// assert!((without - ((1.0 + (-half).exp()).ln() + (1.0 + (half - 1.0).exp()).ln()) / 2.0).abs() < 1e-12);
/// // A guide that finds the second positive nearer to the first anchor strikes it out.
/// let struck = value(&[a.clone(), Tensor::new(&[[0f64, 1.0], [1.0, 0.0]], &Device::Cpu)?])?;
/// assert!(struck.abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct GistEmbedLoss {
    guide: Guide,
    settings: GistSettings,
}

/// By how much a guide's similarity may exceed that of the positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GistMargin {
    /// Threshold gᵢᵢ − margin.
    Absolute(f64),
    /// Threshold gᵢᵢ·(1 − margin).
    Relative(f64),
}

impl GistMargin {
    /// Of the original's two arguments.
    ///
    /// # Errors
    /// When the strategy is neither "absolute" nor "relative".
    pub fn named(strategy: &str, margin: f64) -> Result<Self> {
        match strategy {
            "absolute" => Ok(Self::Absolute(margin)),
            "relative" => Ok(Self::Relative(margin)),
            _ => Err(TrainError::invalid("margin_strategy must be 'absolute' or 'relative'.")),
        }
    }
}

/// The settings of [`GistEmbedLoss`], and its formula.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GistSettings {
    /// What similarities are divided by.
    pub temperature: f64,
    /// The margin; absolute and 0 unless set otherwise.
    pub margin: GistMargin,
    /// Whether the other anchors are negatives of an anchor.
    pub contrast_anchors: bool,
    /// Whether the other positives are negatives of a positive.
    pub contrast_positives: bool,
}

impl Default for GistSettings {
    fn default() -> Self {
        Self { temperature: 0.01, margin: GistMargin::Absolute(0.0), contrast_anchors: true, contrast_positives: true }
    }
}

impl GistSettings {
    /// The loss of a batch, `columns` being the model's and `guide` the guide's embeddings, `[rows, dimension]` each.
    ///
    /// # Errors
    /// When the two do not have the same number of columns and rows, or an operation fails.
    pub fn compute(&self, columns: &[Tensor], guide: &[Tensor]) -> Result<Tensor> {
        self.of_card(&CARD, columns, guide)
    }

    pub(super) fn of_card(&self, card: &LossCard, given: &[Tensor], guide: &[Tensor]) -> Result<Tensor> {
        if given.len() != guide.len() {
            return Err(TrainError::invalid("reps and reps_guided must have the same length"));
        }
        if card.at_most.is_some() && !card.accepts(given.len()) {
            return Err(TrainError::invalid(format!("Expected 2 or 3 embeddings, got {}", given.len())));
        }
        let (model, guide) = (columns(card, given)?, columns(card, guide)?);
        let rows = model[0].dim(0)?;
        if guide[0].dim(0)? != rows {
            return Err(card.error(format!("{rows} rows, and {} of the guide", guide[0].dim(0)?)));
        }
        let guide: Vec<Tensor> = guide.iter().map(Tensor::detach).collect();
        let wanted = cosine_matrix(&guide[0], &guide[1])?;
        let eye = Tensor::eye(rows, candle_core::DType::U8, &Device::Cpu)?.to_device(wanted.device())?;
        let diagonal = (wanted.mul(&eye.to_dtype(wanted.dtype())?)?).sum_keepdim(1)?;
        let threshold = match self.margin {
            GistMargin::Absolute(margin) => (diagonal - margin)?,
            GistMargin::Relative(margin) => (diagonal * (1.0 - margin))?,
        };
        let mut blocks = Vec::new();
        let mut block = |a: usize, b: usize, protected: Option<&Tensor>| -> Result<()> {
            let similarities = cosine_matrix(&model[a], &model[b])?;
            let guided = cosine_matrix(&guide[a], &guide[b])?;
            let mut struck = guided.broadcast_gt(&threshold)?;
            if let Some(protected) = protected {
                struck = protected.where_cond(&protected.zeros_like()?, &struck)?;
            }
            let never = Tensor::full(f64::NEG_INFINITY, similarities.dims(), &Device::Cpu)?;
            let never = never.to_dtype(similarities.dtype())?.to_device(similarities.device())?;
            blocks.push(struck.to_device(similarities.device())?.where_cond(&never, &similarities)?);
            Ok(())
        };
        block(0, 1, Some(&eye))?;
        if self.contrast_anchors {
            block(0, 0, None)?;
        }
        if self.contrast_positives {
            block(1, 1, None)?;
        }
        for negative in 2..model.len() {
            block(0, negative, None)?;
        }
        diagonal_cross_entropy(&(Tensor::cat(&blocks, 1)? / self.temperature)?)
    }

    /// The settings that a model card shows.
    pub(super) fn config(&self, guide: &str) -> Map<String, Value> {
        let (strategy, margin) = match self.margin {
            GistMargin::Absolute(margin) => ("absolute", margin),
            GistMargin::Relative(margin) => ("relative", margin),
        };
        settings([
            ("guide", json!(guide)),
            ("temperature", json!(self.temperature)),
            ("margin_strategy", json!(strategy)),
            ("margin", json!(margin)),
            ("contrast_anchors", json!(self.contrast_anchors)),
            ("contrast_positives", json!(self.contrast_positives)),
            ("gather_across_devices", json!(false)),
        ])
    }
}

/// A guide model.
#[derive(Debug, Clone)]
pub(super) struct Guide {
    model: Arc<dyn EmbeddingModel>,
    shown: String,
}

impl Guide {
    pub(super) fn new(model: Arc<dyn EmbeddingModel>, base_model: Option<&str>) -> Self {
        // Shown as the model card shows a model.
        let facts = st_card::LossFacts::new(CARD.name).model_parameter("guide", base_model);
        let shown = facts.parameters.get("guide").and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { model, shown }
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    pub(super) fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        let has_tokenizer = |model: &dyn EmbeddingModel| {
            matches!(model.input_kind(), InputKind::Transformer | InputKind::StaticEmbedding | InputKind::Router)
        };
        if !has_tokenizer(model) || !has_tokenizer(&*self.model) {
            return Err(TrainError::invalid(
                "Both the training model and the guiding model must use a PreTrainedTokenizer from transformers.",
            ));
        }
        Ok(())
    }

    /// The guide's embeddings of all columns, `size` texts at a time.
    pub(super) fn embed(&self, columns: &[Column], size: Option<usize>) -> Result<Vec<Tensor>> {
        let embedded = columns.iter().map(|column| {
            let own = self.model.tokenize(column.texts(), None, column.task())?;
            let read = if same_tokens(column, &own) { column } else { &own };
            let size = size.unwrap_or(read.len()).max(1);
            let pieces = super::gradient_cache::ranges(read.len(), size).map(|range| {
                let piece = self.model.embed(&read.slice(range), &mut TrainingPass::evaluation())?;
                Ok(piece.sentences.detach())
            });
            super::gradient_cache::joined(pieces.collect::<Result<Vec<_>>>()?)
        });
        embedded.collect()
    }
}

/// Whether the guide would read what the model reads, apart from what the model cuts off.
fn same_tokens(model: &Column, guide: &Column) -> bool {
    (0..model.len()).all(|index| {
        let (ids, own) = (model.batch().sequence(index), guide.batch().sequence(index));
        // All but the closing token, which follows where the text is cut.
        ids == own
            || (ids.len() < own.len() && ids[..ids.len().saturating_sub(1)] == own[..ids.len().saturating_sub(1)])
    })
}

impl GistEmbedLoss {
    /// Guided by a model, with the original's settings.
    #[must_use]
    pub fn new(guide: Arc<dyn EmbeddingModel>) -> Self {
        Self { guide: Guide::new(guide, None), settings: GistSettings::default() }
    }

    /// Sets the guide's name, which model cards show.
    #[must_use]
    pub fn guide_name(mut self, name: &str) -> Self {
        self.guide = Guide::new(self.guide.model, Some(name));
        self
    }

    /// Sets temperature, margin, and what is contrasted.
    #[must_use]
    pub fn settings(mut self, settings: GistSettings) -> Self {
        self.settings = settings;
        self
    }
}

impl Described for GistEmbedLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }

    fn config(&self) -> Option<Map<String, Value>> {
        Some(self.settings.config(self.guide.shown()))
    }
}

impl Objective for GistEmbedLoss {
    fn check(&self, model: &dyn EmbeddingModel) -> Result<()> {
        self.guide.check(model)
    }

    fn bind<'a>(&'a self, batch: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        let guide = self.guide.embed(batch.columns, None)?;
        Ok(Some(Box::new(move |columns, _| self.settings.compute(columns, &guide))))
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        bound_forward(self, batch, pass)
    }

    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, candle_core::backprop::GradStore)> {
        bound_backward(self, batch, pass, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::Batch;

    #[test]
    fn a_guide_reads_the_models_ids_where_it_would_make_the_same() {
        let column = |sequences: &[&[u32]]| {
            let texts: Vec<String> = sequences.iter().map(|_| "text".to_owned()).collect();
            Column::new(Batch::from_sequences(sequences.iter().copied()), texts).unwrap()
        };
        let model = column(&[&[2, 7, 8, 3], &[2, 9, 3]]);
        assert!(same_tokens(&model, &column(&[&[2, 7, 8, 3], &[2, 9, 3]])));
        // The model cuts the first text off earlier than the guide would.
        assert!(same_tokens(&model, &column(&[&[2, 7, 8, 5, 6, 3], &[2, 9, 3]])));
        // The guide cuts it off earlier, or has another vocabulary.
        assert!(!same_tokens(&model, &column(&[&[2, 7, 3], &[2, 9, 3]])));
        assert!(!same_tokens(&model, &column(&[&[2, 7, 8, 3], &[1, 9, 3]])));
        assert!(!same_tokens(&model, &column(&[&[2, 7, 6, 5, 3], &[2, 9, 3]])));
    }
}
