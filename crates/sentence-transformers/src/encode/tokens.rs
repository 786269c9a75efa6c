//! Tokenising a call's texts, and saying what was cut.

use rayon::prelude::*;

use crate::input::AsInput;
use crate::module::InputModule;
use crate::tokenizer::Tokens;
use crate::{Error, ErrorKind, Result, SentenceTransformer};

use super::EncodeOptions;

/// A prompt, looked up and measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreparedPrompt {
    pub(crate) text: String,
    /// Tokens of the prompt, when it is not empty.
    pub(crate) length: Option<usize>,
}

/// A text that is longer than the model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Index of the text in the call.
    pub index: usize,
    /// Tokens that were kept, special tokens included.
    pub kept: usize,
    /// Tokens that were lost.
    pub lost: usize,
}

/// What [`SentenceTransformer::tokenize`] made of each text.
///
/// ```no_run
/// # let model = sentence_transformers::SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// let report = model.tokenize(&["Hello", "Hello there"])?;
/// assert_eq!(report.texts()[0].ids(), &[101, 7592, 102]);
/// assert_eq!(report.truncated().count(), 0);
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenReport {
    texts: Vec<Tokens>,
}

impl TokenReport {
    /// The tokens of each text, in order.
    #[must_use]
    pub fn texts(&self) -> &[Tokens] {
        &self.texts
    }

    /// The texts that were cut.
    pub fn truncated(&self) -> impl Iterator<Item = Truncation> + '_ {
        self.texts.iter().enumerate().filter_map(|(index, tokens)| truncation(index, tokens))
    }
}

fn truncation(index: usize, tokens: &Tokens) -> Option<Truncation> {
    (tokens.lost() > 0).then(|| Truncation { index, kept: tokens.kept(), lost: tokens.lost() })
}

/// The error of a call that does not allow truncation.
pub(super) fn refuse_cut(first: &Truncation) -> Error {
    let Truncation { index, kept, lost } = first;
    let message = format!("text {index} has {} tokens, but the model reads {kept}", kept + lost);
    Error::new(ErrorKind::TooLong, message).with_hint("split the text, or allow truncation")
}

/// Token ids of one text; none of an image, where the model reads images.
pub(super) fn tokenize_one<T: AsInput>(reader: &dyn InputModule, text: &T, prompt: &str) -> Result<Tokens> {
    let input = text.as_input();
    if input.image().is_some() && reader.images().is_some() {
        return Ok(Tokens::without_special(Vec::new(), 0));
    }
    let (first, second) = input.prepare(prompt, reader.strips(), reader.lower_case())?;
    reader.tokenize(&first, second.as_deref())
}

impl SentenceTransformer {
    /// Token ids of texts as `encode` would see them (without a prompt), with what each text lost to truncation. An image has
    /// none.
    ///
    /// # Errors
    /// When the tokenizer fails on a text, or a router has no default route.
    pub fn tokenize<T: AsInput + Sync>(&self, texts: &[T]) -> Result<TokenReport> {
        let texts =
            self.tokenize_window(texts, &PreparedPrompt::default(), &EncodeOptions::new(), 0, &mut Vec::new())?;
        Ok(TokenReport { texts })
    }

    /// Token ids of texts as [`SentenceTransformer::encode_with`] would see them with the same options: prompt included,
    /// and by the route of the task.
    ///
    /// # Errors
    /// As there.
    pub fn tokenize_with<T: AsInput + Sync>(&self, texts: &[T], options: &EncodeOptions) -> Result<TokenReport> {
        let prompt = self.prepare_prompt(options)?;
        Ok(TokenReport { texts: self.tokenize_window(texts, &prompt, options, 0, &mut Vec::new())? })
    }

    /// Token ids of some texts of a call, the first of which has index `offset` there. Adds the texts that were cut to
    /// `truncated`, or fails at the first when truncation is not allowed.
    pub(crate) fn tokenize_window<T: AsInput + Sync>(
        &self,
        texts: &[T],
        prompt: &PreparedPrompt,
        options: &EncodeOptions,
        offset: usize,
        truncated: &mut Vec<Truncation>,
    ) -> Result<Vec<Tokens>> {
        /// Below this many bytes a second thread costs more than it gains.
        const SERIAL: usize = 4096;
        let reader = self.pipeline().reader(options.task.as_deref())?;
        let one = |text: &T| tokenize_one(reader, text, &prompt.text);
        let serial = self.call_threads(options) == 1
            || texts.len() == 1
            || texts.iter().map(|text| text.as_input().bytes()).sum::<usize>() < SERIAL;
        let tokens: Vec<Tokens> = if serial {
            texts.iter().map(one).collect::<Result<_>>()?
        } else {
            self.thread_pool()?.install(|| texts.par_iter().with_min_len(16).map(one).collect::<Result<_>>())?
        };
        let cut = tokens.iter().enumerate().filter_map(|(index, tokens)| truncation(offset + index, tokens));
        if options.strict
            && let Some(first) = cut.clone().next()
        {
            return Err(refuse_cut(&first));
        }
        truncated.extend(cut);
        Ok(tokens)
    }

    /// Threads that a call may use.
    pub(crate) fn call_threads(&self, options: &EncodeOptions) -> usize {
        options.threads.map_or(self.threads(), |threads| threads.min(self.threads()))
    }
}
