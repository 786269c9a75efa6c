//! Groups of vectors that are close to a common centre.

use rayon::prelude::*;

use crate::search::{check_at_least_one, chunks, for_each_row};
use crate::similarity::Scorer;
use crate::top_k::{Candidate, Score};
use crate::{Embeddings, Result, SimilarityFunction};

/// Rows that are compared with all others at a time.
const STRIP_ROWS: usize = 64;

/// Options of [`community_detection`].
///
/// ```
/// use st_vectors::CommunityOptions;
/// assert_eq!(CommunityOptions::new().min_community_size(2), CommunityOptions { threshold: 0.75, min_community_size: 2 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CommunityOptions {
    /// The cosine from which on two vectors are close.
    pub threshold: f32,
    /// Rows that make a community; more than there are count as all rows.
    pub min_community_size: usize,
}

impl Default for CommunityOptions {
    fn default() -> Self {
        Self { threshold: 0.75, min_community_size: 10 }
    }
}

impl CommunityOptions {
    /// Ten rows with a cosine of at least 0.75.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`CommunityOptions::threshold`].
    #[must_use]
    pub fn threshold(mut self, cosine: f32) -> Self {
        self.threshold = cosine;
        self
    }

    /// Sets [`CommunityOptions::min_community_size`].
    #[must_use]
    pub fn min_community_size(mut self, rows: usize) -> Self {
        self.min_community_size = rows;
        self
    }
}

/// Communities of rows, largest first; each begins with its centre and goes on by decreasing similarity to it.
///
/// Every row with at least `min_community_size` rows (itself counted) at a cosine of `threshold` or more is a
/// candidate with these rows. Candidates are taken by decreasing size, those of equal size by row; rows that an earlier
/// one took are removed, and what is left counts if it is still large enough. On all cores, without a matrix of all
/// scores.
///
/// # Errors
/// [`VectorError::ZeroOption`](crate::VectorError::ZeroOption) for a size of 0.
///
/// ```
/// use st_vectors::{CommunityOptions, Embeddings, community_detection};
/// let embeddings = Embeddings::from_rows([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, -0.1]])?;
/// let found = community_detection(&embeddings, &CommunityOptions::new().min_community_size(2))?;
/// assert_eq!(found, [[0, 2, 3]]);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub fn community_detection(embeddings: &Embeddings, options: &CommunityOptions) -> Result<Vec<Vec<usize>>> {
    check_at_least_one("min_community_size", options.min_community_size)?;
    let rows = embeddings.rows();
    let smallest = options.min_community_size.min(rows);
    let scorer = Scorer::new(SimilarityFunction::Cosine, embeddings, embeddings)?;
    let strips: Vec<_> = chunks(rows, STRIP_ROWS).collect();
    let mut candidates: Vec<Vec<usize>> = strips
        .into_par_iter()
        .flat_map_iter(|strip| {
            let mut close: Vec<Vec<Candidate<Score>>> = vec![Vec::new(); strip.len()];
            for_each_row(&scorer, strip.clone(), embeddings, 0..rows, |row, first, scores| {
                let near = scores.iter().enumerate().filter(|&(_, &score)| score >= options.threshold);
                close[row - strip.start]
                    .extend(near.map(|(offset, &score)| Candidate { score: Score::new(score), id: first + offset }));
            });
            close.into_iter().filter(move |close| close.len() >= smallest).map(|mut close| {
                close.sort_unstable();
                close.into_iter().map(|candidate| candidate.id).collect::<Vec<_>>()
            })
        })
        .collect();
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.len()));
    let mut taken = vec![false; rows];
    let mut communities = Vec::new();
    for mut community in candidates {
        community.retain(|&row| !taken[row]);
        if community.len() >= smallest {
            community.iter().for_each(|&row| taken[row] = true);
            communities.push(community);
        }
    }
    communities.sort_by_key(|community| std::cmp::Reverse(community.len()));
    Ok(communities)
}
