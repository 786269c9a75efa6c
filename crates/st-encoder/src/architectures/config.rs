//! [`Config`]: typed access to the fields of a `config.json`.

use std::path::Path;

use serde_json::Value;

use crate::{Activation, EncoderError};

/// The fields of a `config.json`, read with errors that name the file and the field.
///
/// ```
/// use st_encoder::architectures::Config;
///
/// let value = serde_json::json!({"hidden_size": 384, "num_attention_heads": "twelve"});
/// let config = Config::new(&value, "config.json".as_ref())?;
/// assert_eq!(config.size("hidden_size")?, 384);
/// assert_eq!(config.size_or("intermediate_size", 1536)?, 1536);
/// let error = config.size("num_attention_heads").unwrap_err();
/// assert_eq!(error.to_string(), "config.json: 'num_attention_heads' should be a whole number from 1 to 16777216");
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Config<'a> {
    fields: &'a serde_json::Map<String, Value>,
    path: &'a Path,
}

/// No dimension of a real encoder is larger than this; a larger one is an attack or a damaged file.
const LARGEST: u64 = 1 << 24;

/// No real encoder has more blocks.
const MOST_LAYERS: usize = 1024;

/// Names of activation functions in configurations. Several names stand for one formula.
const ACTIVATIONS: &[(&str, Activation)] = &[
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_accurate", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

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

    /// Whether a field is present and not null.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.get(field).is_some()
    }

    /// A field as it is, unless it is absent or null.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&'a Value> {
        self.get(field)
    }

    /// A count: a whole number from 0 to 2²⁴, with a default.
    ///
    /// # Errors
    /// When it is present and anything else.
    pub fn count_or(&self, field: &str, default: usize) -> Result<usize, EncoderError> {
        match self.get(field).map(Value::as_u64) {
            None => Ok(default),
            Some(Some(number @ 0..=LARGEST)) => Ok(number as usize),
            Some(_) => Err(self.error(format!("'{field}' should be a whole number from 0 to {LARGEST}"))),
        }
    }

    /// A number of blocks, from 1 to 1024, with a default.
    ///
    /// # Errors
    /// When it is present and anything else.
    pub fn layers_or(&self, field: &str, default: usize) -> Result<usize, EncoderError> {
        match self.size_or(field, default)? {
            layers if layers <= MOST_LAYERS => Ok(layers),
            layers => Err(self.error(format!("'{field}' is {layers}, but at most {MOST_LAYERS} blocks are supported"))),
        }
    }

    /// A number above zero, with a default: an epsilon, a base.
    ///
    /// # Errors
    /// When it is present and anything else.
    pub fn positive_or(&self, field: &str, default: f64) -> Result<f64, EncoderError> {
        let number = self.number_or(field, default)?;
        if number > 0.0 { Ok(number) } else { Err(self.error(format!("'{field}' should be above 0"))) }
    }

    /// The activation function that a field names.
    ///
    /// # Errors
    /// When it is present and no name of a supported activation.
    pub fn activation_or(&self, field: &str, default: &'a str) -> Result<Activation, EncoderError> {
        self.activation(field, self.text_or(field, default)?)
    }

    /// The activation function with a name that was found in a field.
    ///
    /// # Errors
    /// When it is no name of a supported activation.
    pub fn activation(&self, field: &str, name: &str) -> Result<Activation, EncoderError> {
        ACTIVATIONS.iter().find(|(known, _)| *known == name).map(|(_, activation)| *activation).ok_or_else(|| {
            let known: Vec<_> = ACTIVATIONS.iter().map(|(known, _)| *known).collect();
            self.error(format!("'{field}' {name} is not supported; supported are {}", known.join(", ")))
        })
    }

    /// Components per head when the heads share the hidden size among them.
    ///
    /// # Errors
    /// When `hidden` is not a multiple of `heads`. The names are those of the fields.
    pub fn head_size(&self, hidden: (&str, usize), heads: (&str, usize)) -> Result<usize, EncoderError> {
        match hidden.1.checked_rem(heads.1) {
            Some(0) => Ok(hidden.1 / heads.1),
            _ => Err(self.error(format!("'{}' {} is not a multiple of '{}' {}", hidden.0, hidden.1, heads.0, heads.1))),
        }
    }

    /// Whether a field is present and null, which is not the same as absent where the default is a number.
    #[must_use]
    pub fn is_null(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(Value::is_null)
    }

    /// What `layer_types` says of a block; `None` where there is no such list.
    ///
    /// # Errors
    /// When it is present and does not name a known kind for that block.
    pub fn layer_kind(&self, layer: usize) -> Result<Option<&'a str>, EncoderError> {
        let Some(kinds) = self.get("layer_types") else { return Ok(None) };
        match kinds.get(layer).and_then(Value::as_str) {
            Some(kind @ ("full_attention" | "sliding_attention")) => Ok(Some(kind)),
            _ => Err(self.error(format!(
                "'layer_types' should say full_attention or sliding_attention for each block, and does not for {layer}"
            ))),
        }
    }

    /// Refuses a field unless it is absent, null or one of `supported`.
    ///
    /// # Errors
    /// Naming the field, its value and what is supported.
    pub fn only(&self, field: &str, supported: &[Value]) -> Result<(), EncoderError> {
        if self.has(field) { self.must(field, supported) } else { Ok(()) }
    }

    /// Refuses a field unless it is one of `supported`.
    ///
    /// # Errors
    /// Naming the field, its value and what is supported.
    pub fn must(&self, field: &str, supported: &[Value]) -> Result<(), EncoderError> {
        let value = self.get(field).unwrap_or(&Value::Null);
        if supported.contains(value) {
            return Ok(());
        }
        let supported: Vec<_> = supported.iter().map(Value::to_string).collect();
        let only = if supported.is_empty() { "null".to_owned() } else { supported.join(" or ") };
        Err(self.error(format!("'{field}' {value} is not supported, only {only} is")))
    }
}
