//! [`AdapterConfig`]: what `adapter_config.json` says.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::config_fields::{Fields, finite, list_of_texts, whole};
use crate::EncoderError;

/// No rank that anyone trains is higher.
pub(super) const HIGHEST_RANK: usize = 1 << 14;

/// Fields that change what an adapter computes in ways that are not followed here.
const NOT_FOLLOWED: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// Fields that say something about how an adapter was made or trained, and nothing about what it computes.
const ABOUT_TRAINING: &[&str] = &[
    "auto_mapping",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "velora_config",
];

/// Ways to begin that leave the base model's weights as they are, by their names in the file.
const INITIALISATIONS: &[(&str, Initialisation)] = &[
    ("true", Initialisation::Kaiming),
    ("gaussian", Initialisation::Gaussian),
    ("false", Initialisation::Random),
    ("eva", Initialisation::Eva),
    ("orthogonal", Initialisation::Orthogonal),
];

/// An adapter's configuration: PEFT's `LoraConfig`.
///
/// ```
/// use st_encoder::adapters::AdapterConfig;
///
/// let config = AdapterConfig::new(8).alpha(16.0).target_modules(["query", "value"]).dora(true);
/// let json = config.to_json();
/// assert_eq!((&json["r"], &json["use_dora"]), (&8.into(), &true.into()));
/// let read = AdapterConfig::parse(&json, "adapter_config.json".as_ref())?;
/// assert_eq!((read.rank, read.alpha, read.target_modules), (8, 16.0, config.target_modules));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AdapterConfig {
    /// Rank (`r`).
    pub rank: usize,
    /// What the change is scaled by, before it is divided by the rank (`lora_alpha`).
    pub alpha: f64,
    /// Probability with which an input of the change is dropped in training (`lora_dropout`).
    pub dropout: f64,
    /// Ranks of single modules: the first pattern that the end of a module's name matches (`rank_pattern`).
    pub rank_pattern: Vec<(String, usize)>,
    /// Alphas of single modules, likewise (`alpha_pattern`).
    pub alpha_pattern: Vec<(String, f64)>,
    /// Whether alpha is divided by the rank's square root instead of the rank (`use_rslora`).
    pub rank_stabilised: bool,
    /// Whether rows are scaled to a trained length (`use_dora`).
    pub dora: bool,
    /// Whether the change has a bias (`lora_bias`).
    pub lora_bias: bool,
    /// The modules that are changed; by default those that PEFT chooses for the model type (`target_modules`).
    pub target_modules: Option<ModuleNames>,
    /// Modules that are not changed although they are meant (`exclude_modules`).
    pub exclude_modules: Option<ModuleNames>,
    /// The blocks whose modules are changed; by default all (`layers_to_transform`).
    pub layers_to_transform: Vec<usize>,
    /// Names under which the blocks are counted (`layers_pattern`).
    pub layers_pattern: Vec<String>,
    /// Modules that are trained and saved whole (`modules_to_save`).
    pub modules_to_save: Vec<String>,
    /// Which biases are trained and saved (`bias`).
    pub bias: AdapterBias,
    /// How a fresh adapter begins (`init_lora_weights`).
    pub initialisation: Initialisation,
    /// The base model's name or path (`base_model_name_or_path`).
    pub base_model: Option<String>,
    /// Whether the adapter is for inference only (`inference_mode`).
    pub inference: bool,
    /// The fields of the file that it was read from.
    fields: Map<String, Value>,
}

/// Which modules are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModuleNames {
    /// Modules of these names, or whose names end so after a dot.
    Listed(Vec<String>),
    /// Modules whose whole name this regular expression matches.
    Pattern(String),
    /// Every linear layer.
    AllLinear,
}

/// Which biases are trained and saved with an adapter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AdapterBias {
    /// None.
    #[default]
    None,
    /// All biases of the network.
    All,
    /// Those of the modules that the adapter changes.
    Changed,
}

/// How a fresh adapter begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Initialisation {
    /// `A` uniform within `±1/√in`, `B` zero; a table's `A` zero and `B` normal: nothing changes at first.
    #[default]
    Kaiming,
    /// `A` normal with standard deviation `1/r`, `B` zero.
    Gaussian,
    /// `A` as above and `B` uniform within `±1/√r`: the outputs change at once.
    Random,
    /// From data (Paischer et al. 2024); such an adapter is only read, not made.
    Eva,
    /// From an orthogonal basis; such an adapter is only read, not made.
    Orthogonal,
}

impl AdapterBias {
    const ALL: [(&str, Self); 3] = [("none", Self::None), ("all", Self::All), ("lora_only", Self::Changed)];

    /// Its name in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, bias)| *bias == self).map_or("none", |(name, _)| name)
    }
}

impl Default for AdapterConfig {
    /// PEFT's defaults: rank 8, alpha 8.
    fn default() -> Self {
        Self::new(8)
    }
}

impl AdapterConfig {
    /// A configuration of a rank, with alpha 8 and otherwise PEFT's defaults.
    #[must_use]
    pub fn new(rank: usize) -> Self {
        Self {
            rank,
            alpha: 8.0,
            dropout: 0.0,
            rank_pattern: Vec::new(),
            alpha_pattern: Vec::new(),
            rank_stabilised: false,
            dora: false,
            lora_bias: false,
            target_modules: None,
            exclude_modules: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            modules_to_save: Vec::new(),
            bias: AdapterBias::None,
            initialisation: Initialisation::Kaiming,
            base_model: None,
            inference: false,
            fields: Map::new(),
        }
    }

    /// Sets [`AdapterConfig::alpha`].
    #[must_use]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets [`AdapterConfig::dropout`].
    #[must_use]
    pub fn dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Changes modules of these names, or whose names end so after a dot.
    #[must_use]
    pub fn target_modules<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.target_modules = Some(ModuleNames::Listed(names.into_iter().map(Into::into).collect()));
        self
    }

    /// Changes every linear layer.
    #[must_use]
    pub fn all_linear(mut self) -> Self {
        self.target_modules = Some(ModuleNames::AllLinear);
        self
    }

    /// Sets [`AdapterConfig::dora`].
    #[must_use]
    pub fn dora(mut self, dora: bool) -> Self {
        self.dora = dora;
        self
    }

    /// Sets [`AdapterConfig::rank_stabilised`].
    #[must_use]
    pub fn rank_stabilised(mut self, rank_stabilised: bool) -> Self {
        self.rank_stabilised = rank_stabilised;
        self
    }

    /// Reads the content of `adapter_config.json`; `path` is for messages.
    ///
    /// # Errors
    /// [`EncoderError::UnsupportedAdapter`] for a kind of adapter that is not followed, by its name;
    /// [`EncoderError::Config`] for anything else that is wrong, naming the field.
    pub fn parse(value: &Value, path: &Path) -> Result<Self, EncoderError> {
        let map = value
            .as_object()
            .ok_or_else(|| EncoderError::Config { path: path.into(), message: "a JSON object is expected".into() })?;
        let fields = Fields { map, path };
        refuse_not_followed(&fields)?;
        let config = Self {
            rank: fields.whole("r")?.unwrap_or(8),
            alpha: fields.number("lora_alpha")?.unwrap_or(8.0),
            dropout: fields.number("lora_dropout")?.unwrap_or(0.0),
            rank_pattern: fields.patterns("rank_pattern", whole)?,
            alpha_pattern: fields.patterns("alpha_pattern", finite)?,
            rank_stabilised: fields.flag("use_rslora")?,
            dora: fields.flag("use_dora")?,
            lora_bias: fields.flag("lora_bias")?,
            target_modules: module_names(&fields, "target_modules")?,
            exclude_modules: module_names(&fields, "exclude_modules")?,
            layers_to_transform: fields.wholes("layers_to_transform")?.unwrap_or_default(),
            layers_pattern: fields.texts("layers_pattern")?.unwrap_or_default(),
            modules_to_save: fields.texts("modules_to_save")?.unwrap_or_default(),
            bias: bias(&fields)?,
            initialisation: initialisation(&fields)?,
            base_model: fields.text("base_model_name_or_path")?.map(str::to_owned),
            inference: fields.flag("inference_mode")?,
            fields: map.clone(),
        };
        if fields.flag("fan_in_fan_out")? {
            log::warn!(
                "fan_in_fan_out is set to True but the target module is `torch.nn.Linear`. Setting fan_in_fan_out to \
                 False."
            );
        }
        config.check(path)?;
        Ok(Self { fields: config.unknown_or_training(), ..config })
    }

    /// Refuses what contradicts itself.
    pub(super) fn check(&self, path: &Path) -> Result<(), EncoderError> {
        let error = |message: String| Err(EncoderError::Config { path: path.into(), message });
        let ranks = std::iter::once(("r", self.rank));
        let ranks = ranks.chain(self.rank_pattern.iter().map(|(_, rank)| ("rank_pattern", *rank)));
        for (field, rank) in ranks {
            if !(1..=HIGHEST_RANK).contains(&rank) {
                return error(format!("'{field}' should be a whole number from 1 to {HIGHEST_RANK}, not {rank}"));
            }
        }
        let alphas = std::iter::once(self.alpha).chain(self.alpha_pattern.iter().map(|(_, alpha)| *alpha));
        if let Some(alpha) = alphas.into_iter().find(|alpha| alpha.is_nan() || alpha.abs() > f64::from(f32::MAX)) {
            return error(format!("'lora_alpha' {alpha} is not a number that weights can be scaled by"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return error(format!("'lora_dropout' should be at least 0 and below 1, not {}", self.dropout));
        }
        let pattern = matches!(self.target_modules, Some(ModuleNames::Pattern(_)));
        if pattern && !self.layers_to_transform.is_empty() {
            return error("`layers_to_transform` cannot be used when `target_modules` is a str.".into());
        }
        if pattern && !self.layers_pattern.is_empty() {
            return error("`layers_pattern` cannot be used when `target_modules` is a str.".into());
        }
        if !self.layers_pattern.is_empty() && self.layers_to_transform.is_empty() {
            return error("When `layers_pattern` is specified, `layers_to_transform` must also be specified.".into());
        }
        if self.lora_bias && self.dora {
            return error("The argument lora_bias=True is not supported for DoRA, please pass use_dora=False".into());
        }
        Ok(())
    }

    /// The fields of the file that are kept because they say how the adapter was made, and those nobody knows.
    fn unknown_or_training(&self) -> Map<String, Value> {
        let ours = self.own_fields();
        let mut kept = Map::new();
        for (name, value) in &self.fields {
            if ours.contains_key(name) || name == "task_type" || name == "fan_in_fan_out" {
                continue;
            }
            let trivial =
                matches!(value, Value::Null | Value::Bool(false)) || *value == json!([]) || *value == json!({});
            if !trivial && !ABOUT_TRAINING.contains(&name.as_str()) {
                log::warn!("'{name}' of the adapter's configuration is not known and is not followed.");
            }
            kept.insert(name.clone(), value.clone());
        }
        if let Some(task) = self.fields.get("task_type") {
            kept.insert("task_type".into(), task.clone());
        }
        kept
    }

    fn own_fields(&self) -> Map<String, Value> {
        let optional = |list: Value| if list == json!([]) { Value::Null } else { list };
        let mut fields = Map::new();
        let mut put = |name: &str, value: Value| fields.insert(name.into(), value);
        put("alpha_pattern", self.alpha_pattern.iter().map(|(name, alpha)| (name.clone(), number(*alpha))).collect());
        put("base_model_name_or_path", self.base_model.clone().into());
        put("bias", self.bias.as_str().into());
        put("exclude_modules", self.exclude_modules.as_ref().map_or(Value::Null, ModuleNames::to_json));
        put("fan_in_fan_out", false.into());
        put("inference_mode", self.inference.into());
        put("init_lora_weights", self.initialisation.to_json());
        put("layers_pattern", optional(json!(self.layers_pattern)));
        put("layers_to_transform", optional(json!(self.layers_to_transform)));
        put("lora_alpha", number(self.alpha));
        put("lora_bias", self.lora_bias.into());
        put("lora_dropout", self.dropout.into());
        put("modules_to_save", optional(json!(self.modules_to_save)));
        put("peft_type", "LORA".into());
        put("r", self.rank.into());
        put("rank_pattern", self.rank_pattern.iter().map(|(name, rank)| (name.clone(), Value::from(*rank))).collect());
        put("target_modules", self.target_modules.as_ref().map_or(Value::Null, ModuleNames::to_json));
        put("use_dora", self.dora.into());
        put("use_rslora", self.rank_stabilised.into());
        fields
    }

    /// The content of `adapter_config.json`, keys in order: the fields here, and what else the file said that it was read
    /// from. A fresh configuration leaves out what only newer releases of PEFT know.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut fields = self.fields.clone();
        if fields.is_empty() {
            fields.insert("auto_mapping".into(), Value::Null);
            fields.insert("revision".into(), Value::Null);
            fields.insert("task_type".into(), Value::Null);
        }
        let was_read = !self.fields.is_empty();
        for (name, value) in self.own_fields() {
            let newer = matches!(name.as_str(), "exclude_modules" | "lora_bias");
            if was_read || !newer || !matches!(value, Value::Null | Value::Bool(false)) {
                fields.insert(name, value);
            }
        }
        fields.sort_keys();
        Value::Object(fields)
    }
}

impl ModuleNames {
    fn to_json(&self) -> Value {
        match self {
            Self::Listed(names) => json!(names),
            Self::Pattern(pattern) => json!(pattern),
            Self::AllLinear => json!("all-linear"),
        }
    }
}

impl Initialisation {
    fn to_json(self) -> Value {
        match self {
            Self::Kaiming => true.into(),
            Self::Random => false.into(),
            other => INITIALISATIONS.iter().find(|(_, known)| *known == other).map(|(name, _)| *name).into(),
        }
    }
}

/// A number as Python writes it that was given a whole one.
fn number(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "whole numbers of this size are exact")]
    if number.fract() == 0.0 && number.abs() < 1e15 { (number as i64).into() } else { number.into() }
}

fn refuse_not_followed(fields: &Fields<'_>) -> Result<(), EncoderError> {
    match fields.get("peft_type") {
        Some(Value::String(kind)) if kind == "LORA" => {}
        Some(Value::String(kind)) => {
            return Err(
                fields.unsupported(format!("adapters of type {kind} are not supported, only LORA (also DoRA) is"))
            );
        }
        _ => return Err(fields.error("'peft_type' should be a text, such as LORA")),
    }
    for &field in NOT_FOLLOWED {
        match fields.get(field) {
            None | Some(Value::Bool(false)) => {}
            Some(value) if *value == json!([]) || *value == json!({}) => {}
            Some(_) => return Err(fields.unsupported(format!("'{field}' is not supported"))),
        }
    }
    Ok(())
}

fn module_names(fields: &Fields<'_>, field: &str) -> Result<Option<ModuleNames>, EncoderError> {
    let error = || fields.error(format!("'{field}' should be a list of module names or a regular expression"));
    match fields.get(field) {
        None => Ok(None),
        Some(Value::String(text)) if text.to_lowercase() == "all-linear" && field == "target_modules" => {
            Ok(Some(ModuleNames::AllLinear))
        }
        Some(Value::String(pattern)) => {
            fields.bounded(field, vec![pattern.clone()])?;
            Ok(Some(ModuleNames::Pattern(pattern.clone())))
        }
        Some(list) => {
            let names = fields.bounded(field, list_of_texts(list).ok_or_else(error)?)?;
            Ok((!names.is_empty()).then_some(ModuleNames::Listed(names)))
        }
    }
}

fn bias(fields: &Fields<'_>) -> Result<AdapterBias, EncoderError> {
    let name = fields.text("bias")?.unwrap_or("none");
    let found = AdapterBias::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, bias)| *bias).ok_or_else(|| fields.error(format!("'bias' is {name}, not none, all or lora_only")))
}

fn initialisation(fields: &Fields<'_>) -> Result<Initialisation, EncoderError> {
    let name = match fields.get("init_lora_weights") {
        None => return Ok(Initialisation::Kaiming),
        Some(Value::Bool(flag)) => flag.to_string(),
        Some(Value::String(name)) => name.to_lowercase(),
        Some(_) => return Err(fields.error("'init_lora_weights' should be true, false or a text")),
    };
    let found = INITIALISATIONS.iter().find(|(known, _)| *known == name);
    found.map(|(_, initialisation)| *initialisation).ok_or_else(|| {
        fields
            .unsupported(format!("'init_lora_weights' {name} changes the base model's weights, which is not supported"))
    })
}

#[cfg(test)]
mod tests;
