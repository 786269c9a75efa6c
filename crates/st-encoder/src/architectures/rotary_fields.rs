//! [`rotary`]: what a configuration says of rotary positions, in the words of transformers 4 and of transformers 5.

use serde_json::Value;

use super::Config;
use crate::{EncoderError, RotaryScaling};

/// Base of the wave lengths, and how the wave numbers are stretched.
pub(super) type Rotary = (f64, RotaryScaling);

/// Reads `rope_scaling` or, as transformers 5 writes it, `rope_parameters`, which holds the base too (`rope_theta`) and may
/// be one object per kind of block (`full_attention`, `sliding_attention`).
///
/// `kind` is the kind of the block, `base` the base where these objects name none.
///
/// # Errors
/// For kinds of scaling that depend on a text's length, and numbers that are none.
pub(super) fn rotary(config: &Config<'_>, kind: &str, base: f64) -> Result<Rotary, EncoderError> {
    config.only("partial_rotary_factor", &[1.0.into(), 1.into()])?;
    let Some((name, fields)) =
        ["rope_scaling", "rope_parameters"].into_iter().find_map(|name| Some((name, config.value(name)?)))
    else {
        return Ok((base, RotaryScaling::None));
    };
    let Value::Object(fields) = fields else { return Err(config.error(format!("'{name}' should be an object"))) };
    let fields = if fields.values().any(Value::is_object) {
        match fields.get(kind) {
            Some(Value::Object(fields)) => fields,
            _ => return Ok((base, RotaryScaling::None)),
        }
    } else {
        fields
    };
    let value = |field: &str| fields.get(field).filter(|value| !value.is_null());
    let number = |field: &str| {
        let number = value(field).and_then(Value::as_f64).filter(|number| *number > 0.0);
        number.ok_or_else(|| config.error(format!("'{name}' should have a number above 0 as '{field}'")))
    };
    let base = if value("rope_theta").is_some() { number("rope_theta")? } else { base };
    if value("partial_rotary_factor").is_some() && number("partial_rotary_factor")? != 1.0 {
        return Err(config.error(format!("'partial_rotary_factor' of '{name}' is not supported, only 1 is")));
    }
    let scaling = match value("rope_type").or_else(|| value("type")).and_then(Value::as_str).unwrap_or("default") {
        "default" => RotaryScaling::None,
        "linear" => RotaryScaling::Divided(number("factor")?),
        "llama3" => {
            let (low, high) = (number("low_freq_factor")?, number("high_freq_factor")?);
            if high <= low {
                let message = format!("'{name}' should have a 'high_freq_factor' above its 'low_freq_factor'");
                return Err(config.error(message));
            }
            let original = number("original_max_position_embeddings")?;
            RotaryScaling::Smoothed { factor: number("factor")?, low, high, original }
        }
        other => {
            let message = format!("'{name}' of type {other} is not supported, only linear and llama3 are");
            return Err(config.error(message));
        }
    };
    Ok((base, scaling))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(config: Value, kind: &str) -> Result<Rotary, String> {
        let path = "config.json".as_ref();
        let config = Config::new(&config, path).map_err(|error| error.to_string())?;
        rotary(&config, kind, 7.0).map_err(|error| error.to_string())
    }

    #[test]
    fn old_and_new_words() {
        assert_eq!(read(json!({}), "full_attention"), Ok((7.0, RotaryScaling::None)));
        let linear = json!({"rope_scaling": {"type": "linear", "factor": 2}});
        assert_eq!(read(linear, "full_attention"), Ok((7.0, RotaryScaling::Divided(2.0))));
        let new = json!({"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}});
        assert_eq!(read(new, "full_attention"), Ok((5e5, RotaryScaling::None)));
        let nested = json!({"rope_parameters": {
            "full_attention": {"rope_theta": 100.0, "rope_type": "linear", "factor": 8.0}, "sliding_attention": null}});
        assert_eq!(read(nested.clone(), "full_attention"), Ok((100.0, RotaryScaling::Divided(8.0))));
        assert_eq!(read(nested, "sliding_attention"), Ok((7.0, RotaryScaling::None)));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        for (config, message) in [
            (json!({"rope_parameters": 3}), "'rope_parameters' should be an object"),
            (
                json!({"rope_parameters": {"rope_theta": "many"}}),
                "'rope_parameters' should have a number above 0 as 'rope_theta'",
            ),
            (
                json!({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}),
                "'rope_parameters' of type dynamic is not supported, only linear and llama3 are",
            ),
            (
                json!({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}),
                "'partial_rotary_factor' of 'rope_parameters' is not supported, only 1 is",
            ),
            (json!({"partial_rotary_factor": 0.5}), "'partial_rotary_factor' 0.5 is not supported, only 1.0 or 1 is"),
        ] {
            assert_eq!(read(config, "full_attention"), Err(format!("config.json: {message}")));
        }
    }
}
