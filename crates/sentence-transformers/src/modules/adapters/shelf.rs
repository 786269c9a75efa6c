//! [`Shelf`]: the adapters of a module, and which of them are active. What the methods answer, and in which words,
//! is what the original's do.

use std::sync::Arc;

use st_encoder::WeightsOverlay;
use st_encoder::adapters::{Adapter, MergedAdapters};

use crate::prompts::python_repr;
use crate::{Error, ErrorKind, NewWeights, Result};

/// The adapters of a module. Each change gives a new shelf, which is taken when the encoder could be loaded with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    loaded: Vec<(String, Arc<Adapter>)>,
    active: Vec<String>,
    disabled: bool,
    /// Whether training leaves the active adapters as they are, as it does those that were loaded for inference.
    frozen: bool,
}

/// The active adapters of a module, which training changes in the place of the module's own weights.
///
/// ```no_run
/// use std::any::Any;
///
/// use sentence_transformers::SentenceTransformer;
/// use sentence_transformers::modules::Transformer;
///
/// let model = SentenceTransformer::load("my-adapted-model")?;
/// let mut modules = model.pipeline().modules();
/// if let Some(transformer) = modules.find_map(|(_, module)| (module as &dyn Any).downcast_ref::<Transformer>()) {
///     let trained = transformer.trained_adapters()?;
///     println!("{} adapters, to be trained: {}", trained.adapters.len(), trained.trainable);
/// }
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrainedAdapters<'a> {
    /// Names and adapters, in the order in which they change a module. None when they are off.
    pub adapters: Vec<(&'a str, &'a Adapter)>,
    /// Whether training changes them; adapters that were loaded for inference it leaves as they are.
    pub trainable: bool,
}

fn argument(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Argument, message)
}

impl Shelf {
    /// A shelf with one adapter, which is active.
    pub(crate) fn of(name: &str, adapter: Adapter) -> Self {
        let loaded = vec![(name.to_owned(), Arc::new(adapter))];
        Self { loaded, active: vec![name.to_owned()], disabled: false, frozen: true }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.loaded.is_empty()
    }

    /// Fails without any adapter.
    pub(crate) fn require(&self) -> Result<&Self> {
        if self.is_empty() {
            return Err(argument("No adapter loaded. Please load an adapter first.")
                .with_hint("load one with load_adapter, or make one with add_adapter"));
        }
        Ok(self)
    }

    /// Fails when there is one of that name.
    pub(crate) fn refuse_name(&self, name: &str) -> Result<()> {
        if self.get(name).is_some() {
            return Err(argument(format!("Adapter with name {name} already exists. Please use a different name.")));
        }
        // PEFT puts the name into the names of parameters.
        if name.is_empty() || name.contains('.') {
            return Err(argument(format!("an adapter cannot be called '{name}': a name has no dots and is not empty")));
        }
        Ok(())
    }

    /// With another adapter, which becomes the active one.
    pub(crate) fn with(&self, name: &str, adapter: Adapter) -> Result<Self> {
        self.refuse_name(name)?;
        let mut next = self.clone();
        next.loaded.push((name.to_owned(), Arc::new(adapter)));
        next.active = vec![name.to_owned()];
        Ok(next)
    }

    /// With an adapter in the place of the one of that name.
    pub(crate) fn with_changed(&self, name: &str, adapter: Adapter) -> Result<Self> {
        let mut next = self.require()?.clone();
        let place = next.loaded.iter_mut().find(|(known, _)| known == name);
        let (_, place) = place.ok_or_else(|| self.not_found(name))?;
        *place = Arc::new(adapter);
        Ok(next)
    }

    fn not_found(&self, name: &str) -> Error {
        argument(format!(
            "Adapter with name {name} not found. Please pass the correct adapter name among {}",
            self.names_as_python()
        ))
    }

    /// With one active adapter.
    pub(crate) fn with_active(&self, name: &str) -> Result<Self> {
        if self.require()?.get(name).is_none() {
            return Err(self.not_found(name));
        }
        Ok(Self { active: vec![name.to_owned()], frozen: false, ..self.clone() })
    }

    /// With several active adapters.
    pub(crate) fn with_all_active(&self, names: &[&str]) -> Result<Self> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| self.get(name).is_none()).collect();
        if !self.require()?.is_empty() && !missing.is_empty() {
            return Err(argument(format!(
                "Following adapter(s) could not be found: {}. Make sure you are passing the correct adapter name(s). \
                 current loaded adapters are: {}",
                missing.join(", "),
                self.names_as_python()
            )));
        }
        let active = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { active, frozen: false, ..self.clone() })
    }

    /// With all adapters switched on or off.
    pub(crate) fn enabled(&self, enabled: bool) -> Result<Self> {
        Ok(Self { disabled: !enabled, ..self.require()?.clone() })
    }

    /// Without some adapters. When no active one is left, the first by name of those that remain becomes active.
    pub(crate) fn without(&self, names: &[&str]) -> Result<Self> {
        let missing: Vec<&str> = names.iter().copied().filter(|name| self.get(name).is_none()).collect();
        if !self.require()?.is_empty() && !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(argument(format!("The following adapter(s) are not present and cannot be deleted: {missing}")));
        }
        let mut next = self.clone();
        let was_active = !next.active.is_empty();
        next.loaded.retain(|(name, _)| !names.contains(&name.as_str()));
        next.active.retain(|name| !names.contains(&name.as_str()));
        if next.active.is_empty() && was_active {
            next.active.extend(next.loaded.iter().map(|(name, _)| name.clone()).min());
        }
        if next.loaded.is_empty() { Ok(Self::default()) } else { Ok(next) }
    }

    /// With new numbers for the active adapters, which are taken out under the names that they have in the original's model,
    /// `start` before each; `None` when there are none or they are the old ones.
    pub(crate) fn with_numbers(&self, start: &str, weights: &mut NewWeights) -> Result<Option<Self>> {
        let mut next = self.clone();
        let mut changed = false;
        let active = next.loaded.iter_mut().filter(|(name, _)| !self.disabled && self.active.contains(name));
        for (name, adapter) in active {
            let new = adapter.with_numbers(name, |tensor, shape| weights.take(&format!("{start}{tensor}"), shape))?;
            if new != **adapter {
                changed = true;
                *adapter = Arc::new(new);
            }
        }
        Ok(changed.then_some(next))
    }

    /// The adapters that training changes.
    pub(crate) fn trained(&self) -> Result<TrainedAdapters<'_>> {
        let found = |name: &String| {
            self.loaded.iter().find(|(known, _)| known == name).map(|(name, adapter)| (name.as_str(), adapter.as_ref()))
        };
        let active = if self.disabled { &[][..] } else { self.active.as_slice() };
        let adapters: Vec<(&str, &Adapter)> = active.iter().filter_map(found).collect();
        let replaces = |(_, adapter): &&(&str, &Adapter)| adapter.whole_tensors().next().is_some();
        if let Some((name, _)) = adapters.iter().find(replaces).filter(|_| adapters.len() > 1) {
            let message = format!(
                "adapter '{name}' replaces modules or biases whole ('modules_to_save', 'bias'): it is trained alone, not \
                 beside others"
            );
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_hint("make it the only active one with set_adapter, or merge it with merge_adapters"));
        }
        Ok(TrainedAdapters { adapters, trainable: !self.frozen })
    }

    /// With the active adapters frozen or not.
    pub(crate) fn frozen(mut self, frozen: bool) -> Self {
        self.frozen = frozen;
        self
    }

    /// An adapter by its name.
    pub(crate) fn get(&self, name: &str) -> Option<&Adapter> {
        self.loaded.iter().find(|(known, _)| known == name).map(|(_, adapter)| adapter.as_ref())
    }

    /// An adapter by its name, or the first active one.
    pub(crate) fn get_or_active(&self, name: Option<&str>) -> Result<&Adapter> {
        let active = self.require()?.active.first().map(String::as_str);
        let name = name.or(active).ok_or_else(|| argument("No adapter is active."))?;
        self.get(name).ok_or_else(|| self.not_found(name))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.loaded.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn active(&self) -> Result<&[String]> {
        Ok(&self.require()?.active)
    }

    /// The one adapter that is saved.
    pub(crate) fn saved(&self) -> Result<&Adapter> {
        if self.active()?.len() > 1 {
            return Err(argument(
                "Multiple active adapters detected, saving multiple active adapters is not supported yet. You can save \
                 adapters separately one by one by iteratively calling `model.set_adapter(adapter_name)` then \
                 `model.save_pretrained(...)`",
            )
            .with_hint("merge_adapters makes them part of the model's weights"));
        }
        self.get_or_active(None)
    }

    /// What the active adapters lay over the weights; `None` when they are off.
    pub(crate) fn overlay(&self) -> Result<Option<Arc<dyn WeightsOverlay>>> {
        if self.disabled || self.active.is_empty() {
            return Ok(None);
        }
        let adapter =
            |name: &String| self.loaded.iter().find(|(known, _)| known == name).map(|(_, found)| found.clone());
        Ok(Some(Arc::new(MergedAdapters::new(self.active.iter().filter_map(adapter).collect())?)))
    }

    fn names_as_python(&self) -> String {
        format!("[{}]", self.names().map(python_repr).collect::<Vec<_>>().join(", "))
    }
}
