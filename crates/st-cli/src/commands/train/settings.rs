//! [`Settings`]: the entries of a table of a configuration file, each taken once and none left over.

use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// The entries of one thing, such as a loss.
#[derive(Debug)]
pub(super) struct Settings {
    /// What it is the settings of, for messages.
    owner: String,
    entries: Map<String, Value>,
    /// What was asked for, for messages.
    known: Vec<&'static str>,
}

impl Settings {
    pub(super) fn new(owner: impl Into<String>, entries: Map<String, Value>) -> Self {
        Self { owner: owner.into(), entries, known: Vec::new() }
    }

    /// An entry, if it is there and not null.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.entries.remove(key).filter(|value| !value.is_null())
    }

    fn typed<T>(&mut self, key: &'static str, what: &str, read: impl Fn(&Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(self.wrong(key, &value, what)),
        }
    }

    /// The error about an entry of the wrong kind.
    pub(super) fn wrong(&self, key: &str, value: &Value, what: &str) -> Failure {
        Failure::usage(format!("{key} of {} is {value} instead of {what}", self.owner))
    }

    pub(super) fn number(&mut self, key: &'static str, default: f64) -> Result<f64> {
        Ok(self.typed(key, "a number", Value::as_f64)?.unwrap_or(default))
    }

    /// A whole number from 0 on.
    pub(super) fn count(&mut self, key: &'static str) -> Result<Option<usize>> {
        self.typed(key, "a whole number", |value| value.as_u64().and_then(|number| usize::try_from(number).ok()))
    }

    /// As [`Settings::count`], where the original writes −1 for none.
    pub(super) fn count_or_all(&mut self, key: &'static str) -> Result<Option<usize>> {
        let number = self.typed(key, "a whole number", Value::as_i64)?;
        Ok(number.and_then(|number| usize::try_from(number).ok()))
    }

    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> Result<bool> {
        Ok(self.typed(key, "true or false", Value::as_bool)?.unwrap_or(default))
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        self.typed(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn numbers(&mut self, key: &'static str) -> Result<Option<Vec<f64>>> {
        self.typed(key, "a list of numbers", |value| value.as_array()?.iter().map(Value::as_f64).collect())
    }

    pub(super) fn counts(&mut self, key: &'static str) -> Result<Option<Vec<usize>>> {
        let count = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
        self.typed(key, "a list of whole numbers", |value| value.as_array()?.iter().map(count).collect())
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)], default: T) -> Result<T> {
        let Some(word) = self.text(key)? else { return Ok(default) };
        let found = words.iter().find(|(known, _)| word.eq_ignore_ascii_case(known));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let known: Vec<&str> = words.iter().map(|(known, _)| *known).collect();
            Failure::usage(format!("{key} of {} is {word:?}", self.owner))
                .with_hint(format!("it may be {}", known.join(", ")))
        })
    }

    /// Ends it: an entry that nobody asked for is an error.
    pub(super) fn finish(self) -> Result<()> {
        let Some(name) = self.entries.keys().next() else { return Ok(()) };
        let failure = Failure::usage(format!("{} has no setting {name:?}", self.owner));
        Err(match self.known.as_slice() {
            [] => failure.with_hint("it has no settings"),
            known => failure.with_hint(format!("its settings are {}", known.join(", "))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(value: Value) -> Settings {
        Settings::new("Thing", value.as_object().cloned().unwrap_or_default())
    }

    #[test]
    fn entries_are_taken_once_and_none_is_left() {
        let mut all = settings(json!({"scale": 2, "flag": true, "steps": -1, "none": null, "word": "Dot", "more": 1}));
        assert_eq!(all.number("scale", 20.0).unwrap(), 2.0);
        assert!(all.flag("flag", false).unwrap());
        assert_eq!((all.count_or_all("steps").unwrap(), all.count("none").unwrap()), (None, None));
        assert_eq!(all.choice("word", &[("cosine", 1), ("dot", 2)], 1).unwrap(), 2);
        let error = all.finish().unwrap_err().to_string();
        assert!(error.contains("Thing has no setting \"more\"\nhint: its settings are scale, flag, steps, none, word"));
        settings(json!({})).finish().unwrap();
    }

    #[test]
    fn wrong_kinds_are_named() {
        let mut all = settings(json!({"scale": "x", "dims": [1, -2], "word": "x"}));
        let error = all.number("scale", 1.0).unwrap_err().to_string();
        assert!(error.contains("scale of Thing is \"x\" instead of a number"), "{error}");
        assert!(all.counts("dims").unwrap_err().to_string().contains("a list of whole numbers"));
        assert!(all.choice("word", &[("a", 1)], 1).unwrap_err().to_string().contains("hint: it may be a"));
    }
}
