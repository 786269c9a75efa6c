use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;
use serde_json::Map;

use crate::evaluation::tables;
use crate::front_matter::front_matter;
use crate::logs::logs_table;
use crate::{CardError, DatasetFacts, Emissions, ModelCardData, ModelFacts, UsageExample, python};

/// What a card that has not been uploaded writes in its usage example.
pub const MODEL_ID_PLACEHOLDER: &str = "sentence_transformers_model_id";

/// Longest list of dataset names in the first sentence, in characters; a longer one becomes their number.
const NAMES_CHARACTERS: usize = 200;
/// More lines of training logs than this are folded.
const SHOWN_LOG_LINES: usize = 100;

/// What the template shows.
#[derive(Debug, Serialize)]
struct Card {
    front_matter: String,
    title: String,
    origin: String,
    dimensions: String,
    task: String,
    base_model: String,
    sequence_limit: String,
    similarity: String,
    trained_on: Vec<String>,
    languages: String,
    license: String,
    architecture: String,
    model_id: String,
    query: Option<String>,
    texts: Vec<String>,
    similarities: Option<String>,
    evaluations: Vec<String>,
    purposes: Vec<Purpose>,
    hyperparameters: Vec<String>,
    non_default_hyperparameters: Vec<String>,
    logs: String,
    fold_logs: bool,
    best_step_shown: bool,
    emissions: Option<String>,
    versions: Vec<String>,
    citations: Vec<Citation>,
}

#[derive(Debug, Serialize)]
struct Purpose {
    name: &'static str,
    datasets: Vec<Dataset>,
}

#[derive(Debug, Serialize)]
struct Dataset {
    title: String,
    lines: String,
}

#[derive(Debug, Serialize)]
struct Citation {
    title: String,
    entry: String,
}

impl ModelCardData {
    /// The text of README.md.
    ///
    /// # Errors
    ///
    /// [`CardError::SimilarityShape`] when the facts hold a similarity matrix for other texts than those of
    /// [`usage_example`](Self::usage_example).
    pub fn render(&self, model: &ModelFacts) -> Result<String, CardError> {
        let card = Card::new(self, model)?;
        let mut environment = Environment::empty();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.add_filter("length", |items: Vec<Value>| items.len());
        environment.add_template("card", include_str!("card.md.jinja"))?;
        Ok(environment.get_template("card")?.render(Value::from(Serde(&card)))?)
    }

    /// The title: the name, or the class with the base model.
    #[must_use]
    pub fn title(&self) -> String {
        match (&self.model_name, &self.base_model) {
            (Some(name), _) if !name.is_empty() => name.clone(),
            (_, Some(base)) => format!("SentenceTransformer based on {base}"),
            _ => "SentenceTransformer".to_owned(),
        }
    }

    /// "trained" or "finetuned from", and on what.
    fn origin(&self) -> String {
        let mut out = match &self.base_model {
            Some(base) => format!("finetuned from [{base}](https://huggingface.co/{base})"),
            None => "trained".to_owned(),
        };
        let names: Vec<&str> = self.train_datasets.iter().filter_map(DatasetFacts::title).collect();
        if names.is_empty() {
            return out;
        }
        let total = self.train_datasets.len();
        let noun = |count: usize| if count > 1 { "datasets" } else { "dataset" };
        if names.join(", ").chars().count() > NAMES_CHARACTERS {
            out.push_str(&format!(" on {total} {}", noun(total)));
        } else {
            let links: Vec<String> = self.train_datasets.iter().filter_map(DatasetFacts::link).collect();
            out.push_str(&format!(" on the {} {}", python::join_and(&links), noun(links.len())));
        }
        out
    }

    fn base_model_line(&self) -> String {
        match (&self.base_model, &self.base_model_revision) {
            (None, _) => "<!-- - **Base model:** [Unknown](https://huggingface.co/unknown) -->".to_owned(),
            (Some(base), None) => format!("- **Base model:** [{base}](https://huggingface.co/{base})"),
            (Some(base), Some(revision)) => {
                format!("- **Base model:** [{base}](https://huggingface.co/{base}) <!-- at revision {revision} -->")
            }
        }
    }
}

impl Card {
    fn new(data: &ModelCardData, model: &ModelFacts) -> Result<Card, CardError> {
        let title = data.title();
        let usage = data.usage_example(model);
        let similarities = model.similarities.as_ref().filter(|_| data.generate_widget_examples);
        if let Some(similarities) = similarities {
            let (rows, columns) = usage.shape();
            similarities.check(rows, columns)?;
        }
        let (query, texts) = match usage {
            UsageExample::Sentences(sentences) => (None, sentences),
            UsageExample::Retrieval { query, documents } => (Some(python::json_text(&query, true)), documents),
        };
        Ok(Card {
            front_matter: front_matter(data, &title),
            title,
            origin: data.origin(),
            dimensions: model.output_dimensionality.map_or("None".to_owned(), |dimensions| dimensions.to_string()),
            task: data.task_name.clone(),
            base_model: data.base_model_line(),
            sequence_limit: model.max_seq_length.to_string(),
            similarity: model.similarity_title(),
            trained_on: data.train_datasets.iter().filter_map(DatasetFacts::link).collect(),
            languages: match data.language.as_slice() {
                [] => "<!-- - **Language:** Unknown -->".to_owned(),
                [language] => format!("- **Language:** {language}"),
                languages => format!("- **Languages:** {}", languages.join(", ")),
            },
            license: match &data.license {
                None => "<!-- - **License:** Unknown -->".to_owned(),
                Some(license) => format!("- **License:** {license}"),
            },
            architecture: model.architecture.clone(),
            model_id: data.model_id.clone().unwrap_or_else(|| MODEL_ID_PLACEHOLDER.to_owned()),
            query,
            texts: texts.iter().map(|text| python::repr_text(text)).collect(),
            similarities: similarities.map(|matrix| {
                matrix.to_string().lines().map(|line| format!("# {line}")).collect::<Vec<_>>().join("\n")
            }),
            evaluations: tables(&data.evaluations),
            purposes: vec![
                Purpose { name: "Training", datasets: sections(&data.train_datasets, "training") },
                Purpose { name: "Evaluation", datasets: sections(&data.eval_datasets, "evaluation") },
            ],
            hyperparameters: arguments(&data.all_hyperparameters),
            non_default_hyperparameters: arguments(&data.non_default_hyperparameters),
            logs: logs_table(&data.training_logs, data.best_model_step).trim_end_matches('\n').to_owned(),
            fold_logs: data.training_logs.len() > SHOWN_LOG_LINES,
            best_step_shown: data.training_logs.iter().any(|line| Some(line.step) == data.best_model_step),
            emissions: data.emissions.as_ref().map(emissions_text),
            versions: model.versions.iter().map(|(name, version)| format!("{name}: {version}")).collect(),
            citations: data
                .citations
                .iter()
                .map(|(title, entry)| Citation { title: title.clone(), entry: entry.clone() })
                .collect(),
        })
    }
}

fn sections(datasets: &[DatasetFacts], purpose: &str) -> Vec<Dataset> {
    datasets
        .iter()
        .map(|dataset| Dataset {
            title: dataset.title().unwrap_or("Unnamed Dataset").to_owned(),
            lines: dataset.lines(purpose).trim_end_matches('\n').to_owned(),
        })
        .collect()
}

fn arguments(arguments: &Map<String, serde_json::Value>) -> Vec<String> {
    arguments.iter().map(|(name, value)| format!("- `{name}`: {}", python::text(value))).collect()
}

fn emissions_text(emissions: &Emissions) -> String {
    let hardware = emissions.hardware_used.as_deref().filter(|hardware| !hardware.is_empty());
    format!(
        "### Environmental Impact\n\
         Carbon emissions were measured using [CodeCarbon](https://github.com/mlco2/codecarbon).\n\
         - **Energy Consumed**: {:.3} kWh\n\
         - **Carbon Emitted**: {:.3} kg of CO2\n\
         - **Hours Used**: {} hours\n\
         \n\
         ### Training Hardware\n\
         - **On Cloud**: {}\n\
         - **GPU Model**: {}\n\
         - **CPU Model**: {}\n\
         - **RAM Size**: {:.2} GB",
        emissions.energy_consumed,
        emissions.emissions / 1000.0,
        python::repr_number(emissions.hours_used),
        if emissions.on_cloud { "Yes" } else { "No" },
        hardware.unwrap_or("No GPU used"),
        emissions.cpu_model,
        emissions.ram_total_size,
    )
}

/// The card that came with a model, for saving it again: with `model_id`, the usage example names the model instead of the
/// placeholder; everything else stays as it is.
///
/// # Examples
///
/// ```
/// let card = "model = SentenceTransformer(\"sentence_transformers_model_id\")\n";
/// assert_eq!(st_card::update_saved(card, Some("org/model")), "model = SentenceTransformer(\"org/model\")\n");
/// assert_eq!(st_card::update_saved(card, None), card);
/// ```
#[must_use]
pub fn update_saved(card: &str, model_id: Option<&str>) -> String {
    let call = |id: &str| format!("model = SentenceTransformer(\"{id}\"");
    match model_id.filter(|id| !id.is_empty()) {
        Some(id) => card.replace(&call(MODEL_ID_PLACEHOLDER), &call(id)),
        None => card.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarities;

    fn with_names(names: &[usize]) -> ModelCardData {
        ModelCardData::new().train_datasets(names.iter().map(|length| DatasetFacts::named("x".repeat(*length))))
    }

    #[test]
    fn long_lists_of_names_become_their_number() {
        assert!(with_names(&[100, 98]).origin().starts_with("trained on the x"));
        assert_eq!(with_names(&[100, 99]).origin(), "trained on 2 datasets");
        assert_eq!(with_names(&[201]).origin(), "trained on 1 dataset");
    }

    #[test]
    fn the_matrix_must_fit_the_example() {
        let facts = ModelFacts { similarities: Some(Similarities::new(vec![0.5; 9], 3)), ..ModelFacts::default() };
        assert!(ModelCardData::new().render(&facts).is_ok());
        let router = ModelFacts { has_router: true, ..facts };
        assert!(ModelCardData::new().render(&router).is_err());
    }

    #[test]
    fn only_the_usage_example_is_renamed() {
        let card = "sentence_transformers_model_id\nmodel = SentenceTransformer(\"sentence_transformers_model_id\", x)";
        assert_eq!(
            update_saved(card, Some("a/b")),
            "sentence_transformers_model_id\nmodel = SentenceTransformer(\"a/b\", x)"
        );
        assert_eq!(update_saved(card, Some("")), card);
    }

    #[test]
    fn template_marks_in_texts_stay_text() {
        let card = ModelCardData::new().model_name("{{ x }} {% if %} <b> & {# c #}").render(&ModelFacts::default());
        assert!(card.is_ok_and(|card| card.contains("\n# {{ x }} {% if %} <b> & {# c #}\n")));
    }
}
