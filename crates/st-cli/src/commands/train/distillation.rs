//! Distillation: a student made of some of the model's layers, and labels from a teacher.

use std::path::Path;

use sentence_transformers::{SentenceTransformer, SimilarityFunction};
use serde_json::{Map, Value};
use st_train::data::Datasets;
use st_train::distillation::{Teacher, TeacherLabel, keep_layers};

use super::settings::Settings;
use crate::failure::{Failure, Result};

/// What the table `distillation` says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DistillationPlan {
    /// The model that labels the data.
    pub(super) teacher: Option<String>,
    /// The function of its similarities, its own otherwise.
    similarity: Option<SimilarityFunction>,
    /// How many components of its embeddings count.
    truncate_dim: Option<usize>,
    /// The layers of the model that the student keeps.
    keep_layers: Option<Vec<usize>>,
}

impl DistillationPlan {
    /// Reads the table.
    pub(super) fn read(table: &Map<String, Value>) -> Result<Self> {
        let mut settings = Settings::new("distillation", table.clone());
        let teacher = settings.text("teacher")?;
        let similarity =
            match settings.text("similarity")? {
                None => None,
                Some(name) => Some(name.parse().map_err(|error| {
                    Failure::usage("similarity of distillation is not understood").with_cause(&error)
                })?),
            };
        let plan = Self {
            teacher,
            similarity,
            truncate_dim: settings.count("truncate_dim")?,
            keep_layers: settings.counts("keep_layers")?,
        };
        settings.finish()?;
        if plan.teacher.is_none() && (plan.similarity.is_some() || plan.truncate_dim.is_some()) {
            return Err(Failure::usage("distillation says how a teacher labels, but names none")
                .with_hint("name it with teacher, or distillation.teacher"));
        }
        Ok(plan)
    }

    /// The student: the model, or some of its layers in `folder`, where its files stay as long as it is used.
    pub(super) fn student(&self, model: SentenceTransformer, folder: &Path) -> Result<SentenceTransformer> {
        match &self.keep_layers {
            Some(layers) => Ok(keep_layers(&model, layers, &folder.join("student"))?),
            None => Ok(model),
        }
    }

    /// The data with the labels that the losses learn from the teacher; `kind` says which those of a data set are.
    pub(super) fn label(
        &self,
        teacher: &SentenceTransformer,
        data: &Datasets,
        kind: &dyn Fn(&str) -> st_train::Result<TeacherLabel>,
    ) -> Result<Datasets> {
        let mut labels = Teacher::new(teacher).truncate_dim(self.truncate_dim);
        if let Some(similarity) = self.similarity {
            labels = labels.similarity(similarity);
        }
        Ok(labels.label_all(data, kind)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_not_followed_is_refused() {
        let read = |value: Value| DistillationPlan::read(value.as_object().unwrap());
        let error = |value: Value| read(value).unwrap_err().to_string();
        assert_eq!(read(json!({"keep_layers": [1]})).unwrap().keep_layers, Some(vec![1]));
        assert!(error(json!({"teachers": "x"})).contains("distillation has no setting \"teachers\"\nhint: "));
        assert!(error(json!({"similarity": "dot"})).contains("but names none"));
        assert!(error(json!({"teacher": "x", "similarity": "near"})).contains("is not a valid SimilarityFunction"));
    }
}
