//! [`WhitespaceTokenizer`]: words between white space.

use std::path::Path;

use serde_json::Value;

use crate::Result;
use crate::files::ModuleConfig;
use crate::files::ModuleWriter;
use crate::input::is_python_space;

use super::{Found, WordTokenizer, Words, english_stop_words, strip_punctuation};

/// The original's class name.
pub(super) const CLASS: &str = "WhitespaceTokenizer";
/// Its file.
const FILE: &str = "whitespacetokenizer_config.json";

/// Looks up what stands between white space: as it is, then without the punctuation at its ends, then in lower case as
/// well. The first form that is a stop word or in the vocabulary decides.
///
/// File: `whitespacetokenizer_config.json` with `vocab`, `stop_words` and `do_lower_case`.
///
/// ```
/// use sentence_transformers::tokenizer::WhitespaceTokenizer;
///
/// let tokenizer = WhitespaceTokenizer::new(["sky", "Blue"]).stop_words(["the"]);
/// assert_eq!(tokenizer.tokenize("the (SKY) is Blue."), [0, 1]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhitespaceTokenizer {
    words: Words,
    lower_case: bool,
}

impl WhitespaceTokenizer {
    /// A tokenizer of these words, with the original's English stop words, which does not lower-case.
    pub fn new<W: Into<String>>(vocabulary: impl IntoIterator<Item = W>) -> Self {
        let vocabulary = vocabulary.into_iter().map(Into::into).collect();
        Self { words: Words::new(vocabulary, english_stop_words()), lower_case: false }
    }

    /// Other stop words.
    #[must_use]
    pub fn stop_words<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words = Words::new(self.words.vocabulary, words.into_iter().map(Into::into).collect());
        self
    }

    /// Whether texts are lower-cased first.
    #[must_use]
    pub fn lower_case(mut self, lower: bool) -> Self {
        self.lower_case = lower;
        self
    }

    pub(super) fn load(folder: &Path) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.join(FILE))?;
        let words = Words::read(&mut config)?;
        let lower_case = config.flag("do_lower_case")?.unwrap_or(false);
        config.finish()?;
        Ok(Self { words, lower_case })
    }

    pub(super) fn save(&self, writer: &ModuleWriter) -> Result<()> {
        let mut keys = self.words.keys();
        keys.insert("do_lower_case".into(), self.lower_case.into());
        writer.json_line(FILE, &Value::Object(keys))
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    pub(super) fn with_vocabulary(mut self, words: Vec<String>) -> Self {
        self.words.set_vocabulary(words);
        self
    }

    /// Indices of the words of a text.
    #[must_use]
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let lowered = self.lower_case.then(|| text.to_lowercase());
        let text = lowered.as_deref().unwrap_or(text);
        let words = text.split(is_python_space).filter(|word| !word.is_empty());
        words.filter_map(|word| self.index(word)).collect()
    }

    fn index(&self, word: &str) -> Option<u32> {
        let bare = strip_punctuation(word);
        let lower = || bare.to_lowercase();
        let found = match self.words.find(word) {
            // Nothing but punctuation is not looked up in this form.
            Found::Nothing if !bare.is_empty() => self.words.find(bare),
            other => other,
        };
        match found {
            Found::Stop => None,
            Found::Index(index) => Some(index),
            Found::Nothing => match self.words.find(&lower()) {
                Found::Index(index) => Some(index),
                _ => None,
            },
        }
    }
}

impl From<WhitespaceTokenizer> for WordTokenizer {
    fn from(tokenizer: WhitespaceTokenizer) -> Self {
        Self::Whitespace(tokenizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_known_decides() {
        let tokenizer = WhitespaceTokenizer::new(["sky", "Sky", "sky!", "stop"]).stop_words(["stop", "Gone"]);
        assert_eq!(tokenizer.tokenize("sky! Sky! SKY! (sky)"), [2, 1, 0, 0]);
        assert_eq!(tokenizer.tokenize("stop stop. Gone (Gone) STOP ... x"), [0u32; 0]);
        assert_eq!(tokenizer.tokenize("\u{1f}sky\u{3000}sky\n"), [0, 0]);
    }

    #[test]
    fn lower_casing_comes_first() {
        let tokenizer = WhitespaceTokenizer::new(["SKY", "sky"]);
        assert_eq!(tokenizer.tokenize("SKY"), [0]);
        assert_eq!(tokenizer.lower_case(true).tokenize("SKY"), [1]);
    }

    #[test]
    fn the_default_stop_words_are_english() {
        assert_eq!(WhitespaceTokenizer::new(["the", "sky", "."]).tokenize("The the sky ."), [1]);
    }

    #[test]
    fn a_word_that_is_there_twice_has_its_last_place() {
        assert_eq!(WhitespaceTokenizer::new(["a1", "b1", "a1"]).tokenize("a1"), [2]);
    }
}
