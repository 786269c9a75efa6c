//! [`Teacher`]: labels that a teacher gives to texts, for a student to learn.

use std::sync::Arc;

use sentence_transformers::{EncodeOptions, SentenceTransformer};
use st_vectors::{Embeddings, SimilarityFunction};

use crate::data::{Cell, DataSource, Dataset, Datasets, LABEL_COLUMNS};
use crate::loss::Described;
use crate::{Result, TrainError};

/// Rows whose texts are embedded at once.
const BLOCK: usize = 4096;
/// The column of the labels.
const LABEL: &str = "label";

/// What a teacher says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TeacherLabel {
    /// Its embedding of the first text: for `MSELoss`, whose further columns may be translations of the first.
    Embedding,
    /// Its similarity of the two texts.
    Similarity,
    /// Its similarities of the first text (a query) with each of the others (documents): for `DistillKLDivLoss`.
    Scores,
    /// Its similarity of the first text with the second, less that with each of the others: for `MarginMSELoss`.
    Margins,
}

/// Which label each loss learns from a teacher.
///
/// ```
/// use st_train::distillation::{TEACHER_LABELS, TeacherLabel};
/// assert!(TEACHER_LABELS.contains(&("MarginMSELoss", TeacherLabel::Margins)));
/// ```
pub const TEACHER_LABELS: &[(&str, TeacherLabel)] = &[
    ("MSELoss", TeacherLabel::Embedding),
    ("MarginMSELoss", TeacherLabel::Margins),
    ("DistillKLDivLoss", TeacherLabel::Scores),
    ("CosineSimilarityLoss", TeacherLabel::Similarity),
    ("CoSENTLoss", TeacherLabel::Similarity),
    ("AnglELoss", TeacherLabel::Similarity),
];

impl TeacherLabel {
    /// The label of a loss, or of the loss that it is built around.
    ///
    /// # Errors
    /// When the loss learns from no such label.
    pub fn of_loss(loss: &dyn Described) -> Result<Self> {
        let mut innermost = loss;
        while let Some(inner) = innermost.inner() {
            innermost = inner;
        }
        let name = innermost.card().name;
        let found = TEACHER_LABELS.iter().find(|(known, _)| *known == name);
        found.map(|(_, label)| *label).ok_or_else(|| {
            let known: Vec<&str> = TEACHER_LABELS.iter().map(|(name, _)| *name).collect();
            TrainError::unsupported(
                format!("{name} learns nothing from a teacher's labels"),
                format!("the losses that do are {}", known.join(", ")),
            )
        })
    }
}

/// A teacher: a model that labels the rows of a dataset for a student.
///
/// ```
/// use sentence_transformers::SentenceTransformer;
/// use st_train::data::{Dataset, Table};
/// use st_train::distillation::{Teacher, TeacherLabel};
///
/// let model = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let table = Table::new().column("query", ["a cat"])?.column("good", ["a cat"])?.column("bad", ["the weather"])?;
/// let labelled = Teacher::new(&model).label(table, TeacherLabel::Margins)?;
/// assert_eq!(labelled.columns(), ["query", "good", "bad", "label"]);
/// assert!(labelled.row(0)?[3].as_number().unwrap() > 0.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Teacher<'a> {
    model: &'a SentenceTransformer,
    similarity: SimilarityFunction,
    truncate_dim: Option<usize>,
}

impl<'a> Teacher<'a> {
    /// A teacher whose similarities are those of the model's own function.
    #[must_use]
    pub fn new(model: &'a SentenceTransformer) -> Self {
        Self { model, similarity: model.similarity_function(), truncate_dim: None }
    }

    /// Sets the function of its similarities.
    #[must_use]
    pub fn similarity(mut self, function: SimilarityFunction) -> Self {
        self.similarity = function;
        self
    }

    /// Sets how many components of its embeddings count: those that the student has, say.
    #[must_use]
    pub fn truncate_dim(mut self, dimension: Option<usize>) -> Self {
        self.truncate_dim = dimension;
        self
    }

    /// A dataset with the teacher's label as its last column, `label`. Queries and documents get the prompts that the teacher
    /// has for them.
    ///
    /// # Errors
    /// When there is a label already, there are too few text columns, a value is no text, or the teacher fails.
    pub fn label(&self, dataset: impl Dataset + 'static, label: TeacherLabel) -> Result<LabelledDataset> {
        self.label_shared(Arc::new(dataset), label)
    }

    /// As [`Teacher::label`], for every dataset of several.
    ///
    /// # Errors
    /// As [`Teacher::label`]; and for datasets that are streamed.
    pub fn label_all(&self, data: &Datasets, label: impl Fn(&str) -> Result<TeacherLabel>) -> Result<Datasets> {
        let one = |name: &str, source: &DataSource| match source {
            DataSource::Indexed(dataset) => {
                let labelled = self.label_shared(Arc::clone(dataset), label(name)?)?;
                Ok(DataSource::Indexed(Arc::new(labelled)))
            }
            DataSource::Streamed(_) => Err(TrainError::unsupported(
                "a dataset that is streamed cannot be labelled by a teacher",
                "read it into memory",
            )),
        };
        Ok(match data {
            Datasets::Single(source) => Datasets::Single(one("", source)?),
            Datasets::Named(named) => Datasets::Named(
                named.iter().map(|(name, source)| Ok((name.clone(), one(name, source)?))).collect::<Result<_>>()?,
            ),
        })
    }

    fn label_shared(&self, dataset: Arc<dyn Dataset>, label: TeacherLabel) -> Result<LabelledDataset> {
        let columns = dataset.columns();
        if let Some(known) = columns.iter().find(|name| LABEL_COLUMNS.contains(&name.as_str())) {
            return Err(TrainError::unsupported(
                format!("the dataset has a column '{known}', and a teacher is to label it too"),
                "leave the column out, or train without the teacher",
            ));
        }
        let (least, most) = match label {
            TeacherLabel::Embedding => (1, usize::MAX),
            TeacherLabel::Similarity => (2, 2),
            TeacherLabel::Scores => (2, usize::MAX),
            TeacherLabel::Margins => (3, usize::MAX),
        };
        if columns.len() < least || columns.len() > most {
            let message = format!("a teacher's label of this kind is of {least} texts a row, not of {}", columns.len());
            return Err(TrainError::invalid(message));
        }
        let mut numbers = Vec::new();
        let mut start = 0;
        while start < dataset.len() {
            let end = dataset.len().min(start + BLOCK);
            let rows = (start..end).map(|index| dataset.row(index)).collect::<Result<Vec<_>>>()?;
            self.append(&rows, columns, label, &mut numbers)?;
            start = end;
        }
        let mut columns = columns.to_vec();
        columns.push(LABEL.to_owned());
        let width = numbers.len() / dataset.len().max(1);
        let is_list = label == TeacherLabel::Embedding || (label == TeacherLabel::Scores) || width > 1;
        Ok(LabelledDataset { dataset, columns, numbers, width, is_list })
    }

    /// Appends the labels of some rows.
    fn append(
        &self,
        rows: &[Vec<Cell>],
        columns: &[String],
        label: TeacherLabel,
        numbers: &mut Vec<f32>,
    ) -> Result<()> {
        let texts = |column: usize| -> Result<Vec<&str>> {
            let refuse = |row: &[Cell]| {
                let (name, kind) = (&columns[column], row[column].kind());
                TrainError::invalid(format!("column '{name}' holds {kind} where a teacher reads texts"))
            };
            rows.iter().map(|row| row[column].as_text().ok_or_else(|| refuse(row))).collect()
        };
        let options = EncodeOptions::new();
        let options = match self.truncate_dim {
            Some(dimension) => options.truncate_dim(dimension),
            None => options,
        };
        if label == TeacherLabel::Embedding {
            numbers.extend_from_slice(self.model.encode_with(&texts(0)?, &options)?.as_slice());
            return Ok(());
        }
        let pair = label == TeacherLabel::Similarity;
        let embed = |column: usize| -> Result<Embeddings> {
            let texts = texts(column)?;
            Ok(match column {
                _ if pair => self.model.encode_with(&texts, &options)?,
                0 => self.model.encode_query(&texts, &options)?,
                _ => self.model.encode_document(&texts, &options)?,
            })
        };
        let first = embed(0)?;
        let score = |column: usize| -> Result<Vec<f32>> {
            let scores = self.similarity.similarity_pairwise(&first, &embed(column)?);
            scores.map_err(|error| TrainError::Model(error.into()))
        };
        let scores = (1..columns.len()).map(score).collect::<Result<Vec<_>>>()?;
        for row in 0..rows.len() {
            match label {
                TeacherLabel::Margins => numbers.extend(scores[1..].iter().map(|other| scores[0][row] - other[row])),
                _ => numbers.extend(scores.iter().map(|scores| scores[row])),
            }
        }
        Ok(())
    }
}

/// A dataset with a teacher's labels, which are kept as numbers side by side.
///
/// [`Teacher::label`] makes one.
#[derive(Debug)]
pub struct LabelledDataset {
    dataset: Arc<dyn Dataset>,
    columns: Vec<String>,
    numbers: Vec<f32>,
    /// Numbers of a row.
    width: usize,
    /// Whether a label is a list, of one number perhaps.
    is_list: bool,
}

impl Dataset for LabelledDataset {
    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn len(&self) -> usize {
        self.dataset.len()
    }

    fn row(&self, index: usize) -> Result<Vec<Cell>> {
        let mut row = self.dataset.row(index)?;
        let numbers = &self.numbers[index * self.width..(index + 1) * self.width];
        row.push(match numbers {
            [number] if !self.is_list => Cell::from(*number),
            numbers => Cell::List(numbers.iter().map(|number| Cell::from(*number)).collect()),
        });
        Ok(row)
    }
}

impl From<LabelledDataset> for DataSource {
    fn from(dataset: LabelledDataset) -> Self {
        Self::Indexed(Arc::new(dataset))
    }
}

impl From<LabelledDataset> for Datasets {
    fn from(dataset: LabelledDataset) -> Self {
        Self::Single(dataset.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Table;
    use crate::losses::{MatryoshkaLoss, MseLoss, MultipleNegativesRankingLoss};

    fn model() -> SentenceTransformer {
        SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy()).unwrap()
    }

    fn table() -> Table {
        let columns = [("q", ["a cat", "rain"]), ("p", ["the cat", "sun"]), ("n", ["weather", "mat"])];
        columns.into_iter().fold(Table::new(), |table, (name, texts)| table.column(name, texts).unwrap())
    }

    fn numbers(cell: &Cell) -> Vec<f64> {
        match cell {
            Cell::List(list) => list.iter().map(|cell| cell.as_number().unwrap()).collect(),
            cell => vec![cell.as_number().unwrap()],
        }
    }

    #[test]
    fn labels_are_what_the_teacher_says() {
        let model = model();
        let teacher = Teacher::new(&model);
        let label = |label: TeacherLabel| teacher.label(table(), label).unwrap().row(1).unwrap().pop().unwrap();
        let [q, p, n] = ["rain", "sun", "mat"].map(|text| model.encode(&[text]).unwrap());
        let similar = |other: &Embeddings| f64::from(model.similarity_pairwise(&q, other).unwrap()[0]);
        let embedding: Vec<f64> = q.as_slice().iter().map(|&number| f64::from(number)).collect();
        assert_eq!(numbers(&label(TeacherLabel::Embedding)), embedding);
        assert_eq!(numbers(&label(TeacherLabel::Scores)), [similar(&p), similar(&n)]);
        let margin = label(TeacherLabel::Margins);
        assert!(matches!(margin, Cell::Number(_)) && (numbers(&margin)[0] - (similar(&p) - similar(&n))).abs() < 1e-6);
        let cut = Teacher::new(&model).truncate_dim(Some(5)).label(table(), TeacherLabel::Embedding).unwrap();
        assert_eq!(numbers(&cut.row(1).unwrap()[3]), embedding[..5]);
        let pairs = table().select_columns(&["q", "p"]).unwrap();
        let dot = Teacher::new(&model).similarity(SimilarityFunction::Dot);
        let dot = dot.label(pairs, TeacherLabel::Similarity).unwrap().row(1).unwrap();
        let by_hand: f32 = q.as_slice().iter().zip(p.as_slice()).map(|(a, b)| a * b).sum();
        assert!((numbers(&dot[2])[0] - f64::from(by_hand)).abs() < 1e-4);
    }

    #[test]
    fn what_cannot_be_labelled_is_refused() {
        let model = model();
        let error = |table: Table, label| Teacher::new(&model).label(table, label).unwrap_err().to_string();
        assert!(error(table().column("score", [1, 2]).unwrap(), TeacherLabel::Scores).contains("has a column 'score'"));
        assert!(error(table(), TeacherLabel::Similarity).contains("of 2 texts a row, not of 3"));
        let counted = table().column("m", [1, 2]).unwrap();
        assert!(error(counted, TeacherLabel::Margins).contains("column 'm' holds a whole number"));
    }

    #[test]
    fn losses_say_what_they_learn() {
        let around = MatryoshkaLoss::new(MseLoss::new(), &[16]).unwrap();
        assert_eq!(TeacherLabel::of_loss(&around).unwrap(), TeacherLabel::Embedding);
        let error = TeacherLabel::of_loss(&MultipleNegativesRankingLoss::new()).unwrap_err().to_string();
        assert!(error.contains("MultipleNegativesRankingLoss learns nothing from a teacher's labels"), "{error}");
        for (name, _) in TEACHER_LABELS {
            assert!(crate::losses::LOSSES.iter().any(|card| card.name == *name), "{name}");
        }
    }
}
