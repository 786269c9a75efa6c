//! [`ModuleConfig`]: a module's configuration file with errors that name file and key.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// No configuration file of a model is larger than this.
const LARGEST_FILE: u64 = 64 << 20;
/// No width of a real model is larger than this.
const LARGEST_SIZE: u64 = 1 << 24;

/// Reads a JSON file of a model folder. A missing file is `None`.
///
/// # Errors
/// With the line and column when it is not valid JSON.
pub(crate) fn read_json(path: &Path) -> Result<Option<Value>> {
    let io = |source: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot read {}", path.display())).with_path(path).with_source(source)
    };
    let size = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
        Ok(meta) => meta.len(),
    };
    if size > LARGEST_FILE {
        return Err(Error::config(path, format_args!("{size} bytes is too large for a configuration file")));
    }
    let text = std::fs::read(path).map_err(io)?;
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            let pointer = text.starts_with(b"version https://git-lfs");
            let hint = if pointer {
                "the file is a Git LFS pointer: fetch the real one with `git lfs pull` or download it again"
            } else {
                "the file is damaged: download it again"
            };
            Err(Error::config(path, error).with_hint(hint))
        }
    }
}

/// The keys of a module's configuration file.
///
/// Each key is read once; [`ModuleConfig::finish`] refuses the ones that nobody read, because a key that is not
/// understood may change the numbers.
///
/// ```
/// use sentence_transformers::modules::ModuleConfig;
///
/// let mut config = ModuleConfig::parse(r#"{"dimension": 8}"#, "config.json")?;
/// assert_eq!(config.size(&["dimension"])?, 8);
/// config.finish()?;
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug)]
pub struct ModuleConfig {
    path: PathBuf,
    keys: Map<String, Value>,
    used: BTreeSet<&'static str>,
}

impl ModuleConfig {
    /// Reads a file; a missing one has no keys.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn read(path: PathBuf) -> Result<Self> {
        let value = read_json(&path)?.unwrap_or_else(|| Value::Object(Map::new()));
        Self::from_value(value, path)
    }

    /// Parses a text; `path` is for messages.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub fn parse(text: &str, path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let value = serde_json::from_str(text).map_err(|error| Error::config(&path, error))?;
        Self::from_value(value, path)
    }

    fn from_value(value: Value, path: PathBuf) -> Result<Self> {
        match value {
            Value::Object(keys) => Ok(Self { path, keys, used: BTreeSet::new() }),
            _ => Err(Error::config(&path, "a JSON object is expected")),
        }
    }

    /// An error about this file.
    #[must_use]
    pub fn error(&self, message: impl std::fmt::Display) -> Error {
        Error::config(&self.path, message)
    }

    /// The value of the first of `names` that is present; `null` counts as absent.
    pub fn value(&mut self, names: &[&'static str]) -> Option<&Value> {
        self.used.extend(names);
        names.iter().find_map(|name| self.keys.get(*name)).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &mut self,
        names: &[&'static str],
        what: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>> {
        match self.value(names).map(read) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(self.error(format_args!("'{}' should be {what}", names[0]))),
        }
    }

    /// A width or count from 1 to 2²⁴. Several names are several spellings of one key.
    ///
    /// # Errors
    /// When it is absent or anything else.
    pub fn size(&mut self, names: &[&'static str]) -> Result<usize> {
        self.optional_size(names)?.ok_or_else(|| self.error(format_args!("'{}' is missing", names[0])))
    }

    /// A width or count that may be absent.
    ///
    /// # Errors
    /// When it is present and not a whole number from 1 to 2²⁴.
    pub fn optional_size(&mut self, names: &[&'static str]) -> Result<Option<usize>> {
        self.typed(names, "a whole number from 1 to 16777216", |value| match value.as_u64() {
            Some(size @ 1..=LARGEST_SIZE) => Some(size as usize),
            _ => None,
        })
    }

    /// A number counted from 0 that may be absent.
    ///
    /// # Errors
    /// When it is present and not a whole number from 0 to 2²⁴.
    pub fn optional_index(&mut self, names: &[&'static str]) -> Result<Option<usize>> {
        self.typed(names, "a whole number from 0 to 16777216", |value| match value.as_u64() {
            Some(index @ 0..=LARGEST_SIZE) => Some(index as usize),
            _ => None,
        })
    }

    /// A list of texts that may be absent.
    ///
    /// # Errors
    /// When it is present and anything else.
    pub fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>> {
        self.typed(&[name], "a list of texts", |value| {
            value.as_array()?.iter().map(|item| Some(item.as_str()?.to_owned())).collect()
        })
    }

    /// A truth value that may be absent.
    ///
    /// # Errors
    /// When it is present and not a truth value.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.typed(&[name], "true or false", Value::as_bool)
    }

    /// A number that may be absent.
    ///
    /// # Errors
    /// When it is present and not a finite number.
    pub fn number(&mut self, name: &'static str) -> Result<Option<f64>> {
        self.typed(&[name], "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// A text that may be absent.
    ///
    /// # Errors
    /// When it is present and not a text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        self.typed(&[name], "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Whether a key is there, be it `null`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// An object of numbers that may be absent.
    ///
    /// # Errors
    /// When it is present and anything else.
    pub fn numbers(&mut self, name: &'static str) -> Result<Option<Map<String, Value>>> {
        self.typed(&[name], "an object of numbers", |value| {
            value.as_object().filter(|entries| entries.values().all(Value::is_number)).cloned()
        })
    }

    /// Marks keys as known without reading them.
    pub fn ignore(&mut self, names: &[&'static str]) {
        self.used.extend(names);
    }

    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// When a key was never read: it may change the numbers in a way that this library does not know.
    pub fn finish(self) -> Result<()> {
        match self.keys.keys().find(|key| !self.used.contains(key.as_str())) {
            None => Ok(()),
            Some(key) => Err(self
                .error(format_args!("unknown key '{key}'"))
                .with_hint("the model was saved by a version that knows more than this one; remove the key only if it has no effect")),
        }
    }
}
