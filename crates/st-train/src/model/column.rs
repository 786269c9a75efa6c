//! [`Column`]: one column of a batch, as the model reads it.

use std::ops::Range;
use std::sync::Arc;

use st_encoder::Batch;

use crate::error::{Result, TrainError};

/// The texts of one column of a batch (all anchors, all positives …), with their token ids; or the images, with their
/// patches; or some of both.
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
    /// The texts of `texts` that are this column's; none of a column of images.
    range: Range<usize>,
    prompt_length: Option<usize>,
    task: Option<String>,
    /// What a column of texts and images is made of.
    both: Option<Box<Both>>,
}

/// The texts and the images of a column, and which of its rows are images.
#[derive(Debug, Clone)]
struct Both {
    texts: Column,
    images: Column,
    is_image: Vec<bool>,
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
        Ok(Self { batch, range: 0..texts.len(), texts, prompt_length: None, task: None, both: None })
    }

    /// A column of images, whose patches the batch holds ([`Batch::push_patches`]).
    ///
    /// ```
    /// use st_encoder::Batch;
    /// use st_train::model::Column;
    ///
    /// let mut batch = Batch::new();
    /// batch.push_patches(&[0.5; 12], 3)?;
    /// let column = Column::of_images(batch)?;
    /// assert!(column.has_images() && column.len() == 1 && column.texts().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the batch holds texts.
    pub fn of_images(batch: Batch) -> Result<Self> {
        if !batch.is_empty() && batch.patch_width().is_none() {
            return Err(TrainError::invalid("a column of images was made of texts"));
        }
        Ok(Self { batch, range: 0..0, texts: Arc::new([]), prompt_length: None, task: None, both: None })
    }

    /// A column of texts and images. `is_image` says of every row of it what it is: it is the next text or the next image.
    /// The task is that of the texts.
    ///
    /// ```
    /// use st_encoder::Batch;
    /// use st_train::model::Column;
    ///
    /// let mut patches = Batch::new();
    /// patches.push_patches(&[0.5; 12], 3)?;
    /// let texts = Column::new(Batch::from_sequences([&[1u32, 2][..], &[3]]), ["a b", "c"].map(String::from))?;
    /// let column = Column::of_both(texts, Column::of_images(patches)?, vec![false, true, false])?;
    /// assert!(column.has_images() && column.len() == 3 && column.tokens() == 8);
    /// let (texts, images) = column.parts().unwrap();
    /// assert_eq!((texts.len(), images.len()), (2, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there are not as many texts and images as rows of their kind.
    pub fn of_both(texts: Self, images: Self, is_image: Vec<bool>) -> Result<Self> {
        let count = is_image.iter().filter(|&&is_image| is_image).count();
        let nested = texts.both.is_some() || images.both.is_some();
        if nested || texts.len() != is_image.len() - count || images.len() != count {
            let message = format!("{} texts and {} images for {} rows", texts.len(), images.len(), is_image.len());
            return Err(TrainError::invalid(message));
        }
        Ok(Self { both: Some(Box::new(Both { texts: texts.clone(), images, is_image })), ..texts.settings() })
    }

    /// The texts and the images of a column of both, each in their order, as columns of their own.
    #[must_use]
    pub fn parts(&self) -> Option<(&Self, &Self)> {
        self.both.as_ref().map(|both| (&both.texts, &both.images))
    }

    /// Per row of a column of both, where it stands in its texts followed by its images.
    pub(crate) fn places(&self) -> Option<Vec<u32>> {
        let both = self.both.as_ref()?;
        let mut next = [0, both.texts.len() as u32];
        Some(
            both.is_image
                .iter()
                .map(|&is_image| {
                    next[usize::from(is_image)] += 1;
                    next[usize::from(is_image)] - 1
                })
                .collect(),
        )
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

    /// Number of texts or images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.both.as_ref().map_or(self.batch.len(), |both| both.is_image.len())
    }

    /// Whether there is neither a text nor an image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens of its texts and of rows of its images: patches and class vectors.
    #[must_use]
    pub fn tokens(&self) -> usize {
        let both = self.parts().map_or(0, |(texts, images)| texts.tokens() + images.tokens());
        self.batch.tokens() + both
    }

    /// Whether there are images in it.
    #[must_use]
    pub fn has_images(&self) -> bool {
        self.batch.patch_width().is_some() || self.parts().is_some_and(|(_, images)| !images.is_empty())
    }

    /// The token ids or the patches, ragged; none of a column of both, whose [`Column::parts`] have them.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The texts, prompt included; none for images, and none of a column of both.
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

    /// Some of the texts or images, as a column of their own. Indices past the end are left out.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let end = range.end.min(self.len());
        let range = range.start.min(end)..end;
        if self.both.is_some() {
            return self.choose(&range.collect::<Vec<_>>());
        }
        let batch = self.sequences(range.clone());
        let range = match self.range.len() {
            0 => 0..0,
            _ => self.range.start + range.start..self.range.start + range.end,
        };
        Self { batch, texts: Arc::clone(&self.texts), range, ..self.settings() }
    }

    /// The texts or images of these rows, in this order, as a column of their own. Rows past the end are left out.
    ///
    /// ```
    /// use st_encoder::Batch;
    /// use st_train::model::Column;
    ///
    /// let column = Column::new(Batch::from_sequences([&[1u32][..], &[2]]), ["a", "b"].map(String::from))?;
    /// assert_eq!(column.choose(&[1, 0, 1]).texts(), ["b", "a", "b"]);
    /// # Ok::<(), st_train::TrainError>(())
    /// ```
    #[must_use]
    pub fn choose(&self, rows: &[usize]) -> Self {
        if let (Some(both), Some(places)) = (&self.both, self.places()) {
            let rows = || rows.iter().copied().filter(|&row| row < places.len());
            let of = |kind: bool, first: usize| -> Vec<usize> {
                rows().filter(|&row| both.is_image[row] == kind).map(|row| places[row] as usize - first).collect()
            };
            let texts = both.texts.choose(&of(false, 0));
            let images = both.images.choose(&of(true, both.texts.len()));
            let is_image = rows().map(|row| both.is_image[row]).collect();
            return Self { both: Some(Box::new(Both { texts, images, is_image })), ..self.settings() };
        }
        let batch = self.sequences(rows.iter().copied().filter(|&row| row < self.len()));
        let texts: Vec<String> = rows.iter().filter_map(|&row| self.texts().get(row).cloned()).collect();
        Self { batch, range: 0..texts.len(), texts: texts.into(), ..self.settings() }
    }

    /// A column of nothing with the same prompt and task.
    fn settings(&self) -> Self {
        let (prompt_length, task) = (self.prompt_length, self.task.clone());
        Self { batch: Batch::new(), texts: Arc::new([]), range: 0..0, prompt_length, task, both: None }
    }

    /// Some of the batch's sequences.
    fn sequences(&self, rows: impl Iterator<Item = usize>) -> Batch {
        let (from, mut batch) = (&self.batch, Batch::with_capacity(rows.size_hint().0, 0));
        for row in rows {
            let (ids, offsets) = (from.sequence(row), from.offsets());
            let patches = from.patches(row..row + 1).zip(from.patch_width());
            let types = from.type_ids().map(|types| &types[offsets[row]..offsets[row + 1]]);
            // Ids and types of one sequence are equally many; patches were whole and finite before.
            let refused = match (patches, types) {
                (Some((numbers, width)), _) => batch.push_patches(numbers, width).is_err(),
                (None, Some(types)) => batch.push_with_types(ids, types).is_err(),
                (None, None) => true,
            };
            if refused {
                batch.push(ids);
            }
        }
        batch
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
        assert_eq!(column.choose(&[2, 1]).batch().type_ids(), Some(&[0, 0, 1][..]));
        assert!(Column::new(Batch::new(), ["a".to_owned()]).is_err());
    }

    #[test]
    fn images_are_sliced_by_their_patches() {
        let mut batch = Batch::new();
        for image in 1..4u8 {
            batch.push_patches(&vec![f32::from(image); 4 * usize::from(image)], 4).unwrap();
        }
        let column = Column::of_images(batch).unwrap().with_task(Some("document".into()));
        let slice = column.slice(1..9);
        assert_eq!((slice.len(), slice.has_images(), slice.task()), (2, true, Some("document")));
        assert_eq!(slice.batch().patches(0..1), Some(&[2.0; 8][..]));
        let chosen = slice.choose(&[1, 0, 7]);
        assert_eq!((chosen.len(), chosen.batch().patches(0..1)), (2, Some(&[3.0; 12][..])));
        assert!(Column::of_images(Batch::from_sequences([&[1u32][..]])).is_err());
    }

    #[test]
    fn columns_of_both_are_sliced_by_their_rows() {
        let mut patches = Batch::new();
        for image in 1..4u8 {
            patches.push_patches(&[f32::from(image); 4], 4).unwrap();
        }
        let texts =
            || Column::new(Batch::from_sequences([&[1u32, 9][..], &[2]]), ["a", "b"].map(String::from)).unwrap();
        let images = Column::of_images(patches).unwrap();
        let kinds = [true, false, true, true, false];
        let column = Column::of_both(texts().with_task(Some("document".into())), images.clone(), kinds.to_vec());
        let column = column.unwrap();
        assert_eq!((column.len(), column.tokens(), column.task()), (5, 9, Some("document")));
        assert_eq!(column.places(), Some(vec![2, 0, 3, 4, 1]));
        let pictures = |column: &Column| -> Vec<f32> {
            let batch = column.parts().unwrap().1.batch().clone();
            batch.patches(0..batch.len()).unwrap_or_default().iter().step_by(4).copied().collect()
        };
        let slice = column.slice(2..9);
        assert_eq!(
            (slice.len(), slice.parts().unwrap().0.texts(), pictures(&slice)),
            (3, &["b".to_owned()][..], vec![2.0, 3.0])
        );
        assert_eq!((slice.places(), slice.task()), (Some(vec![1, 2, 0]), Some("document")));
        let chosen = column.choose(&[4, 3, 4, 0, 7]);
        assert_eq!(
            (chosen.parts().unwrap().0.texts(), pictures(&chosen)),
            (&["b", "b"].map(String::from)[..], vec![3.0, 1.0])
        );
        assert_eq!(chosen.places(), Some(vec![0, 2, 1, 3]));
        let only = column.slice(2..4);
        assert!(only.has_images() && !column.slice(1..2).has_images() && column.slice(5..5).is_empty());
        assert!(Column::of_both(texts(), images.clone(), vec![true; 5]).is_err());
        assert!(Column::of_both(column, images, kinds.to_vec()).is_err());
    }
}
