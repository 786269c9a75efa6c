//! [`WordWeights`]: token embeddings weighted by word, with inverse document frequencies for example.

use serde_json::{Map, Number, Value};
use st_encoder::{Pass, TokenEmbeddings};

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::ModuleWriter;
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const WORD_WEIGHTS: ModuleKind = ModuleKind {
    name: "WordWeights",
    aliases: &[],
    type_path: "sentence_transformers.models.WordWeights",
    load: Loader::Inner(|folder| Ok(Box::new(WordWeights::load(folder)?))),
};

/// Multiplies each token's vector by the weight of its word; means then divide by the sum of the weights.
///
/// The weight of a word is that of its lower-cased form where it has none itself, else `unknown_word_weight`. Token id `i`
/// stands for word `i` of the vocabulary.
///
/// Shapes: `[T, H]` per text to `[T, H]`, and one sum of weights per text. File: `config.json` with `vocab`,
/// `word_weights` and `unknown_word_weight` (1).
///
/// ```
/// use sentence_transformers::modules::WordWeights;
///
/// let weights = WordWeights::new(["The", "sky"], [("the", 0.1)], 1.0);
/// assert_eq!(weights.of_tokens(), [0.1, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WordWeights {
    table: WeightTable,
}

impl WordWeights {
    /// Weights for the words of a vocabulary.
    pub fn new<'a>(
        vocabulary: impl IntoIterator<Item = &'a str>,
        weights: impl IntoIterator<Item = (&'a str, f64)>,
        unknown: f64,
    ) -> Self {
        let vocabulary = vocabulary.into_iter().map(str::to_owned).collect();
        Self { table: WeightTable::of(vocabulary, weights, unknown) }
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let table = WeightTable::read(&mut config, |vocabulary| vocabulary)?;
        config.finish()?;
        let (unknown, count) = (table.without_weight, table.vocabulary.len());
        log::info!("{unknown} of {count} words without a weighting value. Set weight to {}", table.unknown);
        Ok(Self { table })
    }

    /// The weight of every token id.
    #[must_use]
    pub fn of_tokens(&self) -> &[f32] {
        &self.table.weights
    }
}

/// A vocabulary with weights, as the configuration files of [`WordWeights`] and [`super::BoW`] have them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WeightTable {
    pub(super) vocabulary: Vec<String>,
    word_weights: Map<String, Value>,
    pub(super) unknown: Number,
    /// The weight of each word of the vocabulary.
    pub(super) weights: Vec<f32>,
    /// Words of the vocabulary that have no weight.
    pub(super) without_weight: usize,
}

impl WeightTable {
    pub(super) fn of<'a>(
        vocabulary: Vec<String>,
        weights: impl IntoIterator<Item = (&'a str, f64)>,
        unknown: f64,
    ) -> Self {
        let weights = weights.into_iter().map(|(word, weight)| (word.to_owned(), weight.into())).collect();
        Self::new(vocabulary, weights, Number::from_f64(unknown).unwrap_or_else(|| 1.into()))
    }

    /// Reads `vocab`, which `tidy` may change, `word_weights` and `unknown_word_weight`.
    pub(super) fn read(config: &mut ModuleConfig, tidy: fn(Vec<String>) -> Vec<String>) -> Result<Self> {
        let vocabulary = config.texts("vocab")?.ok_or_else(|| config.error("'vocab' is missing"))?;
        let weights = config.numbers("word_weights")?.unwrap_or_default();
        let unknown = match config.value(&["unknown_word_weight"]) {
            None => 1.into(),
            Some(Value::Number(number)) => number.clone(),
            Some(_) => return Err(config.error("'unknown_word_weight' should be a number")),
        };
        Ok(Self::new(tidy(vocabulary), weights, unknown))
    }

    fn new(vocabulary: Vec<String>, word_weights: Map<String, Value>, unknown: Number) -> Self {
        let weight = |word: &str| word_weights.get(word).and_then(Value::as_f64);
        let fallback = unknown.as_f64().unwrap_or(1.0);
        let mut without_weight = 0;
        let weights = vocabulary
            .iter()
            .map(|word| match weight(word).or_else(|| weight(&word.to_lowercase())) {
                Some(weight) => weight as f32,
                None => {
                    without_weight += 1;
                    fallback as f32
                }
            })
            .collect();
        Self { vocabulary, word_weights, unknown, weights, without_weight }
    }

    pub(super) fn keys(&self) -> Map<String, Value> {
        [
            ("vocab".to_owned(), self.vocabulary.clone().into()),
            ("word_weights".to_owned(), self.word_weights.clone().into()),
            ("unknown_word_weight".to_owned(), self.unknown.clone().into()),
        ]
        .into_iter()
        .collect()
    }

    pub(super) fn weight(&self, id: u32) -> Result<f32> {
        self.weights.get(id as usize).copied().ok_or_else(|| {
            Error::new(
                ErrorKind::Encode,
                format!("token {id}, but there are {} words with weights", self.weights.len()),
            )
            .with_hint("the vocabulary of the weights must be the tokenizer's")
        })
    }
}

impl Module for WordWeights {
    fn kind(&self) -> &'static ModuleKind {
        &WORD_WEIGHTS
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::TokenEmbeddings, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let tokens = features.take_tokens()?;
        if tokens.offsets() != features.batch.offsets() {
            let message = "word weights need a vector for every token".to_owned();
            return Err(Error::new(ErrorKind::Encode, message));
        }
        let (mut data, hidden, offsets) = tokens.into_parts();
        let mut sums = Vec::with_capacity(features.batch.len());
        let mut rows = data.chunks_exact_mut(hidden.max(1));
        for index in 0..features.batch.len() {
            let mut sum = 0f32;
            for (&id, row) in features.batch.sequence(index).iter().zip(rows.by_ref()) {
                let weight = self.table.weight(id)?;
                sum += weight;
                row.iter_mut().for_each(|x| *x *= weight);
            }
            sums.push(sum);
        }
        features.token_embeddings = Some(TokenEmbeddings::new(data, hidden, offsets)?);
        features.token_weights_sum = Some(sums);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        Ok(input)
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.clone()))
    }

    fn config(&self) -> Map<String, Value> {
        self.table.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::Batch;

    #[test]
    fn vectors_and_sums_by_hand() {
        let weights = WordWeights::new(["a", "B", "c"], [("a", 2.0), ("b", 0.5)], 3.0);
        let mut features = Features::new(Batch::from_sequences([&[0u32, 2][..], &[], &[1]]));
        let tokens = TokenEmbeddings::new(vec![1.0, 2.0, 1.0, 2.0, 1.0, 2.0], 2, vec![0, 2, 2, 3]).unwrap();
        features.token_embeddings = Some(tokens);
        let out = weights.forward(features, &Pass::default()).unwrap();
        assert_eq!(out.tokens().unwrap().data(), [2.0, 4.0, 3.0, 6.0, 0.5, 1.0]);
        assert_eq!(out.token_weights_sum, Some(vec![5.0, 0.0, 0.5]));
    }

    #[test]
    fn a_token_without_a_weight_is_an_error() {
        let mut features = Features::new(Batch::from_sequences([&[1u32][..]]));
        features.token_embeddings = Some(TokenEmbeddings::new(vec![1.0], 1, vec![0, 1]).unwrap());
        let error = WordWeights::new(["a"], [], 1.0).forward(features, &Pass::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Encode);
    }
}
