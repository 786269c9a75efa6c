//! [`SaveOptions`]: what is saved beside the modules, and in which format the weights are.

use st_card::DatasetFacts;

/// How a model is saved: the arguments of the original's `save_pretrained`.
///
/// ```no_run
/// use sentence_transformers::{SentenceTransformer, save::SaveOptions};
///
/// let model = SentenceTransformer::load("all-MiniLM-L6-v2")?;
/// model.save_pretrained_with("folder", &SaveOptions::new().safe_serialization(false))?;
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveOptions {
    pub(super) model_name: Option<String>,
    pub(super) model_card: bool,
    pub(super) train_datasets: Vec<String>,
    pub(super) safe_serialization: bool,
}

impl Default for SaveOptions {
    fn default() -> Self {
        Self { model_name: None, model_card: true, train_datasets: Vec::new(), safe_serialization: true }
    }
}

impl SaveOptions {
    /// A card without a model's name, and safetensors.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The model's name on the Hub, for the card. The path of an existing folder is no name and changes nothing.
    #[must_use]
    pub fn model_name(mut self, name: impl Into<String>) -> Self {
        self.model_name = Some(name.into()).filter(|name| !std::path::Path::new(name).exists());
        self
    }

    /// Whether `README.md` is written.
    #[must_use]
    pub fn create_model_card(mut self, create: bool) -> Self {
        self.model_card = create;
        self
    }

    /// Datasets of the Hub that the model was trained on, for the card, beside those it knows. (The original takes the
    /// names and, since 3.0, drops them.)
    #[must_use]
    pub fn train_datasets<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.train_datasets = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether weights are safetensors (`model.safetensors`); otherwise they are PyTorch's `pytorch_model.bin`, which
    /// other programs can only read by trusting it.
    #[must_use]
    pub fn safe_serialization(mut self, safe: bool) -> Self {
        self.safe_serialization = safe;
        self
    }

    /// The datasets as a card lists them.
    pub(super) fn datasets(&self) -> impl Iterator<Item = DatasetFacts> {
        self.train_datasets.iter().map(DatasetFacts::on_hub)
    }
}
