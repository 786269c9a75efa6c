//! [`AsInput`]: what can be encoded.

use std::borrow::Cow;

use crate::{Error, ErrorKind, Image, Result};

/// One thing to encode: a text, two texts that the encoder reads as a pair, or an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input<'a> {
    /// A text.
    Text(&'a str),
    /// Two texts, separated by the tokenizer's separator.
    Pair(&'a str, &'a str),
    /// An image, for models that see.
    Image(&'a Image),
}

/// Types that can be encoded: strings, tuples of two strings for pairs, and images.
///
/// ```
/// use sentence_transformers::{AsInput, Input};
///
/// assert_eq!(("a", String::from("b")).as_input(), Input::Pair("a", "b"));
/// ```
pub trait AsInput {
    /// What this value holds.
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

impl AsInput for Image {
    fn as_input(&self) -> Input<'_> {
        Input::Image(self)
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
    ///
    /// # Errors
    /// An image has no text.
    pub(crate) fn prepare(&self, prompt: &str, strip: bool, lower: bool) -> Result<PreparedText<'a>> {
        let (first, second) = match *self {
            Input::Text(text) => (text, None),
            Input::Pair(first, second) => (first, Some(second)),
            Input::Image(_) => {
                return Err(Error::new(ErrorKind::Unsupported, "this model reads texts, not images")
                    .with_hint("load a CLIP model, such as sentence-transformers/clip-ViT-B-32"));
            }
        };
        let prompted = if prompt.is_empty() { Cow::Borrowed(first) } else { Cow::Owned(format!("{prompt}{first}")) };
        Ok((tidy(prompted, strip, lower), second.map(|second| tidy(Cow::Borrowed(second), strip, lower))))
    }

    /// The image that it is, if it is one.
    pub(crate) fn image(&self) -> Option<&'a Image> {
        match *self {
            Input::Image(image) => Some(image),
            Input::Text(_) | Input::Pair(..) => None,
        }
    }

    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Input::Text(text) => text.len(),
            Input::Pair(first, second) => first.len() + second.len(),
            Input::Image(image) => image.bytes(),
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
        let (text, pair) = Input::Text(" \u{1f}\u{3000}ÀB ").prepare("", true, true).unwrap();
        assert_eq!((text.as_ref(), pair), ("àb", None));
        let (first, second) = Input::Pair("A ", " B").prepare("q: ", true, false).unwrap();
        assert_eq!((first.as_ref(), second.as_deref()), ("q: A", Some("B")));
        assert_eq!(Input::Text(" a ").prepare("", false, false).unwrap().0, " a ");
    }
}
