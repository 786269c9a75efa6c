//! [`AdaptableModules`]: the modules of a network that adapters can change, by their names in the original's classes.

use std::collections::{BTreeMap, HashMap};

use crate::architectures::Architecture;
use crate::{EncoderError, EncoderFiles, EncoderSpec, Slot, Weights, required_slots};

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ModuleKind {
    /// A linear layer `[out, in]`.
    Linear,
    /// A table that is looked up, `[rows, width]`.
    Embedding,
    /// A convolution whose windows do not overlap, `[out, channels, height, width]`: CLIP's map of patches. A linear layer of
    /// each window's numbers, to which `all-linear` does not extend.
    Convolution,
}

impl ModuleKind {
    /// Whether its change is looked up, as a table's is, and not multiplied.
    pub(super) fn is_table(self) -> bool {
        self == Self::Embedding
    }
}

/// A module that an adapter can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptableModule {
    /// Its name, such as `encoder.layer.0.attention.self.query`.
    pub name: String,
    /// What it is.
    pub kind: ModuleKind,
    /// The whole weight's shape as a matrix: `[out, in]` or `[rows, width]`. A convolution's inputs are those of a window.
    pub shape: [usize; 2],
    /// Of a convolution, channels, height and width of a window.
    pub window: Option<[usize; 3]>,
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

impl AdaptableModule {
    /// The whole weight's shape in the checkpoint.
    #[must_use]
    pub fn weight_shape(&self) -> Vec<usize> {
        match self.window {
            Some(window) => std::iter::once(self.shape[0]).chain(window).collect(),
            None => self.shape.to_vec(),
        }
    }
}

impl AdaptableModules {
    /// The modules of a network. `weights` are those that executors read, with their prefix chosen.
    #[must_use]
    pub fn new(architecture: &Architecture, spec: &EncoderSpec, weights: &Weights, model_type: &str) -> Self {
        let mut found = Self::of_tensors(weights, model_type, architecture.prefixes);
        let aliases = found.add_network("", architecture, spec);
        found.add_others(&aliases);
        found
    }

    /// The modules of a model folder.
    ///
    /// # Errors
    /// As reading its configuration and its weights.
    pub fn of_files(files: &EncoderFiles) -> Result<Self, EncoderError> {
        let (architecture, spec, weights) = files.network()?;
        Ok(Self::new(architecture, &spec, &weights, model_type(files)))
    }

    /// The modules of a model of several networks in one checkpoint (CLIP's two encoders), under the names that they have in
    /// the whole model. `files` are the whole model's, `parts` those of each network.
    ///
    /// ```no_run
    /// use st_encoder::{EncoderFiles, adapters::AdaptableModules};
    ///
    /// let files = EncoderFiles::open("clip-ViT-B-32")?;
    /// let mut text = files.config()["text_config"].clone();
    /// text["model_type"] = "clip_text_model".into();
    /// let text = files.clone().with_config(text);
    /// let modules = AdaptableModules::of_parts(&files, &[&text])?;
    /// assert!(modules.get("text_model.encoder.layers.0.self_attn.q_proj").is_some());
    /// # Ok::<(), st_encoder::EncoderError>(())
    /// ```
    ///
    /// # Errors
    /// As reading their configurations and their weights.
    pub fn of_parts(files: &EncoderFiles, parts: &[&EncoderFiles]) -> Result<Self, EncoderError> {
        let mut found = Self::of_tensors(&files.weights()?, model_type(files), &[""]);
        let mut aliases = Vec::new();
        for part in parts {
            let (architecture, spec, weights) = part.network()?;
            aliases.extend(found.add_network(weights.prefix(), architecture, &spec));
        }
        found.add_others(&aliases);
        Ok(found)
    }

    /// No modules yet, of a checkpoint's tensors.
    fn of_tensors(weights: &Weights, model_type: &str, prefixes: &'static [&'static str]) -> Self {
        let tensors = weights
            .names()
            .filter_map(|name| name.strip_prefix(weights.prefix()))
            .filter_map(|name| Some((name.to_owned(), weights.shape_of(name)?.to_vec())))
            .collect();
        Self { modules: Vec::new(), index: HashMap::new(), tensors, model_type: model_type.to_owned(), prefixes }
    }

    /// Adds the modules of a network whose tensors' names begin with `start`; gives the names that are second ones or of
    /// tensors that no adapter changes.
    fn add_network(&mut self, start: &str, architecture: &Architecture, spec: &EncoderSpec) -> Vec<String> {
        let mut biases = Vec::new();
        let mut aliases = Vec::new();
        for (slot, shape) in required_slots(spec) {
            let source = (architecture.source)(spec, slot);
            let (name, or) = (format!("{start}{}", source.name), source.or.map(|or| format!("{start}{or}")));
            if slot == Slot::RelativeEmbedding {
                // The original reads this table's weight directly, past any adapter.
                aliases.push(name);
                continue;
            }
            let name = match or {
                Some(or) if !self.tensors.contains_key(&name) => or,
                or => {
                    aliases.extend(or);
                    name
                }
            };
            if let Some(module) = name.strip_suffix(".weight").filter(|_| shape.len() > 1) {
                self.add(module.to_owned(), kind(slot), true);
            } else if let Some(module) = name.strip_suffix(".bias") {
                biases.push(module.to_owned());
            }
        }
        for module in biases {
            if let Some(&index) = self.index.get(&module) {
                self.modules[index].bias = true;
            }
        }
        aliases
    }

    /// Adds the modules that no network reads.
    fn add_others(&mut self, aliases: &[String]) {
        let others: Vec<String> = self.tensors.keys().filter(|name| !aliases.contains(name)).cloned().collect();
        for name in others {
            let module = name.strip_suffix(".weight").filter(|name| !self.index.contains_key(*name));
            if let Some(module) = module
                && !OTHER_PARTS.iter().any(|part| name.starts_with(part))
            {
                let bias = self.tensors.contains_key(&format!("{module}.bias"));
                if let Some(index) = self.add(module.to_owned(), ModuleKind::Linear, false) {
                    self.modules[index].bias = bias;
                }
            }
        }
    }

    fn add(&mut self, name: String, kind: ModuleKind, used: bool) -> Option<usize> {
        if let Some(&index) = self.index.get(&name) {
            return Some(index);
        }
        let (shape, window) = match (self.tensors.get(&format!("{name}.weight"))?.as_slice(), kind) {
            (&[outer, inner], ModuleKind::Linear | ModuleKind::Embedding) => ([outer, inner], None),
            (&[outer, channels, height, width], ModuleKind::Convolution) => {
                let inner = channels.checked_mul(height)?.checked_mul(width)?;
                ([outer, inner], Some([channels, height, width]))
            }
            _ => return None,
        };
        self.index.insert(name.clone(), self.modules.len());
        self.modules.push(AdaptableModule { name, kind, shape, window, bias: false, used });
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

    /// The modules that are convolutions of a kind that adapters cannot change here: DeBERTa's beside its first block.
    pub(super) fn convolutions(&self) -> impl Iterator<Item = AdaptableModule> {
        self.tensors.iter().filter(|(_, shape)| shape.len() > 2).filter_map(|(name, shape)| {
            let name = name.strip_suffix(".weight").filter(|name| !self.index.contains_key(*name))?.to_owned();
            let bias = self.tensors.contains_key(&format!("{name}.bias"));
            let (kind, shape) = (ModuleKind::Convolution, [shape[0], shape[1]]);
            Some(AdaptableModule { name, kind, shape, window: None, bias, used: true })
        })
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

fn model_type(files: &EncoderFiles) -> &str {
    files.config().get("model_type").and_then(serde_json::Value::as_str).unwrap_or_default()
}

fn kind(slot: Slot) -> ModuleKind {
    match slot {
        Slot::WordEmbedding | Slot::PositionEmbedding | Slot::TokenTypeEmbedding | Slot::RelativeBias => {
            ModuleKind::Embedding
        }
        Slot::PatchProjection => ModuleKind::Convolution,
        _ => ModuleKind::Linear,
    }
}
