//! [`TextTokenizer`]: from texts to token ids, the way the original calls its tokenizers.

mod bert_words;
mod clip_words;
mod definition;
mod pieces;
mod settings;
mod short_words;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokenizers::pipeline::{EncodeOptions, Override, PipelineToken, PipelineTokenizer, Template};
use tokenizers::utils::truncation::TruncationDirection;

use crate::{Error, ErrorKind, Result};
use bert_words::BertWords;
pub(crate) use bert_words::WordMemory;
use clip_words::ClipWords;
use settings::Settings;
pub use words::{PhraseTokenizer, WhitespaceTokenizer, WordTokenizer};

/// A fast tokenizer with the truncation and the special tokens of its model.
///
/// ```no_run
/// use sentence_transformers::tokenizer::{TextTokenizer, TokenizerOptions};
///
/// let tokenizer = TextTokenizer::load("all-MiniLM-L6-v2".as_ref(), &TokenizerOptions::default())?;
/// let tokens = tokenizer.encode("Hello", None, Some(256))?;
/// assert_eq!(tokens.ids(), &[101, 7592, 102]);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
pub struct TextTokenizer {
    pipeline: PipelineTokenizer,
    path: PathBuf,
    settings: Settings,
    special_ids: BTreeSet<u32>,
    plain: EncodeOptions,
    bert_words: Option<BertWords>,
    clip_words: Option<ClipWords>,
}

/// What to change about a tokenizer when it is loaded; the original's `tokenizer_kwargs`.
///
/// ```
/// use sentence_transformers::tokenizer::{Side, TokenizerOptions};
///
/// let options = TokenizerOptions { truncation_side: Some(Side::Left), ..TokenizerOptions::default() };
/// assert_eq!(options.model_max_length, None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerOptions {
    /// Longest sequence when the model has no `max_seq_length`.
    pub model_max_length: Option<usize>,
    /// Which end of a long text is cut off.
    pub truncation_side: Option<Side>,
    /// Whether a BERT-type tokenizer lower-cases.
    pub do_lower_case: Option<bool>,
}

/// An end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The start.
    Left,
    /// The end.
    Right,
}

/// The token ids of one input, and how many there would be without a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    ids: Vec<u32>,
    type_ids: Option<Vec<u32>>,
    full: usize,
}

impl Tokens {
    /// Tokens of a text that has no special ones, `lost` more of which were cut off.
    pub(crate) fn without_special(ids: Vec<u32>, lost: usize) -> Self {
        let full = ids.len() + lost;
        Self { ids, type_ids: None, full }
    }

    /// Token ids, special tokens included.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Token type ids; `None` when all are 0.
    #[must_use]
    pub fn type_ids(&self) -> Option<&[u32]> {
        self.type_ids.as_deref()
    }

    /// Number of tokens kept.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.ids.len()
    }

    /// Number of tokens lost to truncation.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.full - self.ids.len()
    }
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("TextTokenizer").field("path", &self.path).field("settings", &self.settings).finish()
    }
}

impl TextTokenizer {
    /// Reads `tokenizer.json`, or `vocab.txt` of a WordPiece model, with `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// When neither is there, or one is damaged.
    pub fn load(folder: &Path, options: &TokenizerOptions) -> Result<Self> {
        Self::with_settings(folder, Settings::read(folder, options)?)
    }

    /// Reads `tokenizer.json` and takes it as it is, like Python's `tokenizers.Tokenizer.from_file`: what the classes of
    /// `transformers` change about a tokenizer is left out.
    ///
    /// # Errors
    /// When it is not there or damaged.
    pub fn load_as_is(folder: &Path) -> Result<Self> {
        let mut tokenizer = Self::with_settings(folder, Settings::as_is())?;
        let added = tokenizer.pipeline.get_added_vocabulary().get_added_tokens_decoder();
        tokenizer.special_ids = added.into_iter().filter(|(_, token)| token.special).map(|(id, _)| id).collect();
        tokenizer.bert_words = BertWords::new(&tokenizer.pipeline, |text, out| tokenizer.append_slowly(text, out));
        Ok(tokenizer)
    }

    fn with_settings(folder: &Path, settings: Settings) -> Result<Self> {
        let (text, path, clip_words) = definition::read(folder, &settings)?;
        let failed = |message: String| {
            Error::new(ErrorKind::Tokenizer, format!("{}: {message}", path.display()))
                .with_path(&path)
                .with_hint("the tokenizer's file is damaged or newer than this library: download it again or update")
        };
        let pipeline = tokenizers::from_json(&text).map_err(|error| failed(error.to_string()))?;
        let special_ids = settings
            .special_tokens
            .iter()
            .filter_map(|token| pipeline.get_added_vocabulary().token_to_id(token))
            .collect();
        let plain = EncodeOptions {
            add_special_tokens: false,
            padding: Override::Off,
            truncation: Override::Off,
            ..EncodeOptions::default()
        };
        Ok(Self { pipeline, path, settings, special_ids, plain, bert_words: None, clip_words })
    }

    /// Longest sequence that the tokenizer's configuration allows; `None` when it names no limit.
    #[must_use]
    pub fn model_max_length(&self) -> Option<usize> {
        self.settings.model_max_length
    }

    /// Whether an id is one of the tokenizer's special tokens (beginning, end, separator, padding, unknown, mask …).
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// The file it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Id of the padding token, when it has one.
    #[must_use]
    pub fn padding_id(&self) -> Option<u32> {
        self.pipeline.get_added_vocabulary().token_to_id(self.settings.padding_token.as_deref()?)
    }

    /// Token ids of a text, or of a pair of texts, with special tokens, cut to at most `max_length`.
    ///
    /// # Errors
    /// When the tokenizer fails on the text.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: Option<usize>) -> Result<Tokens> {
        let first = self.plain_ids(text)?;
        let templates = self.pipeline.get_post_processor();
        match pair {
            None => Ok(self.assemble(&templates.single, first, None, max_length)),
            Some(pair) => Ok(self.assemble(&templates.pair, first, Some(self.plain_ids(pair)?), max_length)),
        }
    }

    /// Token ids of a text without special tokens, not cut.
    ///
    /// # Errors
    /// When the tokenizer fails on the text.
    pub fn plain_ids(&self, text: &str) -> Result<Vec<PipelineToken>> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 2);
        self.append_slowly(text, &mut ids)?;
        Ok(ids)
    }

    /// Appends what [`TextTokenizer::plain_ids`] gives, by the short cut where the tokenizer has one.
    pub(crate) fn append_plain(&self, text: &str, memory: &mut WordMemory, out: &mut Vec<PipelineToken>) -> Result<()> {
        match &self.bert_words {
            Some(words) => words.append(text, memory, out, |text, out| self.append_slowly(text, out)),
            None => self.append_slowly(text, out),
        }
    }

    /// An empty memory for [`TextTokenizer::append_plain`].
    pub(crate) fn word_memory(&self) -> WordMemory {
        if self.bert_words.is_some() { WordMemory::new() } else { WordMemory::none() }
    }

    fn append_slowly(&self, text: &str, out: &mut Vec<PipelineToken>) -> Result<()> {
        if let Some(words) = &self.clip_words {
            words.append(text, out);
            return Ok(());
        }
        self.pipeline.encode_into(text, &self.plain, out).map_err(|error| {
            Error::new(ErrorKind::Tokenizer, format!("the tokenizer of {} failed: {error}", self.path.display()))
                .with_path(&self.path)
        })
    }

    /// The truncation that is stored in `tokenizer.json`: at most so many tokens, cut at that end.
    pub(crate) fn stored_truncation(&self) -> Option<(usize, Side)> {
        let truncation = self.pipeline.get_truncation()?;
        let side = match truncation.direction {
            TruncationDirection::Left => Side::Left,
            TruncationDirection::Right => Side::Right,
        };
        Some((truncation.max_length, side))
    }

    fn assemble(
        &self,
        template: &Template,
        mut first: Vec<PipelineToken>,
        mut second: Option<Vec<PipelineToken>>,
        max_length: Option<usize>,
    ) -> Tokens {
        let specials = template.n_special();
        let full = first.len() + second.as_ref().map_or(0, Vec::len) + specials;
        if let Some(limit) = max_length {
            let room = limit.saturating_sub(specials);
            let (keep_first, keep_second) = longest_first(first.len(), second.as_ref().map_or(0, Vec::len), room);
            self.cut(&mut first, keep_first);
            if let Some(second) = &mut second {
                self.cut(second, keep_second);
            }
        }
        let has_types = template.has_type_ids();
        let mut ids = Vec::with_capacity(specials + first.len() + second.as_ref().map_or(0, Vec::len));
        let mut type_ids = has_types.then(Vec::new);
        let mut append = |tokens: &mut dyn Iterator<Item = (u32, u8)>| {
            for (id, type_id) in tokens {
                ids.push(id);
                if let Some(types) = &mut type_ids {
                    types.push(u32::from(type_id));
                }
            }
        };
        append(&mut template.prefix.iter().map(|(id, kind)| (id.id(), *kind)));
        append(&mut first.iter().map(|id| (id.id(), template.a_type_id)));
        append(&mut template.infix.iter().map(|(id, kind)| (id.id(), *kind)));
        let second_type = template.b_type_id.unwrap_or(0);
        append(&mut second.iter().flatten().map(|id| (id.id(), second_type)));
        append(&mut template.suffix.iter().map(|(id, kind)| (id.id(), *kind)));
        Tokens { ids, type_ids, full }
    }

    fn cut(&self, tokens: &mut Vec<PipelineToken>, keep: usize) {
        match self.settings.truncation_side {
            Side::Right => tokens.truncate(keep),
            Side::Left => drop(tokens.drain(..tokens.len().saturating_sub(keep))),
        }
    }
}

/// How many tokens of two sequences stay when `room` is less than both need: the longer one is cut first
/// (the strategy `longest_first` of Hugging Face's tokenizers).
pub(crate) fn longest_first(first: usize, second: usize, room: usize) -> (usize, usize) {
    if first + second <= room {
        return (first, second);
    }
    let mut short_keeps = first.min(second);
    let mut long_keeps = if short_keeps > room { short_keeps } else { short_keeps.max(room - short_keeps) };
    if short_keeps + long_keeps > room {
        short_keeps = room / 2;
        long_keeps = short_keeps + room % 2;
    }
    if first > second { (long_keeps, short_keeps) } else { (short_keeps, long_keeps) }
}

#[cfg(test)]
mod tests {
    use super::longest_first;

    #[test]
    fn the_longer_sequence_is_cut_first() {
        assert_eq!(longest_first(3, 4, 10), (3, 4));
        assert_eq!(longest_first(10, 2, 6), (4, 2));
        assert_eq!(longest_first(2, 10, 6), (2, 4));
        assert_eq!(longest_first(10, 10, 7), (3, 4));
        assert_eq!(longest_first(10, 0, 6), (6, 0));
        assert_eq!(longest_first(5, 5, 0), (0, 0));
    }
}
