//! [`Table`]: a dataset in memory.

use std::path::Path;
use std::sync::Arc;

use crate::{Result, TrainError};

use super::cell::Cell;
use super::dataset::{DataSource, Dataset, Datasets};
use super::images;
use super::names::listed;

/// A dataset in memory, column by column.
///
/// The order of the columns matters to losses (the first is the anchor), their names do not, apart from
/// [`LABEL_COLUMNS`](super::LABEL_COLUMNS).
///
/// ```
/// use st_train::data::{Dataset, Table};
///
/// let table = Table::new()
///     .column("sentence1", ["It is sunny.", "He drove."])?
///     .column("sentence2", ["The sun shines.", "She walked."])?
///     .column("score", [0.9, 0.2])?;
/// assert_eq!((table.len(), table.columns().len()), (2, 3));
/// assert_eq!(table.row(1)?[1].as_text(), Some("She walked."));
/// assert_eq!(table.select_columns(&["score", "sentence1"])?.columns(), ["score", "sentence1"]);
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    names: Vec<String>,
    columns: Vec<Vec<Cell>>,
}

impl Table {
    /// A dataset without columns.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a column.
    ///
    /// # Errors
    /// When there is one of that name, or it has another number of rows than those before.
    pub fn column<C: Into<Cell>>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = C>,
    ) -> Result<Self> {
        let (name, values) = (name.into(), values.into_iter().map(Into::into).collect::<Vec<_>>());
        if self.names.contains(&name) {
            return Err(TrainError::invalid(format!("a dataset with two columns called '{name}'")));
        }
        if self.columns.first().is_some_and(|first| first.len() != values.len()) {
            let message = format!("column '{name}' has {} rows, those before have {}", values.len(), self.len());
            return Err(TrainError::invalid(message));
        }
        self.names.push(name);
        self.columns.push(values);
        Ok(self)
    }

    /// A dataset of rows, each with a value per column.
    ///
    /// # Errors
    /// When two columns have one name, or a row has not as many values as there are columns.
    pub fn from_rows(columns: Vec<String>, rows: impl IntoIterator<Item = Result<Vec<Cell>>>) -> Result<Self> {
        let mut table = Self { columns: vec![Vec::new(); columns.len()], names: columns };
        for (index, name) in table.names.iter().enumerate() {
            if table.names[..index].contains(name) {
                return Err(TrainError::invalid(format!("a dataset with two columns called '{name}'")));
            }
        }
        for (number, row) in rows.into_iter().enumerate() {
            let row = row?;
            if row.len() != table.names.len() {
                let message = format!("row {number} has {} values for {} columns", row.len(), table.names.len());
                return Err(TrainError::invalid(message));
            }
            for (column, cell) in table.columns.iter_mut().zip(row) {
                column.push(cell);
            }
        }
        Ok(table)
    }

    /// The values of a column.
    #[must_use]
    pub fn values(&self, name: &str) -> Option<&[Cell]> {
        let index = self.names.iter().position(|own| own == name)?;
        Some(&self.columns[index])
    }

    /// Some columns, in this order.
    ///
    /// # Errors
    /// When there is no column of a name.
    pub fn select_columns<S: AsRef<str>>(&self, names: &[S]) -> Result<Self> {
        let mut selected = Self::new();
        for name in names.iter().map(AsRef::as_ref) {
            let values = self.values(name).ok_or_else(|| {
                TrainError::invalid(format!("there is no column '{name}'; there are {}", listed(&self.names)))
            })?;
            selected = selected.column(name, values.to_vec())?;
        }
        Ok(selected)
    }

    /// Gives a column another name.
    ///
    /// # Errors
    /// When there is no column of the old name, or one of the new.
    pub fn rename_column(mut self, from: &str, to: &str) -> Result<Self> {
        let known = listed(&self.names);
        if self.names.iter().any(|name| name == to) && from != to {
            return Err(TrainError::invalid(format!("a dataset with two columns called '{to}'")));
        }
        let name = self
            .names
            .iter_mut()
            .find(|name| *name == from)
            .ok_or_else(|| TrainError::invalid(format!("there is no column '{from}'; there are {known}")))?;
        *name = to.to_owned();
        Ok(self)
    }

    /// Takes the texts of some columns as paths of images, which a model that sees reads. Paths that do not begin with the
    /// root are looked for in `folder`; the files are read when their batch's turn comes.
    ///
    /// ```
    /// use st_train::data::{Dataset, Table};
    ///
    /// let table = Table::new().column("image", ["cat.png"])?.column("caption", ["a cat"])?;
    /// let table = table.image_columns(&["image"], "pictures".as_ref())?;
    /// assert_eq!(table.row(0)?[0].to_string(), "Image(pictures/cat.png)");
    /// # Ok::<(), st_train::TrainError>(())
    /// ```
    ///
    /// # Errors
    /// When there is no column of a name, or it holds something else.
    pub fn image_columns<S: AsRef<str>>(mut self, names: &[S], folder: &Path) -> Result<Self> {
        images::known(names, &self.names)?;
        for (name, cells) in self.names.iter().zip(&mut self.columns) {
            if names.iter().any(|chosen| chosen.as_ref() == name) {
                for cell in cells {
                    *cell = images::read(name, std::mem::replace(cell, Cell::Null), folder)?;
                }
            }
        }
        Ok(self)
    }

    /// The first rows, at most this many.
    #[must_use]
    pub fn take(mut self, rows: usize) -> Self {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self
    }
}

impl Dataset for Table {
    fn columns(&self) -> &[String] {
        &self.names
    }

    fn len(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }

    fn row(&self, index: usize) -> Result<Vec<Cell>> {
        if index >= self.len() {
            return Err(TrainError::invalid(format!("there is no row {index} in a dataset of {} rows", self.len())));
        }
        Ok(self.columns.iter().map(|column| column[index].clone()).collect())
    }
}

impl From<Table> for DataSource {
    fn from(table: Table) -> Self {
        Self::Indexed(Arc::new(table))
    }
}

impl From<Table> for Datasets {
    fn from(table: Table) -> Self {
        Self::Single(table.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::new().column("a", ["x", "y", "z"]).unwrap().column("b", [1, 2, 3]).unwrap()
    }

    #[test]
    fn columns_must_be_unique_and_equally_long() {
        assert!(table().column("a", ["x", "y", "z"]).unwrap_err().to_string().contains("two columns called 'a'"));
        let error = table().column("c", ["x"]).unwrap_err().to_string();
        assert_eq!(error, "column 'c' has 1 rows, those before have 3");
        let row = |cells: &[i64]| Ok(cells.iter().map(|&cell| Cell::from(cell)).collect());
        let names = || vec!["a".to_owned(), "b".to_owned()];
        assert!(Table::from_rows(names(), [row(&[1, 2]), row(&[1])]).is_err());
        assert!(Table::from_rows(vec!["a".into(), "a".into()], []).is_err());
        assert_eq!(Table::from_rows(names(), [row(&[1, 2]), row(&[3, 4])]).unwrap().len(), 2);
    }

    #[test]
    fn columns_are_renamed_chosen_and_cut() {
        let renamed = table().rename_column("b", "label").unwrap();
        assert_eq!(renamed.columns(), ["a", "label"]);
        assert!(table().rename_column("b", "a").is_err());
        assert!(table().rename_column("c", "d").unwrap_err().to_string().ends_with("there are ['a', 'b']"));
        assert!(table().select_columns(&["c"]).is_err());
        assert_eq!(table().take(2).len(), 2);
        assert!(table().row(3).is_err());
    }
}
