//! [`TokenEmbeddings`]: what an encoder returns.

use crate::EncoderError;

/// One vector per token, ragged like the [`crate::Batch`] it came from.
///
/// Shape: `offsets.len() - 1` sequences; sequence `i` has the rows `offsets[i]..offsets[i + 1]` of `hidden` components.
/// With [`crate::Rows::First`] each sequence that had a token has exactly one row: its first token's.
///
/// ```
/// use st_encoder::TokenEmbeddings;
///
/// let tokens = TokenEmbeddings::new(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, vec![0, 1, 3])?;
/// assert_eq!(tokens.len(), 2);
/// assert_eq!(tokens.sequence(1), &[3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), st_encoder::EncoderError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct TokenEmbeddings {
    data: Vec<f32>,
    hidden: usize,
    offsets: Vec<usize>,
    layers: Vec<Vec<f32>>,
}

impl TokenEmbeddings {
    /// Rows of `hidden` components, with the offsets (in rows) of the sequences.
    ///
    /// # Errors
    /// [`EncoderError::Batch`] when data, width and offsets do not fit together.
    pub fn new(data: Vec<f32>, hidden: usize, offsets: Vec<usize>) -> Result<Self, EncoderError> {
        let rising = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let rows = offsets.last().copied().unwrap_or(usize::MAX);
        if offsets.first() != Some(&0) || !rising || rows.checked_mul(hidden) != Some(data.len()) {
            return Err(EncoderError::Batch(format!(
                "{} numbers are not {} rows of {hidden} in the given order",
                data.len(),
                rows
            )));
        }
        Ok(Self { data, hidden, offsets, layers: Vec::new() })
    }

    /// Adds the hidden states of every layer, the embedding output first and the last layer's output last, each with
    /// as many numbers as [`TokenEmbeddings::data`].
    ///
    /// # Errors
    /// [`EncoderError::Batch`] when a layer has another size.
    pub fn with_layers(mut self, layers: Vec<Vec<f32>>) -> Result<Self, EncoderError> {
        if let Some(layer) = layers.iter().find(|layer| layer.len() != self.data.len()) {
            return Err(EncoderError::Batch(format!(
                "a layer of {} numbers beside {} token embeddings",
                layer.len(),
                self.data.len()
            )));
        }
        self.layers = layers;
        Ok(self)
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

    /// Components of each row.
    #[must_use]
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// All rows, row-major.
    #[must_use]
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All rows, row-major, to change in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// Row offsets of the sequences: `len() + 1` entries.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Rows of sequence `index`, row-major: `tokens * hidden` numbers. An index past the end gives an empty slice.
    #[must_use]
    pub fn sequence(&self, index: usize) -> &[f32] {
        match (self.offsets.get(index), self.offsets.get(index + 1)) {
            (Some(&start), Some(&end)) => &self.data[start * self.hidden..end * self.hidden],
            _ => &[],
        }
    }

    /// Hidden states of every layer as asked for by [`crate::Pass::layers`]; empty when not asked for.
    #[must_use]
    pub fn layers(&self) -> &[Vec<f32>] {
        &self.layers
    }

    /// Gives the rows and the offsets away.
    #[must_use]
    pub fn into_parts(self) -> (Vec<f32>, usize, Vec<usize>) {
        (self.data, self.hidden, self.offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert!(TokenEmbeddings::new(vec![0.0; 6], 2, vec![0, 3]).is_ok());
        assert!(TokenEmbeddings::new(vec![0.0; 6], 2, vec![0, 2]).is_err());
        assert!(TokenEmbeddings::new(vec![0.0; 6], 2, vec![0, 4, 3]).is_err());
        assert!(TokenEmbeddings::new(vec![], 2, vec![]).is_err());
        let tokens = TokenEmbeddings::new(vec![0.0; 6], 2, vec![0, 3]).unwrap();
        assert!(tokens.clone().with_layers(vec![vec![0.0; 6]]).is_ok());
        assert!(tokens.with_layers(vec![vec![0.0; 5]]).is_err());
    }
}
