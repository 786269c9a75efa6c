//! The model card of a saved model: the one it came with, or a new one.

use st_card::{
    DatasetFacts, ModelCardData, ModelFacts, SequenceLimit, Similarities, TRAINED_TAG, UsageExample, update_saved,
};

use crate::{EncodeOptions, Result, SentenceTransformer};

impl SentenceTransformer {
    /// What goes into the model card: languages, licence, base model, datasets, results.
    #[must_use]
    pub fn card_data(&self) -> &ModelCardData {
        &self.parts.card_data
    }

    /// What goes into the model card, to change it.
    pub fn card_data_mut(&mut self) -> &mut ModelCardData {
        &mut self.parts.card_data
    }

    /// Replaces the card that came with the model; without one, the next card is made from what is known.
    pub fn set_card(&mut self, card: Option<String>) {
        self.parts.card = card;
    }

    /// The text of the model card: the one that the model came with, unless it has been trained since; otherwise a new
    /// one, whose usage example shows the similarities that this model really gives.
    ///
    /// # Errors
    /// When the example cannot be encoded or the card cannot be written.
    pub fn model_card(&self, model_id: Option<&str>) -> Result<String> {
        self.card_with(model_id, std::iter::empty())
    }

    /// The card, with datasets that it does not know yet.
    pub(super) fn card_with(
        &self,
        model_id: Option<&str>,
        datasets: impl Iterator<Item = DatasetFacts>,
    ) -> Result<String> {
        let trained = self.card_data().tags.iter().any(|tag| tag == TRAINED_TAG);
        if let Some(card) = self.card().filter(|_| !trained) {
            return Ok(update_saved(card, model_id));
        }
        let mut data = self.card_data().clone();
        if let Some(id) = model_id {
            data.set_model_id(id);
        }
        data.train_datasets.extend(datasets);
        let mut facts = self.card_facts();
        data.register_model(&facts);
        if self.pipeline().dimension().is_some() {
            facts.similarities = Some(self.similarities_of(&data.usage_example(&facts))?);
        }
        data.render(&facts).map_err(|error| {
            crate::Error::new(crate::ErrorKind::Config, "the model card cannot be written").with_source(error)
        })
    }

    fn card_facts(&self) -> ModelFacts {
        ModelFacts {
            architecture: format!("{self:?}"),
            max_seq_length: match (self.max_seq_length(), self.pipeline().input().kind().name) {
                (Some(tokens), _) => SequenceLimit::Tokens(tokens),
                (None, "StaticEmbedding") => SequenceLimit::Unlimited,
                (None, _) => SequenceLimit::Unknown,
            },
            output_dimensionality: self.dimension(),
            similarity_function: Some(self.similarity_function().to_string()),
            prompts: self.prompts().iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect(),
            has_router: self.pipeline().modules().any(|(_, module)| module.kind().name == "Router"),
            similarities: None,
            versions: vec![("Sentence Transformers in Rust".to_owned(), env!("CARGO_PKG_VERSION").to_owned())],
        }
    }

    fn similarities_of(&self, example: &UsageExample) -> Result<Similarities> {
        let options = EncodeOptions::new();
        let (rows, columns) = match example {
            UsageExample::Sentences(sentences) => {
                let embeddings = self.encode(sentences)?;
                (embeddings.clone(), embeddings)
            }
            UsageExample::Retrieval { query, documents } => {
                (self.encode_query(&[query], &options)?, self.encode_document(documents, &options)?)
            }
        };
        let scores = self.similarity(&rows, &columns)?;
        Ok(Similarities::new(scores.as_slice().to_vec(), columns.rows()))
    }
}

#[cfg(test)]
mod tests {
    use crate::SentenceTransformer;

    fn saved_card(name: &str) -> String {
        let model = SentenceTransformer::load(st_testing::tiny_model(name).to_str().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        model.save_pretrained(folder.path().join("model")).unwrap();
        std::fs::read_to_string(folder.path().join("model/README.md")).unwrap()
    }

    #[test]
    fn a_model_without_a_card_gets_one_with_its_own_similarities() {
        let card = saved_card("tiny-bert");
        assert!(card.starts_with("---\ntags:\n- sentence-transformers\n"), "{card}");
        assert!(card.contains("- **Maximum Sequence Length:** 48 tokens\n"), "{card}");
        assert!(card.contains("- **Output Dimensionality:** 32 dimensions\n"), "{card}");
        assert!(card.contains("# tensor([[1.0000, "), "{card}");
    }

    #[test]
    fn a_retrieval_model_shows_a_query_and_documents() {
        let card = saved_card("tiny-bert-prompts");
        assert!(card.contains("model.encode_query("), "{card}");
        assert!(card.contains("Which planet is known as the Red Planet?"), "{card}");
    }
}
