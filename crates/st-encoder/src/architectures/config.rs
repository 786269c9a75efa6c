//! [`Config`]: typed access to the fields of a `config.json`.

use std::path::Path;

use serde_json::Value;

use crate::EncoderError;

/// The fields of a `config.json`, read with errors that name the file and the field.
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    fields: &'a serde_json::Map<String, Value>,
    path: &'a Path,
}

/// No dimension of a real encoder is larger than this; a larger one is an attack or a damaged file.
const LARGEST: u64 = 1 << 24;

impl<'a> Config<'a> {
    /// Takes the object of a `config.json`.
    ///
    /// # Errors
    /// [`EncoderError::Config`] when it is not an object.
    pub fn new(value: &'a Value, path: &'a Path) -> Result<Self, EncoderError> {
        let fields = value
            .as_object()
            .ok_or_else(|| EncoderError::Config { path: path.into(), message: "a JSON object is expected".into() })?;
        Ok(Self { fields, path })
    }

    /// An error about this file.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> EncoderError {
        EncoderError::Config { path: self.path.into(), message: message.into() }
    }

    fn get(&self, field: &str) -> Option<&'a Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// A text field.
    ///
    /// # Errors
    /// When it is absent or not a text.
    pub fn text(&self, field: &str) -> Result<&'a str, EncoderError> {
        self.get(field).and_then(Value::as_str).ok_or_else(|| self.error(format!("'{field}' should be a text")))
    }

    /// A text field with a default.
    ///
    /// # Errors
    /// When it is present and not a text.
    pub fn text_or(&self, field: &str, default: &'a str) -> Result<&'a str, EncoderError> {
        if self.get(field).is_none() { Ok(default) } else { self.text(field) }
    }

    /// A size: a whole number from 1 to 2²⁴.
    ///
    /// # Errors
    /// When it is absent or anything else.
    pub fn size(&self, field: &str) -> Result<usize, EncoderError> {
        match self.get(field).and_then(Value::as_u64) {
            Some(number @ 1..=LARGEST) => Ok(number as usize),
            _ => Err(self.error(format!("'{field}' should be a whole number from 1 to {LARGEST}"))),
        }
    }

    /// A size with a default.
    ///
    /// # Errors
    /// When it is present and not a size.
    pub fn size_or(&self, field: &str, default: usize) -> Result<usize, EncoderError> {
        if self.get(field).is_none() { Ok(default) } else { self.size(field) }
    }

    /// A number with a default.
    ///
    /// # Errors
    /// When it is present and not a finite number.
    pub fn number_or(&self, field: &str, default: f64) -> Result<f64, EncoderError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite())
                .ok_or_else(|| self.error(format!("'{field}' should be a number"))),
        }
    }

    /// A truth value with a default.
    ///
    /// # Errors
    /// When it is present and not a truth value.
    pub fn flag_or(&self, field: &str, default: bool) -> Result<bool, EncoderError> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.error(format!("'{field}' should be true or false"))),
        }
    }
}
