//! The original's `model_kwargs`, translated.

use serde_json::{Map, Value};

use crate::Result;
use crate::loader_arguments::model_arguments;

use super::options::LoadOptions;

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
        if let Some(weights) = model_arguments(arguments)? {
            self = self.weights(weights);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use st_encoder::WeightFormat;

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
        for form in ["int8", "bfloat16-products"] {
            assert_eq!(refused(json!({"torch_dtype": form})).0, format!("torch_dtype \"{form}\" is not known"));
        }
        assert_eq!(refused(json!({"dtype": 3})).0, "dtype 3 is not known");
        assert_eq!(refused(json!({"attn_implementation": "magic"})).0, "attn_implementation \"magic\" is not known");
        assert_eq!(refused(json!({"x": 1})).1, "known are torch_dtype and attn_implementation");
        assert_eq!(refused(json!({"load_in_8bit": true})).1, "ask for weights as int8 with LoadOptions::weights");
    }
}
