//! Saving a model with its card.

use std::path::Path;

use crate::model::EmbeddingModel;
use crate::{Result, TrainError};

use super::Setup;

/// Saves the model as it is now; the card tells how it was trained.
pub(super) fn save_model(model: &dyn EmbeddingModel, setup: &Setup, folder: &Path) -> Result<()> {
    log::info!("Saving model checkpoint to {}", folder.display());
    model.save(folder)?;
    match card(model, setup) {
        Ok(text) => {
            let path = folder.join("README.md");
            std::fs::write(&path, text).map_err(TrainError::writing(&path))
        }
        // A model without its card is still a model.
        Err(error) => {
            log::error!("Error while generating model card: {error}");
            Ok(())
        }
    }
}

fn card(model: &dyn EmbeddingModel, setup: &Setup) -> Result<String> {
    let mut library = model.sentence_transformer()?;
    setup.card.apply(setup, library.card_data_mut())?;
    Ok(library.model_card(None)?)
}
