//! [`Batch`]: token ids of several texts, ragged.

use std::ops::Range;

use crate::{EncoderError, PatchSpec};

/// Token ids of several sequences, one after the other, without padding.
///
/// Sequences keep the order in which they were pushed. A sequence may be empty. Token type ids (BERT's segment ids) are
/// stored only once a sequence has any that is not zero.
///
/// Networks that read images take batches of patches ([`Batch::push_patches`]): every id is 0, and numbers stand beside them.
///
/// ```
/// use st_encoder::Batch;
///
/// let batch = Batch::from_sequences([&[1u32, 2, 3][..], &[4, 5]]);
/// assert_eq!(batch.offsets(), &[0, 3, 5]);
/// assert_eq!(batch.longest(), 3);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    ids: Vec<u32>,
    type_ids: Option<Vec<u32>>,
    offsets: Vec<usize>,
    patches: Option<Patches>,
}

/// The numbers of all patches of a batch.
#[derive(Debug, Clone, PartialEq)]
struct Patches {
    numbers: Vec<f32>,
    /// Numbers of one patch.
    width: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// A batch of no sequences.
    #[must_use]
    pub fn new() -> Self {
        Self { ids: Vec::new(), type_ids: None, offsets: vec![0], patches: None }
    }

    /// A batch with room for `sequences` sequences of `tokens` tokens in all.
    #[must_use]
    pub fn with_capacity(sequences: usize, tokens: usize) -> Self {
        let mut offsets = Vec::with_capacity(sequences + 1);
        offsets.push(0);
        Self { ids: Vec::with_capacity(tokens), type_ids: None, offsets, patches: None }
    }

    /// A batch of the given sequences, all of token type 0.
    pub fn from_sequences<'a>(sequences: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut batch = Self::new();
        for sequence in sequences {
            batch.push(sequence);
        }
        batch
    }

    /// Appends a sequence of token type 0.
    pub fn push(&mut self, ids: &[u32]) {
        self.ids.extend_from_slice(ids);
        if let Some(types) = &mut self.type_ids {
            types.resize(self.ids.len(), 0);
        }
        self.offsets.push(self.ids.len());
    }

    /// Appends a sequence with one token type id per token.
    ///
    /// # Errors
    /// [`EncoderError::Batch`] when the two slices differ in length.
    pub fn push_with_types(&mut self, ids: &[u32], type_ids: &[u32]) -> Result<(), EncoderError> {
        if ids.len() != type_ids.len() {
            return Err(EncoderError::Batch(format!("{} token ids with {} token type ids", ids.len(), type_ids.len())));
        }
        if self.type_ids.is_none() && type_ids.iter().any(|&id| id != 0) {
            self.type_ids = Some(vec![0; self.ids.len()]);
        }
        if let Some(types) = &mut self.type_ids {
            types.extend_from_slice(type_ids);
        }
        self.ids.extend_from_slice(ids);
        self.offsets.push(self.ids.len());
        Ok(())
    }

    /// Appends an image as its patches of `width` numbers each: a sequence of one row more than there are patches, because the
    /// network puts a class vector before them.
    ///
    /// ```
    /// let mut batch = st_encoder::Batch::new();
    /// batch.push_patches(&[0.5; 12], 3)?;
    /// assert_eq!((batch.tokens(), batch.patches(0..1).map(<[f32]>::len)), (5, Some(12)));
    /// # Ok::<(), st_encoder::EncoderError>(())
    /// ```
    ///
    /// # Errors
    /// [`EncoderError::Batch`] when the numbers are no whole patches, are not finite, or the batch holds texts or patches of
    /// another width.
    pub fn push_patches(&mut self, numbers: &[f32], width: usize) -> Result<(), EncoderError> {
        if numbers.len().checked_rem(width) != Some(0) {
            return Err(EncoderError::Batch(format!("{} numbers are no patches of {width}", numbers.len())));
        }
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(EncoderError::Batch("the patches hold a number that is not finite".into()));
        }
        let held = match &mut self.patches {
            Some(patches) if patches.width == width => patches,
            patches @ None if self.offsets.len() == 1 => patches.insert(Patches { numbers: Vec::new(), width }),
            _ => return Err(EncoderError::Batch("texts, or patches of two widths, do not fit into one batch".into())),
        };
        held.numbers.extend_from_slice(numbers);
        self.ids.resize(self.ids.len() + 1 + numbers.len() / width, 0);
        self.offsets.push(self.ids.len());
        Ok(())
    }

    /// Numbers of one patch; `None` for a batch of texts.
    #[must_use]
    pub fn patch_width(&self) -> Option<usize> {
        self.patches.as_ref().map(|patches| patches.width)
    }

    /// The numbers of the patches of some sequences, one patch after the other; `None` for a batch of texts and for
    /// sequences that are not there.
    #[must_use]
    pub fn patches(&self, sequences: Range<usize>) -> Option<&[f32]> {
        let patches = self.patches.as_ref()?;
        // Each sequence has one row more than patches.
        let place = |sequence: usize| Some((self.offsets.get(sequence)? - sequence) * patches.width);
        patches.numbers.get(place(sequences.start)?..place(sequences.end)?)
    }

    /// Makes every token one of type 0, for an encoder without token types.
    pub fn clear_types(&mut self) {
        self.type_ids = None;
    }

    /// Removes all sequences and keeps the memory.
    pub fn clear(&mut self) {
        self.ids.clear();
        self.type_ids = None;
        self.patches = None;
        self.offsets.truncate(1);
    }

    /// Number of sequences.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there is no sequence.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of tokens over all sequences.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Token ids of all sequences, one after the other.
    #[must_use]
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Token type ids beside [`Batch::ids`]; `None` when all are 0.
    #[must_use]
    pub fn type_ids(&self) -> Option<&[u32]> {
        self.type_ids.as_deref()
    }

    /// Where each sequence starts in [`Batch::ids`], and at last the number of tokens: `len() + 1` entries.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Token ids of sequence `index`. An index past the end gives an empty slice.
    #[must_use]
    pub fn sequence(&self, index: usize) -> &[u32] {
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(&start), Some(&end)) => &self.ids[start..end],
            _ => &[],
        }
    }

    /// Number of tokens of each sequence, in order.
    pub fn lengths(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.offsets.windows(2).map(|pair| pair[1] - pair[0])
    }

    /// Tokens of the longest sequence; 0 without sequences.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }

    /// Checks that the batch holds what a network reads: texts, or patches of its size.
    ///
    /// # Errors
    /// [`EncoderError::Batch`].
    pub fn validate_kind(&self, patches: Option<PatchSpec>) -> Result<(), EncoderError> {
        let expected = patches.map(PatchSpec::numbers);
        let patches = self.patches.as_ref();
        let whole = patches.is_none_or(|held| held.numbers.len() == (self.tokens() - self.len()) * held.width);
        if self.is_empty() || self.patch_width() == expected && whole {
            return Ok(());
        }
        let kind = |width: Option<usize>| width.map_or("texts".into(), |width| format!("patches of {width} numbers"));
        let held = if whole { kind(self.patch_width()) } else { "texts among patches".into() };
        let read = kind(expected);
        Err(EncoderError::Batch(format!("the batch holds {held}, but the network reads {read}")))
    }

    /// Checks every id against the vocabulary and every length against the positions that an encoder has.
    ///
    /// # Errors
    /// [`EncoderError::TokenOutOfRange`] or [`EncoderError::SequenceTooLong`], with the sequence's index.
    pub fn validate(
        &self,
        vocabulary: usize,
        token_types: usize,
        max_sequence: Option<usize>,
    ) -> Result<(), EncoderError> {
        if self.ids.iter().any(|&id| id as usize >= vocabulary)
            && let Some((sequence, id)) = (0..self.len())
                .find_map(|s| Some((s, *self.sequence(s).iter().find(|&&id| id as usize >= vocabulary)?)))
        {
            return Err(EncoderError::TokenOutOfRange { sequence, id, vocabulary });
        }
        if let Some(types) = &self.type_ids
            && let Some(id) = types.iter().find(|&&id| id as usize >= token_types.max(1))
        {
            return Err(EncoderError::Batch(format!(
                "token type id {id}, but the model has {token_types} token types"
            )));
        }
        if let Some(limit) = max_sequence
            && let Some((sequence, length)) = self.lengths().enumerate().find(|&(_, length)| length > limit)
        {
            return Err(EncoderError::SequenceTooLong { sequence, length, limit });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_ids_appear_with_the_first_that_is_not_zero() {
        let mut batch = Batch::new();
        batch.push(&[1, 2]);
        batch.push_with_types(&[3], &[0]).unwrap();
        assert_eq!(batch.type_ids(), None);
        batch.push_with_types(&[4, 5], &[0, 1]).unwrap();
        batch.push(&[6]);
        assert_eq!(batch.type_ids(), Some(&[0, 0, 0, 0, 1, 0][..]));
        assert!(batch.push_with_types(&[1], &[]).is_err());
        assert_eq!(batch.len(), 4);
    }

    #[test]
    fn validation_names_the_sequence() {
        let batch = Batch::from_sequences([&[1u32, 2][..], &[3, 9, 1]]);
        assert!(batch.validate(10, 1, Some(3)).is_ok());
        assert!(matches!(batch.validate(9, 1, None), Err(EncoderError::TokenOutOfRange { sequence: 1, id: 9, .. })));
        assert!(matches!(batch.validate(10, 1, Some(2)), Err(EncoderError::SequenceTooLong { sequence: 1, .. })));
    }

    #[test]
    fn patches_are_kept_apart_from_texts() {
        let mut batch = Batch::new();
        batch.push_patches(&[1.0; 4], 2).unwrap();
        batch.push_patches(&[2.0; 6], 2).unwrap();
        assert_eq!((batch.offsets(), batch.ids()), (&[0, 3, 7][..], &[0; 7][..]));
        assert_eq!((batch.patches(1..2), batch.patches(0..1)), (Some(&[2.0; 6][..]), Some(&[1.0; 4][..])));
        assert_eq!(batch.patches(0..3), None);
        for (numbers, width) in [(&[0.0; 3][..], 2), (&[0.0; 3], 3), (&[f32::NAN; 2], 2), (&[], 0)] {
            assert!(matches!(batch.push_patches(numbers, width), Err(EncoderError::Batch(_))), "{numbers:?}, {width}");
        }
        assert!(batch.validate_kind(Some(PatchSpec { channels: 2, size: 1 })).is_ok());
        let error = batch.validate_kind(None).unwrap_err();
        assert!(error.to_string().contains("the batch holds patches of 2 numbers, but the network reads texts"));
        let mut texts = Batch::from_sequences([&[1u32][..]]);
        assert!(texts.push_patches(&[0.0; 2], 2).is_err() && texts.validate_kind(None).is_ok());
        batch.clear();
        assert_eq!((batch.patch_width(), batch.patches(0..0)), (None, None));
    }

    #[test]
    fn empty_sequences_are_sequences() {
        let batch = Batch::from_sequences([&[][..], &[1u32], &[]]);
        assert_eq!(batch.lengths().collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!((batch.len(), batch.sequence(7)), (3, &[][..]));
    }
}
