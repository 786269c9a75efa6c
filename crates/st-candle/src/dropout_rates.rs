//! [`DropoutRates`]: where an architecture drops components in training, and how many.

use st_encoder::EncoderError;
use st_encoder::architectures::{Architecture, Config};

/// Probabilities of components being dropped, per place in the network.
///
/// They are read from `config.json` under the names and with the defaults that transformers 4.57 gives them.
///
/// ```
/// use st_candle::DropoutRates;
/// use st_encoder::architectures::{Config, describe};
///
/// let config = serde_json::json!({"model_type": "bert", "attention_probs_dropout_prob": 0.2});
/// let (architecture, _) = describe(&config, "config.json".as_ref())?;
/// let rates = DropoutRates::read(architecture, &Config::new(&config, "config.json".as_ref())?)?;
/// assert_eq!((rates.embeddings, rates.attention, rates.inner), (0.1, 0.2, 0.0));
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct DropoutRates {
    /// Of the embeddings, after their norm.
    pub embeddings: f64,
    /// Of the attention probabilities.
    pub attention: f64,
    /// Of the attention's output, before the residual sum.
    pub attention_output: f64,
    /// Between the two halves of the feed-forward network.
    pub inner: f64,
    /// Of the feed-forward network's output, before the residual sum, and of a convolution's, before its activation.
    pub feed_forward: f64,
    /// Of the table of relative positions (disentangled attention).
    pub relative: f64,
    /// Of the last hidden state.
    pub last: f64,
}

/// Name of a field and its default; nothing is dropped where there is none.
type Rate = Option<(&'static str, f64)>;

/// Rates of one architecture, in the order of the fields of [`DropoutRates`].
type Rates = [Rate; 7];

const HIDDEN: Rate = Some(("hidden_dropout_prob", 0.1));
const WEIGHTS: Rate = Some(("attention_probs_dropout_prob", 0.1));
const ONE: Rate = Some(("dropout_rate", 0.1));
const RESIDUAL: Rate = Some(("resid_pdrop", 0.1));
const DECODER: Rates = [None, Some(("attention_dropout", 0.0)), None, None, None, None, None];

/// Every architecture's, by its name.
const RATES: &[(&str, Rates)] = &[
    ("jina_bert", [HIDDEN, WEIGHTS, HIDDEN, HIDDEN, None, None, None]),
    ("bert", [HIDDEN, WEIGHTS, HIDDEN, None, HIDDEN, None, None]),
    ("mpnet", [HIDDEN, WEIGHTS, HIDDEN, None, HIDDEN, None, None]),
    ("roberta", [HIDDEN, WEIGHTS, HIDDEN, None, HIDDEN, None, None]),
    (
        "distilbert",
        [Some(("dropout", 0.1)), Some(("attention_dropout", 0.1)), None, None, Some(("dropout", 0.1)), None, None],
    ),
    ("electra", [HIDDEN, WEIGHTS, HIDDEN, None, HIDDEN, None, None]),
    (
        "albert",
        [
            Some(("hidden_dropout_prob", 0.0)),
            Some(("attention_probs_dropout_prob", 0.0)),
            Some(("hidden_dropout_prob", 0.0)),
            None,
            None,
            None,
            None,
        ],
    ),
    ("deberta-v2", [HIDDEN, WEIGHTS, HIDDEN, None, HIDDEN, HIDDEN, None]),
    ("t5", [ONE, ONE, ONE, ONE, ONE, None, ONE]),
    (
        "modernbert",
        [
            Some(("embedding_dropout", 0.0)),
            Some(("attention_dropout", 0.0)),
            Some(("attention_dropout", 0.0)),
            Some(("mlp_dropout", 0.0)),
            None,
            None,
            None,
        ],
    ),
    (
        "nomic_bert_of_transformers",
        [
            Some(("hidden_dropout_prob", 0.0)),
            Some(("attention_probs_dropout_prob", 0.0)),
            Some(("hidden_dropout_prob", 0.0)),
            None,
            Some(("hidden_dropout_prob", 0.0)),
            None,
            None,
        ],
    ),
    ("nomic_bert", [RESIDUAL, Some(("attn_pdrop", 0.1)), RESIDUAL, None, RESIDUAL, None, None]),
    ("new", [HIDDEN, Some(("attention_probs_dropout_prob", 0.0)), HIDDEN, HIDDEN, HIDDEN, None, None]),
    ("gte", [HIDDEN, Some(("attention_probs_dropout_prob", 0.0)), HIDDEN, HIDDEN, HIDDEN, None, None]),
    ("qwen2", DECODER),
    ("qwen3", DECODER),
    ("mistral", DECODER),
    ("llama", DECODER),
    ("gemma3_text", DECODER),
    ("clip_text_model", DECODER),
    ("clip_vision_model", DECODER),
];

impl DropoutRates {
    /// Reads the rates of a network from its configuration.
    ///
    /// # Errors
    /// [`EncoderError::Config`] for a rate that is no number from 0 to 1.
    pub fn read(architecture: &Architecture, config: &Config<'_>) -> Result<Self, EncoderError> {
        let Some((_, rates)) = RATES.iter().find(|(name, _)| *name == architecture.name) else {
            return Ok(Self::default());
        };
        let mut read = [0.0; 7];
        for (read, rate) in read.iter_mut().zip(rates) {
            if let Some((field, default)) = rate {
                *read = config.number_or(field, *default)?;
                if !(0.0..=1.0).contains(read) {
                    return Err(config.error(format!("'{field}' {read} should be from 0 to 1")));
                }
            }
        }
        let [embeddings, attention, attention_output, inner, feed_forward, relative, last] = read;
        Ok(Self { embeddings, attention, attention_output, inner, feed_forward, relative, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::architectures::ARCHITECTURES;

    #[test]
    fn every_architecture_has_its_rates() {
        let described: Vec<_> = ARCHITECTURES.iter().map(|architecture| architecture.name).collect();
        assert_eq!(described, RATES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }

    #[test]
    fn a_rate_out_of_range_is_refused_by_name() {
        let config = serde_json::json!({"dropout_rate": 1.5});
        let config = Config::new(&config, "config.json".as_ref());
        let t5 = ARCHITECTURES.iter().find(|architecture| architecture.name == "t5");
        let error = config.and_then(|config| DropoutRates::read(t5.copied().unwrap_or(ARCHITECTURES[0]), &config));
        assert_eq!(
            error.map_err(|error| error.to_string()),
            Err("config.json: 'dropout_rate' 1.5 should be from 0 to 1".to_owned())
        );
    }
}
