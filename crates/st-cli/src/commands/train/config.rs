//! [`Config`]: what a training run is, from a TOML or JSON file and from flags that win over it.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// A training run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The model to begin with.
    pub(super) model: Option<String>,
    /// Where the trained model, checkpoints and reports go.
    pub(super) output_dir: Option<PathBuf>,
    /// Longest token sequence, instead of the model's.
    pub(super) max_seq_length: Option<usize>,
    /// What is trained on.
    #[serde(default)]
    pub(super) train_dataset: Several<DatasetConfig>,
    /// What the loss is measured on while training.
    #[serde(default)]
    pub(super) eval_dataset: Several<DatasetConfig>,
    /// A loss by name, a table with `name` and settings, or a table of these by data set.
    pub(super) loss: Option<Value>,
    /// Tasks, as `evaluate` takes them: `sts:dev=dev.tsv`.
    #[serde(default)]
    pub(super) evaluators: Several<String>,
    /// The split of the tasks.
    pub(super) evaluator_split: Option<String>,
    /// The training arguments, under the original's names.
    #[serde(default)]
    pub(super) arguments: Map<String, Value>,
    /// Beginnings of the names of parameters that stay as they are.
    #[serde(default)]
    pub(super) freeze: Several<String>,
    /// The adapter that is trained instead of the model's weights: `rank`, `alpha`, `dropout`, `target_modules` and what else
    /// PEFT's configuration has; `path`, `name`, `merge`.
    pub(super) adapter: Option<Map<String, Value>>,
    /// A teacher that labels the data: `teacher`, `similarity`, `truncate_dim`; and the layers that the student keeps:
    /// `keep_layers`.
    pub(super) distillation: Option<Map<String, Value>>,
    /// What the model card says: `model_name`, `language`, `license`.
    #[serde(default)]
    pub(super) card: CardConfig,
}

/// What goes into the card besides what training knows.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CardConfig {
    pub(super) model_name: Option<String>,
    #[serde(default)]
    pub(super) language: Several<String>,
    pub(super) license: Option<String>,
}

/// A file of training data.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "DatasetForm")]
pub(super) struct DatasetConfig {
    pub(super) path: PathBuf,
    /// Needed where there are several.
    pub(super) name: Option<String>,
    /// Columns to use, in the order in which the loss takes them; all when empty.
    pub(super) columns: Vec<String>,
    /// Rows to use at most.
    pub(super) rows: Option<usize>,
    /// Columns of paths of images.
    pub(super) image_columns: Vec<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DatasetForm {
    Path(PathBuf),
    Table(DatasetTable),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DatasetTable {
    path: PathBuf,
    name: Option<String>,
    #[serde(default)]
    columns: Vec<String>,
    rows: Option<usize>,
    #[serde(default)]
    image_columns: Vec<String>,
}

impl From<DatasetForm> for DatasetConfig {
    fn from(form: DatasetForm) -> Self {
        match form {
            DatasetForm::Path(path) => Self::of(path),
            DatasetForm::Table(DatasetTable { path, name, columns, rows, image_columns }) => {
                Self { path, name, columns, rows, image_columns }
            }
        }
    }
}

impl DatasetConfig {
    pub(super) fn of(path: PathBuf) -> Self {
        Self { path, name: None, columns: Vec::new(), rows: None, image_columns: Vec::new() }
    }
}

/// One or a list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "OneOrMore<T>")]
pub(super) struct Several<T>(pub(super) Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    More(Vec<T>),
    One(T),
}

impl<T> From<OneOrMore<T>> for Several<T> {
    fn from(all: OneOrMore<T>) -> Self {
        match all {
            OneOrMore::More(all) => Self(all),
            OneOrMore::One(one) => Self(vec![one]),
        }
    }
}

impl<T> Default for Several<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Config {
    /// Reads a file, lays the entries `KEY=VALUE` over it and says what is not understood. Without a file there are only
    /// the entries. Paths in the file are relative to the process's folder, as those of flags are.
    pub(super) fn read(path: Option<&Path>, entries: &[(String, Value)]) -> Result<Self> {
        let mut value = match path {
            Some(path) => read_file(path)?,
            None => Value::Object(Map::new()),
        };
        for (key, entry) in entries {
            lay_over(&mut value, key, entry.clone())?;
        }
        let place = path.map_or_else(|| "the training run".to_owned(), |path| path.display().to_string());
        serde_json::from_value(value)
            .map_err(|error| Failure::usage(format!("{place} is not understood")).with_cause(&error))
    }
}

fn read_file(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).map_err(|error| Failure::path("read", path, &error))?;
    let damaged = |error: &(dyn std::error::Error + 'static)| {
        Failure::usage(format!("{} is damaged", path.display())).with_cause(error)
    };
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
    match extension.as_str() {
        "json" => serde_json::from_str(&text).map_err(|error| damaged(&error)),
        "toml" => toml::from_str(&text).map_err(|error| damaged(&error)),
        _ => Err(Failure::usage(format!("{} does not say its format", path.display()))
            .with_hint("end the name in .toml or .json")),
    }
}

/// Reads `KEY=VALUE`, the value as JSON where it is JSON, else as a text.
pub(super) fn entry(text: &str) -> Result<(String, Value), String> {
    let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
        return Err("should be KEY=VALUE".to_owned());
    };
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((key.to_owned(), value))
}

/// Sets an entry by its path, `arguments.learning_rate`. A loss that is only named becomes a table when it gets a setting.
fn lay_over(value: &mut Value, key: &str, entry: Value) -> Result<()> {
    let mut place = value;
    let mut parts = key.split('.').peekable();
    while let Some(part) = parts.next() {
        if let Value::String(name) = place {
            *place = serde_json::json!({ "name": name });
        }
        let Value::Object(table) = place else {
            return Err(Failure::usage(format!("{key} names an entry of something that is no table")));
        };
        if parts.peek().is_none() {
            table.insert(part.to_owned(), entry);
            return Ok(());
        }
        place = table.entry(part).or_insert_with(|| Value::Object(Map::new()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    const TOML: &str = r#"
model = "some/model"
output_dir = "out"
loss = "MultipleNegativesRankingLoss"
evaluators = "sts=dev.tsv"

[[train_dataset]]
path = "a.jsonl"
name = "a"
columns = ["anchor", "positive"]

[[train_dataset]]
path = "b.csv"
rows = 100

[arguments]
num_train_epochs = 1
"#;

    fn read(name: &str, content: &str, entries: &[&str]) -> Result<Config> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        let entries: Vec<_> = entries.iter().map(|text| entry(text).unwrap()).collect();
        Config::read(Some(&path), &entries)
    }

    #[test]
    fn toml_and_json_say_the_same_and_entries_win() {
        let config = read("a.toml", TOML, &["loss.scale=10", "arguments.learning_rate=3e-5", "model=other"]).unwrap();
        assert_eq!(config.model.as_deref(), Some("other"));
        assert_eq!(config.loss, Some(json!({"name": "MultipleNegativesRankingLoss", "scale": 10})));
        assert_eq!(config.arguments["learning_rate"], 3e-5);
        assert_eq!(config.arguments["num_train_epochs"], 1);
        assert_eq!(config.train_dataset.0[0].columns, ["anchor", "positive"]);
        assert_eq!((&config.train_dataset.0[1].name, config.train_dataset.0[1].rows), (&None, Some(100)));
        assert_eq!(config.evaluators.0, ["sts=dev.tsv"]);
        let json = read("a.json", "{\"train_dataset\": \"a.jsonl\", \"freeze\": \"0.\"}", &[]).unwrap();
        assert_eq!(json.train_dataset.0, [DatasetConfig::of("a.jsonl".into())]);
        assert_eq!(json.freeze.0, ["0."]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        let error = read("a.toml", "modle = \"x\"", &[]).unwrap_err().to_string();
        assert!(
            error.contains("is not understood\ncaused by: unknown field `modle`, expected one of `model`"),
            "{error}"
        );
        assert!(read("a.toml", "model = ", &[]).unwrap_err().to_string().contains("is damaged"));
        assert!(read("a.yaml", "", &[]).unwrap_err().to_string().contains("end the name in .toml or .json"));
        assert!(read("a.json", "{\"arguments\": 1}", &["arguments.x=1"]).unwrap_err().to_string().contains("no table"));
        assert!(entry("=1").is_err() && entry("x").is_err());
        assert_eq!(entry("a=b=c"), Ok(("a".to_owned(), json!("b=c"))));
    }
}
