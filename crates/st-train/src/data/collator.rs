//! [`Collator`]: rows of a dataset → tokenised columns and targets.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use sentence_transformers::Image;

use crate::loss::Targets;
use crate::model::{Column, EmbeddingModel};
use crate::{Result, TrainError};

use super::cell::Cell;
use super::column_order;
use super::dataset::LABEL_COLUMNS;
use super::settings::{PromptSettings, RouterMapping};

/// Makes batches: the first of [`LABEL_COLUMNS`] that is there becomes the targets, every other column is tokenised, with
/// its prompt in front and by its route. Images are decoded instead, for models that see; a column may hold texts and images.
///
/// ```
/// use st_train::data::{Collator, RouterMapping};
///
/// let collator = Collator::new(Some("search: ".into()), RouterMapping::from([("query", "query")]));
/// assert_eq!(collator.label_column(&["query".into(), "score".into()]), Some(1));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Collator {
    prompts: Option<PromptSettings>,
    router_mapping: RouterMapping,
    warned: BTreeSet<Vec<String>>,
}

/// A batch of rows, ready for a loss.
#[derive(Debug, Clone)]
pub struct CollatedBatch {
    /// The columns of texts or images, in order.
    pub columns: Vec<Column>,
    /// The labels.
    pub targets: Targets,
    /// Number of rows.
    pub rows: usize,
}

impl CollatedBatch {
    /// Number of tokens of all columns.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.columns.iter().map(Column::tokens).sum()
    }
}

impl Collator {
    /// A collator with the prompts and routes of the training arguments.
    #[must_use]
    pub fn new(prompts: Option<PromptSettings>, router_mapping: RouterMapping) -> Self {
        Self { prompts, router_mapping, warned: BTreeSet::new() }
    }

    /// The place of the label column.
    #[must_use]
    pub fn label_column(&self, columns: &[String]) -> Option<usize> {
        LABEL_COLUMNS.iter().find_map(|label| columns.iter().position(|column| column == label))
    }

    /// Makes a batch. `dataset` is the dataset's name where there are several, `columns` are the names of the values in
    /// `rows`.
    ///
    /// Warns, once per layout, when telling column names stand at unusual places.
    ///
    /// # Errors
    /// When a column holds other than texts and images, an image cannot be decoded, a prompt would be put before one, labels
    /// are of different kinds, prompts are by dataset where there is only one, or the tokenizer fails.
    pub fn collate(
        &mut self,
        model: &dyn EmbeddingModel,
        dataset: Option<&str>,
        columns: &[String],
        rows: Vec<Vec<Cell>>,
    ) -> Result<CollatedBatch> {
        if self.warned.insert(columns.to_vec()) {
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            if let Some(warning) = column_order::warning(&names) {
                log::warn!("{warning}");
            }
        }
        let (count, label) = (rows.len(), self.label_column(columns));
        let mut cells: Vec<Vec<Cell>> = columns.iter().map(|_| Vec::with_capacity(count)).collect();
        for row in rows {
            cells.iter_mut().zip(row).for_each(|(column, cell)| column.push(cell));
        }
        let mut batch = CollatedBatch { columns: Vec::with_capacity(cells.len()), targets: Targets::None, rows: count };
        for (index, (name, cells)) in columns.iter().zip(cells).enumerate() {
            if Some(index) == label {
                batch.targets = targets(name, &cells, model.device())?;
                continue;
            }
            let prompt = match &self.prompts {
                Some(prompts) => prompts.prompt(dataset, name)?,
                None => None,
            };
            let route = self.router_mapping.route(dataset, name);
            let is_image: Vec<bool> = cells.iter().map(|cell| cell.as_image().is_some()).collect();
            let images: Vec<Image> = cells.iter().filter_map(|cell| cell.as_image().cloned()).collect();
            let cells = cells.into_iter().filter(|cell| cell.as_image().is_none());
            let texts = cells.map(|cell| text(name, cell)).collect::<Result<Vec<_>>>()?;
            if !images.is_empty() && prompt.is_some_and(|prompt| !prompt.is_empty()) {
                let message = format!("would put a prompt before column '{name}', which holds images");
                return Err(TrainError::option("prompts", message));
            }
            batch.columns.push(match (texts.is_empty(), images.is_empty()) {
                (_, true) => model.tokenize(&texts, prompt, route)?,
                (true, false) => model.read_images(&images, route)?,
                (false, false) => {
                    let images = model.read_images(&images, route)?;
                    Column::of_both(model.tokenize(&texts, prompt, route)?, images, is_image)?
                }
            });
        }
        if batch.columns.is_empty() {
            return Err(TrainError::invalid(format!(
                "the dataset has no column of texts or images; its columns are {}",
                super::listed(columns)
            )));
        }
        Ok(batch)
    }
}

fn text(column: &str, cell: Cell) -> Result<String> {
    match cell {
        Cell::Text(text) => Ok(text),
        other => Err(TrainError::invalid(format!(
            "column '{column}' holds {} where a text is needed; labels belong into a column called 'label' or 'score'",
            other.kind()
        ))),
    }
}

/// Labels: whole numbers are classes, numbers are scores, lists are rows of a matrix.
pub(crate) fn targets(column: &str, cells: &[Cell], device: &Device) -> Result<Targets> {
    let refuse = |cell: &Cell| {
        let kind = cell.kind();
        TrainError::invalid(format!("label column '{column}' holds {kind}; labels are numbers, or lists of numbers"))
    };
    let class = |cell: &Cell| match cell {
        Cell::Integer(class) => Some(*class),
        Cell::Bool(class) => Some(i64::from(*class)),
        _ => None,
    };
    if let Some(classes) = cells.iter().map(class).collect::<Option<Vec<_>>>() {
        return Ok(Targets::Classes(classes));
    }
    if !matches!(cells.first(), Some(Cell::List(_))) {
        let score = |cell: &Cell| cell.as_number().ok_or_else(|| refuse(cell));
        return Ok(Targets::Scores(cells.iter().map(score).collect::<Result<_>>()?));
    }
    let mut values: Vec<f32> = Vec::new();
    let mut width = None;
    for cell in cells {
        let Cell::List(list) = cell else { return Err(refuse(cell)) };
        if *width.get_or_insert(list.len()) != list.len() {
            let message =
                format!("label column '{column}' holds lists of {} and {} numbers", width.unwrap_or(0), list.len());
            return Err(TrainError::invalid(message));
        }
        for entry in list {
            #[expect(clippy::cast_possible_truncation, reason = "labels are float32, as in the original")]
            values.push(entry.as_number().ok_or_else(|| refuse(entry))? as f32);
        }
    }
    Ok(Targets::Matrix(Tensor::from_vec(values, (cells.len(), width.unwrap_or(0)), device)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_classes_scores_or_rows() {
        let of = |cells: &[Cell]| targets("label", cells, &Device::Cpu);
        assert!(matches!(of(&[1.into(), true.into()]).unwrap(), Targets::Classes(classes) if classes == [1, 1]));
        assert!(matches!(of(&[1.into(), 0.5.into()]).unwrap(), Targets::Scores(scores) if scores == [1.0, 0.5]));
        let Targets::Matrix(matrix) = of(&[vec![1.0, 2.0].into(), vec![3.0, 4.0].into()]).unwrap() else { panic!() };
        assert_eq!(matrix.to_vec2::<f32>().unwrap(), [[1.0, 2.0], [3.0, 4.0]]);
        let error = |cells: &[Cell]| of(cells).unwrap_err().to_string();
        assert_eq!(error(&[vec![1].into(), vec![1, 2].into()]), "label column 'label' holds lists of 1 and 2 numbers");
        assert!(error(&["a".into()]).starts_with("label column 'label' holds a text;"));
        assert!(error(&[1.into(), Cell::Null]).contains("holds nothing"));
    }

    #[test]
    fn the_first_label_name_counts() {
        let collator = Collator::default();
        let place =
            |names: &[&str]| collator.label_column(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(place(&["a", "score", "label"]), Some(2));
        assert_eq!(place(&["a", "scores"]), Some(1));
        assert_eq!(place(&["a", "Label"]), None);
    }
}
