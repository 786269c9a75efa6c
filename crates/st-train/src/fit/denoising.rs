//! [`DenoisingAutoEncoderDataset`].

use std::fmt;

use crate::Result;
use crate::random::Generator;
use crate::readers::InputExample;

use super::loaders::ExampleLoader;

/// Damages a text with random numbers.
type Noise = Box<dyn FnMut(&str, &mut Generator) -> String + Send>;

/// Pairs of a damaged sentence and the sentence itself, damaged anew in each pass; for the denoising auto-encoder.
///
/// ```
/// use st_train::fit::{DenoisingAutoEncoderDataset, ExampleLoader};
///
/// let mut loader = DenoisingAutoEncoderDataset::new(["a cat sat on the mat"], 8, 42);
/// let batch = loader.next_batch()?.unwrap();
/// assert_eq!(batch[0].texts[1], "a cat sat on the mat");
/// assert!(batch[0].texts[0].len() < batch[0].texts[1].len());
/// # Ok::<(), st_train::TrainError>(())
/// ```
pub struct DenoisingAutoEncoderDataset {
    sentences: Vec<String>,
    batch_size: usize,
    generator: Generator,
    noise: Noise,
    order: Vec<usize>,
    taken: usize,
}

impl fmt::Debug for DenoisingAutoEncoderDataset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DenoisingAutoEncoderDataset")
            .field("sentences", &self.sentences.len())
            .field("batch_size", &self.batch_size)
            .finish_non_exhaustive()
    }
}

impl DenoisingAutoEncoderDataset {
    /// Sentences, of which each word is left out with probability 0.6; shuffled in each pass.
    #[must_use]
    pub fn new<S: Into<String>>(sentences: impl IntoIterator<Item = S>, batch_size: usize, seed: u64) -> Self {
        Self {
            sentences: sentences.into_iter().map(Into::into).collect(),
            batch_size: batch_size.max(1),
            generator: Generator::new(seed),
            noise: Box::new(|text, generator| delete_words(text, 0.6, generator)),
            order: Vec::new(),
            taken: 0,
        }
    }

    /// Sets what damages a sentence.
    #[must_use]
    pub fn noise(mut self, noise: impl FnMut(&str, &mut Generator) -> String + Send + 'static) -> Self {
        self.noise = Box::new(noise);
        self
    }
}

impl ExampleLoader for DenoisingAutoEncoderDataset {
    fn len(&self) -> usize {
        self.sentences.len().div_ceil(self.batch_size)
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        if self.taken == 0 {
            self.order = self.generator.permutation(self.sentences.len());
        }
        let end = (self.taken + self.batch_size).min(self.order.len());
        let mut batch = Vec::with_capacity(end - self.taken);
        for &index in &self.order[self.taken..end] {
            let sentence = &self.sentences[index];
            batch.push(InputExample::new([(self.noise)(sentence, &mut self.generator), sentence.clone()]));
        }
        self.taken = if batch.is_empty() { 0 } else { end };
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// Leaves out each word with a probability, but never all of them.
///
/// Words are runs of letters, digits, apostrophes and hyphens; every other character that is no space is a word of its own.
/// What stays keeps the spaces that stood before it. (The original cuts words with NLTK, which differs in rare cases, and
/// puts them together with spaces.)
///
/// ```
/// use st_train::fit::delete_words;
/// use st_train::random::Generator;
///
/// let mut generator = Generator::new(1);
/// assert_eq!(delete_words("Don't go, please.", 0.0, &mut generator), "Don't go, please.");
/// assert_eq!(delete_words("one two", 1.0, &mut generator).split(' ').count(), 1);
/// assert_eq!(delete_words("  ", 0.6, &mut generator), "  ");
/// ```
#[must_use]
pub fn delete_words(text: &str, probability: f64, generator: &mut Generator) -> String {
    let words = words(text);
    if words.is_empty() {
        return text.to_owned();
    }
    let mut kept: Vec<bool> = words.iter().map(|_| f64::from(generator.uniform()) >= probability).collect();
    if !kept.contains(&true) {
        let chosen = generator.below(words.len() as u64);
        kept[usize::try_from(chosen).unwrap_or(0)] = true;
    }
    let mut out = String::with_capacity(text.len());
    for ((spaced, word), _) in words.iter().zip(&kept).filter(|(_, kept)| **kept) {
        if *spaced && !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Words, and whether a space stood before each.
fn words(text: &str) -> Vec<(bool, &str)> {
    let inside = |character: char| character.is_alphanumeric() || matches!(character, '\'' | '’' | '-');
    let mut words = Vec::new();
    let (mut spaced, mut start) = (false, None);
    for (place, character) in text.char_indices() {
        if inside(character) {
            start.get_or_insert(place);
            continue;
        }
        if let Some(start) = start.take() {
            words.push((spaced, &text[start..place]));
            spaced = false;
        }
        if character.is_whitespace() {
            spaced = true;
        } else {
            words.push((spaced, &text[place..place + character.len_utf8()]));
            spaced = false;
        }
    }
    if let Some(start) = start {
        words.push((spaced, &text[start..]));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_words_go_as_was_asked_for() {
        let text = "word ".repeat(2000);
        let kept = delete_words(&text, 0.6, &mut Generator::new(3)).split(' ').count();
        assert!((720..880).contains(&kept), "{kept}");
    }

    #[test]
    fn words_and_marks() {
        let cut: Vec<&str> = words("Well-known, isn't it? 3.5€").into_iter().map(|(_, word)| word).collect();
        assert_eq!(cut, ["Well-known", ",", "isn't", "it", "?", "3", ".", "5", "€"]);
    }
}
