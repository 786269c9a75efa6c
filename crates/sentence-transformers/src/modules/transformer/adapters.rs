//! The adapters of a [`Transformer`].

use std::sync::Arc;

use st_encoder::adapters::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdaptableModules, Adapter, AdapterConfig};
use st_encoder::{Encoder, EncoderFiles};

use super::shelf::Shelf;
use super::{EncoderSource, Transformer, checkpoint};
use crate::files::ModuleWriter;
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

/// Adapters. The model-wide methods of [`crate::SentenceTransformer`] delegate to these.
impl Transformer {
    fn source_for_adapters(&self) -> Result<&EncoderSource> {
        self.source.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "a transformer that was made in memory has no files to adapt")
                .with_hint("load the transformer from a folder")
        })
    }

    /// Takes another shelf of adapters, if the encoder loads with it; else everything stays as it was.
    fn take_shelf(&mut self, shelf: Shelf) -> Result<()> {
        self.encoder = self.source_for_adapters()?.load(&shelf)?;
        self.shelf = shelf;
        Ok(())
    }

    /// Fails when there is an adapter of that name already, before anything is fetched for one.
    pub(crate) fn refuse_adapter_name(&self, name: &str) -> Result<()> {
        self.shelf.refuse_name(name)
    }

    /// Reads an adapter's folder; it becomes the active one. Training changes it only when it is `trainable`.
    ///
    /// # Errors
    /// When there is one of that name, or the adapter does not fit or cannot be read.
    pub fn load_adapter(&mut self, name: &str, folder: &std::path::Path, trainable: bool) -> Result<()> {
        self.shelf.refuse_name(name)?;
        let modules = AdaptableModules::of_files(&self.source_for_adapters()?.files)?;
        let mut adapter = Adapter::open(folder, &modules)?;
        adapter.config_mut().inference = !trainable;
        self.take_shelf(self.shelf.with(name, adapter)?.frozen(!trainable))
    }

    /// Makes a fresh adapter; it becomes the active one.
    ///
    /// # Errors
    /// When there is one of that name, or the configuration contradicts itself or fits no module.
    pub fn add_adapter(&mut self, name: &str, config: AdapterConfig, seed: u64) -> Result<()> {
        self.shelf.refuse_name(name)?;
        let source = self.source_for_adapters()?;
        let modules = AdaptableModules::of_files(&source.files)?;
        let (_, _, weights) = source.files.network()?;
        let mut adapter = Adapter::fresh(config, &modules, &weights, seed)?;
        adapter.config_mut().base_model = Some(source.name.clone());
        self.take_shelf(self.shelf.with(name, adapter)?.frozen(false))
    }

    /// Takes an adapter, trained say, in the place of the one of that name.
    ///
    /// # Errors
    /// When there is none of that name, or the encoder cannot be loaded with it.
    pub fn replace_adapter(&mut self, name: &str, adapter: Adapter) -> Result<()> {
        self.take_shelf(self.shelf.with_changed(name, adapter)?)
    }

    /// Makes one adapter the active one.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_adapter(&mut self, name: &str) -> Result<()> {
        self.take_shelf(self.shelf.with_active(name)?)
    }

    /// Makes several adapters active together, in this order.
    ///
    /// # Errors
    /// When one of them is not there, or they cannot be active together.
    pub fn set_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.take_shelf(self.shelf.with_all_active(names)?)
    }

    /// Switches the active adapters on or off.
    ///
    /// # Errors
    /// When there are none.
    pub fn enable_adapters(&mut self, enabled: bool) -> Result<()> {
        self.take_shelf(self.shelf.enabled(enabled)?)
    }

    /// Removes adapters.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn delete_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.take_shelf(self.shelf.without(names)?)
    }

    /// Makes the active adapters part of the weights, and removes all adapters.
    ///
    /// # Errors
    /// When there are none, or the weights cannot be read.
    pub fn merge_adapters(&mut self) -> Result<()> {
        self.shelf.require()?;
        let source = self.source_for_adapters()?;
        let bytes = checkpoint::merged(&source.files, &source.adapted(&self.shelf)?)?;
        let merged = EncoderSource { files: source.files.clone().with_weights(bytes), ..source.clone() };
        self.encoder = merged.load(&Shelf::default())?;
        (self.source, self.shelf) = (Some(merged), Shelf::default());
        Ok(())
    }

    /// The names of all adapters, in the order in which they came.
    pub fn adapter_names(&self) -> impl Iterator<Item = &str> {
        self.shelf.names()
    }

    /// The names of the active adapters, also while they are off.
    ///
    /// # Errors
    /// When there are no adapters.
    pub fn active_adapters(&self) -> Result<&[String]> {
        self.shelf.active()
    }

    /// An adapter, or the first active one.
    ///
    /// # Errors
    /// When there is none, or none of that name.
    pub fn adapter(&self, name: Option<&str>) -> Result<&Adapter> {
        self.shelf.get_or_active(name)
    }

    /// The adapter that training changes in the place of the model's own weights, with its name and whether it is
    /// trainable; `None` when there is none or they are off. The model's own weights are [`Transformer::files`].
    ///
    /// # Errors
    /// When several are active.
    pub fn trained_adapter(&self) -> Result<Option<(&str, &Adapter, bool)>> {
        self.shelf.trained()
    }

    /// The files of the model without its adapters, laid over by the active ones.
    ///
    /// # Errors
    /// When the transformer was made in memory.
    pub fn adapted_files(&self) -> Result<EncoderFiles> {
        self.source_for_adapters()?.adapted(&self.shelf)
    }

    /// Writes the active adapter's files, as the original does in the place of configuration and weights.
    pub(super) fn save_adapter(&self, writer: &ModuleWriter) -> Result<()> {
        let adapter = self.shelf.saved()?;
        writer.bytes(ADAPTER_CONFIG, adapter.config_json().as_bytes())?;
        writer.bytes(ADAPTER_WEIGHTS[0], &adapter.to_safetensors()?)
    }
}
