//! Approximate search: a graph over stored vectors, made and walked by the `usearch` library (feature `approximate`).

use std::path::Path;

use rayon::prelude::*;
use usearch::{Index, IndexOptions, MetricKind, ScalarKind, b1x8};

use crate::quantized_search::{exact_scores, finish, prepare};
use crate::{Hit, Precision, QuantizedEmbeddings, QuantizedSearchOptions, Result, SearchQueries, VectorError};

/// How the graph of an [`ApproximateIndex`] is made and walked; 0 means the library's own choice.
///
/// ```
/// let options = st_vectors::ApproximateOptions::new().connectivity(32);
/// assert_eq!(options.connectivity, 32);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ApproximateOptions {
    /// Neighbours that each vector keeps.
    pub connectivity: usize,
    /// Candidates that are looked at when a vector is added.
    pub expansion_add: usize,
    /// Candidates that are looked at in a search: more find more of the true neighbours, and take longer.
    pub expansion_search: usize,
}

impl ApproximateOptions {
    /// The library's own choice of everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`ApproximateOptions::connectivity`].
    #[must_use]
    pub fn connectivity(mut self, neighbours: usize) -> Self {
        self.connectivity = neighbours;
        self
    }

    /// Sets [`ApproximateOptions::expansion_add`].
    #[must_use]
    pub fn expansion_add(mut self, candidates: usize) -> Self {
        self.expansion_add = candidates;
        self
    }

    /// Sets [`ApproximateOptions::expansion_search`].
    #[must_use]
    pub fn expansion_search(mut self, candidates: usize) -> Self {
        self.expansion_search = candidates;
        self
    }
}

/// A graph over the rows of [`QuantizedEmbeddings`] (hierarchical navigable small worlds, Malkov and Yashunin 2016),
/// which finds most of the nearest rows without looking at all of them.
///
/// Scores are those of [`semantic_search_quantized`](crate::semantic_search_quantized), exact for the rows that the
/// graph proposes. Which rows it proposes depends, a little, on the number of threads that made it.
///
/// ```
/// use st_vectors::{ApproximateIndex, ApproximateOptions, Embeddings, Precision};
/// use st_vectors::{QuantizedSearchOptions, quantize_embeddings};
/// let corpus = Embeddings::from_rows([[1.0, -1.0, 0.5], [-1.0, 1.0, 0.5], [0.9, 0.8, -0.1]])?;
/// let stored = quantize_embeddings(&corpus, Precision::Int8, None, None)?;
/// let index = ApproximateIndex::build(&stored, &ApproximateOptions::new())?;
/// let query = Embeddings::from(vec![-0.9, 0.9, 0.4]);
/// let hits = index.search(&query, &stored, &QuantizedSearchOptions::new().top_k(1))?;
/// assert_eq!(hits[0][0].corpus_id, 1);
/// # Ok::<(), st_vectors::VectorError>(())
/// ```
pub struct ApproximateIndex {
    index: Index,
    precision: Precision,
    rows: usize,
    dimension: usize,
}

impl std::fmt::Debug for ApproximateIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApproximateIndex")
            .field("precision", &self.precision)
            .field("rows", &self.rows)
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

impl ApproximateIndex {
    /// Makes the graph, on all cores of the current rayon pool.
    ///
    /// # Errors
    /// [`VectorError::Index`] when the library fails (no memory); [`VectorError::NoVectors`] for vectors without
    /// dimensions.
    pub fn build(corpus: &QuantizedEmbeddings, options: &ApproximateOptions) -> Result<Self> {
        let made = Self::empty(corpus, options)?;
        let threads = rayon::current_num_threads();
        made.index.reserve_capacity_and_threads(corpus.rows(), threads).map_err(failed)?;
        let add = |row: usize| match Row::of(corpus, row) {
            Row::Float(values) => made.index.add(row as u64, values),
            Row::Signed(values) => made.index.add(row as u64, values),
            Row::Unsigned(values) => made.index.add(row as u64, values),
            Row::Bits(values) => made.index.add(row as u64, b1x8::from_u8s(&values)),
        };
        (0..corpus.rows()).into_par_iter().try_for_each(add).map_err(failed)?;
        Ok(made)
    }

    /// Reads a graph that [`ApproximateIndex::save`] wrote for the same vectors.
    ///
    /// # Errors
    /// [`VectorError::Index`] when the file cannot be read or is not a graph over as many vectors of that kind.
    pub fn load(path: impl AsRef<Path>, corpus: &QuantizedEmbeddings) -> Result<Self> {
        let path = path.as_ref().to_string_lossy();
        let found = Index::metadata(&path).map_err(failed)?;
        let made = Self::empty(corpus, &ApproximateOptions::new())?;
        if found.dimensions != made.index.dimensions() as u64 {
            return Err(VectorError::Index { message: format!("{path} has vectors of {}", found.dimensions) });
        }
        made.index.load(&path).map_err(failed)?;
        if made.index.size() != corpus.rows() {
            let message = format!("{path} has {} vectors, not {}", made.index.size(), corpus.rows());
            return Err(VectorError::Index { message });
        }
        Ok(made)
    }

    /// Writes the graph with its vectors, in the library's format.
    ///
    /// # Errors
    /// [`VectorError::Index`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.index.save(&path.as_ref().to_string_lossy()).map_err(failed)
    }

    /// Vectors in the graph.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The best rows that the graph finds for each query, scored and rescored as in
    /// [`semantic_search_quantized`](crate::semantic_search_quantized). `corpus`: the vectors that the graph was made of.
    ///
    /// # Errors
    /// As [`semantic_search_quantized`](crate::semantic_search_quantized); [`VectorError::Index`] when `corpus` has
    /// other rows than the graph, or the library fails.
    pub fn search<'a>(
        &self,
        queries: impl Into<SearchQueries<'a>>,
        corpus: &QuantizedEmbeddings,
        options: &QuantizedSearchOptions,
    ) -> Result<Vec<Vec<Hit>>> {
        if (corpus.rows(), corpus.dimension(), corpus.precision()) != (self.rows, self.dimension, self.precision) {
            let message = format!("the graph has {} rows of {}, {}", self.rows, self.dimension, self.precision);
            return Err(VectorError::Index { message });
        }
        let prepared = prepare(queries.into(), corpus, options)?;
        let stored = prepared.stored();
        let find = |query: usize| -> Result<Vec<Hit>> {
            let count = prepared.limit.min(self.rows);
            let found = match Row::of(stored, query) {
                Row::Float(values) => self.index.search(values, count),
                Row::Signed(values) => self.index.search(values, count),
                Row::Unsigned(values) => self.index.search(values, count),
                Row::Bits(values) => self.index.search(b1x8::from_u8s(&values), count),
            };
            let ids = found.map_err(failed)?.keys.into_iter().map(|key| key as usize);
            Ok(exact_scores(stored, query, corpus, ids.filter(|&id| id < self.rows)))
        };
        let hits: Result<Vec<_>> = (0..stored.rows()).into_par_iter().map(find).collect();
        Ok(finish(&prepared, corpus, hits?, options))
    }

    fn empty(corpus: &QuantizedEmbeddings, options: &ApproximateOptions) -> Result<Self> {
        let dimension = corpus.dimension();
        if dimension == 0 {
            return Err(VectorError::NoVectors);
        }
        let bits = matches!(corpus.precision(), Precision::Binary | Precision::Ubinary);
        let index = Index::new(&IndexOptions {
            dimensions: if bits { dimension * 8 } else { dimension },
            metric: if bits { MetricKind::Hamming } else { MetricKind::IP },
            quantization: match corpus.precision() {
                Precision::Float32 => ScalarKind::F32,
                Precision::Int8 => ScalarKind::I8,
                Precision::Uint8 => ScalarKind::U8,
                Precision::Binary | Precision::Ubinary => ScalarKind::B1,
            },
            connectivity: options.connectivity,
            expansion_add: options.expansion_add,
            expansion_search: options.expansion_search,
            multi: false,
        })
        .map_err(failed)?;
        Ok(Self { index, precision: corpus.precision(), rows: corpus.rows(), dimension })
    }
}

/// A row as the library takes it.
enum Row<'a> {
    Float(&'a [f32]),
    Signed(&'a [i8]),
    Unsigned(&'a [u8]),
    Bits(Vec<u8>),
}

impl<'a> Row<'a> {
    fn of(rows: &'a QuantizedEmbeddings, index: usize) -> Self {
        let bits = matches!(rows.precision(), Precision::Binary | Precision::Ubinary);
        match (rows.row_i8(index), rows.row_u8(index)) {
            // Signed bytes have their first bit flipped, in queries and corpus alike.
            (Some(values), _) if bits => Self::Bits(values.iter().map(|&value| value.cast_unsigned()).collect()),
            (_, Some(values)) if bits => Self::Bits(values.to_vec()),
            (Some(values), _) => Self::Signed(values),
            (_, Some(values)) => Self::Unsigned(values),
            _ => Self::Float(rows.row_f32(index).unwrap_or_default()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> VectorError {
    VectorError::Index { message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Embeddings, quantize_embeddings, semantic_search_quantized};

    fn random(rows: usize, dimension: usize, seed: u64) -> Embeddings {
        let mut state = seed;
        let data = (0..rows * dimension).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 40) as f32) / 8_388_608.0 - 1.0
        });
        Embeddings::new(data.collect(), rows, dimension).unwrap().normalized()
    }

    #[test]
    fn most_true_neighbours_are_found_with_their_exact_scores() {
        let (corpus, queries) = (random(2000, 24, 1), random(40, 24, 2));
        for (precision, _) in Precision::ALL {
            let stored = quantize_embeddings(&corpus, precision, None, None).unwrap();
            let index = ApproximateIndex::build(&stored, &ApproximateOptions::new().expansion_search(200)).unwrap();
            let ranges = crate::Ranges::from_embeddings(&corpus).unwrap();
            let options = QuantizedSearchOptions::new().ranges(ranges);
            let found = index.search(&queries, &stored, &options).unwrap();
            let exact = semantic_search_quantized(&queries, &stored, &options).unwrap();
            let mut shared = 0;
            for (found, exact) in found.iter().zip(&exact) {
                assert_eq!(found.len(), 10);
                for hit in found {
                    if let Some(same) = exact.iter().find(|other| other.corpus_id == hit.corpus_id) {
                        assert_eq!(same.score, hit.score, "{precision}");
                        shared += 1;
                    }
                }
            }
            assert!(shared >= 320, "{precision}: {shared} of 400");
        }
    }

    #[test]
    fn a_saved_graph_finds_the_same_and_others_are_refused() {
        let corpus = quantize_embeddings(&random(300, 16, 3), Precision::Int8, None, None).unwrap();
        let index = ApproximateIndex::build(&corpus, &ApproximateOptions::new()).unwrap();
        let folder = std::env::temp_dir().join(format!("approximate-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("graph.usearch");
        index.save(&path).unwrap();
        let queries = random(5, 16, 4);
        let options = QuantizedSearchOptions::new();
        let search = |index: &ApproximateIndex| index.search(&queries, &corpus, &options).unwrap();
        assert_eq!(search(&ApproximateIndex::load(&path, &corpus).unwrap()), search(&index));
        let fewer = quantize_embeddings(&random(299, 16, 3), Precision::Int8, None, None).unwrap();
        assert!(matches!(ApproximateIndex::load(&path, &fewer), Err(VectorError::Index { .. })));
        assert!(matches!(index.search(&queries, &fewer, &options), Err(VectorError::Index { .. })));
        std::fs::write(&path, b"no graph").unwrap();
        assert!(matches!(ApproximateIndex::load(&path, &corpus), Err(VectorError::Index { .. })));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
