use serde::{Deserialize, Serialize};

/// An example of the Hub's page: a sentence and others to compare it with.
///
/// # Examples
///
/// ```
/// use st_card::{ModelCardData, ModelFacts, WidgetExample};
///
/// let mut data = ModelCardData::new();
/// data.widget.push(WidgetExample { source_sentence: "a".to_owned(), sentences: vec!["b: c".to_owned()] });
/// let card = data.render(&ModelFacts::default())?;
/// assert!(card.contains("widget:\n- source_sentence: a\n  sentences:\n  - 'b: c'\n"));
/// # Ok::<(), st_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WidgetExample {
    /// What the others are compared with.
    pub source_sentence: String,
    /// The others.
    pub sentences: Vec<String>,
}

/// The texts of the usage example, for which the library gives the similarities.
///
/// # Examples
///
/// ```
/// use st_card::{ModelCardData, ModelFacts, UsageExample};
///
/// let example = ModelCardData::new().usage_example(&ModelFacts::default());
/// assert!(matches!(example, UsageExample::Sentences(sentences) if sentences.len() == 3));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsageExample {
    /// Sentences compared with each other.
    Sentences(Vec<String>),
    /// A query compared with documents.
    Retrieval {
        /// Encoded as a query.
        query: String,
        /// Encoded as documents.
        documents: Vec<String>,
    },
}

impl UsageExample {
    /// Rows and columns of its similarity matrix.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        match self {
            UsageExample::Sentences(sentences) => (sentences.len(), sentences.len()),
            UsageExample::Retrieval { documents, .. } => (1, documents.len()),
        }
    }
}
