//! [`AsInput`]: what can be encoded.

use std::borrow::Cow;

/// One thing to encode: a text, or two texts that the encoder reads as a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text.
    Text(&'a str),
    /// Two texts, separated by the tokenizer's separator.
    Pair(&'a str, &'a str),
}

/// Types that can be encoded: strings, and tuples of two strings for pairs.
///
/// ```
/// use sentence_transformers::{AsInput, Input};
///
/// assert_eq!(("a", String::from("b")).as_input(), Input::Pair("a", "b"));
/// ```
pub trait AsInput {
    /// The texts of this value.
    fn as_input(&self) -> Input<'_>;
}

impl AsInput for str {
    fn as_input(&self) -> Input<'_> {
        Input::Text(self)
    }
}

impl AsInput for String {
    fn as_input(&self) -> Input<'_> {
        Input::Text(self)
    }
}

impl AsInput for Cow<'_, str> {
    fn as_input(&self) -> Input<'_> {
        Input::Text(self)
    }
}

impl<T: AsInput + ?Sized> AsInput for &T {
    fn as_input(&self) -> Input<'_> {
        (**self).as_input()
    }
}

impl<A: AsRef<str>, B: AsRef<str>> AsInput for (A, B) {
    fn as_input(&self) -> Input<'_> {
        Input::Pair(self.0.as_ref(), self.1.as_ref())
    }
}

impl AsInput for Input<'_> {
    fn as_input(&self) -> Input<'_> {
        *self
    }
}

/// A text, and its pair, as the tokenizer shall see them.
pub type PreparedText<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

impl<'a> Input<'a> {
    /// The (first) text with a prompt in front, and the second text, both as the tokenizer shall see them:
    /// stripped when asked, then lower-cased when asked.
    pub(crate) fn prepare(&self, prompt: &str, strip: bool, lower: bool) -> PreparedText<'a> {
        let (first, second) = match *self {
            Input::Text(text) => (text, None),
            Input::Pair(first, second) => (first, Some(second)),
        };
        let prompted = if prompt.is_empty() { Cow::Borrowed(first) } else { Cow::Owned(format!("{prompt}{first}")) };
        (tidy(prompted, strip, lower), second.map(|second| tidy(Cow::Borrowed(second), strip, lower)))
    }

    /// Bytes of its texts.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Input::Text(text) => text.len(),
            Input::Pair(first, second) => first.len() + second.len(),
        }
    }
}

fn tidy(text: Cow<'_, str>, strip: bool, lower: bool) -> Cow<'_, str> {
    let text = match text {
        text if !strip => text,
        Cow::Borrowed(text) => Cow::Borrowed(python_strip(text)),
        Cow::Owned(text) => Cow::Owned(python_strip(&text).to_owned()),
    };
    if lower { Cow::Owned(text.to_lowercase()) } else { text }
}

/// Python's `str.strip()`: Unicode white space and the four information separators.
fn python_strip(text: &str) -> &str {
    text.trim_matches(is_python_space)
}

/// Python's `str.isspace()` of one character.
pub(crate) fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_stripped_then_lowered() {
        let (text, pair) = Input::Text(" \u{1f}\u{3000}ÀB ").prepare("", true, true);
        assert_eq!((text.as_ref(), pair), ("àb", None));
        let (first, second) = Input::Pair("A ", " B").prepare("q: ", true, false);
        assert_eq!((first.as_ref(), second.as_deref()), ("q: A", Some("B")));
        assert_eq!(Input::Text(" a ").prepare("", false, false).0, " a ");
    }
}
