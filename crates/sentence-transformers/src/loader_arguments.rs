//! Arguments of Python's loaders, as callers and folders give them: what they mean here.

use serde_json::{Map, Value};
use st_encoder::WeightFormat;

use crate::tokenizer::{Side, TokenizerOptions};
use crate::{Error, ErrorKind, Result};

/// Values of `attn_implementation`. They name ways to compute the same attention; engines here have one way each.
const ATTENTION: [&str; 6] =
    ["eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "flash_attn"];

/// Model arguments with which token embeddings are the same: they choose how a network is held, unpadded or run, or leave
/// out layers that no sentence embedding reads.
const SAME_NUMBERS: [&str; 6] = [
    "add_pooling_layer",
    "low_cpu_mem_usage",
    "reference_compile",
    "unpad_inputs",
    "use_memory_efficient_attention",
    "use_safetensors",
];

/// Model arguments that say something else here, and what to do instead.
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

/// Tokenizer arguments without an effect here: there is one kind of tokenizer, and nothing is padded.
const TOKENIZER_SAME: [&str; 4] = ["use_fast", "padding_side", "clean_up_tokenization_spaces", "legacy"];

/// Configuration arguments that say how Python's model answers, not what it computes.
const CONFIGURATION_SAME: [&str; 4] = ["output_attentions", "return_dict", "use_cache", "reference_compile"];

/// The form of the weights that model arguments ask for; `None` where they name none.
pub(crate) fn model_arguments(arguments: &Map<String, Value>) -> Result<Option<WeightFormat>> {
    let mut weights = None;
    for (name, value) in arguments {
        match name.as_str() {
            "torch_dtype" | "dtype" if value.is_null() => {}
            "torch_dtype" | "dtype" => weights = Some(weight_format(name, value)?),
            "attn_implementation" => attention(value)?,
            other if SAME_NUMBERS.contains(&other) => {}
            other => {
                let hint = ELSEWHERE.iter().find(|(name, _)| *name == other).map(|(_, hint)| *hint);
                let hint = hint.unwrap_or("known are torch_dtype and attn_implementation");
                return Err(refused(format!("model argument '{other}' has no meaning here")).with_hint(hint));
            }
        }
    }
    Ok(weights)
}

/// What tokenizer arguments change.
pub(crate) fn tokenizer_arguments(arguments: &Map<String, Value>) -> Result<TokenizerOptions> {
    let mut options = TokenizerOptions::default();
    for (name, value) in arguments {
        let wrong = || refused(format!("tokenizer argument '{name}' {value} is not known"));
        match name.as_str() {
            _ if value.is_null() => {}
            "model_max_length" => {
                let length = value.as_u64().filter(|length| *length > 0).ok_or_else(wrong)?;
                options.model_max_length = usize::try_from(length).ok();
            }
            "truncation_side" => {
                options.truncation_side = Some(match value.as_str() {
                    Some("left") => Side::Left,
                    Some("right") => Side::Right,
                    _ => return Err(wrong()),
                });
            }
            "do_lower_case" => options.do_lower_case = Some(value.as_bool().ok_or_else(wrong)?),
            other if TOKENIZER_SAME.contains(&other) => {}
            other => {
                return Err(refused(format!("tokenizer argument '{other}' has no meaning here"))
                    .with_hint("known are model_max_length, truncation_side and do_lower_case"));
            }
        }
    }
    Ok(options)
}

/// Refuses configuration arguments that would change what the weights mean.
pub(crate) fn configuration_arguments(arguments: &Map<String, Value>) -> Result<()> {
    for (name, value) in arguments {
        match name.as_str() {
            "attn_implementation" => attention(value)?,
            other if CONFIGURATION_SAME.contains(&other) => {}
            other => {
                return Err(refused(format!("configuration argument '{other}' has no meaning here"))
                    .with_hint("change config.json itself where the weights are of another configuration"));
            }
        }
    }
    Ok(())
}

fn attention(value: &Value) -> Result<()> {
    if value.is_null() || value.as_str().is_some_and(|value| ATTENTION.contains(&value)) {
        return Ok(());
    }
    let hint = format!("known are {}; all give the same numbers", ATTENTION.join(", "));
    Err(refused(format!("attn_implementation {value} is not known")).with_hint(hint))
}

fn refused(message: String) -> Error {
    Error::new(ErrorKind::Argument, message)
}

fn unknown(name: &str, value: &Value) -> Error {
    refused(format!("{name} {value} is not known")).with_hint("known are auto, float32, float16 and bfloat16")
}

fn weight_format(name: &str, value: &Value) -> Result<WeightFormat> {
    let text = value.as_str().unwrap_or_default();
    let text = text.strip_prefix("torch.").unwrap_or(text);
    match text {
        "half" => Ok(WeightFormat::F16),
        "float" => Ok(WeightFormat::F32),
        "float64" | "double" => Err(refused(format!("{name} {value} is not computed by this engine"))
            .with_hint("load the model on the candle backend with 64-bit floats: LoadOptions::backend")),
        // Neither is a data type of PyTorch's models.
        "int8" | "bfloat16-products" => Err(unknown(name, value)),
        text => text.parse().map_err(|_| unknown(name, value)),
    }
}
