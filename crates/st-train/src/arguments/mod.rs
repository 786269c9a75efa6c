//! [`TrainingArguments`]: everything that is set about a training run.

mod choices;
mod fields;
mod validate;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Result, TrainError};

pub use choices::{Interval, Resume, SaveInterval};
pub use fields::{ArgumentField, TrainingArguments};

impl TrainingArguments {
    /// Arguments with an output folder; everything else as it is by default.
    #[must_use]
    pub fn new(output_dir: impl Into<PathBuf>) -> Self {
        Self { output_dir: output_dir.into(), ..Self::default() }
    }

    /// Arguments from JSON; what is not named keeps its default.
    ///
    /// # Errors
    /// For names that there are not, and values of the wrong kind.
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| TrainError::invalid(format!("training arguments: {error}")))
    }

    /// Arguments from TOML; what is not named keeps its default.
    ///
    /// # Errors
    /// For names that there are not, and values of the wrong kind.
    pub fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| TrainError::invalid(format!("training arguments: {error}")))
    }

    /// Arguments from a file whose name ends in `.json` or `.toml`.
    ///
    /// # Errors
    /// When it cannot be read, or as [`TrainingArguments::from_json`].
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(TrainError::reading(path))?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => toml::from_str(&text).map_err(TrainError::parse(path, "training arguments in TOML")),
            Some("json") => serde_json::from_str(&text).map_err(TrainError::parse(path, "training arguments in JSON")),
            _ => Err(TrainError::format(path, "training arguments are in a .toml or .json file")),
        }
    }

    /// All arguments by name, in order, as JSON values.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn to_map(&self) -> Result<Map<String, Value>> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(_) => Ok(Map::new()),
            Err(error) => Err(TrainError::invalid(format!("the training arguments cannot be written: {error}"))),
        }
    }

    /// The arguments that differ from the default.
    ///
    /// # Errors
    /// As [`TrainingArguments::to_map`].
    pub fn changed(&self) -> Result<Map<String, Value>> {
        let default = Self::default().to_map()?;
        Ok(self.to_map()?.into_iter().filter(|(name, value)| default.get(name) != Some(value)).collect())
    }

    /// All arguments as TOML; those that are unset are left out.
    ///
    /// # Errors
    /// When a path is no text.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|error| TrainError::invalid(format!("the training arguments cannot be written: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Mapping, PromptSettings, RouterMapping};

    #[test]
    fn json_and_toml_say_the_same() {
        let arguments = TrainingArguments::new("out")
            .learning_rate(2e-5)
            .num_train_epochs(1.0)
            .eval_strategy(Interval::Steps)
            .eval_steps(Some(50.0))
            .prompts(Some(PromptSettings::from("query: ")))
            .router_mapping(RouterMapping::from([("question", "query")]))
            .learning_rate_mapping(Mapping::from([("dense", 1e-3)]))
            .resume_from_checkpoint(Some(Resume::Last(true)));
        let json = Value::Object(arguments.to_map().unwrap()).to_string();
        assert_eq!(TrainingArguments::from_json(&json).unwrap(), arguments);
        assert_eq!(TrainingArguments::from_toml(&arguments.to_toml().unwrap()).unwrap(), arguments);
    }

    #[test]
    fn defaults_are_those_of_the_original() {
        let arguments = TrainingArguments::from_json("{}").unwrap();
        assert_eq!(arguments, TrainingArguments::default());
        assert_eq!((arguments.learning_rate, arguments.num_train_epochs, arguments.seed), (5e-5, 3.0, 42));
        assert_eq!((arguments.per_device_train_batch_size, arguments.max_grad_norm), (8, 1.0));
        assert_eq!((arguments.save_strategy, arguments.eval_strategy), (SaveInterval::Steps, Interval::No));
        assert!(arguments.changed().unwrap().is_empty());
        assert_eq!(TrainingArguments::new("x").changed().unwrap().keys().collect::<Vec<_>>(), ["output_dir"]);
    }

    #[test]
    fn unknown_names_are_refused_not_ignored() {
        let error = TrainingArguments::from_json(r#"{"learning_rat": 1}"#).unwrap_err().to_string();
        assert!(error.contains("unknown field `learning_rat`"), "{error}");
        assert!(TrainingArguments::from_toml("eval_strategy = \"often\"").is_err());
    }

    #[test]
    fn every_field_is_listed() {
        let names: Vec<&str> = TrainingArguments::FIELDS.iter().map(|field| field.name).collect();
        let map = TrainingArguments::default().to_map().unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), names);
        assert!(TrainingArguments::FIELDS.iter().all(|field| !field.description.trim().is_empty()));
    }

    #[test]
    fn files_say_their_format() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.toml");
        std::fs::write(&path, "learning_rate = 0.5\n").unwrap();
        assert_eq!(TrainingArguments::load(&path).unwrap().learning_rate, 0.5);
        let other = folder.path().join("train.yaml");
        std::fs::write(&other, "").unwrap();
        assert!(TrainingArguments::load(&other).unwrap_err().to_string().contains(".toml or .json"));
    }
}
