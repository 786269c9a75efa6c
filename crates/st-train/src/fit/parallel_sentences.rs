//! [`ParallelSentencesDataset`].

use std::collections::HashMap;
use std::io::BufRead;
use std::path::Path;

use st_eval::{EmbedOptions, Embedder, Role};

use crate::data::{Cell, open_text};
use crate::random::Generator;
use crate::readers::InputExample;
use crate::{Result, TrainError};

use super::loaders::{ExampleLoader, shuffle};

/// Sentences with their translations: each text, in whatever language, with the teacher's embedding of the source sentence
/// as its label; for training a student with [`MseLoss`](crate::losses::MseLoss).
///
/// ```
/// use st_eval::{EmbedOptions, Embedder, Result, Role};
/// use st_train::fit::{ExampleLoader, ParallelSentencesDataset};
/// use st_vectors::{Embeddings, SimilarityFunction};
///
/// #[derive(Debug)]
/// struct Lengths;
/// impl Embedder for Lengths {
///     fn embed(&self, texts: &[&str], _: Role, _: &EmbedOptions<'_>) -> Result<Embeddings> {
///         Ok(Embeddings::from_rows(texts.iter().map(|text| [text.len() as f32]))?)
///     }
///     fn similarity(&self) -> SimilarityFunction {
///         SimilarityFunction::Cosine
///     }
/// }
///
/// let mut dataset = ParallelSentencesDataset::new(Lengths, 2, 42);
/// dataset.add_dataset([vec!["a cat", "eine Katze"]], 1, None, Some(128));
/// let batch = dataset.next_batch()?.unwrap();
/// assert!(batch.iter().all(|example| example.label.to_string() == "[5.0]")); // the length of the source
/// # Ok::<(), st_train::TrainError>(())
/// ```
pub struct ParallelSentencesDataset {
    teacher: Box<dyn Embedder + Send>,
    batch_size: usize,
    use_embedding_cache: bool,
    /// Per dataset: source sentences and all texts that mean the same.
    datasets: Vec<Vec<(String, Vec<String>)>>,
    places: Vec<usize>,
    /// Which dataset's turn it is.
    turns: Vec<usize>,
    embeddings: HashMap<String, Vec<f32>>,
    ready: Vec<InputExample>,
    generator: Generator,
    given: usize,
}

impl std::fmt::Debug for ParallelSentencesDataset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ParallelSentencesDataset")
            .field("batch_size", &self.batch_size)
            .field("sentences", &self.sentences())
            .finish_non_exhaustive()
    }
}

impl ParallelSentencesDataset {
    /// A dataset without sentences, with the model whose embeddings are learnt.
    #[must_use]
    pub fn new(teacher: impl Embedder + Send + 'static, batch_size: usize, seed: u64) -> Self {
        Self {
            teacher: Box::new(teacher),
            batch_size: batch_size.max(1),
            use_embedding_cache: true,
            datasets: Vec::new(),
            places: Vec::new(),
            turns: Vec::new(),
            embeddings: HashMap::new(),
            ready: Vec::new(),
            generator: Generator::new(seed),
            given: 0,
        }
    }

    /// Sets whether the teacher's embeddings are kept.
    #[must_use]
    pub fn use_embedding_cache(mut self, keep: bool) -> Self {
        self.use_embedding_cache = keep;
        self
    }

    /// Reads a file with a sentence and its translations per line, tabs between them; a name that ends in `.gz` is unpacked.
    /// Lines with a text of more than `max_sentence_length` characters are left out; `weight` says how often this file's turn
    /// comes (100 in the original).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load_data(
        &mut self,
        path: &Path,
        weight: usize,
        max_sentences: Option<usize>,
        max_sentence_length: Option<usize>,
    ) -> Result<()> {
        let mut sentences: Vec<Vec<String>> = Vec::new();
        for line in open_text(path)?.lines() {
            let line = line.map_err(TrainError::reading(path))?;
            let texts: Vec<String> = line.trim().split('\t').map(str::to_owned).collect();
            if !too_long(&texts, max_sentence_length) {
                sentences.push(texts);
            }
            if max_sentences.is_some_and(|most| most > 0 && sentences.len() >= most) {
                break;
            }
        }
        self.add_dataset(sentences, weight, max_sentences, max_sentence_length);
        Ok(())
    }

    /// Adds sentences with their translations, the source first.
    pub fn add_dataset<S: Into<String>>(
        &mut self,
        parallel_sentences: impl IntoIterator<Item = Vec<S>>,
        weight: usize,
        max_sentences: Option<usize>,
        max_sentence_length: Option<usize>,
    ) {
        let mut dataset: Vec<(String, Vec<String>)> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for texts in parallel_sentences {
            let texts: Vec<String> = texts.into_iter().map(Into::into).collect();
            let Some(source) = texts.first().filter(|_| !too_long(&texts, max_sentence_length)) else { continue };
            let place = *known.entry(source.clone()).or_insert_with(|| {
                dataset.push((source.clone(), Vec::new()));
                dataset.len() - 1
            });
            for text in texts {
                if !dataset[place].1.contains(&text) {
                    dataset[place].1.push(text);
                }
            }
            if max_sentences.is_some_and(|most| most > 0 && dataset.len() >= most) {
                break;
            }
        }
        if !dataset.is_empty() {
            self.turns.extend(std::iter::repeat_n(self.datasets.len(), weight));
            self.datasets.push(dataset);
            self.places.push(0);
        }
    }

    fn sentences(&self) -> usize {
        self.datasets.iter().flatten().map(|(_, texts)| texts.len()).sum()
    }

    /// Takes the next sentences of each dataset's turns and has their sources embedded.
    fn fill(&mut self) -> Result<()> {
        let mut entries: Vec<(String, Vec<String>)> = Vec::with_capacity(self.turns.len());
        for &dataset in &self.turns {
            let (sentences, place) = (&mut self.datasets[dataset], &mut self.places[dataset]);
            entries.push(sentences[*place].clone());
            *place += 1;
            if *place == sentences.len() {
                *place = 0;
                shuffle(sentences, &mut self.generator);
            }
        }
        let mut new: Vec<&str> = Vec::new();
        for (source, _) in &entries {
            if !self.embeddings.contains_key(source) && !new.contains(&source.as_str()) {
                new.push(source);
            }
        }
        if !new.is_empty() {
            let options = EmbedOptions { batch_size: self.batch_size, ..EmbedOptions::default() };
            let embedded = self.teacher.embed(&new, Role::Plain, &options)?;
            for (index, source) in new.iter().enumerate() {
                self.embeddings.insert((*source).to_owned(), embedded.row(index).to_vec());
            }
        }
        for (source, texts) in entries {
            let label = Cell::from(self.embeddings.get(&source).cloned().unwrap_or_default());
            self.ready.extend(texts.into_iter().map(|text| InputExample::new([text]).label(label.clone())));
        }
        if !self.use_embedding_cache {
            self.embeddings.clear();
        }
        shuffle(&mut self.ready, &mut self.generator);
        Ok(())
    }
}

fn too_long(texts: &[String], limit: Option<usize>) -> bool {
    limit.is_some_and(|limit| limit > 0 && texts.iter().any(|text| text.chars().count() > limit))
}

impl ExampleLoader for ParallelSentencesDataset {
    fn len(&self) -> usize {
        self.sentences().div_ceil(self.batch_size)
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        let total = self.sentences();
        let mut batch = Vec::with_capacity(self.batch_size);
        while batch.len() < self.batch_size && self.given < total && !self.turns.is_empty() {
            if self.ready.is_empty() {
                self.fill()?;
            }
            batch.extend(self.ready.pop());
            self.given += 1;
        }
        if batch.is_empty() {
            self.given = 0;
            return Ok(None);
        }
        Ok(Some(batch))
    }
}
