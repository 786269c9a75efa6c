//! [`ParameterGroup`]: parameters with a learning rate and a weight decay; which parameter belongs where.

use candle_core::Var;
use regex::Regex;

use crate::data::Mapping;
use crate::model::Parameters;
use crate::{Result, TrainError};

/// Parameters that are trained alike.
#[derive(Debug, Clone)]
pub struct ParameterGroup {
    /// Names and variables.
    pub parameters: Vec<(String, Var)>,
    /// The base learning rate, which the schedule's factor multiplies.
    pub learning_rate: f64,
    /// The share of a parameter that a step takes away, before the learning rate is multiplied in.
    pub weight_decay: f64,
}

/// Which parameters have no weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoDecay {
    /// The trainer's rule: biases and whatever belongs to a norm, by name: `bias`, `layernorm`, `rmsnorm` and CLIP's
    /// `layrnorm` anywhere, and a part `norm`, `ln`, or one that ends in `_norm` or `_ln`, in any case, a number behind it or
    /// not (`layer_norm1`). The original goes by the class of a layer and then by its name.
    Norms,
    /// The rule of `fit`: names with `bias`, `LayerNorm.bias` or `LayerNorm.weight` in them.
    Fit,
}

impl NoDecay {
    fn spares(self, name: &str) -> bool {
        match self {
            Self::Norms => {
                let name = name.to_lowercase();
                let part = |part: &str| {
                    let part = part.trim_end_matches(|c: char| c.is_ascii_digit());
                    ["norm", "ln"].contains(&part) || part.ends_with("_norm") || part.ends_with("_ln")
                };
                let words = ["bias", "layernorm", "rmsnorm", "layrnorm"];
                words.iter().any(|word| name.contains(word)) || name.split('.').any(part)
            }
            Self::Fit => name.contains("bias") || name.contains("LayerNorm.weight"),
        }
    }
}

/// Groups of the trainable parameters, as the original's trainer makes them: with weight decay, without, and of each
/// pattern of `learning_rate_mapping` again with and without, at its own rate. Later patterns take parameters from earlier
/// ones.
///
/// # Errors
/// When a pattern is no regular expression, or matches no parameter.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use st_train::data::Mapping;
/// use st_train::model::Parameters;
/// use st_train::optimizers::{NoDecay, parameter_groups};
///
/// let mut parameters = Parameters::new();
/// for name in ["0.embeddings.weight", "2.linear.weight", "2.linear.bias"] {
///     parameters.push(name, Var::zeros(3, DType::F32, &Device::Cpu)?)?;
/// }
/// let rates = Mapping::from([("linear", 0.1)]);
/// let groups = parameter_groups(&parameters, 0.01, 0.5, NoDecay::Norms, &rates)?;
/// let shown: Vec<_> = groups.iter().map(|g| (g.parameters[0].0.as_str(), g.learning_rate, g.weight_decay)).collect();
/// assert_eq!(
///     shown,
///     [("0.embeddings.weight", 0.01, 0.5), ("2.linear.weight", 0.1, 0.5), ("2.linear.bias", 0.1, 0.0)]
/// );
/// # Ok::<(), st_train::TrainError>(())
/// ```
pub fn parameter_groups(
    parameters: &Parameters,
    learning_rate: f64,
    weight_decay: f64,
    no_decay: NoDecay,
    learning_rate_mapping: &Mapping<f64>,
) -> Result<Vec<ParameterGroup>> {
    let mut rates: Vec<Option<usize>> = vec![None; parameters.len()];
    for (index, (pattern, _)) in learning_rate_mapping.iter().enumerate() {
        let expression = Regex::new(pattern).map_err(|error| {
            TrainError::option("learning_rate_mapping", format!("has a pattern that is no regular expression: {error}"))
        })?;
        let mut found = false;
        for (rate, parameter) in rates.iter_mut().zip(parameters.iter()) {
            if expression.is_match(parameter.name()) {
                (*rate, found) = (Some(index), true);
            }
        }
        if !found {
            return Err(TrainError::invalid(format!(
                "No parameters found matching the pattern '{pattern}' in the model. Please check the pattern and ensure \
                 it matches some of the model's parameters."
            )));
        }
    }
    let own: Vec<f64> = learning_rate_mapping.iter().map(|(_, rate)| *rate).collect();
    let mut groups = Vec::new();
    for place in std::iter::once(None).chain((0..own.len()).map(Some)) {
        for decays in [true, false] {
            let chosen = parameters
                .iter()
                .zip(&rates)
                .filter(|(parameter, rate)| {
                    parameter.is_trainable() && **rate == place && no_decay.spares(parameter.name()) != decays
                })
                .map(|(parameter, _)| (parameter.name().to_owned(), parameter.variable().clone()))
                .collect::<Vec<_>>();
            if !chosen.is_empty() {
                groups.push(ParameterGroup {
                    parameters: chosen,
                    learning_rate: place.map_or(learning_rate, |index: usize| own[index]),
                    weight_decay: if decays { weight_decay } else { 0.0 },
                });
            }
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn norms_and_biases_do_not_decay() {
        for name in [
            "0.auto_model.encoder.layer.0.attention.output.LayerNorm.weight",
            "0.auto_model.transformer.layer.0.sa_layer_norm.weight",
            "0.auto_model.layers.0.norm.weight",
            "0.auto_model.encoder.layer.0.output.dense.bias",
            "2.norm.weight",
            "0.model.vision_model.pre_layrnorm.weight",
            "0.model.text_model.encoder.layers.0.layer_norm1.weight",
            "0.auto_model.encoder.layer.0.attn_ln.weight",
        ] {
            assert!(NoDecay::Norms.spares(name), "{name}");
        }
        for name in ["0.auto_model.embeddings.word_embeddings.weight", "2.linear.weight", "0.normalizer.weight"] {
            assert!(!NoDecay::Norms.spares(name), "{name}");
        }
        assert!(!NoDecay::Fit.spares("0.auto_model.layer.0.sa_layer_norm.weight"));
        assert!(NoDecay::Fit.spares("x.LayerNorm.weight") && NoDecay::Fit.spares("x.linear.bias"));
    }

    #[test]
    fn frozen_parameters_are_in_no_group_and_patterns_must_match() {
        let mut parameters = Parameters::new();
        for name in ["a.weight", "b.weight"] {
            parameters.push(name, Var::zeros(2, DType::F32, &Device::Cpu).unwrap()).unwrap();
        }
        parameters.freeze("a");
        let groups = parameter_groups(&parameters, 1.0, 0.0, NoDecay::Norms, &Mapping::default()).unwrap();
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].parameters[0].0, "b.weight");
        let error = |pattern: &str| {
            parameter_groups(&parameters, 1.0, 0.0, NoDecay::Norms, &Mapping::from([(pattern, 0.5)]))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            error("dense"),
            "No parameters found matching the pattern 'dense' in the model. Please check the pattern and ensure it matches \
             some of the model's parameters."
        );
        assert!(error("(").contains("no regular expression"));
    }
}
