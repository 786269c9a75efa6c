//! The adapters of a [`Transformer`].

use std::sync::Arc;

use st_encoder::adapters::AdaptableModules;
use st_encoder::{Encoder, EncoderFiles, Weights};

use super::super::adapters::{AdapterHost, Shelf, TrainedAdapters};
use super::{EncoderSource, Transformer, checkpoint};
use crate::{Error, ErrorKind, Result};

impl EncoderSource {
    /// The model's files as executors read them, with the active adapters laid over the weights.
    pub(super) fn adapted(&self, shelf: &Shelf) -> Result<EncoderFiles> {
        Ok(match shelf.overlay()? {
            Some(overlay) => self.files.clone().with_overlay(overlay),
            None => self.files.clone(),
        })
    }

    /// Loads the encoder with the active adapters.
    pub(super) fn load(&self, shelf: &Shelf) -> Result<Arc<dyn Encoder>> {
        Ok(Arc::from(self.backend.load(&self.adapted(shelf)?, &self.options)?))
    }
}

impl Transformer {
    fn source_for_adapters(&self) -> Result<&EncoderSource> {
        self.source.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "a transformer that was made in memory has no files to adapt")
                .with_hint("load the transformer from a folder")
        })
    }

    /// The adapters that training changes in the place of the model's own weights: the active ones.
    /// The model's own weights are [`Transformer::files`].
    ///
    /// # Errors
    /// When several are active and one of them replaces biases or modules whole.
    pub fn trained_adapters(&self) -> Result<TrainedAdapters<'_>> {
        self.shelf.trained()
    }

    /// The files of the model without its adapters, laid over by the active ones.
    ///
    /// # Errors
    /// When the transformer was made in memory.
    pub fn adapted_files(&self) -> Result<EncoderFiles> {
        self.source_for_adapters()?.adapted(&self.shelf)
    }
}

impl AdapterHost for Transformer {
    fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn take_shelf(&mut self, shelf: Shelf) -> Result<()> {
        self.encoder = self.source_for_adapters()?.load(&shelf)?;
        self.shelf = shelf;
        Ok(())
    }

    fn adaptable(&self) -> Result<AdaptableModules> {
        Ok(AdaptableModules::of_files(&self.source_for_adapters()?.files)?)
    }

    fn plain(&self) -> Result<(Weights, &str)> {
        let source = self.source_for_adapters()?;
        Ok((source.files.network()?.2, &source.name))
    }

    fn merge(&mut self) -> Result<()> {
        self.shelf.require()?;
        let source = self.source_for_adapters()?;
        let bytes = checkpoint::merged(&source.files.weights()?, &source.adapted(&self.shelf)?.network()?.2)?;
        let merged = EncoderSource { files: source.files.clone().with_weights(bytes), ..source.clone() };
        self.encoder = merged.load(&Shelf::default())?;
        (self.source, self.shelf) = (Some(merged), Shelf::default());
        Ok(())
    }
}
