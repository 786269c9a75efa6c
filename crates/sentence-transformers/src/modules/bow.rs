//! [`BoW`]: bags of words.

use std::collections::HashSet;

use serde_json::{Map, Value};
use st_encoder::Pass;
use st_vectors::Embeddings;

use super::word_weights::WeightTable;
use super::{
    Dataflow, Feature, InputContext, InputModule, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind,
    refuse_encoder_options, refuse_pair,
};
use crate::files::ModuleWriter;
use crate::tokenizer::{Tokens, WhitespaceTokenizer};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const BOW: ModuleKind = ModuleKind {
    name: "BoW",
    aliases: &[],
    type_path: "sentence_transformers.models.BoW",
    load: Loader::Input(|folder, context| Ok(Box::new(BoW::load(folder, context)?))),
};

/// Sentence embeddings with one component per word of a vocabulary: the weight of the word for each time it occurs, or
/// once when frequencies shall not add up. With inverse document frequencies as weights these are tf-idf vectors.
///
/// Words are cut by a [`WhitespaceTokenizer`] without stop words; weights are looked up as in [`super::WordWeights`].
///
/// # Shapes
/// Texts to `[N, V]`, `V` being the number of different words.
///
/// # Files
/// `config.json` with `vocab`, `word_weights`, `unknown_word_weight` (1) and `cumulative_term_frequency` (true).
///
/// ```
/// use sentence_transformers::modules::BoW;
/// use sentence_transformers::{LoadOptions, Pipeline, SentenceTransformer};
///
/// let words = BoW::new(["sky", "blue"], [("sky", 2.5)], 1.0, true);
/// let pipeline = Pipeline::new("0", Box::new(words), vec![])?;
/// let model = SentenceTransformer::from_pipeline(pipeline, &LoadOptions::new())?;
/// assert_eq!(model.encode(&["Blue sky, blue sky!"])?.row(0), &[5.0, 2.0]);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BoW {
    table: WeightTable,
    cumulative: bool,
    tokenizer: WhitespaceTokenizer,
}

impl BoW {
    /// A bag of the words of a vocabulary; words that are there twice count once.
    pub fn new<'a>(
        vocabulary: impl IntoIterator<Item = &'a str>,
        weights: impl IntoIterator<Item = (&'a str, f64)>,
        unknown: f64,
        cumulative_term_frequency: bool,
    ) -> Self {
        let vocabulary = unique(vocabulary.into_iter().map(str::to_owned).collect());
        Self::of(WeightTable::of(vocabulary, weights, unknown), cumulative_term_frequency)
    }

    fn of(table: WeightTable, cumulative: bool) -> Self {
        let tokenizer = WhitespaceTokenizer::new(table.vocabulary.iter().map(String::as_str)).stop_words([""; 0]);
        Self { table, cumulative, tokenizer }
    }

    fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        refuse_encoder_options(BOW.name, context)?;
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let table = WeightTable::read(&mut config, unique)?;
        let cumulative = config.flag("cumulative_term_frequency")?.unwrap_or(true);
        if table.vocabulary.is_empty() {
            return Err(config.error("'vocab' is empty"));
        }
        config.finish()?;
        let (unknown, count) = (table.without_weight, table.vocabulary.len());
        log::info!("{unknown} out of {count} words without a weighting value. Set weight to {}", table.unknown);
        Ok(Self::of(table, cumulative))
    }
}

/// Each word at its first place only.
fn unique(words: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    words.into_iter().filter(|word| seen.insert(word.clone())).collect()
}

impl Module for BoW {
    fn kind(&self) -> &'static ModuleKind {
        &BOW
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let mut sentences = Embeddings::zeros(features.batch.len(), self.width());
        for index in 0..features.batch.len() {
            let row = sentences.row_mut(index);
            for &id in features.batch.sequence(index) {
                let weight = self.table.weight(id)?;
                let Some(component) = row.get_mut(id as usize) else {
                    return Err(Error::new(ErrorKind::Encode, format!("word {id} is not in the bag")));
                };
                *component = if self.cumulative { *component + weight } else { weight };
            }
        }
        features.sentence_embeddings = Some(sentences);
        Ok(features)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.width())
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.clone()))
    }

    fn config(&self) -> Map<String, Value> {
        let mut keys = self.table.keys();
        keys.insert("cumulative_term_frequency".into(), self.cumulative.into());
        keys
    }
}

impl InputModule for BoW {
    fn max_seq_length(&self) -> Option<usize> {
        None
    }

    fn set_max_seq_length(&mut self, _: Option<usize>) {}

    fn strips(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        self.table.vocabulary.len()
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        refuse_pair(BOW.name, second)?;
        Ok(Tokens::without_special(self.tokenizer.tokenize(first), 0))
    }

    fn input_with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.clone()))
    }

    fn saved_in_root(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use st_encoder::Batch;

    #[test]
    fn frequencies_add_up_or_not() {
        let bag = |cumulative| {
            let module = BoW::new(["a1", "b1", "a1"], [("b1", 0.5)], 2.0, cumulative);
            let ids = module.tokenize("a1 b1 b1, the x", None).unwrap();
            let features = Features::new(Batch::from_sequences([ids.ids(), &[]]));
            module.forward(features, &Pass::default()).unwrap().sentence_embeddings.unwrap().into_vec()
        };
        assert_eq!(bag(true), [2.0, 1.0, 0.0, 0.0]);
        assert_eq!(bag(false), [2.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn pairs_are_refused() {
        let error = BoW::new(["a1"], [], 1.0, true).tokenize("a1", Some("a1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
