//! [`Prompts`] and [`Prompt`]: texts that are put in front of every text.

use crate::{Error, ErrorKind, Result};

/// A model's prompts by name, in order. A fresh model has `query` and `document`, both empty.
///
/// ```
/// use sentence_transformers::Prompts;
///
/// let mut prompts = Prompts::default();
/// assert_eq!(prompts.names().collect::<Vec<_>>(), ["query", "document"]);
/// prompts.set("query", "query: ");
/// assert_eq!(prompts.get("query"), Some("query: "));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prompts(Vec<(String, String)>);

impl Default for Prompts {
    fn default() -> Self {
        Self(["query", "document"].map(|name| (name.to_owned(), String::new())).to_vec())
    }
}

impl Prompts {
    /// No prompts at all, not even empty ones.
    #[must_use]
    pub fn none() -> Self {
        Self(Vec::new())
    }

    /// The text of a prompt.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }

    /// Sets the text of a prompt; a new name goes to the end.
    pub fn set(&mut self, name: impl Into<String>, text: impl Into<String>) {
        let name = name.into();
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(entry) => entry.1 = text.into(),
            None => self.0.push((name, text.into())),
        }
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Names and texts in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// The text of a prompt that must exist.
    pub(crate) fn require(&self, name: &str, what: &str) -> Result<&str> {
        self.get(name).ok_or_else(|| {
            let names: Vec<String> = self.names().map(python_repr).collect();
            Error::new(
                ErrorKind::Argument,
                format!(
                    "{what} name {} not found in the configured prompts dictionary with keys [{}].",
                    quoted(name),
                    names.join(", ")
                ),
            )
            .with_hint("choose one of these names, or give the prompt's text instead")
        })
    }
}

impl<N: Into<String>, T: Into<String>> FromIterator<(N, T)> for Prompts {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(entries: I) -> Self {
        let mut prompts = Self::none();
        for (name, text) in entries {
            prompts.set(name, text);
        }
        prompts
    }
}

/// The message's own quotes: always single ones, as an f-string with `'{name}'` prints.
fn quoted(name: &str) -> String {
    format!("'{name}'")
}

/// A text as Python's `repr` prints it: single quotes, or double ones when the text holds single ones only.
pub(crate) fn python_repr(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// Which prompt is put in front of the texts of a call.
///
/// ```
/// use sentence_transformers::{EncodeOptions, Prompt};
///
/// let by_name = EncodeOptions::new().prompt(Prompt::named("query"));
/// let by_text = EncodeOptions::new().prompt(Prompt::text("search_query: "));
/// assert_ne!(by_name, by_text);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Prompt {
    /// The model's default prompt, when it has one.
    #[default]
    Default,
    /// The prompt of that name.
    Named(String),
    /// This text. An empty one means no prompt.
    Text(String),
}

impl Prompt {
    /// The prompt of a name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::Named(name.into())
    }

    /// A prompt given by its text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_reported_as_the_original_does() {
        let error = Prompts::default().require("x", "Prompt").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Prompt name 'x' not found in the configured prompts dictionary with keys ['query', 'document']."
        );
    }

    #[test]
    fn texts_are_quoted_as_python_does() {
        assert_eq!(python_repr("a'b"), "\"a'b\"");
        assert_eq!(python_repr("a'\"\n\u{1}é"), "'a\\'\"\\n\\x01é'");
    }
}
