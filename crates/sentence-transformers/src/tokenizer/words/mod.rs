//! [`WordTokenizer`]: tokenizers that look whole words up, for the modules that hold one vector or weight per word.

mod phrase;
mod treebank;
mod whitespace;

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use crate::files::ModuleConfig;
use crate::files::ModuleWriter;
use crate::{Error, ErrorKind, Result};

pub use phrase::PhraseTokenizer;
pub use whitespace::WhitespaceTokenizer;

/// The stop words that the original's word tokenizers have by default (`ENGLISH_STOP_WORDS` of Sentence Transformers
/// 5.2), one per line.
const ENGLISH_STOP_WORDS: &str = include_str!("english_stop_words.txt");

/// A tokenizer of whole words: words of its vocabulary get their index, others and stop words are left out.
///
/// ```
/// use sentence_transformers::tokenizer::{WhitespaceTokenizer, WordTokenizer};
///
/// let tokenizer = WordTokenizer::from(WhitespaceTokenizer::new(["sky", "blue"]));
/// assert_eq!(tokenizer.tokenize("The sky is blue."), [0, 1]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WordTokenizer {
    /// Words between white space.
    Whitespace(WhitespaceTokenizer),
    /// Words and phrases.
    Phrase(PhraseTokenizer),
}

/// Reads a tokenizer from its folder.
type Load = fn(&Path) -> Result<WordTokenizer>;

impl WordTokenizer {
    /// All kinds, by the class name that ends the original's `tokenizer_class`.
    const ALL: [(&'static str, Load); 2] = [
        (whitespace::CLASS, |folder| Ok(Self::Whitespace(WhitespaceTokenizer::load(folder)?))),
        (phrase::CLASS, |folder| Ok(Self::Phrase(PhraseTokenizer::load(folder)?))),
    ];

    /// Reads the tokenizer that a `tokenizer_class` names from its folder.
    ///
    /// # Errors
    /// For another class, and whatever is wrong with its file.
    pub(crate) fn load(class: &str, folder: &Path) -> Result<Self> {
        let last = class.rsplit('.').next().unwrap_or(class);
        let known = Self::ALL.iter().find(|(name, _)| *name == last && class.starts_with("sentence_transformers."));
        let Some((_, load)) = known else {
            let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
            let message = format!("word tokenizer '{class}' is not supported; supported are {}", names.join(", "));
            return Err(Error::new(ErrorKind::Unsupported, message)
                .with_path(folder)
                .with_hint("save the model with one of these tokenizers"));
        };
        load(folder)
    }

    /// The original's dotted class name.
    #[must_use]
    pub fn class_path(&self) -> String {
        let class = match self {
            Self::Whitespace(_) => whitespace::CLASS,
            Self::Phrase(_) => phrase::CLASS,
        };
        format!("sentence_transformers.models.tokenizer.{class}.{class}")
    }

    /// Indices of the words of a text.
    #[must_use]
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        match self {
            Self::Whitespace(tokenizer) => tokenizer.tokenize(text),
            Self::Phrase(tokenizer) => tokenizer.tokenize(text),
        }
    }

    /// The words, in the order of their indices.
    #[must_use]
    pub fn vocabulary(&self) -> &[String] {
        match self {
            Self::Whitespace(tokenizer) => tokenizer.words().vocabulary(),
            Self::Phrase(tokenizer) => tokenizer.words().vocabulary(),
        }
    }

    /// The same tokenizer with another vocabulary.
    #[must_use]
    pub fn with_vocabulary(self, words: Vec<String>) -> Self {
        match self {
            Self::Whitespace(tokenizer) => Self::Whitespace(tokenizer.with_vocabulary(words)),
            Self::Phrase(tokenizer) => Self::Phrase(tokenizer.with_vocabulary(words)),
        }
    }

    pub(crate) fn save(&self, writer: &ModuleWriter) -> Result<()> {
        match self {
            Self::Whitespace(tokenizer) => tokenizer.save(writer),
            Self::Phrase(tokenizer) => tokenizer.save(writer),
        }
    }
}

impl Default for WordTokenizer {
    /// A [`WhitespaceTokenizer`] without words.
    fn default() -> Self {
        Self::Whitespace(WhitespaceTokenizer::new([""; 0]))
    }
}

/// What word tokenizers have in common: the vocabulary and the stop words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    vocabulary: Vec<String>,
    indices: HashMap<String, u32>,
    /// In the order of the file, so that saving repeats it.
    stop_words: Vec<String>,
    stops: HashSet<String>,
}

/// What to do with a word.
enum Found {
    /// It is a stop word.
    Stop,
    /// It has this index.
    Index(u32),
    /// It is neither.
    Nothing,
}

impl Words {
    fn new(vocabulary: Vec<String>, stop_words: Vec<String>) -> Self {
        let stops = stop_words.iter().cloned().collect();
        Self { indices: index(&vocabulary), vocabulary, stop_words, stops }
    }

    fn read(config: &mut ModuleConfig) -> Result<Self> {
        let vocabulary = config.texts("vocab")?.unwrap_or_default();
        let stop_words = config.texts("stop_words")?.unwrap_or_else(english_stop_words);
        Ok(Self::new(vocabulary, stop_words))
    }

    fn keys(&self) -> Map<String, Value> {
        [
            ("vocab".to_owned(), self.vocabulary.clone().into()),
            ("stop_words".to_owned(), self.stop_words.clone().into()),
        ]
        .into_iter()
        .collect()
    }

    pub(crate) fn vocabulary(&self) -> &[String] {
        &self.vocabulary
    }

    fn set_vocabulary(&mut self, vocabulary: Vec<String>) {
        self.indices = index(&vocabulary);
        self.vocabulary = vocabulary;
    }

    fn find(&self, word: &str) -> Found {
        if self.stops.contains(word) {
            return Found::Stop;
        }
        self.indices.get(word).map_or(Found::Nothing, |&index| Found::Index(index))
    }
}

/// A word that is there twice counts at its last place, as in the original.
fn index(vocabulary: &[String]) -> HashMap<String, u32> {
    (0u32..).zip(vocabulary).map(|(index, word)| (word.clone(), index)).collect()
}

/// The original's default stop words.
fn english_stop_words() -> Vec<String> {
    ENGLISH_STOP_WORDS.lines().map(str::to_owned).collect()
}

/// Without the ASCII punctuation at both ends.
fn strip_punctuation(word: &str) -> &str {
    word.trim_matches(|c: char| c.is_ascii_punctuation())
}
