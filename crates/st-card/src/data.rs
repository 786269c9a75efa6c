use log::warn;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::facts::Scalar;
use crate::logs::{TRAINING_LOSS, VALIDATION_LOSS};
use crate::loss::{citations, with_inner};
use crate::{DatasetFacts, Emissions, EvaluationFacts, HubLookup, LogLine, LossFacts, ModelFacts, WidgetExample};
use crate::{base_model_candidates, python};

/// The tag of a model that was trained with this library: its card is written anew on saving.
pub const TRAINED_TAG: &str = "generated_from_trainer";

/// What a model's card says that the model itself does not know: set by hand, or by training and evaluation.
///
/// The fields are those of Python's `SentenceTransformerModelCardData`; [`ModelFacts`] has what the model knows.
///
/// # Examples
///
/// ```
/// use st_card::{DatasetFacts, ModelCardData, ModelFacts};
///
/// let data = ModelCardData::new()
///     .language(["en"])
///     .license("apache-2.0")
///     .model_id("someone/mpnet-base-allnli")
///     .train_datasets([DatasetFacts::on_hub("sentence-transformers/all-nli")]);
/// let card = data.render(&ModelFacts::default())?;
/// assert!(card.starts_with("---\nlanguage:\n- en\nlicense: apache-2.0\ntags:\n"));
/// assert!(card.contains("model = SentenceTransformer(\"someone/mpnet-base-allnli\")\n"));
/// # Ok::<(), st_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelCardData {
    /// Codes such as `en`.
    pub language: Vec<String>,
    /// An identifier such as `apache-2.0`.
    pub license: Option<String>,
    /// The title; unset, it is `SentenceTransformer` with the base model.
    pub model_name: Option<String>,
    /// `organisation/name` on the Hub.
    pub model_id: Option<String>,
    /// What the model was trained on.
    pub train_datasets: Vec<DatasetFacts>,
    /// What it was evaluated on while training.
    pub eval_datasets: Vec<DatasetFacts>,
    /// What the model can be used for.
    pub task_name: String,
    /// Tags on the Hub.
    pub tags: Vec<String>,
    /// Never ask the Hub about datasets and base models.
    pub local_files_only: bool,
    /// Show the similarities of the usage example.
    pub generate_widget_examples: bool,

    /// The model that this one was trained from.
    pub base_model: Option<String>,
    /// Its commit.
    pub base_model_revision: Option<String>,
    /// Ids of datasets that the Hub has.
    pub datasets: Vec<String>,
    /// Examples that the Hub's page offers.
    pub widget: Vec<WidgetExample>,
    /// The texts of the usage example: the query first for a retrieval model.
    pub predict_example: Option<Vec<String>>,
    /// Whether queries and documents are encoded differently; unset until known.
    pub ir_model: Option<bool>,
    /// Titles and BibTeX entries.
    pub citations: Vec<(String, String)>,
    /// The step that the saved weights are from.
    pub best_model_step: Option<i64>,
    /// What was logged while training.
    pub training_logs: Vec<LogLine>,
    /// The training arguments that are not the default.
    pub non_default_hyperparameters: Map<String, Value>,
    /// All training arguments.
    pub all_hyperparameters: Map<String, Value>,
    /// What evaluators measured.
    pub evaluations: Vec<EvaluationFacts>,
    /// What training emitted.
    pub emissions: Option<Emissions>,
}

impl Default for ModelCardData {
    fn default() -> ModelCardData {
        ModelCardData {
            language: Vec::new(),
            license: None,
            model_name: None,
            model_id: None,
            train_datasets: Vec::new(),
            eval_datasets: Vec::new(),
            task_name: "semantic textual similarity, semantic search, paraphrase mining, text classification, \
                        clustering, and more"
                .to_owned(),
            tags: ["sentence-transformers", "sentence-similarity", "feature-extraction", "dense"]
                .map(String::from)
                .into(),
            local_files_only: false,
            generate_widget_examples: true,
            base_model: None,
            base_model_revision: None,
            datasets: Vec::new(),
            widget: Vec::new(),
            predict_example: None,
            ir_model: None,
            citations: Vec::new(),
            best_model_step: None,
            training_logs: Vec::new(),
            non_default_hyperparameters: Map::new(),
            all_hyperparameters: Map::new(),
            evaluations: Vec::new(),
            emissions: None,
        }
    }
}

/// What is set by hand.
impl ModelCardData {
    /// Nothing but the default tags and task.
    #[must_use]
    pub fn new() -> ModelCardData {
        ModelCardData::default()
    }

    /// Sets the languages.
    #[must_use]
    pub fn language<S: Into<String>>(mut self, language: impl IntoIterator<Item = S>) -> ModelCardData {
        self.set_language(language);
        self
    }

    /// Sets the licence.
    #[must_use]
    pub fn license(mut self, license: impl Into<String>) -> ModelCardData {
        self.set_license(license);
        self
    }

    /// Sets the title.
    #[must_use]
    pub fn model_name(mut self, model_name: impl Into<String>) -> ModelCardData {
        self.model_name = Some(model_name.into());
        self
    }

    /// Sets the id on the Hub. One without organisation, or with more than one `/`, is left out with a warning.
    #[must_use]
    pub fn model_id(mut self, model_id: impl Into<String>) -> ModelCardData {
        let model_id = model_id.into();
        if model_id.matches('/').count() == 1 {
            self.model_id = Some(model_id);
        } else if !model_id.is_empty() {
            warn!(
                "The provided {} model ID should include the organization or user, such as \
                 \"tomaarsen/mpnet-base-nli-matryoshka\". Setting `model_id` to None.",
                python::repr_text(&model_id)
            );
            self.model_id = None;
        }
        self
    }

    /// Sets the training datasets.
    #[must_use]
    pub fn train_datasets(mut self, datasets: impl IntoIterator<Item = DatasetFacts>) -> ModelCardData {
        self.train_datasets = datasets.into_iter().collect();
        self
    }

    /// Sets the evaluation datasets.
    #[must_use]
    pub fn eval_datasets(mut self, datasets: impl IntoIterator<Item = DatasetFacts>) -> ModelCardData {
        self.eval_datasets = datasets.into_iter().collect();
        self
    }

    /// Sets what the model can be used for.
    #[must_use]
    pub fn task_name(mut self, task_name: impl Into<String>) -> ModelCardData {
        self.task_name = task_name.into();
        self
    }

    /// Replaces the default tags.
    #[must_use]
    pub fn tags<S: Into<String>>(mut self, tags: impl IntoIterator<Item = S>) -> ModelCardData {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the Hub is never asked.
    #[must_use]
    pub fn local_files_only(mut self, local_files_only: bool) -> ModelCardData {
        self.local_files_only = local_files_only;
        self
    }

    /// Whether the usage example shows similarities.
    #[must_use]
    pub fn generate_widget_examples(mut self, generate: bool) -> ModelCardData {
        self.generate_widget_examples = generate;
        self
    }

    /// Sets the id on the Hub as it is.
    pub fn set_model_id(&mut self, model_id: impl Into<String>) {
        self.model_id = Some(model_id.into());
    }

    /// Sets the languages.
    pub fn set_language<S: Into<String>>(&mut self, language: impl IntoIterator<Item = S>) {
        self.language = language.into_iter().map(Into::into).collect();
    }

    /// Sets the licence.
    pub fn set_license(&mut self, license: impl Into<String>) {
        self.license = Some(license.into());
    }

    /// Adds tags that are not there yet.
    pub fn add_tags<S: Into<String>>(&mut self, tags: impl IntoIterator<Item = S>) {
        for tag in tags.into_iter().map(Into::into) {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
    }

    /// Names the base model if the Hub has it; gives whether it does. `main` or no revision becomes the commit that the Hub
    /// is at. Nothing is asked with `local_files_only`.
    pub fn set_base_model(&mut self, model_id: &str, revision: Option<&str>, hub: &dyn HubLookup) -> bool {
        if self.local_files_only {
            return false;
        }
        let Some(found) = hub.model(model_id) else { return false };
        self.base_model = Some(found.id);
        self.base_model_revision = match revision {
            None | Some("main") => found.revision,
            Some(revision) => Some(revision.to_owned()),
        };
        true
    }

    /// Names the base model from where the weights were loaded, if the Hub has one of the ids that
    /// [`base_model_candidates`] gives.
    pub fn infer_base_model(&mut self, name_or_path: &str, hub: &dyn HubLookup) -> bool {
        self.base_model.is_some()
            || base_model_candidates(name_or_path).iter().any(|candidate| self.set_base_model(candidate, None, hub))
    }

    /// Checks the datasets' ids with the Hub: an unknown one is dropped with a warning, a known one is listed in the front
    /// matter and gives its languages where none are set. Nothing is asked with `local_files_only`.
    pub fn check_datasets(&mut self, hub: &dyn HubLookup) {
        let mut train = std::mem::take(&mut self.train_datasets);
        let mut eval = std::mem::take(&mut self.eval_datasets);
        for datasets in [&mut train, &mut eval] {
            let infer_languages = self.language.is_empty();
            for dataset in datasets.iter_mut() {
                self.check_dataset(dataset, infer_languages, hub);
            }
        }
        self.train_datasets = train;
        self.eval_datasets = eval;
    }

    fn check_dataset(&mut self, dataset: &mut DatasetFacts, infer_languages: bool, hub: &dyn HubLookup) {
        if dataset.name.is_none() {
            dataset.name.clone_from(&dataset.id);
        }
        let Some(id) = dataset.id.as_deref().filter(|_| !self.local_files_only) else { return };
        let Some(found) = hub.dataset(id) else {
            let id = python::repr_text(id);
            warn!("The dataset `id` {id} does not exist on the Hub. Setting the `id` to None.");
            dataset.id = None;
            return;
        };
        if infer_languages {
            for language in found.languages {
                if !self.language.contains(&language) {
                    self.language.push(language);
                }
            }
        }
        if !self.datasets.contains(&found.id) {
            self.datasets.push(found.id);
        }
    }

    /// Takes over what the model says: whether it is for retrieval.
    pub fn register_model(&mut self, model: &ModelFacts) {
        if self.ir_model.is_none() && model.is_retrieval_model() {
            self.ir_model = Some(true);
        }
    }
}

/// What training and evaluation fill in.
impl ModelCardData {
    /// Tags the model as trained with this library, so that its card is written anew.
    pub fn set_trained(&mut self) {
        self.add_tags([TRAINED_TAG]);
    }

    /// Sets what the model is trained on: adds the tag with the number of rows, and a column `query` or `question` makes a
    /// retrieval model. Names and ids given by hand stay where there are as many datasets as given; otherwise they are
    /// dropped with a warning.
    pub fn set_train_datasets(&mut self, measured: Vec<DatasetFacts>) {
        self.train_datasets = merge("train", std::mem::take(&mut self.train_datasets), measured);
        let rows: u64 = self.train_datasets.iter().filter_map(|dataset| dataset.size).sum();
        if rows > 0 {
            self.add_tags([format!("dataset_size:{rows}")]);
        }
        let mut columns = self.train_datasets.iter().flat_map(|dataset| &dataset.columns);
        if self.ir_model.is_none() && columns.any(|column| column == "query" || column == "question") {
            self.ir_model = Some(true);
        }
    }

    /// Sets what the model is evaluated on while training, as [`set_train_datasets`](Self::set_train_datasets) does.
    pub fn set_eval_datasets(&mut self, measured: Vec<DatasetFacts>) {
        self.eval_datasets = merge("eval", std::mem::take(&mut self.eval_datasets), measured);
    }

    /// Sets who is cited and adds a tag per loss; the losses that a loss uses count too.
    pub fn set_losses(&mut self, losses: &[LossFacts]) {
        let losses = with_inner(losses);
        self.citations = citations(&losses);
        self.add_tags(losses.iter().map(|loss| format!("loss:{}", loss.name)));
    }

    /// Sets the step that the saved weights are from: its line in the logs becomes bold.
    pub fn set_best_model_step(&mut self, step: i64) {
        self.best_model_step = Some(step);
    }

    /// Logs the loss on training data.
    pub fn log_training_loss(&mut self, epoch: f64, step: i64, loss: f64) {
        self.log(epoch.into(), step, vec![(TRAINING_LOSS.to_owned(), loss.into())]);
    }

    /// Logs losses on evaluation data by the dataset's name; a single one without a name is the validation loss.
    pub fn log_evaluation_losses(&mut self, epoch: f64, step: i64, losses: &[(&str, f64)]) {
        let name = |dataset: &str| match dataset {
            "" if losses.len() == 1 => VALIDATION_LOSS.to_owned(),
            "" => "loss".to_owned(),
            dataset => format!("{} loss", dataset.replace('_', " ")),
        };
        let values = losses.iter().map(|(dataset, loss)| (name(dataset), (*loss).into())).collect();
        self.log(epoch.into(), step, values);
    }

    /// Records what an evaluator measured, in place of an earlier result of the same evaluator, and logs its primary
    /// metric. Epoch and step are −1 outside training.
    pub fn set_evaluation_metrics(&mut self, evaluation: EvaluationFacts, epoch: impl Into<Scalar>, step: i64) {
        if let Some(primary) = &evaluation.primary_metric {
            let values = evaluation.metrics.iter().filter(|(key, _)| key == primary).cloned().collect();
            self.log(epoch.into(), step, values);
        }
        match self.evaluations.iter_mut().find(|known| known.is_from_same_evaluator(&evaluation)) {
            Some(known) => *known = evaluation,
            None => self.evaluations.push(evaluation),
        }
    }

    /// One line per step: values of the step last logged join its line.
    fn log(&mut self, epoch: Scalar, step: i64, values: Vec<(String, Scalar)>) {
        match self.training_logs.last_mut() {
            Some(line) if line.step == step => values.into_iter().for_each(|(name, value)| line.set(&name, value)),
            _ => self.training_logs.push(LogLine { epoch, step, values }),
        }
    }
}

/// What was measured, under the names and ids that were given by hand.
fn merge(purpose: &str, given: Vec<DatasetFacts>, measured: Vec<DatasetFacts>) -> Vec<DatasetFacts> {
    if !given.is_empty() && given.len() != measured.len() {
        warn!(
            "The number of `{purpose}_datasets` in the model card data does not match the number of {purpose} datasets in \
             the Trainer. Removing the provided `{purpose}_datasets` from the model card data."
        );
        return measured;
    }
    let mut given = given.into_iter();
    measured
        .into_iter()
        .map(|measured| match given.next() {
            Some(given) => DatasetFacts { name: given.name, id: given.id, revision: given.revision, ..measured },
            None => measured,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RepositoryFacts;

    struct Hub;

    impl HubLookup for Hub {
        fn model(&self, id: &str) -> Option<RepositoryFacts> {
            let revision = Some("abc".to_owned());
            (id == "org/base").then(|| RepositoryFacts { id: "Org/base".to_owned(), revision, languages: Vec::new() })
        }

        fn dataset(&self, id: &str) -> Option<RepositoryFacts> {
            let languages = vec!["de".to_owned()];
            (id == "org/data").then(|| RepositoryFacts { id: id.to_owned(), revision: None, languages })
        }
    }

    #[test]
    fn only_ids_with_an_organisation_are_taken() {
        for (id, taken) in [("org/name", true), ("name", false), ("a/b/c", false), ("", false)] {
            assert_eq!(ModelCardData::new().model_id(id).model_id.is_some(), taken, "{id}");
        }
        let mut data = ModelCardData::new();
        data.set_model_id("name");
        assert_eq!(data.model_id.as_deref(), Some("name"));
    }

    #[test]
    fn base_models_are_verified() {
        let mut data = ModelCardData::new();
        assert!(!data.set_base_model("other/base", None, &Hub));
        assert!(data.infer_base_model("/cache/org_base", &Hub));
        assert_eq!(data.base_model.as_deref(), Some("Org/base"));
        assert!(data.set_base_model("org/base", Some("v1"), &Hub));
        assert_eq!(data.base_model_revision.as_deref(), Some("v1"));
        assert!(data.set_base_model("org/base", Some("main"), &Hub));
        assert_eq!(data.base_model_revision.as_deref(), Some("abc"));
        assert!(!ModelCardData::new().local_files_only(true).set_base_model("org/base", None, &Hub));
    }

    #[test]
    fn unknown_datasets_lose_their_id() {
        let mut data =
            ModelCardData::new().train_datasets([DatasetFacts::on_hub("org/data"), DatasetFacts::on_hub("org/none")]);
        data.check_datasets(&Hub);
        assert_eq!(data.language, ["de"]);
        assert_eq!(data.datasets, ["org/data"]);
        assert_eq!(data.train_datasets[1].id, None);
        assert_eq!(data.train_datasets[1].name.as_deref(), Some("org/none"));
        let mut offline =
            ModelCardData::new().local_files_only(true).train_datasets([DatasetFacts::on_hub("org/none")]);
        offline.check_datasets(&Hub);
        assert_eq!(offline.train_datasets[0].id.as_deref(), Some("org/none"));
    }

    #[test]
    fn measured_datasets_keep_given_names() {
        let measured = DatasetFacts { size: Some(7), columns: vec!["query".to_owned()], ..DatasetFacts::named("csv") };
        let mut data = ModelCardData::new().train_datasets([DatasetFacts::named("Mine")]);
        data.set_train_datasets(vec![measured.clone()]);
        assert_eq!(data.train_datasets[0].name.as_deref(), Some("Mine"));
        assert_eq!(data.train_datasets[0].size, Some(7));
        assert_eq!(data.ir_model, Some(true));
        assert!(data.tags.contains(&"dataset_size:7".to_owned()));
        data.set_train_datasets(vec![measured.clone(), measured]);
        assert_eq!(data.train_datasets[0].name.as_deref(), Some("csv"));
    }

    #[test]
    fn logs_of_one_step_share_a_line() {
        let mut data = ModelCardData::new();
        data.log_training_loss(1.0, 10, 0.5);
        data.log_evaluation_losses(1.0, 10, &[("", 0.25)]);
        data.log_evaluation_losses(2.0, 20, &[("all_nli", 0.25), ("stsb", 0.5)]);
        let result = EvaluationFacts::new("TripletEvaluator", "").primary_metric("a").metric("a", 0.5).metric("b", 1.0);
        data.set_evaluation_metrics(result.clone(), 2.0, 20);
        data.set_evaluation_metrics(result, -1, -1);
        let names: Vec<Vec<&str>> =
            data.training_logs.iter().map(|line| line.values.iter().map(|(name, _)| name.as_str()).collect()).collect();
        assert_eq!(names, [vec![TRAINING_LOSS, VALIDATION_LOSS], vec!["all nli loss", "stsb loss", "a"], vec!["a"]]);
        assert_eq!(data.evaluations.len(), 1);
    }
}
