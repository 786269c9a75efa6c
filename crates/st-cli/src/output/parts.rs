//! [`Parts`]: a run that can be killed at any moment and continued.
//!
//! Rows are collected into parts of a fixed number. Each is a Parquet file of one row group in a folder beside the
//! output: written, synced, then renamed, so that a part that is there is whole. A part's metadata say how far the run
//! had come: rows, the digest of all their texts, and how many of them were cut. `run.json` says with which options the
//! run was begun, and what the model made of a probe text. Continuing, the same rows are read over without being
//! encoded, and their digest must be the same; the parts have the same bounds as in a run without interruption, so the
//! result is the same too.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use sentence_transformers::Precision;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Block, Element, OutputFormat, Shape, Target, Values, assemble, parquet as parquet_file, target};
use crate::failure::{Failure, Result};

const RUN: &str = "run.json";
const LOCK: &str = "lock";
/// Keys in the metadata of a part: what is true of all rows up to its end.
const ROWS: &str = "sentence-transformers.rows";
const DIGEST: &str = "sentence-transformers.texts-sha256";
const CUT: &str = "sentence-transformers.cut";

/// What a run is.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where the parts go.
    pub(crate) folder: PathBuf,
    /// Options that must be the same when the run is continued, by the names a person gave them under.
    pub(crate) options: Map<String, Value>,
    /// The embedding of a text that is always the same.
    pub(crate) probe: Vec<f32>,
    pub(crate) rows_per_part: usize,
    pub(crate) shape: Shape,
    /// Whether to continue a run that is there.
    pub(crate) resume: bool,
}

/// How far a run has come.
#[derive(Debug, Clone, Default)]
struct Progress {
    rows: u64,
    /// Texts that were cut.
    cut: u64,
    texts: Sha256,
}

impl Progress {
    fn add(&mut self, text: &str, cut: bool) {
        self.rows += 1;
        self.cut += u64::from(cut);
        self.texts.update((text.len() as u64).to_le_bytes());
        self.texts.update(text.as_bytes());
    }

    fn digest(&self) -> String {
        self.texts.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A run in the making.
#[derive(Debug)]
pub(crate) struct Parts {
    plan: Plan,
    /// Held as long as this run lasts.
    _lock: File,
    parts: Vec<PathBuf>,
    progress: Progress,
    /// Rows and digest of the run that is continued.
    earlier: Option<(u64, String)>,
    texts: Vec<String>,
    values: Stored,
}

#[derive(Debug)]
enum Stored {
    Float(Vec<f32>),
    Signed(Vec<i8>),
    Unsigned(Vec<u8>),
}

impl Stored {
    fn new(element: Element) -> Self {
        match element {
            Element::Float => Self::Float(Vec::new()),
            Element::Signed => Self::Signed(Vec::new()),
            Element::Unsigned => Self::Unsigned(Vec::new()),
        }
    }

    fn values(&self) -> Values<'_> {
        match self {
            Self::Float(values) => Values::Float(values),
            Self::Signed(values) => Values::Signed(values),
            Self::Unsigned(values) => Values::Unsigned(values),
        }
    }

    fn extend(&mut self, values: Values<'_>) -> Result<()> {
        match (self, values) {
            (Self::Float(all), Values::Float(more)) => all.extend_from_slice(more),
            (Self::Signed(all), Values::Signed(more)) => all.extend_from_slice(more),
            (Self::Unsigned(all), Values::Unsigned(more)) => all.extend_from_slice(more),
            _ => return Err(Failure::new("rows of another number format than the run's")),
        }
        Ok(())
    }
}

impl Parts {
    /// Begins a run, or continues the one that lies in the folder.
    ///
    /// # Errors
    /// When a run is there that must not be continued, or cannot be.
    pub(crate) fn open(plan: Plan) -> Result<Self> {
        let folder = &plan.folder;
        fs::create_dir_all(folder).map_err(|error| Failure::path("make", folder, &error))?;
        let lock = lock(folder)?;
        let parts: Vec<PathBuf> =
            (0..).map(|index| part_path(folder, index)).take_while(|path| path.is_file()).collect();
        let mut run = Self {
            _lock: lock,
            progress: Progress::default(),
            earlier: None,
            texts: Vec::new(),
            values: Stored::new(plan.shape.element),
            parts,
            plan,
        };
        match run.parts.last() {
            Some(last) => {
                let (rows, digest, cut) = read_progress(last)?;
                run.check(rows)?;
                run.progress.cut = cut;
                run.earlier = Some((rows, digest));
            }
            None => run.begin()?,
        }
        run.sweep();
        Ok(run)
    }

    fn begin(&self) -> Result<()> {
        let path = self.plan.folder.join(RUN);
        let run = json!({ "options": self.plan.options, "probe": self.plan.probe });
        let written = target::beside(&self.plan.folder).and_then(|mut file| {
            serde_json::to_writer_pretty(&mut file, &run)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        });
        written.map_err(|error| Failure::path("write", &path, &error))
    }

    /// Whether the run in the folder, of which `rows` are done, is this one.
    fn check(&self, rows: u64) -> Result<()> {
        let folder = self.plan.folder.display();
        let anew = format!("delete the folder {folder} to begin anew");
        if !self.plan.resume {
            return Err(Failure::new(format!("an unfinished run of {rows} rows lies in {folder}"))
                .with_hint(format!("--resume continues it; {anew}")));
        }
        let path = self.plan.folder.join(RUN);
        let bytes = fs::read(&path).map_err(|error| Failure::path("read", &path, &error).with_hint(anew.clone()))?;
        let run: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(format!("cannot read {}", path.display())).with_cause(&error))?;
        let nothing = Map::new();
        let earlier = run["options"].as_object().unwrap_or(&nothing);
        let mut names: Vec<&String> = earlier.keys().chain(self.plan.options.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let differences: Vec<String> = names
            .into_iter()
            .filter(|&name| earlier.get(name) != self.plan.options.get(name))
            .map(|name| {
                let shown = |options: &Map<String, Value>| options.get(name).map_or("nothing".to_owned(), shown);
                format!("{name} was {} and is now {}", shown(earlier), shown(&self.plan.options))
            })
            .collect();
        if !differences.is_empty() {
            return Err(Failure::new(format!("the run in {folder} is another one: {}", differences.join("; ")))
                .with_hint(format!("give the same options as then, or {anew}")));
        }
        let probe: Vec<f64> = run["probe"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
        if !same_vector(&probe, &self.plan.probe) {
            return Err(Failure::new(format!("the model has changed since the run in {folder} was begun"))
                .with_hint(format!("use the model of then, or {anew}")));
        }
        Ok(())
    }

    /// Rows of the run that is continued.
    pub(crate) fn earlier_rows(&self) -> u64 {
        self.earlier.as_ref().map_or(0, |(rows, _)| *rows)
    }

    /// Reads over the rows that are done, and makes sure that they are the same.
    pub(crate) fn read_over(&mut self, texts: &mut dyn Iterator<Item = String>) -> Result<()> {
        let Some((rows, digest)) = self.earlier.clone() else { return Ok(()) };
        let cut = self.progress.cut;
        for text in texts.take(usize::try_from(rows).unwrap_or(usize::MAX)) {
            self.progress.add(&text, false);
        }
        self.progress.cut = cut;
        if self.progress.rows == rows && self.progress.digest() == digest {
            return Ok(());
        }
        let folder = self.plan.folder.display();
        let what = if self.progress.rows < rows {
            format!("the input has {} rows, but {rows} of them are done in {folder}", self.progress.rows)
        } else {
            format!("the first {rows} rows of the input have changed since the run in {folder}")
        };
        Err(Failure::new(what).with_hint("give the same input as then, or delete the folder to begin anew"))
    }

    /// Adds rows; `cut` says of each whether its text was too long.
    pub(crate) fn write(&mut self, block: &Block<'_>, cut: &[bool]) -> Result<()> {
        let mut start = 0;
        while start < block.texts.len() {
            let room = self.plan.rows_per_part - self.texts.len();
            let end = block.texts.len().min(start + room);
            let some = block.rows(start, end);
            for (text, cut) in some.texts.iter().zip(&cut[start..end]) {
                self.progress.add(text, *cut);
            }
            self.texts.extend(some.texts.iter().map(|&text| text.to_owned()));
            self.values.extend(some.values)?;
            if self.texts.len() == self.plan.rows_per_part {
                self.write_part()?;
            }
            start = end;
        }
        Ok(())
    }

    fn write_part(&mut self) -> Result<()> {
        let path = part_path(&self.plan.folder, self.parts.len());
        let name = path.display().to_string();
        let cannot = |error: io::Error| Failure::io("write", &name, &error);
        let words = [
            (ROWS, self.progress.rows.to_string()),
            (DIGEST, self.progress.digest()),
            (CUT, self.progress.cut.to_string()),
        ];
        let words = words.map(|(key, value)| KeyValue::new(key.to_owned(), value)).to_vec();
        let texts: Vec<&str> = self.texts.iter().map(String::as_str).collect();
        let block = Block { texts: &texts, values: self.values.values(), width: self.plan.shape.width };
        let mut file = target::beside(&self.plan.folder).map_err(cannot)?;
        let written = parquet_file::write_group(file.as_file_mut(), &block, self.plan.shape, words);
        written.map_err(|error| parquet_file::failed(&name, error))?;
        file.as_file().sync_all().map_err(cannot)?;
        file.persist(&path).map_err(|error| cannot(error.error))?;
        target::sync_folder(&path).map_err(cannot)?;
        self.parts.push(path);
        self.texts.clear();
        self.values = Stored::new(self.plan.shape.element);
        Ok(())
    }

    /// Rows that the next run need not encode again.
    pub(crate) fn safe_rows(&self) -> u64 {
        self.earlier_rows().max(self.progress.rows - self.texts.len() as u64)
    }

    /// Rows, and texts that were cut, of the whole run.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.progress.rows, self.progress.cut)
    }

    /// Makes the output of all parts, and removes them.
    ///
    /// With `scale`, int8 or uint8, the parts hold floats, which are scaled by the ranges of all rows.
    pub(crate) fn finish(mut self, format: &OutputFormat, target: Target, scale: Option<Precision>) -> Result<()> {
        if !self.texts.is_empty() {
            self.write_part()?;
        }
        assemble::assemble(&self.parts, self.plan.shape, format, target, scale)?;
        self.remove().map_err(|error| Failure::path("remove", &self.plan.folder, &error))
    }

    /// Removes what this run wrote, and the folder with it.
    fn remove(&self) -> io::Result<()> {
        let own = [self.plan.folder.join(RUN), self.plan.folder.join(LOCK)];
        for path in self.parts.iter().chain(&own) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::remove_dir(&self.plan.folder)
    }

    /// Removes what a killed run left half written. That it stays where it cannot be removed does no harm.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.plan.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(".sentence-transformers-")
                && let Err(error) = fs::remove_file(entry.path())
            {
                log::info!("cannot remove {}: {error}", entry.path().display());
            }
        }
    }
}

/// A run that wrote no part leaves nothing.
impl Drop for Parts {
    fn drop(&mut self) {
        if self.parts.is_empty()
            && let Err(error) = self.remove()
            && error.kind() != io::ErrorKind::NotFound
        {
            log::info!("cannot remove {}: {error}", self.plan.folder.display());
        }
    }
}

fn part_path(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("part-{index:06}.parquet"))
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| Failure::path("write", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Failure::new(format!("another run writes into {}", folder.display()))
            .with_hint("wait for it, or choose another output")),
        // A file system without locks.
        Err(fs::TryLockError::Error(error)) => {
            log::warn!("{} cannot be locked: {error}", path.display());
            Ok(file)
        }
    }
}

fn read_progress(path: &Path) -> Result<(u64, String, u64)> {
    let file = File::open(path).map_err(|error| Failure::path("read", path, &error))?;
    let metadata = ParquetMetaDataReader::new()
        .parse_and_finish(&file)
        .map_err(|error| Failure::new(format!("cannot read {}", path.display())).with_cause(&error))?;
    let word = |key: &str| {
        let words = metadata.file_metadata().key_value_metadata()?;
        words.iter().find(|word| word.key == key)?.value.clone()
    };
    let number = |key| word(key)?.parse().ok();
    number(ROWS).zip(word(DIGEST)).zip(number(CUT)).map(|((rows, digest), cut)| (rows, digest, cut)).ok_or_else(|| {
        Failure::new(format!("{} does not say how far its run had come", path.display()))
            .with_hint("delete the folder to begin anew")
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

/// Equal but for what another instruction set may change in the last digits.
fn same_vector(earlier: &[f64], now: &[f32]) -> bool {
    const TOLERANCE: f64 = 1e-4;
    let norm = now.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    earlier.len() == now.len()
        && earlier.iter().zip(now).all(|(a, &b)| (a - f64::from(b)).abs() <= TOLERANCE * norm.max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::format_named;
    use sentence_transformers::{Embeddings, quantize_embeddings};

    fn plan(folder: &Path, resume: bool) -> Plan {
        let options = Map::from_iter([("--model".to_owned(), Value::from("m"))]);
        let shape = Shape { element: Element::Float, width: 2 };
        Plan { folder: folder.join("a.parts"), options, probe: vec![0.5, -1.0], rows_per_part: 3, shape, resume }
    }

    fn rows(range: std::ops::Range<u16>) -> (Vec<String>, Vec<f32>) {
        let texts = range.clone().map(|row| format!("text {row}")).collect();
        (texts, range.flat_map(|row| [f32::from(row), -f32::from(row)]).collect())
    }

    fn add(parts: &mut Parts, range: std::ops::Range<u16>) {
        let (texts, values) = rows(range);
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let cut = vec![true; texts.len()];
        parts.write(&Block { texts: &texts, values: Values::Float(&values), width: 2 }, &cut).unwrap();
    }

    fn finished(parts: Parts, path: &Path, name: &str, scale: Option<Precision>) -> Vec<u8> {
        parts.finish(format_named(name).unwrap(), Target::file(path, false).unwrap(), scale).unwrap();
        fs::read(path).unwrap()
    }

    #[test]
    fn a_run_that_was_cut_off_ends_like_one_that_was_not() {
        let folder = tempfile::tempdir().unwrap();
        let whole = {
            let mut parts = Parts::open(plan(folder.path(), false)).unwrap();
            add(&mut parts, 0..10);
            finished(parts, &folder.path().join("whole.parquet"), "parquet", None)
        };
        let mut parts = Parts::open(plan(folder.path(), false)).unwrap();
        add(&mut parts, 0..7);
        drop(parts);
        let mut parts = Parts::open(plan(folder.path(), true)).unwrap();
        assert_eq!(parts.earlier_rows(), 6);
        parts.read_over(&mut rows(0..10).0.into_iter()).unwrap();
        add(&mut parts, 6..10);
        assert_eq!(parts.counts(), (10, 10));
        let resumed = finished(parts, &folder.path().join("resumed.parquet"), "parquet", None);
        assert!(resumed == whole, "the two files differ");
        assert!(!folder.path().join("a.parts").exists());
    }

    #[test]
    fn a_run_is_not_continued_unasked_nor_with_other_options_model_or_input() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Parts::open(plan(folder.path(), false)).unwrap();
        add(&mut parts, 0..4);
        drop(parts);
        let refused = |plan: Plan| Parts::open(plan).unwrap_err().to_string();
        assert!(refused(plan(folder.path(), false)).contains("unfinished run of 3 rows"));
        let mut other = plan(folder.path(), true);
        other.options.insert("--normalize".to_owned(), true.into());
        assert!(refused(other).contains("--normalize was nothing and is now true"));
        let other = Plan { probe: vec![0.5, -0.9], ..plan(folder.path(), true) };
        assert!(refused(other).contains("model has changed"));
        let changed = |texts: Vec<String>| {
            let mut parts = Parts::open(plan(folder.path(), true)).unwrap();
            parts.read_over(&mut texts.into_iter()).unwrap_err().to_string()
        };
        assert!(changed(rows(1..9).0).contains("first 3 rows"));
        assert!(changed(rows(0..2).0).contains("has 2 rows"));
    }

    #[test]
    fn two_runs_do_not_write_into_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Parts::open(plan(folder.path(), false)).unwrap();
        let error = Parts::open(plan(folder.path(), true)).unwrap_err().to_string();
        assert!(error.contains("another run"), "{error}");
    }

    #[test]
    fn bytes_are_scaled_by_the_ranges_of_all_rows() {
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Parts::open(plan(folder.path(), false)).unwrap();
        add(&mut parts, 0..11);
        let bytes = finished(parts, &folder.path().join("a.npy"), "npy", Some(Precision::Uint8));
        let embeddings = Embeddings::new(rows(0..11).1, 11, 2).unwrap();
        let expected = quantize_embeddings(&embeddings, Precision::Uint8, None, None).unwrap();
        assert_eq!(&bytes[128..], expected.as_u8().unwrap());
    }

    #[test]
    fn a_run_that_wrote_nothing_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(Parts::open(plan(folder.path(), false)).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
