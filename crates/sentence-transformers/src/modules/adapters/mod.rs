//! Modules whose weights adapters change: [`AdapterHost`].

mod base;
mod shelf;

use std::path::Path;

use st_encoder::Weights;
use st_encoder::adapters::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, AdaptableModules, Adapter, AdapterConfig};

use crate::Result;
use crate::files::ModuleWriter;
pub(super) use base::Base;
pub(super) use shelf::Shelf;
pub use shelf::TrainedAdapters;

/// A module that adapters can be laid over: `Transformer` and `CLIPModel`. The model-wide methods of
/// [`crate::SentenceTransformer`] delegate to these.
pub(crate) trait AdapterHost {
    /// Its adapters.
    fn shelf(&self) -> &Shelf;

    /// Takes another shelf of adapters, if the encoder loads with it; else everything stays as it was.
    fn take_shelf(&mut self, shelf: Shelf) -> Result<()>;

    /// What adapters can change.
    fn adaptable(&self) -> Result<AdaptableModules>;

    /// The weights without adapters, and what the model is called.
    fn plain(&self) -> Result<(Weights, &str)>;

    /// Makes the active adapters part of the weights, and removes all adapters.
    fn merge(&mut self) -> Result<()>;

    /// Fails when there is an adapter of that name already, before anything is fetched for one.
    fn refuse_name(&self, name: &str) -> Result<()> {
        self.shelf().refuse_name(name)
    }

    /// Reads an adapter's folder; it becomes the active one. Training changes it only when it is `trainable`.
    fn load_adapter(&mut self, name: &str, folder: &Path, trainable: bool) -> Result<()> {
        self.shelf().refuse_name(name)?;
        let mut adapter = Adapter::open(folder, &self.adaptable()?)?;
        adapter.config_mut().inference = !trainable;
        self.take_shelf(self.shelf().with(name, adapter)?.frozen(!trainable))
    }

    /// Makes a fresh adapter; it becomes the active one.
    fn add_adapter(&mut self, name: &str, config: AdapterConfig, seed: u64) -> Result<()> {
        self.shelf().refuse_name(name)?;
        let (weights, base) = self.plain()?;
        let mut adapter = Adapter::fresh(config, &self.adaptable()?, &weights, seed)?;
        adapter.config_mut().base_model = Some(base.to_owned());
        self.take_shelf(self.shelf().with(name, adapter)?.frozen(false))
    }

    /// Takes an adapter, trained say, in the place of the one of that name.
    fn replace_adapter(&mut self, name: &str, adapter: Adapter) -> Result<()> {
        self.take_shelf(self.shelf().with_changed(name, adapter)?)
    }

    /// Makes one adapter the active one.
    fn set_adapter(&mut self, name: &str) -> Result<()> {
        self.take_shelf(self.shelf().with_active(name)?)
    }

    /// Makes several adapters active together, in this order.
    fn set_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.take_shelf(self.shelf().with_all_active(names)?)
    }

    /// Switches the active adapters on or off.
    fn enable_adapters(&mut self, enabled: bool) -> Result<()> {
        self.take_shelf(self.shelf().enabled(enabled)?)
    }

    /// Removes adapters.
    fn delete_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.take_shelf(self.shelf().without(names)?)
    }

    /// Writes the active adapter's files, as the original does in the place of configuration and weights.
    fn save_adapter(&self, writer: &ModuleWriter) -> Result<()> {
        let adapter = self.shelf().saved()?;
        writer.bytes(ADAPTER_CONFIG, adapter.config_json().as_bytes())?;
        writer.bytes(ADAPTER_WEIGHTS[0], &adapter.to_safetensors()?)
    }
}
