//! [`AdaptableModules`]: the modules of a network that adapters can change, by their names in the original's classes.

use std::collections::{BTreeMap, HashMap};

use crate::architectures::Architecture;
use crate::{EncoderError, EncoderSpec, Slot, Weights, required_slots};

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// A linear layer `[out, in]`.
    Linear,
    /// A table that is looked up, `[rows, width]`.
    Embedding,
}

/// A module that an adapter can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptableModule {
    /// Its name, such as `encoder.layer.0.attention.self.query`.
    pub name: String,
    /// What it is.
    pub kind: ModuleKind,
    /// The whole weight's shape: `[out, in]` or `[rows, width]`.
    pub shape: [usize; 2],
    /// Whether the network has a bias for it that is read.
    pub bias: bool,
    /// Whether token embeddings depend on it; a pooler's layer, say, is only kept.
    pub used: bool,
}

/// The modules of a network, and what else of it an adapter may replace.
///
/// ```no_run
/// use st_encoder::{EncoderFiles, adapters::AdaptableModules};
///
/// let modules = AdaptableModules::of_files(&EncoderFiles::open("all-MiniLM-L6-v2")?)?;
/// let query = modules.get("encoder.layer.0.attention.self.query").unwrap();
/// assert_eq!((query.shape, query.bias), ([384, 384], true));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug)]
pub struct AdaptableModules {
    modules: Vec<AdaptableModule>,
    index: HashMap<String, usize>,
    /// Shapes of all tensors of floating-point numbers, without prefix.
    tensors: BTreeMap<String, Vec<usize>>,
    model_type: String,
    prefixes: &'static [&'static str],
}

/// Parts of larger models' checkpoints that the encoder is not made of.
const OTHER_PARTS: &[&str] = &["decoder.", "lm_head."];

impl AdaptableModules {
    /// The modules of a network. `weights` are those that executors read, with their prefix chosen.
    #[must_use]
    pub fn new(architecture: &Architecture, spec: &EncoderSpec, weights: &Weights, model_type: &str) -> Self {
        let prefix = weights.prefix();
        let tensors: BTreeMap<String, Vec<usize>> = weights
            .names()
            .filter_map(|name| name.strip_prefix(prefix))
            .filter_map(|name| Some((name.to_owned(), weights.shape_of(name)?.to_vec())))
            .collect();
        let mut found = Self {
            modules: Vec::new(),
            index: HashMap::new(),
            tensors,
            model_type: model_type.to_owned(),
            prefixes: architecture.prefixes,
        };
        let mut biases = Vec::new();
        let mut aliases = Vec::new();
        for (slot, shape) in required_slots(spec) {
            let source = (architecture.source)(spec, slot);
            if slot == Slot::RelativeEmbedding {
                // The original reads this table's weight directly, past any adapter.
                aliases.push(source.name);
                continue;
            }
            let name = match source.or {
                Some(or) if !found.tensors.contains_key(&source.name) => or,
                or => {
                    aliases.extend(or);
                    source.name
                }
            };
            if let Some(module) = name.strip_suffix(".weight").filter(|_| shape.len() == 2) {
                found.add(module.to_owned(), kind(slot), true);
            } else if let Some(module) = name.strip_suffix(".bias") {
                biases.push(module.to_owned());
            }
        }
        for module in biases {
            if let Some(&index) = found.index.get(&module) {
                found.modules[index].bias = true;
            }
        }
        let others: Vec<String> = found.tensors.keys().filter(|name| !aliases.contains(name)).cloned().collect();
        for name in others {
            let module = name.strip_suffix(".weight").filter(|name| !found.index.contains_key(*name));
            if let Some(module) = module
                && !OTHER_PARTS.iter().any(|part| name.starts_with(part))
            {
                let bias = found.tensors.contains_key(&format!("{module}.bias"));
                if let Some(index) = found.add(module.to_owned(), ModuleKind::Linear, false) {
                    found.modules[index].bias = bias;
                }
            }
        }
        found
    }

    /// The modules of a model folder.
    ///
    /// # Errors
    /// As reading its configuration and its weights.
    pub fn of_files(files: &crate::EncoderFiles) -> Result<Self, EncoderError> {
        let (architecture, spec, weights) = files.network()?;
        let model_type = files.config().get("model_type").and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(Self::new(architecture, &spec, &weights, model_type))
    }

    fn add(&mut self, name: String, kind: ModuleKind, used: bool) -> Option<usize> {
        if let Some(&index) = self.index.get(&name) {
            return Some(index);
        }
        let &[outer, inner] = self.tensors.get(&format!("{name}.weight"))?.as_slice() else { return None };
        self.index.insert(name.clone(), self.modules.len());
        self.modules.push(AdaptableModule { name, kind, shape: [outer, inner], bias: false, used });
        Some(self.modules.len() - 1)
    }

    /// The modules, those that are used first, in the order of computation.
    pub fn iter(&self) -> impl Iterator<Item = &AdaptableModule> {
        self.modules.iter()
    }

    /// A module by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&AdaptableModule> {
        self.index.get(name).map(|&index| &self.modules[index])
    }

    /// `model_type` of the network.
    #[must_use]
    pub fn model_type(&self) -> &str {
        &self.model_type
    }

    /// Names and shapes of all tensors, without prefix.
    pub(super) fn tensors(&self) -> &BTreeMap<String, Vec<usize>> {
        &self.tensors
    }

    /// A name as this network has it, where an adapter of a larger model puts a prefix before it.
    pub(super) fn own_name<'a>(&self, name: &'a str) -> &'a str {
        let known = |name: &str| {
            let module = name.rsplit_once(".lora_").map_or(name, |(module, _)| module);
            self.index.contains_key(module) || self.tensors.contains_key(&module.replace(".base_layer.", "."))
        };
        if known(name) {
            return name;
        }
        let mut without = self.prefixes.iter().filter_map(|prefix| name.strip_prefix(prefix));
        without.find(|name| known(name)).unwrap_or(name)
    }
}

fn kind(slot: Slot) -> ModuleKind {
    match slot {
        Slot::WordEmbedding | Slot::PositionEmbedding | Slot::TokenTypeEmbedding | Slot::RelativeBias => {
            ModuleKind::Embedding
        }
        _ => ModuleKind::Linear,
    }
}
