//! [`WordEmbeddings`]: one vector per word.

mod text_file;

use std::path::Path;

use serde_json::{Map, Value};
use st_encoder::{DataType, Pass, TensorSource, TokenEmbeddings, Weights};

use super::{
    Dataflow, Feature, InputContext, InputModule, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind,
    refuse_encoder_options, refuse_pair,
};
use crate::files::{ModuleWriter, SavedTensor};
use crate::tokenizer::{Tokens, WordTokenizer};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

pub use text_file::TextFileOptions;

/// The row of [`super::MODULES`].
pub(super) const WORD_EMBEDDINGS: ModuleKind = ModuleKind {
    name: "WordEmbeddings",
    aliases: &[],
    type_path: "sentence_transformers.models.WordEmbeddings",
    load: Loader::Input(|folder, context| Ok(Box::new(WordEmbeddings::load(folder, context)?))),
};

/// The configuration file.
const CONFIG_FILE: &str = "wordembedding_config.json";
/// Name of the table.
const TABLE: &str = "emb_layer.weight";
/// The original's default, which is as good as no limit.
const MAX_SEQ_LENGTH: usize = 1_000_000;

/// A vector for every known word of a text, as word2vec and GloVe have them; other words are left out.
///
/// `max_seq_length` is kept and saved, but no text is cut: neither does the original.
///
/// # Shapes
/// Texts to `[T, H]` per text, with `T` the known words.
///
/// # Files
/// `wordembedding_config.json` with `tokenizer_class`, `update_embeddings` and `max_seq_length` (1,000,000);
/// `emb_layer.weight` `[V, H]`; the tokenizer's file.
///
/// ```
/// use sentence_transformers::modules::{Pooling, PoolingMode, TextFileOptions, WordEmbeddings};
/// use sentence_transformers::{LoadOptions, NamedModule, Pipeline, SentenceTransformer};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("vectors.txt");
/// std::fs::write(&path, "blue 1 0\nsky 0 4\n")?;
/// let words = WordEmbeddings::from_text_file(&path, TextFileOptions::new())?;
/// let pooling = NamedModule { name: "1".into(), module: Box::new(Pooling::new(2, &[PoolingMode::Mean])?) };
/// let pipeline = Pipeline::new("0", Box::new(words), vec![pooling])?;
/// let model = SentenceTransformer::from_pipeline(pipeline, &LoadOptions::new())?;
/// assert_eq!(model.encode(&["The sky is blue."])?.row(0), &[0.5, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct WordEmbeddings {
    tokenizer: WordTokenizer,
    table: Vec<f32>,
    width: usize,
    update_embeddings: bool,
    max_seq_length: Option<usize>,
}

impl WordEmbeddings {
    /// Vectors of `width` components, one after the other, for the words of a tokenizer's vocabulary.
    ///
    /// # Errors
    /// When there are fewer vectors than words, or their numbers do not make whole vectors.
    pub fn new(tokenizer: WordTokenizer, table: Vec<f32>, width: usize) -> Result<Self> {
        let rows = table.len().checked_div(width).filter(|rows| rows * width == table.len()).ok_or_else(|| {
            let message = format!("{} numbers are not vectors of {width} components", table.len());
            Error::new(ErrorKind::Argument, message)
        })?;
        let words = tokenizer.vocabulary().len();
        if words > rows {
            let message = format!("{words} words, but only {rows} word vectors");
            return Err(Error::new(ErrorKind::Argument, message).with_hint("every word needs a vector"));
        }
        Ok(Self { tokenizer, table, width, update_embeddings: false, max_seq_length: Some(MAX_SEQ_LENGTH) })
    }

    /// Whether training shall change the vectors.
    #[must_use]
    pub fn update_embeddings(mut self, update: bool) -> Self {
        self.update_embeddings = update;
        self
    }

    /// Reads word vectors from a text file, compressed when its name ends in `.gz`: one word per line, then its numbers. A
    /// first line of two items, word2vec's header, is left out; so are lines of another length than the first. Index 0 is
    /// `PADDING_TOKEN` with a zero vector.
    ///
    /// # Errors
    /// When the file cannot be read, or holds no vectors or something else than numbers.
    pub fn from_text_file(path: impl AsRef<Path>, options: TextFileOptions) -> Result<Self> {
        text_file::read(path.as_ref(), options)
    }

    fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        refuse_encoder_options(WORD_EMBEDDINGS.name, context)?;
        let mut config = ModuleConfig::read(folder.file(CONFIG_FILE))?;
        let class = config.text("tokenizer_class")?.ok_or_else(|| config.error("'tokenizer_class' is missing"))?;
        let update_embeddings = config.flag("update_embeddings")?.unwrap_or(false);
        let max_seq_length = match config.optional_size(&["max_seq_length"])? {
            None if !config.contains("max_seq_length") => Some(MAX_SEQ_LENGTH),
            length => length,
        };
        config.finish()?;
        let tokenizer = WordTokenizer::load(&class, &folder.folder())?;
        let weights = Weights::open(&folder.folder())?;
        let shape = weights.shape_of(TABLE).unwrap_or(&[0, 0]).to_vec();
        let table = weights.tensor(&TensorSource::whole(TABLE), &shape)?;
        if table.data_type() != DataType::F32 {
            log::info!("word vectors of {} are read as float32", folder.folder().display());
        }
        let width = shape.get(1).copied().unwrap_or(0);
        let module = Self::new(tokenizer, table.to_f32()?.into_owned(), width)
            .map_err(|error| Error::config(&folder.file(CONFIG_FILE), error))?;
        Ok(Self { update_embeddings, max_seq_length: context.max_seq_length.or(max_seq_length), ..module })
    }

    /// Whether training changes the vectors.
    #[must_use]
    pub fn updates_embeddings(&self) -> bool {
        self.update_embeddings
    }

    fn shape(&self) -> [usize; 2] {
        [self.table.len() / self.width, self.width]
    }

    fn with_table(&self, path: &str, weights: &mut NewWeights) -> Result<Self> {
        let table = weights.take_or(&format!("{path}{TABLE}"), &self.shape(), &self.table)?;
        Ok(Self { table, tokenizer: self.tokenizer.clone(), ..*self })
    }

    /// The tokenizer.
    #[must_use]
    pub fn words(&self) -> &WordTokenizer {
        &self.tokenizer
    }
}

impl Module for WordEmbeddings {
    fn kind(&self) -> &'static ModuleKind {
        &WORD_EMBEDDINGS
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: Feature::TokenEmbeddings }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let mut data = Vec::with_capacity(features.batch.tokens() * self.width);
        for &id in features.batch.ids() {
            let start = id as usize * self.width;
            let row = self.table.get(start..start + self.width).ok_or_else(|| {
                Error::new(
                    ErrorKind::Encode,
                    format!("word {id}, but there are {} vectors", self.table.len() / self.width),
                )
            })?;
            data.extend_from_slice(row);
        }
        features.token_embeddings = Some(TokenEmbeddings::new(data, self.width, features.batch.offsets().to_vec())?);
        Ok(features)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.width)
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config(CONFIG_FILE, self.config())?;
        writer.tensors(&self.tensors()?)?;
        self.tokenizer.save(writer)
    }

    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        Ok(vec![SavedTensor::new(TABLE, self.shape(), &self.table[..])])
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.with_table(path, weights)?))
    }

    fn config(&self) -> Map<String, Value> {
        [
            ("tokenizer_class".to_owned(), self.tokenizer.class_path().into()),
            ("update_embeddings".to_owned(), self.update_embeddings.into()),
            ("max_seq_length".to_owned(), self.max_seq_length.into()),
        ]
        .into_iter()
        .collect()
    }
}

impl InputModule for WordEmbeddings {
    fn max_seq_length(&self) -> Option<usize> {
        self.max_seq_length
    }

    fn set_max_seq_length(&mut self, length: Option<usize>) {
        self.max_seq_length = length;
    }

    fn strips(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        self.width
    }

    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.with_table(path, weights)?))
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        refuse_pair(WORD_EMBEDDINGS.name, second)?;
        Ok(Tokens::without_special(self.tokenizer.tokenize(first), 0))
    }

    fn saved_in_root(&self) -> bool {
        false
    }
}
