//! [`Column`]: one text column of a batch, tokenised.

use std::ops::Range;
use std::sync::Arc;

use st_encoder::Batch;

use crate::error::{Result, TrainError};

/// The texts of one column of a batch (all anchors, all positives …), with their token ids.
///
/// ```
/// use st_encoder::Batch;
/// use st_train::model::Column;
///
/// let batch = Batch::from_sequences([&[1u32, 2][..], &[3], &[4, 5, 6]]);
/// let column = Column::new(batch, ["a b", "c", "d e f"].map(String::from))?;
/// let last = column.slice(1..3);
/// assert_eq!((column.len(), last.len(), last.texts()[0].as_str()), (3, 2, "c"));
/// assert_eq!(last.batch().offsets(), &[0, 1, 4]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Column {
    batch: Batch,
    texts: Arc<[String]>,
    /// The texts of `texts` that are this column's.
    range: Range<usize>,
    prompt_length: Option<usize>,
    task: Option<String>,
}

impl Column {
    /// A column of token ids and the texts that they were made of, prompt included.
    ///
    /// # Errors
    /// When there are not as many texts as sequences.
    pub fn new(batch: Batch, texts: impl Into<Arc<[String]>>) -> Result<Self> {
        let texts = texts.into();
        if texts.len() != batch.len() {
            let message = format!("a column of {} token sequences and {} texts", batch.len(), texts.len());
            return Err(TrainError::invalid(message));
        }
        Ok(Self { batch, range: 0..texts.len(), texts, prompt_length: None, task: None })
    }

    /// Sets how many tokens at the start of every text belong to the prompt.
    #[must_use]
    pub fn with_prompt_length(mut self, length: Option<usize>) -> Self {
        self.prompt_length = length;
        self
    }

    /// Sets the task, which chooses the route of a router.
    #[must_use]
    pub fn with_task(mut self, task: Option<String>) -> Self {
        self.task = task;
        self
    }

    /// Number of texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether there is no text.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The token ids, ragged.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The texts, prompt included.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts[self.range.clone()]
    }

    /// Tokens at the start of every text that belong to the prompt; `None` without one.
    #[must_use]
    pub fn prompt_length(&self) -> Option<usize> {
        self.prompt_length
    }

    /// The task, which chooses the route of a router.
    #[must_use]
    pub fn task(&self) -> Option<&str> {
        self.task.as_deref()
    }

    /// Some of the texts, as a column of their own. Indices past the end are left out.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let range = range.start.min(end)..end;
        let mut batch = Batch::with_capacity(range.len(), 0);
        for index in range.clone() {
            let ids = self.batch.sequence(index);
            let types = self.batch.type_ids().map(|types| {
                let offsets = self.batch.offsets();
                &types[offsets[index]..offsets[index + 1]]
            });
            // Ids and types of one sequence are equally many.
            if types.is_none_or(|types| batch.push_with_types(ids, types).is_err()) {
                batch.push(ids);
            }
        }
        Self {
            batch,
            texts: Arc::clone(&self.texts),
            range: self.range.start + range.start..self.range.start + range.end,
            prompt_length: self.prompt_length,
            task: self.task.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_keep_types_texts_and_settings() {
        let mut batch = Batch::from_sequences([&[1u32, 2][..]]);
        batch.push_with_types(&[3, 4, 5], &[0, 0, 1]).unwrap();
        batch.push(&[]);
        let column = Column::new(batch, ["a", "b", "c"].map(String::from)).unwrap();
        let column = column.with_prompt_length(Some(2)).with_task(Some("query".into()));
        let slice = column.slice(1..9);
        assert_eq!((slice.texts(), slice.batch().type_ids()), (&column.texts()[1..], Some(&[0, 0, 1][..])));
        assert_eq!((slice.prompt_length(), slice.task()), (Some(2), Some("query")));
        assert_eq!(slice.slice(1..2).texts(), ["c"]);
        assert!(column.slice(5..7).is_empty());
        assert!(Column::new(Batch::new(), ["a".to_owned()]).is_err());
    }
}
