//! [`ContrastiveTensionDataLoader`].

use crate::random::Generator;
use crate::readers::InputExample;
use crate::{Result, TrainError};

use super::loaders::{ExampleLoader, shuffle};

/// Pairs for contrastive tension: a sentence with itself (label 1), then pairs of different sentences (label 0).
///
/// ```
/// use st_train::fit::{ContrastiveTensionDataLoader, ExampleLoader};
///
/// let sentences = (0..9).map(|number| format!("sentence {number}"));
/// let mut loader = ContrastiveTensionDataLoader::new(sentences, 4, 4, 42)?;
/// let batch = loader.next_batch()?.unwrap();
/// assert_eq!(batch[0].texts[0], batch[0].texts[1]);
/// assert!(batch[1..].iter().all(|example| example.texts[0] != example.texts[1]));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug)]
pub struct ContrastiveTensionDataLoader {
    sentences: Vec<String>,
    batch_size: usize,
    pos_neg_ratio: usize,
    generator: Generator,
    place: Option<usize>,
}

impl ContrastiveTensionDataLoader {
    /// Pairs of these sentences; one of `pos_neg_ratio` pairs is a sentence with itself (8 in the original).
    ///
    /// # Errors
    /// When the batch size is no multiple of the ratio.
    pub fn new<S: Into<String>>(
        sentences: impl IntoIterator<Item = S>,
        batch_size: usize,
        pos_neg_ratio: usize,
        seed: u64,
    ) -> Result<Self> {
        if pos_neg_ratio == 0 || batch_size == 0 || !batch_size.is_multiple_of(pos_neg_ratio) {
            return Err(TrainError::invalid(format!(
                "ContrastiveTensionDataLoader was loaded with a pos_neg_ratio of {pos_neg_ratio} and a batch size of \
                 {batch_size}. The batch size must be divisible by the pos_neg_ratio"
            )));
        }
        let sentences = sentences.into_iter().map(Into::into).collect();
        Ok(Self { sentences, batch_size, pos_neg_ratio, generator: Generator::new(seed), place: None })
    }
}

impl ExampleLoader for ContrastiveTensionDataLoader {
    fn len(&self) -> usize {
        self.sentences.len() / (2 * self.batch_size)
    }

    fn batch_size(&self) -> usize {
        self.batch_size
    }

    fn next_batch(&mut self) -> Result<Option<Vec<InputExample>>> {
        let mut place = self.place.unwrap_or_else(|| {
            shuffle(&mut self.sentences, &mut self.generator);
            0
        });
        let mut batch = Vec::with_capacity(self.batch_size);
        while place + 1 < self.sentences.len() && batch.len() < self.batch_size {
            let first = self.sentences[place].clone();
            let same = batch.len().is_multiple_of(self.pos_neg_ratio);
            place += usize::from(!same);
            let pair = [first, self.sentences[place].clone()];
            place += 1;
            batch.push(InputExample::new(pair).label(i64::from(same)));
        }
        // A batch that is not full is left out.
        let full = batch.len() == self.batch_size;
        self.place = full.then_some(place);
        Ok(full.then_some(batch))
    }
}
