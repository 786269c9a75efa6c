//! [`FileDataset`]: a dataset in a file; [`FILE_FORMATS`] lists the formats.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Result, TrainError};

use super::dataset::{DataSource, Datasets, Opened, RowIterator, StreamedDataset};
use super::table::Table;
use super::{images, parquet, text_files};

/// A row of [`FILE_FORMATS`].
///
/// ```
/// use st_train::data::FILE_FORMATS;
/// assert!(FILE_FORMATS.iter().any(|format| format.extensions.contains(&"parquet")));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FileFormat {
    /// Its name.
    pub name: &'static str,
    /// Ends of file names, in lower case; all but Parquet also with `.gz` behind.
    pub extensions: &'static [&'static str],
    /// What a file looks like.
    pub summary: &'static str,
    open: fn(&Path) -> Result<Opened>,
}

impl FileFormat {
    /// The format that a file's name says; `None` for names that end like none of [`FILE_FORMATS`].
    ///
    /// ```
    /// use st_train::data::FileFormat;
    /// assert_eq!(FileFormat::of("rows.JSONL.gz".as_ref()).map(|format| format.name), Some("JSON lines"));
    /// assert!(FileFormat::of("rows.xml".as_ref()).is_none());
    /// ```
    #[must_use]
    pub fn of(path: &Path) -> Option<&'static Self> {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        let extension = plain.rsplit_once('.').map_or("", |(_, extension)| extension);
        FILE_FORMATS.iter().find(|format| format.extensions.contains(&extension))
    }
}

/// Every format that datasets are read from.
pub const FILE_FORMATS: &[FileFormat] = &[
    FileFormat {
        name: "Parquet",
        extensions: &["parquet", "pq"],
        summary: "columns of texts, numbers, and lists of them",
        open: parquet::open,
    },
    FileFormat {
        name: "JSON lines",
        extensions: &["jsonl", "ndjson"],
        summary: "one object per line; the first one names the columns",
        open: text_files::open_json_lines,
    },
    FileFormat {
        name: "JSON",
        extensions: &["json"],
        summary: "a list of objects, or an object of lists",
        open: text_files::open_json,
    },
    FileFormat {
        name: "CSV",
        extensions: &["csv"],
        summary: "a header, then rows with commas; numbers only in label columns",
        open: text_files::open_csv,
    },
    FileFormat {
        name: "TSV",
        extensions: &["tsv", "tab"],
        summary: "a header, then rows with tabs and no quotes; numbers only in label columns",
        open: text_files::open_tsv,
    },
];

/// A dataset in a file, in one of the [`FILE_FORMATS`]: read into memory, or streamed.
///
/// ```
/// use st_train::data::{Dataset, FileDataset, StreamedDataset};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("pairs.jsonl");
/// std::fs::write(&path, "{\"query\": \"a\", \"answer\": \"b\"}\n{\"query\": \"c\", \"answer\": \"d\"}\n")?;
/// let file = FileDataset::open(&path)?;
/// assert_eq!(file.columns(), ["query", "answer"]);
/// assert_eq!(file.read()?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileDataset {
    path: PathBuf,
    format: &'static FileFormat,
    columns: Vec<String>,
    /// Which columns hold paths of images.
    images: Vec<String>,
}

impl FileDataset {
    /// Opens a file, whose name says its format, and reads the names of its columns.
    ///
    /// # Errors
    /// When the name ends like none of the formats, or the file cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let format = FileFormat::of(&path).ok_or_else(|| {
            let known: Vec<&str> = FILE_FORMATS.iter().flat_map(|format| format.extensions).copied().collect();
            TrainError::format(
                &path,
                format!("a name that does not say its format; it should end in .{}", known.join(", .")),
            )
        })?;
        let (columns, _) = (format.open)(&path)?;
        Ok(Self { path, format, columns, images: Vec::new() })
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> &'static FileFormat {
        self.format
    }

    /// Takes the texts of some columns as paths of images, which a model that sees reads. Paths that do not begin with the
    /// root are looked for in the folder of the dataset's file. Parquet columns of the Hub's images, with the bytes inside,
    /// are images without this.
    ///
    /// ```
    /// use st_train::data::{Dataset, FileDataset};
    ///
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("captions.csv");
    /// std::fs::write(&path, "image,caption\ncat.png,a cat\n")?;
    /// let table = FileDataset::open(&path)?.image_columns(&["image"])?.read()?;
    /// assert!(table.row(0)?[0].as_image().is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When there is no column of a name.
    pub fn image_columns<S: AsRef<str>>(mut self, names: &[S]) -> Result<Self> {
        images::known(names, &self.columns)?;
        self.images = names.iter().map(|name| name.as_ref().to_owned()).collect();
        Ok(self)
    }

    /// All rows in memory, so that they can be shuffled.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Table> {
        Table::from_rows(self.columns.clone(), self.rows()?)
    }

    /// As a dataset that is streamed from the file.
    #[must_use]
    pub fn streamed(self) -> Datasets {
        Datasets::Single(DataSource::Streamed(Arc::new(self)))
    }
}

impl StreamedDataset for FileDataset {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn rows(&self) -> Result<RowIterator> {
        let (columns, rows) = (self.format.open)(&self.path)?;
        if columns != self.columns {
            return Err(TrainError::format(&self.path, "the file has other columns than when it was opened"));
        }
        if self.images.is_empty() {
            return Ok(rows);
        }
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let is_image: Vec<bool> = columns.iter().map(|column| self.images.contains(column)).collect();
        Ok(Box::new(rows.map(move |row| {
            let cells = row?.into_iter().zip(columns.iter().zip(&is_image));
            cells
                .map(|(cell, (name, is_image))| if *is_image { images::read(name, cell, &folder) } else { Ok(cell) })
                .collect()
        })))
    }
}
