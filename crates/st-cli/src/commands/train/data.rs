//! Training data from files.

use std::path::Path;

use st_train::data::{DataSource, Dataset, Datasets, FileDataset, LABEL_COLUMNS, Table};

use super::config::DatasetConfig;
use crate::failure::{Failure, Result};

/// Reads data sets: one stands alone unless it has a name, several have their names, else those of their files.
pub(super) fn read(configs: &[DatasetConfig]) -> Result<Option<Datasets>> {
    let tables = configs.iter().map(table).collect::<Result<Vec<_>>>()?;
    Ok(match (configs, tables) {
        ([], _) => None,
        ([DatasetConfig { name: None, .. }], mut tables) => tables.pop().map(Datasets::from),
        (configs, tables) => {
            let names = configs.iter().map(|config| config.name.clone().unwrap_or_else(|| stem(&config.path)));
            Some(Datasets::from(names.zip(tables).collect::<Vec<_>>()))
        }
    })
}

fn table(config: &DatasetConfig) -> Result<Table> {
    if !config.path.exists() {
        return Err(Failure::new(format!("there is no file {}", config.path.display())).with_hint("check the path"));
    }
    let mut table = FileDataset::open(&config.path)?.image_columns(&config.image_columns)?.read()?;
    if !config.columns.is_empty() {
        table = table.select_columns(&config.columns)?;
    }
    if let Some(rows) = config.rows {
        table = table.take(rows);
    }
    if table.len() == 0 {
        return Err(Failure::new(format!("{} holds no rows", config.path.display())));
    }
    Ok(table)
}

/// A file's name without its endings.
fn stem(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.split('.').next().unwrap_or(name).to_owned()
}

/// How many classes the labels tell apart: one more than the largest, where all are whole numbers from 0 on.
pub(super) fn classes(data: &Datasets) -> Result<Option<usize>> {
    let mut largest = None;
    for (_, source) in data.sources() {
        let DataSource::Indexed(dataset) = source else { continue };
        let Some(column) = dataset.columns().iter().position(|name| LABEL_COLUMNS.contains(&name.as_str())) else {
            continue;
        };
        for row in 0..dataset.len() {
            match dataset.row(row)?[column].as_number() {
                Some(label) if label >= 0.0 && label.fract() == 0.0 && label < 1e9 => {
                    largest = largest.max(Some(label as usize));
                }
                _ => return Ok(None),
            }
        }
    }
    Ok(largest.map(|label| label + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn several_files_have_names_and_one_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            DatasetConfig::of(path)
        };
        let pairs = write("pairs.set.csv", "a,b,c\n1x,2x,3x\n4x,5x,6x\n");
        let labels = write("labels.jsonl", "{\"text\": \"x\", \"label\": 2}\n{\"text\": \"y\", \"label\": 0}\n");
        assert!(read(&[]).unwrap().is_none());
        let one = read(&[DatasetConfig { columns: vec!["c".into(), "a".into()], rows: Some(1), ..pairs.clone() }]);
        let one = one.unwrap().unwrap();
        assert_eq!((one.names().count(), one.sources()[0].1.len()), (0, Some(1)));
        assert_eq!(one.sources()[0].1.columns(), ["c", "a"]);
        let both = read(&[pairs.clone(), labels.clone()]).unwrap().unwrap();
        assert_eq!(both.names().collect::<Vec<_>>(), ["pairs", "labels"]);
        assert_eq!(classes(&read(&[labels]).unwrap().unwrap()).unwrap(), Some(3));
        assert_eq!(classes(&one).unwrap(), None);
        let error = read(&[DatasetConfig { columns: vec!["d".into()], ..pairs }]).unwrap_err().to_string();
        assert!(error.contains("there is no column 'd'"), "{error}");
        let error = read(&[DatasetConfig::of("none.csv".into())]).unwrap_err().to_string();
        assert!(error.contains("there is no file none.csv"), "{error}");
    }
}
