use candle_core::Tensor;
use candle_core::backprop::GradStore;

use super::differentiable::{exactly, numbers, one_per_row, relu, row_cosines};
use super::gradient_cache::{bound_backward, bound_forward, joined, ranges};
use super::similarity::Similarity;
use crate::error::{Result, TrainError};
use crate::loss::{Bound, Described, LossCard, LossValue, Objective, ObjectiveBatch, differentiate, only_parameters};
use crate::model::{Column, TrainingPass};

pub(super) const CARD: LossCard = LossCard {
    name: "MegaBatchMarginLoss",
    aliases: &["MegaBatchMargin"],
    columns: "(anchor, positive)",
    at_least: 2,
    at_most: Some(2),
    labels: "",
    formula: "relu(m₊ − cos(a, p)) + relu(cos(a, hardest other p) − m₋)",
    paper: Some("https://aclanthology.org/P18-1042"),
};

/// Margins for each anchor's positive and for the hardest other positive of a very large batch.
///
/// # Formula
/// mean over i of relu(m₊ − cos(aᵢ, pᵢ)) + relu(max_{j≠i} cos(aᵢ, pⱼ) − m₋), m₊ = 0.8 and m₋ = 0.3 unless set otherwise.
///
/// In mini-batches (of 50 unless set otherwise) all positives are embedded first, without dropout, to find the hardest;
/// then anchors, positives and hardest negatives of a mini-batch at a time are embedded and differentiated. The gradient
/// is the *sum* of the mini-batches' means, and training reports the last mini-batch's mean. (The original means to do the
/// same but, for a wrong comparison, only differentiates the last mini-batch.) [`Objective::forward`] gives the mean over
/// all rows.
///
/// # Columns
/// Anchor and positive. No labels.
///
/// # When to use
/// For paraphrases, with batches of hundreds: the larger the batch, the harder the negatives.
///
/// # See also
/// [`MultipleNegativesRankingLoss`](super::MultipleNegativesRankingLoss) and its cached form.
///
/// # Reference
/// Wieting and Gimpel, *ParaNMT-50M*, 2018, <https://aclanthology.org/P18-1042>.
///
/// ```
/// use candle_core::{Device, Tensor};
/// use st_train::losses::MegaBatchMarginLoss;
///
/// let a = Tensor::new(&[[1f64, 0.0], [0.0, 1.0]], &Device::Cpu)?;
/// let p = Tensor::new(&[[0f64, 1.0], [0.0, 1.0]], &Device::Cpu)?;
/// // Row 0: 0.8 − 0 and 0 − 0.3 < 0. Row 1: 0.8 − 1 < 0 and 1 − 0.3.
/// let value = MegaBatchMarginLoss::new().compute(&[a, p])?.to_scalar::<f64>()?;
/// assert!((value - (0.8 + 0.7) / 2.0).abs() < 1e-12);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct MegaBatchMarginLoss {
    positive_margin: f64,
    negative_margin: f64,
    mini_batch_size: Option<usize>,
}

impl Default for MegaBatchMarginLoss {
    fn default() -> Self {
        Self { positive_margin: 0.8, negative_margin: 0.3, mini_batch_size: Some(50) }
    }
}

impl MegaBatchMarginLoss {
    /// Margins 0.8 and 0.3, mini-batches of 50.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the cosine that a positive should reach.
    #[must_use]
    pub fn positive_margin(mut self, margin: f64) -> Self {
        self.positive_margin = margin;
        self
    }

    /// Sets the cosine that a negative should stay below.
    #[must_use]
    pub fn negative_margin(mut self, margin: f64) -> Self {
        self.negative_margin = margin;
        self
    }

    /// Sets the size of mini-batches; `None`: the whole batch at once (`use_mini_batched_version=False`).
    ///
    /// # Errors
    /// When it is 0.
    pub fn mini_batches(mut self, size: Option<usize>) -> Result<Self> {
        if size == Some(0) {
            return Err(TrainError::option("mini_batch_size", "is 0, but must be at least 1"));
        }
        self.mini_batch_size = size;
        Ok(self)
    }

    /// The loss of a whole batch.
    ///
    /// # Errors
    /// When the columns are not two of the same shape.
    pub fn compute(&self, columns: &[Tensor]) -> Result<Tensor> {
        let [anchors, positives] = exactly(&CARD, columns)?;
        let cosines = Similarity::Cosine.matrix(&anchors, &positives)?;
        let rows = anchors.dim(0)?;
        let hardest = hardest(&numbers(&cosines)?, rows, 0);
        #[expect(clippy::cast_possible_truncation, reason = "a batch has fewer than 2³² rows")]
        let diagonal: Vec<u32> = (0..rows as u32).collect();
        // A batch of one row has no other positive: the original's −2 below the diagonal keeps that term at 0.
        let negative = if rows > 1 { one_per_row(&cosines, &hardest)? } else { (cosines.squeeze(1)? - 2.0)? };
        self.margins(&one_per_row(&cosines, &diagonal)?, &negative)
    }

    fn margins(&self, positive: &Tensor, negative: &Tensor) -> Result<Tensor> {
        let near = relu(&(self.positive_margin - positive)?)?;
        let far = relu(&(negative - self.negative_margin)?)?;
        Ok((near + far)?.mean_all()?)
    }

    /// The mean of each mini-batch, with its number of rows, handed to `each` as soon as it is known.
    fn mini_batched(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        size: usize,
        mut each: impl FnMut(Tensor, usize) -> Result<()>,
    ) -> Result<()> {
        let [anchors, positives] = batch.columns else {
            return Err(CARD.error(format!("got {} columns, expected 2: {}", batch.columns.len(), CARD.columns)));
        };
        let mut evaluation = TrainingPass::evaluation().with_autocast(pass.autocast());
        let all = ranges(positives.len(), size)
            .map(|range| Ok(batch.model.embed(&positives.slice(range), &mut evaluation)?.sentences.detach()));
        let all = joined(all.collect::<Result<Vec<_>>>()?)?;
        for range in ranges(positives.len(), size) {
            let rows = range.len();
            let anchor = batch.model.embed(&anchors.slice(range.clone()), pass)?.sentences;
            let cosines = Similarity::Cosine.matrix(&anchor.detach(), &all)?;
            let hardest = hardest(&numbers(&cosines)?, positives.len(), range.start);
            let negatives = positives.choose(&hardest.iter().map(|&row| row as usize).collect::<Vec<_>>());
            let positive = batch.model.embed(&positives.slice(range), pass)?.sentences;
            let negative = batch.model.embed(&negatives, pass)?.sentences;
            let [anchor, positive, negative] = exactly(&THREE, &[anchor, positive, negative])?;
            each(self.margins(&row_cosines(&anchor, &positive)?, &row_cosines(&anchor, &negative)?)?, rows)?;
        }
        Ok(())
    }
}

/// For shapes: anchors, positives and negatives of a mini-batch.
const THREE: LossCard = LossCard { at_least: 3, at_most: Some(3), ..CARD };

/// Per row of a matrix with so many columns, the largest element's column; `offset` is the first row's own column, which
/// counts 2 less.
fn hardest(cosines: &[f64], columns: usize, offset: usize) -> Vec<u32> {
    let rows = cosines.chunks_exact(columns.max(1)).enumerate();
    let best = rows.map(|(i, row)| {
        let values = row.iter().enumerate().map(|(j, cosine)| cosine - if j == i + offset { 2.0 } else { 0.0 });
        super::batch_distances::best(values, f64::gt).unwrap_or_default().0
    });
    best.collect()
}

impl Described for MegaBatchMarginLoss {
    fn card(&self) -> &'static LossCard {
        &CARD
    }
}

impl Objective for MegaBatchMarginLoss {
    fn bind<'a>(&'a self, _: &ObjectiveBatch<'a>, _: &mut TrainingPass) -> Result<Option<Bound<'a>>> {
        Ok(match self.mini_batch_size {
            None => Some(Box::new(|columns, _| self.compute(columns))),
            Some(_) => None,
        })
    }

    fn forward(&self, batch: &ObjectiveBatch<'_>, pass: &mut TrainingPass) -> Result<LossValue> {
        let Some(size) = self.mini_batch_size else { return bound_forward(self, batch, pass) };
        let mut sum: Option<Tensor> = None;
        let rows = batch.columns.first().map_or(1, Column::len);
        #[expect(clippy::cast_precision_loss, reason = "a batch has few rows")]
        self.mini_batched(batch, pass, size, |value, part| {
            let share = (value * (part as f64 / rows as f64))?;
            sum = Some(match sum.take() {
                Some(sum) => (sum + share)?,
                None => share,
            });
            Ok(())
        })?;
        sum.map(LossValue::new).ok_or_else(|| CARD.error("a batch without rows"))
    }

    fn backward(
        &self,
        batch: &ObjectiveBatch<'_>,
        pass: &mut TrainingPass,
        scale: f64,
    ) -> Result<(LossValue, GradStore)> {
        let Some(size) = self.mini_batch_size else { return bound_backward(self, batch, pass, scale) };
        let (mut kept, mut last) = (GradStore::default(), None);
        self.mini_batched(batch, pass, size, |value, _| {
            let mut found = differentiate(&(&value * scale)?)?;
            kept.extend(only_parameters(&mut found, &[batch.model.parameters()]))?;
            last = Some(value.detach());
            Ok(())
        })?;
        Ok((LossValue::new(last.ok_or_else(|| CARD.error("a batch without rows"))?), kept))
    }
}
