//! The original's `model_kwargs`, translated.

use serde_json::{Map, Value};
use st_encoder::WeightFormat;

use crate::{Error, ErrorKind, Result};

use super::options::LoadOptions;

/// Values of `attn_implementation`. They name ways to compute the same attention; engines here have one way each.
const ATTENTION: [&str; 6] =
    ["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "flash_attn"];

/// Arguments that say something else here, and what to do instead.
const ELSEWHERE: [(&str, &str); 9] = [
    ("device_map", "choose the device with LoadOptions::backend"),
    ("load_in_8bit", "ask for weights as int8 with LoadOptions::weights"),
    ("load_in_4bit", "the smallest form of weights here is int8: LoadOptions::weights"),
    ("quantization_config", "ask for weights as int8 with LoadOptions::weights"),
    ("trust_remote_code", "code of a model is never run; known architectures load without it"),
    ("provider", "give the backend its provider when you make it"),
    ("file_name", "give the backend its file when you make it"),
    ("export", "give the backend its settings when you make it"),
    ("revision", "use LoadOptions::revision"),
];

impl LoadOptions {
    /// Takes the original's `model_kwargs`: `torch_dtype` (or `dtype`) is the form of the weights, `"auto"`, `"float32"`,
    /// `"float16"` or `"bfloat16"`, with or without `torch.` before it. `attn_implementation` names a way to compute
    /// attention; all of them give the same numbers, so each that PyTorch's library knows is the engine's own way.
    ///
    /// ```
    /// use sentence_transformers::LoadOptions;
    ///
    /// let arguments = serde_json::json!({"torch_dtype": "bfloat16", "attn_implementation": "sdpa"});
    /// assert!(LoadOptions::new().model_arguments(arguments.as_object().unwrap()).is_ok());
    /// let arguments = serde_json::json!({"device_map": "auto"});
    /// let error = LoadOptions::new().model_arguments(arguments.as_object().unwrap()).unwrap_err();
    /// assert_eq!(error.hint(), Some("choose the device with LoadOptions::backend"));
    /// ```
    ///
    /// # Errors
    /// For any other argument or value, with what to do instead.
    pub fn model_arguments(mut self, arguments: &Map<String, Value>) -> Result<Self> {
        for (name, value) in arguments {
            match name.as_str() {
                "torch_dtype" | "dtype" if value.is_null() => {}
                "torch_dtype" | "dtype" => self = self.weights(weight_format(name, value)?),
                "attn_implementation" if value.is_null() => {}
                "attn_implementation" => {
                    if !value.as_str().is_some_and(|value| ATTENTION.contains(&value)) {
                        let hint = format!("known are {}; all give the same numbers", ATTENTION.join(", "));
                        return Err(refused(format!("attn_implementation {value} is not known")).with_hint(hint));
                    }
                }
                other => {
                    let hint = ELSEWHERE.iter().find(|(name, _)| *name == other).map(|(_, hint)| *hint);
                    let hint = hint.unwrap_or("known are torch_dtype and attn_implementation");
                    return Err(refused(format!("model argument '{other}' has no meaning here")).with_hint(hint));
                }
            }
        }
        Ok(self)
    }
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Argument, message)
}

fn weight_format(name: &str, value: &Value) -> Result<WeightFormat> {
    let text = value.as_str().unwrap_or_default();
    let text = text.strip_prefix("torch.").unwrap_or(text);
    match text {
        "half" => Ok(WeightFormat::F16),
        "float" => Ok(WeightFormat::F32),
        "float64" | "double" => Err(refused(format!("{name} {value} is not computed by this engine"))
            .with_hint("load the model on the candle backend with 64-bit floats: LoadOptions::backend")),
        // int8 is no data type of PyTorch's models.
        text => text.parse().ok().filter(|format| *format != WeightFormat::Int8).ok_or_else(|| {
            refused(format!("{name} {value} is not known")).with_hint("known are auto, float32, float16 and bfloat16")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn options(arguments: Value) -> Result<WeightFormat> {
        let arguments = arguments.as_object().cloned().unwrap_or_default();
        Ok(LoadOptions::new().model_arguments(&arguments)?.input.encoder.weights)
    }

    #[test]
    fn data_types_are_forms_of_weights() {
        for (name, format) in [
            ("auto", WeightFormat::Auto),
            ("float16", WeightFormat::F16),
            ("torch.bfloat16", WeightFormat::BF16),
            ("half", WeightFormat::F16),
            ("float", WeightFormat::F32),
        ] {
            assert_eq!(options(json!({"torch_dtype": name})).unwrap(), format);
            assert_eq!(options(json!({"dtype": name, "attn_implementation": "eager"})).unwrap(), format);
        }
        assert_eq!(options(json!({"torch_dtype": null, "attn_implementation": null})).unwrap(), WeightFormat::F32);
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        let refused = |arguments| {
            let error = options(arguments).unwrap_err();
            (error.to_string(), error.hint().unwrap_or_default().to_owned())
        };
        assert!(refused(json!({"torch_dtype": "float64"})).1.contains("candle"));
        assert_eq!(refused(json!({"torch_dtype": "int8"})).0, "torch_dtype \"int8\" is not known");
        assert_eq!(refused(json!({"dtype": 3})).0, "dtype 3 is not known");
        assert_eq!(refused(json!({"attn_implementation": "magic"})).0, "attn_implementation \"magic\" is not known");
        assert_eq!(refused(json!({"x": 1})).1, "known are torch_dtype and attn_implementation");
        assert_eq!(refused(json!({"load_in_8bit": true})).1, "ask for weights as int8 with LoadOptions::weights");
    }
}
