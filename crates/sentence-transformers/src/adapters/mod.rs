//! Adapters of a model: the methods that the original has from PEFT's mix-in.
//!
//! An adapter is laid over the weights of a transformer or a CLIP model while the engine packs them, so it costs nothing at encoding; every
//! change of the active adapters loads the encoder anew. A change that fails leaves the model as it was.
//!
//! In two things this is saner than the original. There, biases that an adapter brings stay in the base model when the
//! adapter is switched off or deleted; here they go with it. There, modules that an adapter trains whole stay switched
//! off after `enable_adapters`; here they come back.

mod source;

use std::any::Any;
use std::collections::BTreeMap;
use std::path::Path;

pub use crate::modules::TrainedAdapters;
pub use source::AdapterOptions;
pub use st_encoder::adapters::{
    Adapter, AdapterBias, AdapterConfig, AdapterLayer, AdapterTensor, Initialisation, ModuleNames,
};

use crate::modules::{AdapterHost, ClipModel, InputModule, Router, Transformer};
use crate::{Error, ErrorKind, NewWeights, Result, SentenceTransformer};

/// Under this name the original loads and makes adapters, when it is given none.
const DEFAULT: &str = "default";

impl SentenceTransformer {
    /// Loads an adapter in PEFT's format, a LoRA or DoRA, from a folder or the Hub. It becomes the active one.
    ///
    /// ```no_run
    /// use sentence_transformers::SentenceTransformer;
    /// use sentence_transformers::adapters::AdapterOptions;
    ///
    /// let mut model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
    /// model.load_adapter("me/my-adapter", &AdapterOptions::new().name("mine"))?;
    /// assert_eq!(model.active_adapters()?, ["mine"]);
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model has neither a transformer nor a CLIP model, there is an adapter of that name already, or the adapter is not there, damaged,
    /// of a kind that is not followed (the error names it), or made for another model.
    pub fn load_adapter(&mut self, folder_or_id: impl AsRef<str>, options: &AdapterOptions) -> Result<()> {
        let name = options.name.as_deref().unwrap_or(DEFAULT);
        self.adapted()?.refuse_name(name)?;
        let folder = source::fetch(folder_or_id.as_ref(), options)?;
        self.adapted_mut()?.load_adapter(name, &folder, options.trainable)
    }

    /// Makes a fresh adapter: `A` random from `seed`, `B` zero, so that nothing changes until it is trained. It becomes the
    /// active one. `name` is `default` when absent.
    ///
    /// ```no_run
    /// use sentence_transformers::SentenceTransformer;
    /// use sentence_transformers::adapters::AdapterConfig;
    ///
    /// let mut model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
    /// let config = AdapterConfig::new(64).alpha(128.0).dropout(0.1).target_modules(["query", "key", "value"]);
    /// model.add_adapter(config, None, 12)?;
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the model has neither a transformer nor a CLIP model, there is an adapter of that name already, or the configuration contradicts
    /// itself or fits no module.
    pub fn add_adapter(&mut self, config: AdapterConfig, name: Option<&str>, seed: u64) -> Result<()> {
        self.adapted_mut()?.add_adapter(name.unwrap_or(DEFAULT), config, seed)
    }

    /// Takes an adapter, trained say, in the place of the one of that name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn replace_adapter(&mut self, name: &str, adapter: Adapter) -> Result<()> {
        self.adapted_mut()?.replace_adapter(name, adapter)
    }

    /// Makes one adapter the active one.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn set_adapter(&mut self, name: &str) -> Result<()> {
        self.adapted_mut()?.set_adapter(name)
    }

    /// Makes several adapters active together: their changes add up, in this order.
    ///
    /// # Errors
    /// When one of them is not there, or they cannot be active together.
    pub fn set_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.adapted_mut()?.set_adapters(names)
    }

    /// Switches the active adapters on again.
    ///
    /// # Errors
    /// When there are no adapters.
    pub fn enable_adapters(&mut self) -> Result<()> {
        self.adapted_mut()?.enable_adapters(true)
    }

    /// Switches all adapters off: the model computes as the base model does. Which are active is remembered.
    ///
    /// # Errors
    /// When there are no adapters.
    pub fn disable_adapters(&mut self) -> Result<()> {
        self.adapted_mut()?.enable_adapters(false)
    }

    /// Removes an adapter.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn delete_adapter(&mut self, name: &str) -> Result<()> {
        self.delete_adapters(&[name])
    }

    /// Removes adapters. When no active one is left, the first by name of those that remain becomes active.
    ///
    /// # Errors
    /// When one of them is not there.
    pub fn delete_adapters(&mut self, names: &[&str]) -> Result<()> {
        self.adapted_mut()?.delete_adapters(names)
    }

    /// Makes the active adapters part of the model's weights and removes all adapters: PEFT's `merge_and_unload`. The model
    /// is then saved whole, and loads without PEFT.
    ///
    /// # Errors
    /// When there are no adapters, or the weights cannot be read.
    pub fn merge_adapters(&mut self) -> Result<()> {
        self.adapted_mut()?.merge()
    }

    /// Saves the model once per active adapter, with that one alone active, into the folders `path/name`. Each is a model
    /// folder that the library and the original load, and an adapter's folder that `load_adapter` and PEFT read. Several
    /// active adapters cannot be saved by [`SentenceTransformer::save_pretrained`], nor by the original.
    ///
    /// ```no_run
    /// use sentence_transformers::SentenceTransformer;
    /// use sentence_transformers::adapters::AdapterOptions;
    ///
    /// let mut model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
    /// for name in ["law", "medicine"] {
    ///     model.load_adapter(format!("me/{name}"), &AdapterOptions::new().name(name))?;
    /// }
    /// model.set_adapters(&["law", "medicine"])?;
    /// model.save_adapters("both")?; // both/law and both/medicine
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there are no adapters, the name of one cannot be a folder's, or a file cannot be written.
    pub fn save_adapters(&self, path: impl AsRef<Path>) -> Result<()> {
        let names = self.active_adapters()?;
        if let Some(name) = names.iter().find(|name| name.contains(['/', '\\', ':', '\0'])) {
            let message = format!("the adapter '{name}' cannot be saved into a folder of its name");
            return Err(Error::new(ErrorKind::Argument, message)
                .with_hint("make it active alone with set_adapter, and save the model with save_pretrained"));
        }
        for name in names {
            let mut alone = self.with_weights(NewWeights::new())?;
            alone.set_adapter(name)?;
            alone.save_pretrained(path.as_ref().join(name))?;
        }
        Ok(())
    }

    /// Names of the active adapters, also while they are switched off.
    ///
    /// # Errors
    /// When there are no adapters.
    pub fn active_adapters(&self) -> Result<&[String]> {
        self.adapted()?.shelf().active()
    }

    /// Names of all adapters, in the order in which they came; none for a model without transformer.
    pub fn adapter_names(&self) -> impl Iterator<Item = &str> {
        self.adapted().ok().into_iter().flat_map(|module| module.shelf().names())
    }

    /// An adapter, or the first active one.
    ///
    /// # Errors
    /// When there is none, or none of that name.
    pub fn adapter(&self, name: Option<&str>) -> Result<&Adapter> {
        self.adapted()?.shelf().get_or_active(name)
    }

    /// The tensors of an adapter, or of the first active one, under PEFT's names, such as
    /// `encoder.layer.0.attention.self.query.lora_A.weight`: the original's `get_adapter_state_dict`.
    ///
    /// # Errors
    /// When there is none, or none of that name.
    pub fn adapter_state_dict(&self, name: Option<&str>) -> Result<BTreeMap<String, AdapterTensor>> {
        let state = self.adapter(name)?.state_dict();
        Ok(state.into_iter().map(|(name, tensor)| (name, tensor.clone())).collect())
    }

    fn adapted(&self) -> Result<&dyn AdapterHost> {
        first(self.parts.pipeline.input()).ok_or_else(no_transformer)
    }

    fn adapted_mut(&mut self) -> Result<&mut dyn AdapterHost> {
        first_mut(self.parts.pipeline.input_mut()).ok_or_else(no_transformer)
    }
}

fn no_transformer() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "PEFT methods are only supported for Sentence Transformer models that use the Transformer module.",
    )
}

/// The module among a model's readers of texts that adapters can be laid over: itself, or a router's first.
fn first(module: &dyn InputModule) -> Option<&dyn AdapterHost> {
    let any: &dyn Any = module;
    if let Some(router) = any.downcast_ref::<Router>() {
        return router.routes().find_map(|(_, route)| first(route.input()));
    }
    if let Some(clip) = any.downcast_ref::<ClipModel>() {
        return Some(clip);
    }
    any.downcast_ref::<Transformer>().map(|transformer| transformer as &dyn AdapterHost)
}

fn first_mut(module: &mut dyn InputModule) -> Option<&mut dyn AdapterHost> {
    let any: &mut dyn Any = module;
    if any.is::<Router>() {
        return any.downcast_mut::<Router>()?.pipelines_mut().find_map(|route| first_mut(route.input_mut()));
    }
    if any.is::<ClipModel>() {
        return any.downcast_mut::<ClipModel>().map(|clip| clip as &mut dyn AdapterHost);
    }
    any.downcast_mut::<Transformer>().map(|transformer| transformer as &mut dyn AdapterHost)
}
