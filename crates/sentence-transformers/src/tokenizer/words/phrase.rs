//! [`PhraseTokenizer`]: words, and phrases of several words.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::Result;
use crate::files::ModuleConfig;
use crate::files::ModuleWriter;

use super::{Found, WordTokenizer, Words, english_stop_words, strip_punctuation, treebank};

/// The original's class name.
pub(super) const CLASS: &str = "PhraseTokenizer";
/// Its file.
const FILE: &str = "phrasetokenizer_config.json";

/// Cuts texts into words by NLTK's rules, joins those that make up a phrase of the vocabulary, such as `New_York`, longer
/// phrases first, and looks the rest up: as it is, then in lower case, then without punctuation at its ends as well. The
/// first form that is a stop word or in the vocabulary decides.
///
/// File: `phrasetokenizer_config.json` with `vocab`, `stop_words`, `do_lower_case` (which has no effect, as in the
/// original), `ngram_separator` and `max_ngram_length`.
///
/// ```
/// use sentence_transformers::tokenizer::PhraseTokenizer;
///
/// let tokenizer = PhraseTokenizer::new(["New_York", "sunny", "it"]).stop_words(["it"]);
/// assert_eq!(tokenizer.tokenize("It's sunny in New York."), [1, 0]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhraseTokenizer {
    words: Words,
    lower_case: bool,
    separator: Option<String>,
    longest: usize,
    phrases: HashSet<String>,
    /// Numbers of words that phrases have.
    lengths: BTreeSet<usize>,
}

impl PhraseTokenizer {
    /// A tokenizer of these words and phrases, which are joined by `_` and have at most five words, with the original's
    /// English stop words.
    pub fn new<W: Into<String>>(vocabulary: impl IntoIterator<Item = W>) -> Self {
        let vocabulary = vocabulary.into_iter().map(Into::into).collect();
        Self::of(Words::new(vocabulary, english_stop_words()), false, Some("_".to_owned()), 5)
    }

    /// Other stop words.
    #[must_use]
    pub fn stop_words<W: Into<String>>(mut self, words: impl IntoIterator<Item = W>) -> Self {
        self.words = Words::new(self.words.vocabulary, words.into_iter().map(Into::into).collect());
        self
    }

    fn of(words: Words, lower_case: bool, separator: Option<String>, longest: usize) -> Self {
        let (mut phrases, mut lengths) = (HashSet::new(), BTreeSet::new());
        if let Some(separator) = separator.as_deref().filter(|separator| !separator.is_empty()) {
            let twice = separator.repeat(2);
            for word in words.vocabulary().iter().filter(|word| word.contains(separator) && !word.contains(&twice)) {
                let length = word.matches(separator).count() + 1;
                if length <= longest {
                    phrases.insert(word.clone());
                    lengths.insert(length);
                }
            }
        }
        Self { words, lower_case, separator, longest, phrases, lengths }
    }

    pub(super) fn load(folder: &Path) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.join(FILE))?;
        let words = Words::read(&mut config)?;
        let lower_case = config.flag("do_lower_case")?.unwrap_or(false);
        // An explicit null means no phrases; an absent key the default.
        let separator =
            if config.contains("ngram_separator") { config.text("ngram_separator")? } else { Some("_".to_owned()) };
        let longest = config.optional_index(&["max_ngram_length"])?.unwrap_or(5);
        config.finish()?;
        Ok(Self::of(words, lower_case, separator, longest))
    }

    pub(super) fn save(&self, writer: &ModuleWriter) -> Result<()> {
        let mut keys = self.words.keys();
        keys.insert("do_lower_case".into(), self.lower_case.into());
        keys.insert("ngram_separator".into(), self.separator.as_deref().into());
        keys.insert("max_ngram_length".into(), self.longest.into());
        writer.json_line(FILE, &Value::Object(keys))
    }

    pub(super) fn words(&self) -> &Words {
        &self.words
    }

    pub(super) fn with_vocabulary(mut self, words: Vec<String>) -> Self {
        self.words.set_vocabulary(words);
        Self::of(self.words, self.lower_case, self.separator, self.longest)
    }

    /// Indices of the words and phrases of a text.
    #[must_use]
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let mut words = treebank::words(text);
        self.join_phrases(&mut words);
        words.iter().filter_map(|word| self.index(word)).collect()
    }

    fn join_phrases(&self, words: &mut Vec<String>) {
        let Some(separator) = &self.separator else { return };
        for &length in self.lengths.iter().rev() {
            let mut at = 0;
            while at + length <= words.len() {
                let joined = words[at..at + length].join(separator);
                let known = [joined.to_lowercase(), joined];
                if let Some(phrase) = known.into_iter().rev().find(|phrase| self.phrases.contains(phrase)) {
                    words.splice(at..at + length, [phrase]);
                }
                at += 1;
            }
        }
    }

    fn index(&self, word: &str) -> Option<u32> {
        let lower = word.to_lowercase();
        let bare = strip_punctuation(&lower);
        for form in [word, &lower, bare] {
            match self.words.find(form) {
                Found::Stop => return None,
                Found::Index(index) if !form.is_empty() => return Some(index),
                _ => {}
            }
        }
        None
    }
}

impl From<PhraseTokenizer> for WordTokenizer {
    fn from(tokenizer: PhraseTokenizer) -> Self {
        Self::Phrase(tokenizer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_phrases_win_and_lower_case_ones_are_found() {
        let vocabulary = ["new_york_city", "New_York", "york_city", "York", "a__b", "a_b_c_d_e_f"];
        let tokenizer = PhraseTokenizer::new(vocabulary).stop_words([""; 0]);
        assert_eq!(tokenizer.tokenize("New York City"), [0]);
        assert_eq!(tokenizer.tokenize("New York, York City"), [1, 2]);
        assert_eq!(tokenizer.tokenize("York New"), [3]);
        assert_eq!(tokenizer.tokenize("a b c d e f"), [0u32; 0]);
    }

    #[test]
    fn lower_case_comes_before_punctuation() {
        let tokenizer = PhraseTokenizer::new(["u.s.", "u.s", "US"]).stop_words(["gone"]);
        assert_eq!(tokenizer.tokenize("U.S. visit"), [0]);
        assert_eq!(tokenizer.tokenize("-U.S visit"), [1]);
        assert_eq!(tokenizer.tokenize("Gone US"), [2]);
    }
}
