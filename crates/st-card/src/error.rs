/// Why a card could not be written.
///
/// # Examples
///
/// ```
/// use st_card::{CardError, ModelCardData, ModelFacts, Similarities};
///
/// let wrong = ModelFacts { similarities: Some(Similarities::new(vec![0.5; 4], 2)), ..ModelFacts::default() };
/// let error = ModelCardData::new().render(&wrong).expect_err("three sentences need a 3 × 3 matrix");
/// assert!(matches!(error, CardError::SimilarityShape { .. }));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// The similarity matrix does not fit the usage example.
    #[error(
        "the usage example compares {rows} with {columns} texts, the similarity matrix has {values} values in rows of \
         {width}; compute it from the texts of ModelCardData::usage_example"
    )]
    SimilarityShape {
        /// Rows that the example needs.
        rows: usize,
        /// Columns that the example needs.
        columns: usize,
        /// Values that were given.
        values: usize,
        /// Values per row that were given.
        width: usize,
    },
    /// The template engine failed.
    #[error("the model card's template could not be filled")]
    Template(#[from] minijinja::Error),
}
