//! [`Dataset`] and [`StreamedDataset`]: where rows come from; [`Datasets`]: one of them, or several with names.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{Result, TrainError};

use super::cell::Cell;
use super::names::listed;

/// Names of columns that hold labels; the first that is there counts.
pub const LABEL_COLUMNS: [&str; 4] = ["label", "labels", "score", "scores"];

/// Names that no column may have.
const RESERVED_COLUMNS: [&str; 2] = ["return_loss", "dataset_name"];

/// Rows in a known number, read in any order. [`Table`](super::Table) is one; others may keep theirs on disk.
pub trait Dataset: Debug + Send + Sync {
    /// Names of the columns, in order.
    fn columns(&self) -> &[String];

    /// Number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row: a value per column.
    ///
    /// # Errors
    /// When there is no such row, or it cannot be read.
    fn row(&self, index: usize) -> Result<Vec<Cell>>;
}

/// Rows that come one after the other.
pub type RowIterator = Box<dyn Iterator<Item = Result<Vec<Cell>>> + Send>;

/// The columns of a file that was opened, and its rows.
pub(super) type Opened = (Vec<String>, RowIterator);

/// Rows in an unknown number, read from the start to the end. [`FileDataset`](super::FileDataset) is one.
pub trait StreamedDataset: Debug + Send + Sync {
    /// Names of the columns, in order.
    fn columns(&self) -> &[String];

    /// The rows from the start; the same ones each time.
    ///
    /// # Errors
    /// When the source cannot be opened.
    fn rows(&self) -> Result<RowIterator>;
}

/// A dataset of either kind.
#[derive(Debug, Clone)]
pub enum DataSource {
    /// Rows that batch samplers put into an order.
    Indexed(Arc<dyn Dataset>),
    /// Rows in their own order.
    Streamed(Arc<dyn StreamedDataset>),
}

impl DataSource {
    /// Names of the columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        match self {
            Self::Indexed(dataset) => dataset.columns(),
            Self::Streamed(dataset) => dataset.columns(),
        }
    }

    /// Number of rows, where it is known.
    #[must_use]
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Indexed(dataset) => Some(dataset.len()),
            Self::Streamed(_) => None,
        }
    }

    /// Whether it is known to have no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The first rows, at most this many.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn first_rows(&self, most: usize) -> Result<Vec<Vec<Cell>>> {
        match self {
            Self::Indexed(dataset) => (0..most.min(dataset.len())).map(|index| dataset.row(index)).collect(),
            Self::Streamed(dataset) => dataset.rows()?.take(most).collect(),
        }
    }
}

/// What a trainer is given: one dataset, or several with names.
///
/// ```
/// use st_train::data::{Datasets, Table};
///
/// let table = Table::new().column("anchor", ["a"])?.column("positive", ["b"])?;
/// let one = Datasets::from(table.clone());
/// let several = Datasets::from(vec![("first", table.clone()), ("second", table)]);
/// assert_eq!((one.names().count(), several.names().count()), (0, 2));
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub enum Datasets {
    /// One, without a name.
    Single(DataSource),
    /// Several (`DatasetDict`), in order.
    Named(Vec<(String, DataSource)>),
}

impl Datasets {
    /// The names, where there are some.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::Single(_) => [].iter(),
            Self::Named(named) => named.iter(),
        }
        .map(|(name, _)| name.as_str())
    }

    /// Names (empty for the only one) and datasets.
    pub fn sources(&self) -> Vec<(&str, &DataSource)> {
        match self {
            Self::Single(source) => vec![("", source)],
            Self::Named(named) => named.iter().map(|(name, source)| (name.as_str(), source)).collect(),
        }
    }

    /// Refuses reserved column names, streams among several, names that occur twice, and nothing at all. `role` is
    /// "train" or "eval".
    pub(crate) fn check(&self, role: &str) -> Result<()> {
        for (name, source) in self.sources() {
            let reserved: Vec<&str> =
                RESERVED_COLUMNS.into_iter().filter(|name| source.columns().iter().any(|own| own == name)).collect();
            if !reserved.is_empty() {
                let name = if name.is_empty() { role } else { name };
                return Err(TrainError::invalid(format!(
                    "The following column names are invalid in your {name} dataset: {}. Avoid using these column names, \
                     as they are reserved for internal use.",
                    listed(&reserved)
                )));
            }
        }
        let Self::Named(named) = self else { return Ok(()) };
        if named.is_empty() {
            return Err(TrainError::invalid(format!("the {role} dataset has no datasets in it")));
        }
        if named.iter().any(|(_, source)| matches!(source, DataSource::Streamed(_))) {
            return Err(TrainError::invalid(
                "Sentence Transformers is not compatible with a DatasetDict containing an IterableDataset.",
            ));
        }
        for (index, (name, _)) in named.iter().enumerate() {
            if named[..index].iter().any(|(other, _)| other == name) {
                return Err(TrainError::invalid(format!("two {role} datasets are called '{name}'")));
            }
        }
        Ok(())
    }
}

impl From<DataSource> for Datasets {
    fn from(source: DataSource) -> Self {
        Self::Single(source)
    }
}

impl From<Arc<dyn Dataset>> for Datasets {
    fn from(dataset: Arc<dyn Dataset>) -> Self {
        Self::Single(DataSource::Indexed(dataset))
    }
}

impl From<Arc<dyn StreamedDataset>> for Datasets {
    fn from(dataset: Arc<dyn StreamedDataset>) -> Self {
        Self::Single(DataSource::Streamed(dataset))
    }
}

impl<N: Into<String>, D: Into<DataSource>> From<Vec<(N, D)>> for Datasets {
    fn from(named: Vec<(N, D)>) -> Self {
        Self::Named(named.into_iter().map(|(name, source)| (name.into(), source.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Table;

    #[test]
    fn reserved_names_are_refused_in_the_originals_words() {
        let table = Table::new().column("return_loss", ["a"]).unwrap();
        let words = |name: &str| {
            format!(
                "The following column names are invalid in your {name} dataset: ['return_loss']. Avoid using these column \
                 names, as they are reserved for internal use."
            )
        };
        assert_eq!(Datasets::from(table.clone()).check("train").unwrap_err().to_string(), words("train"));
        assert_eq!(Datasets::from(vec![("nli", table)]).check("train").unwrap_err().to_string(), words("nli"));
    }

    #[test]
    fn names_are_unique() {
        let table = Table::new().column("a", ["a"]).unwrap();
        let twice = Datasets::from(vec![("x", table.clone()), ("x", table.clone())]);
        assert_eq!(twice.check("eval").unwrap_err().to_string(), "two eval datasets are called 'x'");
        assert!(Datasets::from(vec![("x", table.clone()), ("y", table)]).check("eval").is_ok());
        assert!(Datasets::Named(Vec::new()).check("eval").is_err());
    }
}
