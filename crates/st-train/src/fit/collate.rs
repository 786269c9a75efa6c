//! [`smart_batching_collate`].

use crate::data::targets;
use crate::loss::Targets;
use crate::model::{Column, EmbeddingModel};
use crate::readers::InputExample;
use crate::{Result, TrainError};

/// Tokenises the texts of a batch, column by column, and collects the labels.
///
/// # Errors
/// When examples have different numbers of texts, labels are of different kinds, or the tokenizer fails.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_train::fit::smart_batching_collate;
/// use st_train::model::{TrainableModel, TrainingOptions};
/// use st_train::readers::InputExample;
///
/// let library = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let model = TrainableModel::new(&library, TrainingOptions::new())?;
/// let batch = [InputExample::new(["a cat", "a dog"]).label(0.5), InputExample::new(["sunny", "the sun"]).label(1.0)];
/// let (columns, targets) = smart_batching_collate(&model, &batch)?;
/// assert_eq!((columns.len(), columns[0].len(), targets.rows()), (2, 2, Some(2)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn smart_batching_collate(model: &dyn EmbeddingModel, batch: &[InputExample]) -> Result<(Vec<Column>, Targets)> {
    let width = batch.first().map_or(0, |example| example.texts.len());
    if let Some(other) = batch.iter().find(|example| example.texts.len() != width) {
        let message = format!("examples of a batch have {width} and {} texts", other.texts.len());
        return Err(TrainError::invalid(message));
    }
    let columns = (0..width)
        .map(|index| {
            let texts: Vec<String> = batch.iter().map(|example| example.texts[index].clone()).collect();
            model.tokenize(&texts, None, None)
        })
        .collect::<Result<_>>()?;
    let labels: Vec<_> = batch.iter().map(|example| example.label.clone()).collect();
    Ok((columns, targets("label", &labels, model.device())?))
}
