//! The model as it is now, with a card that tells how it was trained.

use std::path::Path;

use sentence_transformers::SentenceTransformer;

use crate::Result;
use crate::model::{EmbeddingModel, save};

use super::Setup;

/// Saves the model as it is now.
pub(super) fn save_model(model: &dyn EmbeddingModel, setup: &Setup, folder: &Path) -> Result<()> {
    log::info!("Saving model checkpoint to {}", folder.display());
    Ok(save(&library(model, setup)?, folder)?)
}

/// The model as it is now, for inference.
pub(super) fn library(model: &dyn EmbeddingModel, setup: &Setup) -> Result<SentenceTransformer> {
    let mut library = model.sentence_transformer()?;
    if let Err(error) = setup.card.apply(setup, library.card_data_mut()) {
        // A model without its card is still a model.
        log::error!("Error while generating model card: {error}");
    }
    Ok(library)
}
