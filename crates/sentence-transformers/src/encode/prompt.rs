//! The prompt of a call: its text, and how many tokens of every text it makes up.

use crate::{Prompt, Result, SentenceTransformer};

use super::EncodeOptions;

/// A prompt, looked up and measured.
#[derive(Debug, Clone, Default)]
pub(crate) struct PreparedPrompt {
    pub(crate) text: String,
    /// Tokens of the prompt, when it is not empty.
    pub(crate) length: Option<usize>,
}

impl SentenceTransformer {
    pub(crate) fn prepare_prompt(&self, options: &EncodeOptions) -> Result<PreparedPrompt> {
        let text = match &options.prompt {
            Prompt::Text(text) => text.as_str(),
            Prompt::Named(name) => self.prompts().require(name, "Prompt")?,
            Prompt::Default => match self.default_prompt_name() {
                Some(name) => self.prompts().get(name).unwrap_or_default(),
                None => "",
            },
        };
        if text.is_empty() {
            return Ok(PreparedPrompt::default());
        }
        Ok(PreparedPrompt { text: text.to_owned(), length: Some(self.prompt_length(text)?) })
    }

    /// The prompt alone is tokenized like a text, and a special token at its end does not count: the beginning token
    /// does, the separator does not.
    fn prompt_length(&self, prompt: &str) -> Result<usize> {
        let tokens = self.tokenize_one(&prompt, "")?;
        let last_is_special = tokens.ids().last().is_some_and(|&id| self.pipeline().input().tokenizer().is_special(id));
        Ok(tokens.kept() - usize::from(last_is_special))
    }
}
