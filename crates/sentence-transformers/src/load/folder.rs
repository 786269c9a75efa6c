//! What a model folder says: `modules.json`, `config_sentence_transformers.json`, `README.md`; or a plain transformer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use st_encoder::adapters::ADAPTER_CONFIG;
use st_vectors::SimilarityFunction;

use crate::files::read_json;
use crate::modules::{
    InputContext, InputModule, MOST_MODULES, ModuleFolder, Normalize, Pooling, PoolingMode, StaticEmbedding,
    Transformer, require_kind,
};
use crate::pipeline::{NamedModule, Pipeline};
use crate::version::ORIGINAL_VERSION;
use crate::{Error, ErrorKind, Result};

/// A model folder, read.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) pipeline: Pipeline,
    pub(crate) config: Map<String, Value>,
    pub(crate) prompts: Vec<(String, String)>,
    pub(crate) default_prompt_name: Option<String>,
    pub(crate) similarity: Option<SimilarityFunction>,
    pub(crate) card: Option<String>,
}

/// Reads a folder: one with `modules.json` saved as a `SentenceTransformer`, or any other as a plain transformer.
pub(crate) fn open(name: &str, path: PathBuf, context: &InputContext) -> Result<Folder> {
    let config_path = path.join("config_sentence_transformers.json");
    let config = match read_json(&config_path)? {
        None => Map::new(),
        Some(Value::Object(config)) => config,
        Some(_) => return Err(Error::config(&config_path, "a JSON object is expected")),
    };
    let ours = config.get("model_type").is_none_or(|kind| kind.as_str() == Some("SentenceTransformer"));
    let modules_path = path.join("modules.json");
    let modules = read_json(&modules_path)?;
    if modules.is_none()
        && let Some(pipeline) = static_model(&path, context)?
    {
        let (prompts, default_prompt_name, similarity) = settings(&config, &config_path)?;
        return Ok(Folder { path, pipeline, config, prompts, default_prompt_name, similarity, card: None });
    }
    match modules {
        Some(modules) if ours => {
            warn_if_newer(&config);
            let pipeline = read_modules(&path, &modules_path, &modules, context)?;
            let (prompts, default_prompt_name, similarity) = settings(&config, &config_path)?;
            let card = std::fs::read(path.join("README.md")).ok().and_then(|text| String::from_utf8(text).ok());
            Ok(Folder { path, pipeline, config, prompts, default_prompt_name, similarity, card })
        }
        _ => {
            log::warn!("No sentence-transformers model found with name {name}. Creating a new one with mean pooling.");
            let pipeline = plain_transformer(&path, context)?;
            let (prompts, default_prompt_name) = (Vec::new(), None);
            Ok(Folder {
                path,
                pipeline,
                config: Map::new(),
                prompts,
                default_prompt_name,
                similarity: None,
                card: None,
            })
        }
    }
}

/// The pipeline of a folder of model2vec.
fn static_model(path: &Path, context: &InputContext) -> Result<Option<Pipeline>> {
    let Some((module, normalize)) = StaticEmbedding::load_model2vec(path, context)? else { return Ok(None) };
    let unit_length = normalize.then(|| NamedModule { name: "1".into(), module: Box::new(Normalize) });
    Pipeline::new("0", Box::new(module), unit_length.into_iter().collect()).map(Some)
}

fn plain_transformer(path: &Path, context: &InputContext) -> Result<Pipeline> {
    if !path.join("config.json").is_file() && !path.join(ADAPTER_CONFIG).is_file() {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{} holds no model: there is neither modules.json nor config.json", path.display()),
        )
        .with_path(path)
        .with_hint("name the folder that was written by save_pretrained, or a model of the Hub"));
    }
    let transformer = Transformer::load(&ModuleFolder::new(path, "")?, context)?;
    let pooling = Pooling::new(transformer.width(), &[PoolingMode::Mean])?;
    Pipeline::new("0", Box::new(transformer), vec![NamedModule { name: "1".into(), module: Box::new(pooling) }])
}

type Settings = (Vec<(String, String)>, Option<String>, Option<SimilarityFunction>);

fn settings(config: &Map<String, Value>, path: &Path) -> Result<Settings> {
    let mut prompts = Vec::new();
    match config.get("prompts") {
        None | Some(Value::Null) => {}
        Some(Value::Object(entries)) => {
            for (name, text) in entries {
                let text = text.as_str();
                let text = text.ok_or_else(|| Error::config(path, format_args!("prompt '{name}' should be a text")))?;
                prompts.push((name.clone(), text.to_owned()));
            }
        }
        Some(_) => return Err(Error::config(path, "'prompts' should be an object of texts")),
    }
    let text = |field: &str| match config.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Error::config(path, format_args!("'{field}' should be a text"))),
    };
    let similarity = match text("similarity_fn_name")? {
        None => None,
        Some(name) => Some(name.parse().map_err(|error| Error::config(path, error))?),
    };
    Ok((prompts, text("default_prompt_name")?, similarity))
}

fn warn_if_newer(config: &Map<String, Value>) {
    let version = config.get("__version__").and_then(|versions| versions.get("sentence_transformers"));
    if let Some(version) = version.and_then(Value::as_str)
        && numbers(version) > numbers(ORIGINAL_VERSION)
    {
        log::warn!(
            "You are trying to use a model that was created with Sentence Transformers version {version}, but you're \
             currently using version {ORIGINAL_VERSION}. This might cause unexpected behavior or errors. In that case, \
             try to update to the latest version."
        );
    }
}

fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

fn read_modules(root: &Path, path: &Path, modules: &Value, context: &InputContext) -> Result<Pipeline> {
    let entries = modules.as_array().ok_or_else(|| Error::config(path, "a list of modules is expected"))?;
    if entries.is_empty() || entries.len() > MOST_MODULES {
        return Err(Error::config(
            path,
            format_args!("a model has 1 to {MOST_MODULES} modules, not {}", entries.len()),
        ));
    }
    let mut input: Option<(String, Box<dyn InputModule>)> = None;
    let mut rest: Vec<NamedModule> = Vec::new();
    let mut seen = BTreeSet::new();
    for (position, entry) in entries.iter().enumerate() {
        let text = |field: &str| {
            entry
                .get(field)
                .and_then(Value::as_str)
                .ok_or_else(|| Error::config(path, format_args!("module {position}: '{field}' should be a text")))
        };
        let (name, type_path) = (text("name")?.to_owned(), text("type")?);
        if !seen.insert(name.clone()) {
            return Err(Error::config(path, format_args!("two modules are named '{name}'")));
        }
        let kind = require_kind(path, type_path)?;
        let folder = ModuleFolder::new(root, text("path")?)?;
        if position == 0 {
            let Some(module) = kind.load.first(&folder, context) else {
                let message = format_args!("the first module '{name}' ({}) cannot read texts", kind.name);
                return Err(Error::config(path, message));
            };
            input = Some((name, module?));
        } else {
            let Some(module) = kind.load.later(&folder) else {
                return Err(Error::config(path, format_args!("module '{name}' ({}) can only come first", kind.name)));
            };
            rest.push(NamedModule { name, module: module? });
        }
    }
    let (name, input) = input.ok_or_else(|| Error::config(path, "there is no module that reads texts"))?;
    Pipeline::new(name, input, rest)
}

/// Modules as the loader of tests and of callers with their own parts needs them.
impl Folder {
    pub(crate) fn of_pipeline(pipeline: Pipeline) -> Self {
        Self {
            path: PathBuf::new(),
            pipeline,
            config: Map::new(),
            prompts: Vec::new(),
            default_prompt_name: None,
            similarity: None,
            card: None,
        }
    }
}
