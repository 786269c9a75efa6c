//! The adapter that a run trains in the place of the model's own weights.

use std::path::Path;

use sentence_transformers::SentenceTransformer;
use sentence_transformers::adapters::{AdapterConfig, AdapterOptions};
use sentence_transformers::hub::HubOptions;
use serde_json::{Map, Value, json};

use super::settings::Settings;
use crate::failure::{Failure, Result};

/// What the table `adapter` says of a fresh adapter, and what PEFT's `LoraConfig` calls it.
const FIELDS: &[(&str, &str)] = &[
    ("rank", "r"),
    ("r", "r"),
    ("alpha", "lora_alpha"),
    ("lora_alpha", "lora_alpha"),
    ("dropout", "lora_dropout"),
    ("lora_dropout", "lora_dropout"),
    ("target_modules", "target_modules"),
    ("exclude_modules", "exclude_modules"),
    ("layers_to_transform", "layers_to_transform"),
    ("layers_pattern", "layers_pattern"),
    ("rank_pattern", "rank_pattern"),
    ("alpha_pattern", "alpha_pattern"),
    ("modules_to_save", "modules_to_save"),
    ("bias", "bias"),
    ("use_rslora", "use_rslora"),
    ("use_dora", "use_dora"),
    ("lora_bias", "lora_bias"),
    ("init_lora_weights", "init_lora_weights"),
    ("task_type", "task_type"),
];

/// The adapter of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct AdapterPlan {
    /// What it is called in the model; the original's name for the only one otherwise.
    name: String,
    /// An adapter to go on with.
    path: Option<String>,
    /// Of a fresh one, the fields of PEFT's configuration.
    fields: Map<String, Value>,
    /// Whether the model with the adapter in its weights is saved too.
    pub(super) merge: bool,
}

/// Sets an entry of the table, whichever of its names it had there.
pub(super) fn set(table: &mut Map<String, Value>, name: &str, value: Value) {
    let pefts = |name: &str| FIELDS.iter().find(|(ours, _)| *ours == name).map(|(_, pefts)| *pefts);
    table.retain(|known, _| known != name && (pefts(name).is_none() || pefts(known) != pefts(name)));
    table.insert(name.to_owned(), value);
}

impl AdapterPlan {
    /// Reads the table `adapter`.
    pub(super) fn read(table: &Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("adapter", table.clone());
        let name = settings.text("name")?.unwrap_or_else(|| "default".to_owned());
        let path = settings.text("path")?;
        let merge = settings.flag("merge", false)?;
        let mut fields = Map::new();
        for (ours, pefts) in FIELDS {
            if let Some(value) = settings.take(ours)
                && fields.insert((*pefts).to_owned(), value).is_some()
            {
                return Err(Failure::usage(format!("adapter says twice what {pefts} is")));
            }
        }
        settings.finish()?;
        if path.is_some() && !fields.is_empty() {
            let known: Vec<&str> = fields.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!("adapter has a path, and {} too", known.join(", ")))
                .with_hint("an adapter that there is keeps its settings; leave path out to make a fresh one"));
        }
        Ok(Self { name, path, fields, merge })
    }

    /// Puts the adapter into the model: one that the model has, one from a folder or the Hub, or a fresh one.
    pub(super) fn attach(&self, model: &mut SentenceTransformer, hub: &HubOptions, seed: u64) -> Result<()> {
        let known = model.adapter_names().any(|name| name == self.name);
        match &self.path {
            Some(path) => {
                // The revision is the model's.
                let hub = hub.clone().revision("main");
                model.load_adapter(path, &AdapterOptions::new().name(&self.name).trainable(true).hub(hub))?;
            }
            None if known && self.fields.is_empty() => model.set_adapter(&self.name)?,
            None if known => {
                return Err(Failure::usage(format!("the model has an adapter {:?} already", self.name))
                    .with_hint("leave its settings out to go on with it, or give another name to make a fresh one"));
            }
            None => {
                let mut fields = self.fields.clone();
                fields.insert("peft_type".to_owned(), json!("LORA"));
                let config = AdapterConfig::parse(&Value::Object(fields), Path::new("adapter"))
                    .map_err(|error| Failure::usage("the adapter is not understood").with_cause(&error))?;
                model.add_adapter(config, Some(&self.name), seed)?;
            }
        }
        Ok(())
    }

    /// What is trained, for a rehearsal.
    pub(super) fn described(&self, model: &SentenceTransformer) -> Result<Value> {
        let config = model.adapter(Some(&self.name))?.config().to_json();
        Ok(json!({ "name": self.name, "path": self.path, "merge": self.merge, "config": config }))
    }
}

/// A model whose weights are an adapter that is only read has nothing to train, which is said before the run.
pub(super) fn refuse_untrained(model: &SentenceTransformer) -> Result<()> {
    let Some(name) = model.adapter_names().next() else { return Ok(()) };
    Err(Failure::usage("the model's weights are an adapter, which is not trained unless it is asked for")
        .with_hint(format!("--set adapter.name={name} goes on with it; `merge` it first to train the whole model")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(value: Value) -> Result<AdapterPlan> {
        AdapterPlan::read(value.as_object().unwrap())
    }

    #[test]
    fn short_names_and_pefts_mean_the_same() {
        let short = plan(json!({"rank": 4, "alpha": 8, "dropout": 0.1, "merge": true})).unwrap();
        let long = plan(json!({"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "merge": true})).unwrap();
        assert_eq!(short, long);
        assert_eq!(short.fields, *json!({"r": 4, "lora_alpha": 8, "lora_dropout": 0.1}).as_object().unwrap());
        let mut table = json!({"r": 4, "lora_alpha": 8, "merge": false}).as_object().unwrap().clone();
        for (name, value) in [("rank", json!(2)), ("merge", json!(true))] {
            set(&mut table, name, value);
        }
        assert_eq!(
            Value::Object(table),
            json!({"lora_alpha": 8, "rank": 2, "merge": true}),
            "a flag wins over the file"
        );
        assert!(plan(json!({"rank": 4, "r": 8})).unwrap_err().to_string().contains("says twice what r is"));
    }

    #[test]
    fn what_is_not_followed_is_refused() {
        let error = plan(json!({"ranks": 4})).unwrap_err().to_string();
        assert!(error.contains("adapter has no setting \"ranks\"\nhint: its settings are name, path, merge, rank"));
        let error = plan(json!({"path": "a", "rank": 4})).unwrap_err().to_string();
        assert!(error.contains("adapter has a path, and r too\nhint: "), "{error}");
        let mut model = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy()).unwrap();
        let hub = HubOptions::new().local_files_only(true);
        let mut attach = |value: Value| plan(value).unwrap().attach(&mut model, &hub, 1);
        let error = attach(json!({"rank": 0})).unwrap_err().to_string();
        assert!(error.contains("the adapter is not understood\ncaused by: "), "{error}");
        let error = attach(json!({"target_modules": ["nothing"]})).unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
        attach(json!({"rank": 2})).unwrap();
        let error = attach(json!({"rank": 2})).unwrap_err().to_string();
        assert!(error.contains("has an adapter \"default\" already"), "{error}");
        assert!(refuse_untrained(&model).unwrap_err().to_string().contains("--set adapter.name=default"));
    }
}
