//! The prompt of a call: its text, and how many tokens of every text it makes up.

use crate::{Prompt, Result, SentenceTransformer};

use super::EncodeOptions;
use super::tokens::{PreparedPrompt, tokenize_one};

impl SentenceTransformer {
    /// The prompt of a call. A task without a route is an error here already, whatever the texts are.
    pub(crate) fn prepare_prompt(&self, options: &EncodeOptions) -> Result<PreparedPrompt> {
        self.pipeline().reader(options.task.as_deref())?;
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
        let length = self.prompt_length(text, options.task.as_deref())?;
        Ok(PreparedPrompt { text: text.to_owned(), length: Some(length) })
    }

    /// The prompt alone is tokenized like a text, and a special token at its end does not count: the beginning token
    /// does, the separator does not.
    fn prompt_length(&self, prompt: &str, task: Option<&str>) -> Result<usize> {
        let reader = self.pipeline().reader(task)?;
        let tokens = tokenize_one(reader, &prompt, "")?;
        let is_special = |id: u32| reader.tokenizer().is_some_and(|tokenizer| tokenizer.is_special(id));
        let last_is_special = tokens.ids().last().is_some_and(|&id| is_special(id));
        Ok(tokens.kept() - usize::from(last_is_special))
    }
}
