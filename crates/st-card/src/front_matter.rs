//! The YAML block that the Hub reads.

use crate::evaluation::{metric_names, model_index};
use crate::yaml::{Yaml, document};
use crate::{Emissions, ModelCardData, WidgetExample};

/// The block without its `---` lines; what is not known is left out.
pub(crate) fn front_matter(data: &ModelCardData, title: &str) -> String {
    let mut entries: Vec<(&'static str, Yaml)> = Vec::new();
    let mut add = |key, value: Option<Yaml>| {
        if let Some(value) = value {
            entries.push((key, value));
        }
    };
    add("language", texts(&data.language));
    add("license", data.license.as_deref().map(Yaml::from));
    add("tags", texts(&unique(&data.tags)));
    add("base_model", data.base_model.as_deref().map(Yaml::from));
    add("widget", (!data.widget.is_empty()).then(|| Yaml::List(data.widget.iter().map(widget).collect())));
    add("datasets", texts(&data.datasets));
    add("pipeline_tag", Some("sentence-similarity".into()));
    add("library_name", Some("sentence-transformers".into()));
    add("metrics", texts(&metric_names(&data.evaluations)));
    add("co2_eq_emissions", data.emissions.as_ref().map(emissions));
    add("model-index", (!data.evaluations.is_empty()).then(|| model_index(title, &data.evaluations)));
    document(&entries)
}

fn texts<S: AsRef<str>>(texts: &[S]) -> Option<Yaml> {
    (!texts.is_empty()).then(|| Yaml::texts(texts))
}

fn unique(tags: &[String]) -> Vec<&str> {
    let mut unique: Vec<&str> = Vec::with_capacity(tags.len());
    for tag in tags {
        if !unique.contains(&tag.as_str()) {
            unique.push(tag);
        }
    }
    unique
}

fn widget(example: &WidgetExample) -> Yaml {
    Yaml::Map(vec![
        ("source_sentence", example.source_sentence.as_str().into()),
        ("sentences", Yaml::texts(&example.sentences)),
    ])
}

fn emissions(emissions: &Emissions) -> Yaml {
    let mut entries = vec![
        ("emissions", Yaml::Number(emissions.emissions)),
        ("energy_consumed", Yaml::Number(emissions.energy_consumed)),
        ("source", "codecarbon".into()),
        ("training_type", "fine-tuning".into()),
        ("on_cloud", Yaml::Boolean(emissions.on_cloud)),
        ("cpu_model", emissions.cpu_model.as_str().into()),
        ("ram_total_size", Yaml::Number(emissions.ram_total_size)),
        ("hours_used", Yaml::Number(emissions.hours_used)),
    ];
    if let Some(hardware) = emissions.hardware_used.as_deref().filter(|hardware| !hardware.is_empty()) {
        entries.push(("hardware_used", hardware.into()));
    }
    Yaml::Map(entries)
}
