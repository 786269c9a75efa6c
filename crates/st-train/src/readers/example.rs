//! [`InputExample`].

use std::fmt;

use crate::data::Cell;

/// One training example: texts and a label.
///
/// ```
/// use st_train::readers::InputExample;
///
/// let example = InputExample::new(["a cat", "a dog"]).label(0.8);
/// assert_eq!(example.to_string(), "<InputExample> label: 0.8, texts: a cat; a dog");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct InputExample {
    /// An id; may be empty.
    pub guid: String,
    /// The texts.
    pub texts: Vec<String>,
    /// The label; 0 unless set.
    pub label: Cell,
}

impl InputExample {
    /// An example of these texts, with label 0.
    #[must_use]
    pub fn new<S: Into<String>>(texts: impl IntoIterator<Item = S>) -> Self {
        Self { guid: String::new(), texts: texts.into_iter().map(Into::into).collect(), label: Cell::Integer(0) }
    }

    /// Sets the label: a number, or a list of numbers.
    #[must_use]
    pub fn label(mut self, label: impl Into<Cell>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the id.
    #[must_use]
    pub fn guid(mut self, guid: impl Into<String>) -> Self {
        self.guid = guid.into();
        self
    }
}

impl fmt::Display for InputExample {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<InputExample> label: {}, texts: {}", self.label, self.texts.join("; "))
    }
}
