//! Mining texts with a model: pairs that mean the same, and negatives that nearly do.

mod hard_negatives;
mod stored;
mod table;

pub use hard_negatives::{HardNegativeMiner, MinedNegatives, Rescorer};
pub use table::{LabeledList, LabeledPair, MiningStatistics, NegativeTuple, Spread, Triplet};

use st_vectors::{MiningOptions, ParaphrasePair, paraphrase_mining_embeddings};

use crate::input::AsInput;
use crate::{EncodeOptions, Result, SentenceTransformer};

impl SentenceTransformer {
    /// The most similar pairs of texts, each once, by decreasing score: the original's `paraphrase_mining`, which is
    /// [`SentenceTransformer::encode_with`] followed by [`paraphrase_mining_embeddings`].
    ///
    /// # Errors
    /// As those two.
    ///
    /// ```no_run
    /// use sentence_transformers::{EncodeOptions, MiningOptions, SentenceTransformer};
    /// let model = SentenceTransformer::load("sentence-transformers/all-MiniLM-L6-v2")?;
    /// let texts = ["The cat sits outside", "A man plays the guitar", "A cat is sitting outside"];
    /// let pairs = model.paraphrase_mining(&texts, &EncodeOptions::new(), &MiningOptions::new())?;
    /// assert_eq!((pairs[0].first, pairs[0].second), (0, 2));
    /// # Ok::<(), sentence_transformers::Error>(())
    /// ```
    pub fn paraphrase_mining<T: AsInput + Sync>(
        &self,
        texts: &[T],
        encode: &EncodeOptions,
        mining: &MiningOptions,
    ) -> Result<Vec<ParaphrasePair>> {
        Ok(paraphrase_mining_embeddings(&self.encode_with(texts, encode)?, mining)?)
    }
}
