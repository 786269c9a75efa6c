//! [`SentenceClassifier`]: labels from sentence embeddings.

use std::fmt::Debug;

use st_vectors::{Embeddings, VectorError};

use crate::{EvalError, Result};

/// Gives every row a score per label, from the embeddings of its sentences. The softmax loss of a training run is one:
/// it is shared between the loss and a [`LabelAccuracyEvaluator`](crate::LabelAccuracyEvaluator).
///
/// ```
/// use st_eval::{Result, SentenceClassifier};
/// use st_vectors::Embeddings;
///
/// #[derive(Debug)]
/// struct Sign;
/// impl SentenceClassifier for Sign {
///     fn class_scores(&self, columns: &[Embeddings]) -> Result<Embeddings> {
///         Ok(Embeddings::from_rows(columns[0].rows_iter().map(|row| [-row[0], row[0]]))?)
///     }
/// }
/// assert_eq!(Sign.class_scores(&[Embeddings::from_rows([[2.0]])?])?.row(0), [-2.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait SentenceClassifier: Debug + Send + Sync {
    /// Scores `[rows, labels]` from one matrix `[rows, dimension]` per column of sentences.
    ///
    /// # Errors
    /// When the columns do not fit the classifier.
    fn class_scores(&self, columns: &[Embeddings]) -> Result<Embeddings>;
}

/// The linear layer of the softmax loss over two sentence embeddings u and v.
///
/// # Formula
/// W · features + b, where the features are, one after the other and each if it is switched on: u and v, |u − v|,
/// u · v (component by component).
///
/// # Reference
/// Reimers and Gurevych 2019, Sentence-BERT, section 3: the classification objective.
///
/// ```
/// use st_eval::{SentenceClassifier, SoftmaxHead};
/// use st_vectors::Embeddings;
/// let head = SoftmaxHead::new(Embeddings::from_rows([[1.0, 0.0, 0.0], [0.0, 1.0, 2.0]])?, Some(vec![0.5, 0.0]))?;
/// let (u, v) = (Embeddings::from_rows([[3.0]])?, Embeddings::from_rows([[1.0]])?);
/// assert_eq!(head.class_scores(&[u, v])?.row(0), [3.5, 5.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SoftmaxHead {
    weights: Embeddings,
    bias: Vec<f32>,
    representations: bool,
    difference: bool,
    product: bool,
}

impl SoftmaxHead {
    /// Weights `[labels, features]` and a bias per label, over u, v and |u − v|.
    ///
    /// # Errors
    /// [`EvalError::Option`] when the bias has another length than there are labels.
    pub fn new(weights: Embeddings, bias: Option<Vec<f32>>) -> Result<Self> {
        let bias = bias.unwrap_or_else(|| vec![0.0; weights.rows()]);
        if bias.len() != weights.rows() {
            let (labels, found) = (weights.rows(), bias.len());
            return Err(EvalError::Option { message: format!("`bias` has {found} entries for {labels} labels") });
        }
        Ok(Self { weights, bias, representations: true, difference: true, product: false })
    }

    /// Which features there are: u and v, |u − v|, u · v. The default is the first two.
    #[must_use]
    pub fn features(mut self, representations: bool, difference: bool, product: bool) -> Self {
        (self.representations, self.difference, self.product) = (representations, difference, product);
        self
    }

    fn row(&self, u: &[f32], v: &[f32], features: &mut Vec<f32>) {
        features.clear();
        if self.representations {
            features.extend_from_slice(u);
            features.extend_from_slice(v);
        }
        if self.difference {
            features.extend(u.iter().zip(v).map(|(u, v)| (u - v).abs()));
        }
        if self.product {
            features.extend(u.iter().zip(v).map(|(u, v)| u * v));
        }
    }
}

impl SentenceClassifier for SoftmaxHead {
    fn class_scores(&self, columns: &[Embeddings]) -> Result<Embeddings> {
        let [u, v] = columns else {
            let message = format!("the softmax head compares 2 columns of sentences, not {}", columns.len());
            return Err(EvalError::Option { message });
        };
        if u.rows() != v.rows() {
            return Err(VectorError::RowMismatch { left: u.rows(), right: v.rows() }.into());
        }
        if u.dimension() != v.dimension() {
            return Err(VectorError::DimensionMismatch { left: u.dimension(), right: v.dimension() }.into());
        }
        let mut features = Vec::new();
        let mut scores = Vec::with_capacity(u.rows() * self.bias.len());
        for (u, v) in u.rows_iter().zip(v.rows_iter()) {
            self.row(u, v, &mut features);
            if features.len() != self.weights.dimension() {
                let (left, right) = (features.len(), self.weights.dimension());
                return Err(VectorError::DimensionMismatch { left, right }.into());
            }
            let products = self.weights.rows_iter().zip(&self.bias).map(|(weights, bias)| {
                bias + weights.iter().zip(&features).map(|(weight, feature)| weight * feature).sum::<f32>()
            });
            scores.extend(products);
        }
        Ok(Embeddings::new(scores, u.rows(), self.bias.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Embeddings {
        Embeddings::from_rows([values]).unwrap()
    }

    #[test]
    fn features_stand_in_the_order_of_the_original() {
        // u = (1, −2), v = (3, 1): |u − v| = (2, 3), u · v = (3, −2).
        let weights = row(&[1.0, 10.0, 100.0, 1000.0, 1e4, 1e5, 1e6, 1e7]);
        let head = SoftmaxHead::new(weights, None).unwrap().features(true, true, true);
        let scores = head.class_scores(&[row(&[1.0, -2.0]), row(&[3.0, 1.0])]).unwrap();
        assert_eq!(scores.row(0), [1.0 - 20.0 + 300.0 + 1000.0 + 2e4 + 3e5 + 3e6 - 2e7]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let head = SoftmaxHead::new(row(&[1.0, 1.0, 1.0]), None).unwrap();
        let error = head.class_scores(&[row(&[1.0])]).unwrap_err().to_string();
        assert_eq!(error, "the softmax head compares 2 columns of sentences, not 1");
        assert!(head.class_scores(&[row(&[1.0, 2.0]), row(&[1.0, 2.0])]).is_err());
        assert!(SoftmaxHead::new(row(&[1.0]), Some(vec![0.0; 2])).is_err());
    }
}
