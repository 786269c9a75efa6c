//! [`HardNegativeMiner`]: hard negatives for pairs of texts.

use std::collections::HashMap;
use std::path::PathBuf;

use st_vectors::{Embeddings, HardNegativeOptions, HardNegatives, mine_hard_negatives_with};

use super::stored;
use crate::{EncodeOptions, Error, ErrorKind, Result, SentenceTransformer};

/// Scores a query with some documents, as a cross encoder does: one score for each document.
pub type Rescorer<'a> = dyn Fn(&str, &[&str]) -> Vec<f32> + 'a;

/// Finds documents that a model takes for near a query and that are not its positives: the original's
/// `mine_hard_negatives`.
///
/// Queries that occur in several pairs have several positives. The documents searched are those given with
/// [`HardNegativeMiner::corpus`] and all positives, each once. Vectors are normalised; scores are those of the model's
/// similarity function.
///
/// ```no_run
/// use sentence_transformers::{HardNegativeMiner, HardNegativeOptions, SentenceTransformer};
///
/// let model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
/// let pairs = [("what is rust", "Rust is a language."), ("what is iron", "Iron is a metal.")];
/// let options = HardNegativeOptions::new().num_negatives(1).relative_margin(0.05);
/// let mined = HardNegativeMiner::new(&model).options(options).mine(&pairs)?;
/// for triplet in mined.triplets() {
///     println!("{} | {} | {}", triplet.anchor, triplet.positive, triplet.negative);
/// }
/// println!("{}", mined.statistics());
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
pub struct HardNegativeMiner<'a> {
    model: &'a SentenceTransformer,
    options: HardNegativeOptions,
    query: EncodeOptions,
    document: EncodeOptions,
    corpus: Vec<String>,
    cache: Option<PathBuf>,
    rescorer: Option<&'a Rescorer<'a>>,
}

impl std::fmt::Debug for HardNegativeMiner<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("HardNegativeMiner")
            .field("options", &self.options)
            .field("corpus", &self.corpus.len())
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

impl<'a> HardNegativeMiner<'a> {
    /// A miner with the defaults of [`HardNegativeOptions`] and the model's similarity function.
    #[must_use]
    pub fn new(model: &'a SentenceTransformer) -> Self {
        Self {
            model,
            options: HardNegativeOptions::new().score_function(model.similarity_function()),
            query: EncodeOptions::new(),
            document: EncodeOptions::new(),
            corpus: Vec::new(),
            cache: None,
            rescorer: None,
        }
    }

    /// Margins, ranges and counts. The score function stays the model's.
    #[must_use]
    pub fn options(mut self, options: HardNegativeOptions) -> Self {
        self.options = options.score_function(self.model.similarity_function());
        self
    }

    /// How queries are encoded (prompt, batch size); they are always normalised.
    #[must_use]
    pub fn query_options(mut self, options: EncodeOptions) -> Self {
        self.query = options;
        self
    }

    /// How documents are encoded (prompt, batch size); they are always normalised.
    #[must_use]
    pub fn document_options(mut self, options: EncodeOptions) -> Self {
        self.document = options;
        self
    }

    /// Documents beside the positives.
    #[must_use]
    pub fn corpus<T: Into<String>>(mut self, documents: impl IntoIterator<Item = T>) -> Self {
        self.corpus = documents.into_iter().map(Into::into).collect();
        self
    }

    /// A folder for the vectors, which a later run with the same model, prompts and texts reads instead of encoding:
    /// `query_embeddings_{hash}.npy` and `corpus_embeddings_{hash}.npy`. (The original hashes texts and the name of the
    /// base model only, so that a fine-tuned model is given another model's vectors.)
    #[must_use]
    pub fn cache_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = Some(folder.into());
        self
    }

    /// Scores of a cross encoder, used where a margin or a highest score is set.
    #[must_use]
    pub fn rescorer(mut self, rescorer: &'a Rescorer<'a>) -> Self {
        self.rescorer = Some(rescorer);
        self
    }

    /// Mines negatives for pairs of a query and a positive.
    ///
    /// # Errors
    /// For no pairs at all; when encoding fails; when the cache cannot be read or written.
    pub fn mine<Q: AsRef<str>, P: AsRef<str>>(&self, pairs: &[(Q, P)]) -> Result<MinedNegatives> {
        if pairs.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "The dataset is empty. Please provide a non-empty dataset."));
        }
        let mut documents = Unique::default();
        for text in self.corpus.iter().map(String::as_str).chain(pairs.iter().map(|(_, positive)| positive.as_ref())) {
            documents.add(text);
        }
        let mut queries = Unique::default();
        let mut positives: Vec<Vec<usize>> = Vec::new();
        let mut rows: Vec<usize> = Vec::new();
        for (query, positive) in pairs {
            let (query, positive) = (queries.add(query.as_ref()), documents.add(positive.as_ref()));
            positives.resize_with(queries.texts.len(), Vec::new);
            rows.resize(queries.texts.len(), 0);
            rows[query] += 1;
            if !positives[query].contains(&positive) {
                positives[query].push(positive);
            }
        }
        let corpus_vectors = self.embed("corpus", &documents.texts)?;
        let query_vectors = self.embed("query", &queries.texts)?;
        let by_text = self.rescorer.map(|rescorer| {
            let (queries, documents) = (&queries.texts, &documents.texts);
            move |query: usize, rows: &[usize]| {
                let texts: Vec<&str> = rows.iter().map(|&row| documents[row].as_str()).collect();
                rescorer(&queries[query], &texts)
            }
        });
        let rescore = by_text.as_ref().map(|rescore| rescore as &st_vectors::Rescore<'_>);
        let options = self.options.most_positives(rows.iter().copied().max().unwrap_or(0));
        let found = mine_hard_negatives_with(&query_vectors, &corpus_vectors, &positives, &options, rescore)?;
        Ok(MinedNegatives {
            queries: queries.texts,
            documents: documents.texts,
            positives,
            found,
            options: self.options,
        })
    }

    fn embed(&self, side: &str, texts: &[String]) -> Result<Embeddings> {
        let encode = || {
            if side == "query" {
                self.model.encode_query(texts, &self.query.clone().normalize(true))
            } else {
                self.model.encode_document(texts, &self.document.clone().normalize(true))
            }
        };
        let Some(folder) = &self.cache else { return encode() };
        let options = if side == "query" { &self.query } else { &self.document };
        let model = format!("{}\0{:?}\0{:?}", self.model.origin(), options.chosen_prompt(), self.model.truncate_dim());
        let file = stored::file(folder, side, &model, texts);
        if file.exists() {
            return stored::read(&file, texts.len());
        }
        let embeddings = encode()?;
        stored::write(&file, &embeddings)?;
        Ok(embeddings)
    }
}

/// Texts, each once, in the order of their first occurrence.
#[derive(Debug, Default)]
struct Unique {
    texts: Vec<String>,
    index: HashMap<String, usize>,
}

impl Unique {
    fn add(&mut self, text: &str) -> usize {
        if let Some(&index) = self.index.get(text) {
            return index;
        }
        let index = self.texts.len();
        self.texts.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        index
    }
}

/// Mined negatives with their texts; the formats of a training set are in its methods.
///
/// See [`HardNegativeMiner`] for an example.
#[derive(Debug, Clone)]
pub struct MinedNegatives {
    pub(super) queries: Vec<String>,
    pub(super) documents: Vec<String>,
    pub(super) positives: Vec<Vec<usize>>,
    pub(super) found: HardNegatives,
    pub(super) options: HardNegativeOptions,
}

impl MinedNegatives {
    /// The queries, each once.
    #[must_use]
    pub fn queries(&self) -> &[String] {
        &self.queries
    }

    /// The documents that were searched, each once.
    #[must_use]
    pub fn documents(&self) -> &[String] {
        &self.documents
    }

    /// Rows and scores: indices into [`MinedNegatives::queries`] and [`MinedNegatives::documents`].
    #[must_use]
    pub fn found(&self) -> &HardNegatives {
        &self.found
    }
}
