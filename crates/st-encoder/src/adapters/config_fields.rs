//! The fields of `adapter_config.json`, read with errors that name the file and the field.

use std::path::Path;

use serde_json::{Map, Value};

use crate::EncoderError;

/// No list of an adapter of a real network has more entries.
const MOST_ENTRIES: usize = 1 << 14;
/// No module's name or pattern is longer, in bytes.
const LONGEST_NAME: usize = 4096;

/// The fields of a configuration.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: &'a Path,
}

impl<'a> Fields<'a> {
    pub(super) fn error(&self, message: impl Into<String>) -> EncoderError {
        EncoderError::Config { path: self.path.into(), message: message.into() }
    }

    pub(super) fn unsupported(&self, message: impl Into<String>) -> EncoderError {
        EncoderError::UnsupportedAdapter { path: self.path.into(), message: message.into() }
    }

    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field).filter(|value| !value.is_null())
    }

    fn typed<T>(
        &self,
        field: &str,
        what: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, EncoderError> {
        match self.get(field).map(read) {
            None => Ok(None),
            Some(Some(value)) => Ok(Some(value)),
            Some(None) => Err(self.error(format!("'{field}' should be {what}"))),
        }
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, EncoderError> {
        Ok(self.typed(field, "true or false", Value::as_bool)?.unwrap_or(false))
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&'a str>, EncoderError> {
        self.typed(field, "a text", Value::as_str)
    }

    pub(super) fn number(&self, field: &str) -> Result<Option<f64>, EncoderError> {
        self.typed(field, "a number", finite)
    }

    pub(super) fn whole(&self, field: &str) -> Result<Option<usize>, EncoderError> {
        self.typed(field, "a whole number", whole)
    }

    /// A list of texts, or one text that stands for a list of itself.
    pub(super) fn texts(&self, field: &str) -> Result<Option<Vec<String>>, EncoderError> {
        let texts = self.typed(field, "a list of texts", |value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            value => list_of_texts(value),
        })?;
        texts.map(|texts| self.bounded(field, texts)).transpose()
    }

    /// A list of whole numbers, or one that stands for a list of itself.
    pub(super) fn wholes(&self, field: &str) -> Result<Option<Vec<usize>>, EncoderError> {
        self.typed(field, "a list of whole numbers", |value| match value {
            Value::Array(values) => values.iter().map(whole).collect(),
            value => whole(value).map(|number| vec![number]),
        })
    }

    /// An object of numbers, in its order.
    pub(super) fn patterns<T>(
        &self,
        field: &str,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Vec<(String, T)>, EncoderError> {
        let entries = self.typed(field, "an object of numbers", |value| {
            let entries = value.as_object()?;
            entries.iter().map(|(name, value)| Some((name.clone(), read(value)?))).collect::<Option<Vec<_>>>()
        })?;
        let entries = entries.unwrap_or_default();
        self.within(field, entries.len(), entries.iter().map(|(name, _)| name.as_str()))?;
        Ok(entries)
    }

    pub(super) fn bounded(&self, field: &str, texts: Vec<String>) -> Result<Vec<String>, EncoderError> {
        self.within(field, texts.len(), texts.iter().map(String::as_str))?;
        Ok(texts)
    }

    fn within<'b>(
        &self,
        field: &str,
        count: usize,
        mut names: impl Iterator<Item = &'b str>,
    ) -> Result<(), EncoderError> {
        if count > MOST_ENTRIES {
            return Err(self.error(format!("'{field}' has {count} entries; at most {MOST_ENTRIES} are read")));
        }
        match names.find(|name| name.len() > LONGEST_NAME) {
            Some(name) => {
                Err(self
                    .error(format!("'{field}' has an entry of {} bytes; at most {LONGEST_NAME} are read", name.len())))
            }
            None => Ok(()),
        }
    }
}

pub(super) fn list_of_texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

pub(super) fn finite(value: &Value) -> Option<f64> {
    value.as_f64().filter(|number| number.is_finite())
}

pub(super) fn whole(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|number| usize::try_from(number).ok())
}
