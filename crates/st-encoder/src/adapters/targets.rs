//! [`Targets`]: which modules a configuration means, with which rank and alpha.

use std::path::Path;

use regex::{Regex, RegexBuilder};

use super::config::{AdapterConfig, ModuleNames};
use super::modules::{AdaptableModule, AdaptableModules, ModuleKind};
use crate::EncoderError;

/// The modules that PEFT changes where a configuration names none, by model type.
const BY_MODEL_TYPE: &[(&[&str], &[&str])] = &[
    (&["bert", "roberta", "xlm-roberta", "electra"], &["query", "value"]),
    (&["deberta-v2"], &["query_proj", "value_proj"]),
    (&["t5", "mt5"], &["q", "v"]),
    (&["llama", "mistral", "qwen2", "qwen3", "gemma3_text"], &["q_proj", "v_proj"]),
];

/// Memory that one compiled expression may take, in bytes.
const LARGEST_EXPRESSION: usize = 1 << 20;
/// No adapter of a real network has more expressions.
const MOST_EXPRESSIONS: usize = 1024;

/// What a configuration says of modules, ready to be asked.
pub(super) struct Targets<'a> {
    config: &'a AdapterConfig,
    target: Names,
    exclude: Option<Names>,
    /// Modules trained whole, and all below them, are never changed.
    whole: Vec<Regex>,
    /// Find the index of a module's block.
    layers: Vec<Regex>,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

enum Names {
    Listed(Vec<String>),
    Pattern(Regex),
    AllLinear,
}

impl Names {
    fn compile(names: &ModuleNames, path: &Path) -> Result<Self, EncoderError> {
        Ok(match names {
            ModuleNames::Listed(names) => Self::Listed(names.clone()),
            ModuleNames::Pattern(pattern) => Self::Pattern(compile(&format!("^(?:{pattern})$"), pattern, path)?),
            ModuleNames::AllLinear => Self::AllLinear,
        })
    }

    fn matches(&self, module: &AdaptableModule) -> bool {
        let name = module.name.as_str();
        match self {
            Self::Listed(names) => names.iter().any(|end| {
                name.strip_suffix(end.as_str()).is_some_and(|start| start.is_empty() || start.ends_with('.'))
            }),
            Self::Pattern(pattern) => pattern.is_match(name),
            Self::AllLinear => module.kind == ModuleKind::Linear,
        }
    }
}

impl<'a> Targets<'a> {
    pub(super) fn new(
        config: &'a AdapterConfig,
        modules: &AdaptableModules,
        path: &Path,
    ) -> Result<Self, EncoderError> {
        let error = |message: String| EncoderError::Config { path: path.into(), message };
        let expressions = config.rank_pattern.len() + config.alpha_pattern.len() + config.modules_to_save.len();
        if expressions + config.layers_pattern.len() > MOST_EXPRESSIONS {
            return Err(error(format!("there are {expressions} patterns; at most {MOST_EXPRESSIONS} are read")));
        }
        let target = match &config.target_modules {
            Some(names) => Names::compile(names, path)?,
            None => {
                let known = BY_MODEL_TYPE.iter().find(|(types, _)| types.contains(&modules.model_type()));
                let (_, names) =
                    known.ok_or_else(|| error("Please specify `target_modules` in `peft_config`".into()))?;
                Names::Listed(names.iter().map(|name| (*name).to_owned()).collect())
            }
        };
        let ends = |pattern: &str| compile(&format!(r"^(?:.*\.)?(?:{pattern})$"), pattern, path);
        let layers = if config.layers_to_transform.is_empty() || !matches!(target, Names::Listed(_)) {
            Vec::new()
        } else if config.layers_pattern.is_empty() {
            let any = r"^.*?\.[^.]*\.(\d+)\.";
            vec![compile(any, any, path)?]
        } else {
            let of =
                |name: &String| compile(&format!(r"^(?:|.*?\.)(?:{name})\.(?P<the_layer_index>\d+)\."), name, path);
            config.layers_pattern.iter().map(of).collect::<Result<_, _>>()?
        };
        let targets = Self {
            config,
            target,
            exclude: config.exclude_modules.as_ref().map(|names| Names::compile(names, path)).transpose()?,
            whole: config
                .modules_to_save
                .iter()
                .map(|name| compile(&format!(r"^(?:|.*\.)(?:{name})(?:$|\..*)"), name, path))
                .collect::<Result<_, _>>()?,
            layers,
            ranks: config
                .rank_pattern
                .iter()
                .map(|(pattern, rank)| Ok((ends(pattern)?, *rank)))
                .collect::<Result<_, EncoderError>>()?,
            alphas: config
                .alpha_pattern
                .iter()
                .map(|(pattern, alpha)| Ok((ends(pattern)?, *alpha)))
                .collect::<Result<_, EncoderError>>()?,
        };
        match modules.convolutions().find(|module| targets.matches(module)) {
            None => Ok(targets),
            Some(AdaptableModule { name, .. }) => Err(EncoderError::UnsupportedAdapter {
                path: path.into(),
                message: format!("'{name}' is a convolution over tokens, which adapters cannot change"),
            }),
        }
    }

    /// Whether a module is changed.
    pub(super) fn matches(&self, module: &AdaptableModule) -> bool {
        if self.exclude.as_ref().is_some_and(|names| names.matches(module))
            || self.whole.iter().any(|whole| whole.is_match(&module.name))
        {
            return false;
        }
        self.target.matches(module) && (self.layers.is_empty() || self.is_in_layers(&module.name))
    }

    fn is_in_layers(&self, name: &str) -> bool {
        let index = self.layers.iter().find_map(|layer| {
            let found = layer.captures(name)?;
            found.name("the_layer_index").or_else(|| found.get(1))?.as_str().parse::<usize>().ok()
        });
        index.is_some_and(|index| self.config.layers_to_transform.contains(&index))
    }

    /// Rank of a module.
    pub(super) fn rank(&self, module: &str) -> usize {
        self.ranks.iter().find(|(pattern, _)| pattern.is_match(module)).map_or(self.config.rank, |(_, rank)| *rank)
    }

    /// What the change of a module is scaled by.
    pub(super) fn scaling(&self, module: &str) -> f64 {
        let alpha = self.alphas.iter().find(|(pattern, _)| pattern.is_match(module));
        let alpha = alpha.map_or(self.config.alpha, |(_, alpha)| *alpha);
        let rank = self.rank(module) as f64;
        alpha / if self.config.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// What to say when no module is meant, in PEFT's words.
    pub(super) fn nothing_found(&self, path: &Path) -> EncoderError {
        let names = match &self.target {
            Names::Listed(names) => {
                let mut names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
                names.sort();
                format!("{{{}}}", names.join(", "))
            }
            Names::Pattern(pattern) => {
                let pattern = pattern.as_str();
                pattern.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(pattern).to_owned()
            }
            Names::AllLinear => "all-linear".to_owned(),
        };
        let message = format!(
            "Target modules {names} not found in the base model. Please check the target modules and try again."
        );
        EncoderError::Config { path: path.into(), message }
    }
}

/// Compiles an expression. The engine takes time in proportion to the text, whatever the expression; Python's
/// look-around and back references, which it lacks, are refused.
fn compile(whole: &str, shown: &str, path: &Path) -> Result<Regex, EncoderError> {
    RegexBuilder::new(whole).size_limit(LARGEST_EXPRESSION).dfa_size_limit(LARGEST_EXPRESSION).build().map_err(
        |error| {
            let why = match error {
                regex::Error::CompiledTooBig(_) => "it is too large when compiled".to_owned(),
                other => other.to_string().lines().last().unwrap_or_default().to_owned(),
            };
            EncoderError::UnsupportedAdapter {
                path: path.into(),
                message: format!("the pattern '{shown}' cannot be followed: {why}"),
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn module(name: &str) -> AdaptableModule {
        AdaptableModule {
            name: name.into(),
            kind: ModuleKind::Linear,
            shape: [1, 1],
            window: None,
            bias: true,
            used: true,
        }
    }

    fn bert() -> AdaptableModules {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/tiny-bert");
        AdaptableModules::of_files(&crate::EncoderFiles::open(folder).unwrap()).unwrap()
    }

    fn chosen(config: serde_json::Value) -> Result<Vec<String>, String> {
        let mut fields = json!({"peft_type": "LORA"});
        fields.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        let path = Path::new("adapter_config.json");
        let config = AdapterConfig::parse(&fields, path).map_err(|error| error.to_string())?;
        let modules = bert();
        let targets = Targets::new(&config, &modules, path).map_err(|error| error.to_string())?;
        Ok(modules.iter().filter(|module| targets.matches(module)).map(|module| module.name.clone()).collect())
    }

    #[test]
    fn modules_are_chosen_as_peft_chooses_them() {
        let attention = |layer: usize, name: &str| format!("encoder.layer.{layer}.attention.self.{name}");
        let both = |name: &str| [attention(0, name), attention(1, name)];
        assert_eq!(chosen(json!({"target_modules": ["query"]})).unwrap(), both("query"));
        assert_eq!(chosen(json!({})).unwrap().len(), 4, "query and value by default");
        assert_eq!(chosen(json!({"target_modules": ["uery"]})).unwrap(), [""; 0], "whole parts of names only");
        assert_eq!(chosen(json!({"target_modules": "query"})).unwrap(), [""; 0], "a pattern matches the whole name");
        assert_eq!(chosen(json!({"target_modules": r".*\.(query|nothing)"})).unwrap(), both("query"));
        assert_eq!(chosen(json!({"target_modules": "all-linear"})).unwrap().len(), 13, "the pooler's too");
        let dense = json!({"target_modules": ["dense"], "exclude_modules": ["output.dense"]});
        let expected = ["encoder.layer.0.intermediate.dense", "encoder.layer.1.intermediate.dense", "pooler.dense"];
        assert_eq!(chosen(dense).unwrap(), expected);
        let layers = json!({"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": ["layer"]});
        assert_eq!(chosen(layers).unwrap(), [attention(1, "query")]);
        let layers = json!({"target_modules": ["query", "pooler.dense"], "layers_to_transform": [0]});
        assert_eq!(chosen(layers).unwrap(), [attention(0, "query")]);
        let whole = json!({"target_modules": ["query"], "modules_to_save": [r"layer\.0"]});
        assert_eq!(chosen(whole).unwrap(), [attention(1, "query")]);
    }

    #[test]
    fn the_first_pattern_that_fits_gives_rank_and_alpha() {
        let mut config = AdapterConfig::new(4).target_modules(["b"]);
        config.rank_pattern = vec![("b".into(), 2), (r"a\.\d\.b".into(), 3)];
        config.alpha_pattern = vec![("^a.0.b".into(), 12.0), ("b".into(), 6.0)];
        let modules = bert();
        let targets = Targets::new(&config, &modules, Path::new("")).unwrap();
        assert_eq!((targets.rank("a.0.b"), targets.rank("a.0.bb"), targets.rank("b")), (2, 4, 2));
        assert_eq!(targets.scaling("a.0.b"), 6.0);
        assert_eq!(targets.scaling("a.1.b"), 3.0);
        assert_eq!(targets.scaling("c"), 2.0);
        assert!(targets.matches(&module("a.b")) && !targets.matches(&module("ab")));
        let config = AdapterConfig::new(4).rank_stabilised(true);
        assert_eq!(Targets::new(&config, &modules, Path::new("")).unwrap().scaling("a"), 4.0);
    }

    #[test]
    fn hostile_patterns_are_refused_or_cost_little() {
        let refused = |pattern: &str| chosen(json!({"target_modules": pattern})).unwrap_err();
        assert!(refused("(?:a{1000}){1000}").contains("it is too large when compiled"));
        assert!(refused("(?=query).*").contains("look-around"));
        assert!(refused("(a").contains("unclosed group"));
        let start = std::time::Instant::now();
        assert_eq!(chosen(json!({"target_modules": "(e+)+(n*)*(.*)*!"})).unwrap(), [""; 0]);
        assert!(start.elapsed().as_secs() < 5);
        let many: serde_json::Map<String, serde_json::Value> =
            (0..2000).map(|index| (format!("m{index}"), json!(1))).collect();
        let error = chosen(json!({"target_modules": ["query"], "rank_pattern": many})).unwrap_err();
        assert!(error.contains("2000 patterns; at most 1024"), "{error}");
    }
}
