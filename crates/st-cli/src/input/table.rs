//! [`Table`]: a whole file of rows with several columns, for data that is small enough.

use std::path::Path;

use st_train::data::{Cell, Dataset, FILE_FORMATS, FileDataset, FileFormat};

use crate::failure::{Failure, Result};

/// Rows and columns of a file, in any format that training data has.
#[derive(Debug)]
pub(crate) struct Table {
    /// The file, for messages.
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    rows: st_train::data::Table,
}

impl Table {
    /// Reads a file; its name says the format.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if FileFormat::of(path).is_none() {
            let known: Vec<&str> = FILE_FORMATS.iter().flat_map(|format| format.extensions).copied().collect();
            return Err(Failure::usage(format!("{} does not say what its columns are", path.display()))
                .with_hint(format!("end the name in .{}", known.join(", ."))));
        }
        path.metadata().map_err(|error| Failure::path("read", path, &error))?;
        let rows = FileDataset::open(path)?.read()?;
        Ok(Self { name: path.display().to_string(), columns: rows.columns().to_vec(), rows })
    }

    /// The place of one of several names, the first that there is.
    pub(crate) fn find(&self, names: &[&str]) -> Option<usize> {
        names.iter().find_map(|name| self.columns.iter().position(|column| column == name))
    }

    /// The columns that play some roles: by one of each role's names or, when the table has just as many columns, by
    /// their order.
    pub(crate) fn roles<const N: usize>(&self, roles: [&[&str]; N]) -> Result<[usize; N]> {
        let found = roles.map(|names| self.find(names));
        if found.iter().all(Option::is_some) {
            return Ok(found.map(|place| place.unwrap_or(0)));
        }
        if self.columns.len() == N {
            return Ok(std::array::from_fn(|place| place));
        }
        let missing = roles.iter().zip(found).filter(|(_, found)| found.is_none());
        let missing: Vec<&str> = missing.filter_map(|(names, _)| names.first().copied()).collect();
        Err(Failure::new(format!("{} has no column {}", self.name, missing.join(", ")))
            .with_hint(format!("its columns are {}", self.columns.join(", "))))
    }

    /// A column of texts.
    pub(crate) fn texts(&self, column: usize) -> Result<Vec<String>> {
        self.map(column, "a text", |cell| match cell {
            Cell::Text(_) | Cell::Integer(_) | Cell::Number(_) => Some(cell.to_string()),
            _ => None,
        })
    }

    /// A column of numbers.
    pub(crate) fn numbers(&self, column: usize) -> Result<Vec<f64>> {
        self.map(column, "a number", |cell| match cell {
            Cell::Text(text) => text.trim().parse().ok(),
            cell => cell.as_number(),
        })
    }

    /// A column of lists of texts; a text alone is a list of one.
    pub(crate) fn lists(&self, column: usize) -> Result<Vec<Vec<String>>> {
        self.map(column, "a list of texts", |cell| match cell {
            Cell::Text(text) => Some(vec![text.clone()]),
            Cell::List(all) => all.iter().map(|one| one.as_text().map(str::to_owned)).collect(),
            Cell::Null => Some(Vec::new()),
            _ => None,
        })
    }

    fn map<T>(&self, column: usize, what: &str, read: impl Fn(&Cell) -> Option<T>) -> Result<Vec<T>> {
        let name = self.columns.get(column).map_or("", String::as_str);
        let value = |(cell, number): (&Cell, u64)| {
            read(cell).ok_or_else(|| {
                let message = format!("{}, row {number}: {name:?} is {} instead of {what}", self.name, shown(cell));
                Failure::new(message)
            })
        };
        self.rows.values(name).unwrap_or_default().iter().zip(1..).map(value).collect()
    }
}

/// A cell as JSON shows it.
fn shown(cell: &Cell) -> String {
    serde_json::to_string(cell).unwrap_or_else(|_| cell.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn table(name: &str, content: &str) -> Result<Table> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        Table::read(&path)
    }

    #[test]
    fn columns_are_found_by_name_or_by_order() {
        let by_name = table("a.csv", "score,sentence2,id,sentence1\n1.5,b,7,a\n").unwrap();
        let [first, second, score] = by_name.roles([&["sentence1"], &["sentence2"], &["label", "score"]]).unwrap();
        assert_eq!(by_name.texts(first).unwrap(), ["a"]);
        assert_eq!((by_name.texts(second).unwrap(), by_name.numbers(score).unwrap()), (vec!["b".into()], vec![1.5]));
        let by_order = table("a.tsv", "x\ty\na \"b\tc\n").unwrap();
        assert_eq!(by_order.roles([&["sentence1"], &["sentence2"]]).unwrap(), [0, 1]);
        assert_eq!(by_order.texts(0).unwrap(), ["a \"b"]);
        let error = by_name.roles([&["anchor"], &["sentence1"]]).unwrap_err().to_string();
        assert!(error.ends_with("has no column anchor\nhint: its columns are score, sentence2, id, sentence1\n"));
    }

    #[test]
    fn json_lines_have_lists_and_errors_name_their_place() {
        let good = table("a.jsonl", "{\"q\": \"x\", \"p\": [\"a\", \"b\"]}\n\n{\"q\": \"y\"}\n").unwrap();
        assert_eq!(good.lists(1).unwrap(), [vec!["a".to_owned(), "b".to_owned()], vec![]]);
        assert_eq!(good.rows.len(), 2);
        let error = good.numbers(0).unwrap_err().to_string();
        assert!(error.contains(", row 1: \"q\" is \"x\" instead of a number"), "{error}");
        let error = table("a.jsonl", "{\"q\": 1}\n[1]\n").unwrap_err().to_string();
        assert!(error.contains("line 2: ") && error.contains("expected a map"), "{error}");
        assert!(table("a.txt", "x\n").unwrap_err().to_string().contains("end the name in"));
    }
}
