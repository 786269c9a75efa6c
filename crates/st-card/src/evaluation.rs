use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::facts::Scalar;
use crate::loss::parameter_block;
use crate::markdown::{Alignment, rounded, table};
use crate::python;
use crate::yaml::Yaml;

/// Evaluators whose description is not their name in words.
const DESCRIPTIONS: &[(&str, &str)] = &[
    ("EmbeddingSimilarityEvaluator", "Semantic Similarity"),
    ("MSEEvaluator", "Knowledge Distillation"),
    ("MSEEvaluatorFromDataFrame", "Knowledge Distillation"),
];

/// What an evaluator measured.
///
/// # Examples
///
/// ```
/// use st_card::EvaluationFacts;
///
/// let evaluation = EvaluationFacts::new("InformationRetrievalEvaluator", "nfcorpus")
///     .primary_metric("nfcorpus_cosine_ndcg@10")
///     .metric("nfcorpus_cosine_ndcg@10", 0.3251);
/// assert_eq!(evaluation.description(), "Information Retrieval");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct EvaluationFacts {
    /// The evaluator's class name.
    pub class_name: String,
    /// Where a class of one's own is, such as `my_package.MyEvaluator`. Unset: one of the evaluators of this library, with
    /// a link to its documentation.
    pub full_name: Option<String>,
    /// The dataset's name; may be empty.
    pub name: String,
    /// The metric shown in bold, with the dataset's name in front as in `metrics`.
    pub primary_metric: Option<String>,
    /// The parameters shown, in order.
    pub config: Map<String, Value>,
    /// The metrics in order, each with the dataset's name and `_` in front where there is a name.
    pub metrics: Vec<(String, Scalar)>,
}

impl EvaluationFacts {
    /// One of this library's evaluators by its class name, and its dataset's name.
    #[must_use]
    pub fn new(class_name: impl Into<String>, name: impl Into<String>) -> EvaluationFacts {
        EvaluationFacts { class_name: class_name.into(), name: name.into(), ..EvaluationFacts::default() }
    }

    /// Sets the metric shown in bold.
    #[must_use]
    pub fn primary_metric(mut self, metric: impl Into<String>) -> EvaluationFacts {
        self.primary_metric = Some(metric.into());
        self
    }

    /// Adds a metric.
    #[must_use]
    pub fn metric(mut self, key: impl Into<String>, value: impl Into<Scalar>) -> EvaluationFacts {
        self.metrics.push((key.into(), value.into()));
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, key: &str, value: impl Into<Value>) -> EvaluationFacts {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// What is evaluated, in words: the class name up to `Evaluator`, spaced before capitals.
    #[must_use]
    pub fn description(&self) -> String {
        if let Some((_, description)) = DESCRIPTIONS.iter().find(|(name, _)| *name == self.class_name) {
            return (*description).to_owned();
        }
        let name = self.class_name.split("Evaluator").next().unwrap_or_default();
        let mut out = String::with_capacity(name.len() + 4);
        let mut previous = ' ';
        for character in name.chars() {
            if previous.is_ascii_lowercase() && character.is_ascii_uppercase() {
                out.push(' ');
            }
            out.push(character);
            previous = character;
        }
        out
    }

    /// The prefix that all keys carry, if they do.
    fn prefix(&self) -> String {
        let prefix = format!("{}_", self.name);
        let everywhere = !self.name.is_empty() && self.metrics.iter().all(|(key, _)| key.starts_with(&prefix));
        if everywhere { prefix } else { String::new() }
    }

    /// The metrics without the dataset's name.
    fn short_metrics(&self) -> Vec<(&str, &Scalar)> {
        let prefix = self.prefix();
        self.metrics.iter().map(|(key, value)| (key.strip_prefix(&prefix).unwrap_or(key), value)).collect()
    }

    /// The table's rows: the metric and its value, both in bold for the primary one.
    fn rows(&self) -> Vec<(String, String)> {
        let prefix = self.prefix();
        let primary = self.primary_metric.as_deref().map(|key| key.strip_prefix(&prefix).unwrap_or(key));
        self.short_metrics()
            .into_iter()
            .map(|(key, value)| {
                let value = rounded(value);
                if primary == Some(key) {
                    (format!("**{key}**"), format!("**{value}**"))
                } else {
                    (key.to_owned(), value.to_string())
                }
            })
            .collect()
    }

    fn evaluator(&self) -> String {
        let mut out = match &self.full_name {
            Some(name) => format!("<code>{name}</code>"),
            None => format!(
                "[<code>{name}</code>](https://sbert.net/docs/package_reference/sentence_transformer/evaluation.html\
                 #sentence_transformers.evaluation.{name})",
                name = self.class_name
            ),
        };
        if !self.config.is_empty() {
            out.push_str(&parameter_block(&self.config));
        }
        out
    }

    /// Whether this replaces an earlier result of the same evaluator.
    pub(crate) fn is_from_same_evaluator(&self, other: &EvaluationFacts) -> bool {
        self.class_name == other.class_name
            && self.full_name == other.full_name
            && self.name == other.name
            && self.config == other.config
    }
}

/// Results shown in one table: one column per dataset.
struct Group<'a> {
    first: &'a EvaluationFacts,
    names: Vec<&'a str>,
    metrics: Vec<String>,
    columns: Vec<(&'a str, Vec<String>)>,
}

impl<'a> Group<'a> {
    /// Takes in results of the same shape for another dataset.
    fn accepts(&self, facts: &EvaluationFacts, rows: &[(String, String)]) -> bool {
        self.first.class_name == facts.class_name
            && self.first.full_name == facts.full_name
            && self.first.config == facts.config
            && self.metrics.len() == rows.len()
            && self.metrics.iter().all(|metric| rows.iter().any(|(key, _)| key == metric))
            && !(self.names.len() == 1 && self.names[0] == facts.name)
    }

    fn add(&mut self, name: &'a str, rows: &[(String, String)]) {
        let values: Vec<String> = self
            .metrics
            .iter()
            .filter_map(|metric| rows.iter().find(|(key, _)| key == metric).map(|(_, value)| value.clone()))
            .collect();
        self.names.push(name);
        match self.columns.iter_mut().find(|(column, _)| *column == name) {
            Some((_, column)) => *column = values,
            None => self.columns.push((name, values)),
        }
    }

    fn text(&self) -> String {
        let mut out = format!("#### {}\n\n", self.first.description());
        let names: Vec<String> = self.names.iter().map(|name| format!("`{name}`")).collect();
        match self.names.as_slice() {
            [""] => {}
            [_] => out.push_str(&format!("* Dataset: {}\n", names[0])),
            _ => out.push_str(&format!("* Datasets: {}\n", python::join_and(&names))),
        }
        let mut header = vec!["Metric".to_owned()];
        match self.columns.as_slice() {
            [_] => header.push("Value".to_owned()),
            several => header.extend(several.iter().map(|(name, _)| (*name).to_owned())),
        }
        let rows: Vec<Vec<String>> = self
            .metrics
            .iter()
            .enumerate()
            .map(|(row, metric)| {
                let values = self.columns.iter().filter_map(|(_, values)| values.get(row).cloned());
                std::iter::once(metric.clone()).chain(values).collect()
            })
            .collect();
        out.push_str(&format!(
            "* Evaluated with {}\n\n{}",
            self.first.evaluator(),
            table(&header, &rows, Alignment::Left)
        ));
        out
    }
}

/// One text per table; results of the same shape stand side by side.
pub(crate) fn tables(evaluations: &[EvaluationFacts]) -> Vec<String> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for facts in evaluations {
        let rows = facts.rows();
        match groups.iter_mut().find(|group| group.accepts(facts, &rows)) {
            Some(group) => group.add(&facts.name, &rows),
            None => {
                let metrics = rows.iter().map(|(metric, _)| metric.clone()).collect();
                let mut group = Group { first: facts, names: Vec::new(), metrics, columns: Vec::new() };
                group.add(&facts.name, &rows);
                groups.push(group);
            }
        }
    }
    groups.iter().map(Group::text).collect()
}

/// The front matter's `metrics`: every metric once.
pub(crate) fn metric_names(evaluations: &[EvaluationFacts]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for (key, _) in evaluations.iter().flat_map(EvaluationFacts::short_metrics) {
        if !names.contains(&key) {
            names.push(key);
        }
    }
    names
}

/// The front matter's `model-index`: what is a number, by task and dataset.
pub(crate) fn model_index(model_name: &str, evaluations: &[EvaluationFacts]) -> Yaml {
    let mut results: Vec<((String, String, String), Vec<Yaml>)> = Vec::new();
    for facts in evaluations {
        let key = (
            facts.description(),
            if facts.name.is_empty() { "unknown".to_owned() } else { facts.name.clone() },
            if facts.name.is_empty() { "Unknown".to_owned() } else { facts.name.replace(['_', '-'], " ") },
        );
        let metrics: Vec<Yaml> = facts
            .short_metrics()
            .into_iter()
            .filter_map(|(metric, value)| {
                Some(Yaml::Map(vec![
                    ("type", metric.into()),
                    ("value", Yaml::Number(value.number()?)),
                    ("name", Yaml::Text(python::title(&metric.replace('_', " ")))),
                ]))
            })
            .collect();
        match results.iter_mut().find(|(known, _)| known.0 == key.0 && known.1 == key.1) {
            Some((_, known)) => known.extend(metrics),
            None if metrics.is_empty() => {}
            None => results.push((key, metrics)),
        }
    }
    let results = results
        .into_iter()
        .map(|((task, kind, name), metrics)| {
            Yaml::Map(vec![
                (
                    "task",
                    Yaml::Map(vec![
                        ("type", Yaml::Text(task.to_lowercase().replace(' ', "-"))),
                        ("name", Yaml::Text(task)),
                    ]),
                ),
                ("dataset", Yaml::Map(vec![("name", Yaml::Text(name)), ("type", Yaml::Text(kind))])),
                ("metrics", Yaml::List(metrics)),
            ])
        })
        .collect();
    Yaml::List(vec![Yaml::Map(vec![("name", model_name.into()), ("results", Yaml::List(results))])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_class_names_in_words() {
        for (class_name, expected) in [
            ("EmbeddingSimilarityEvaluator", "Semantic Similarity"),
            ("BinaryClassificationEvaluator", "Binary Classification"),
            ("NanoBEIREvaluator", "Nano BEIR"),
            ("MSEEvaluator", "Knowledge Distillation"),
            ("Mine", "Mine"),
        ] {
            assert_eq!(EvaluationFacts::new(class_name, "").description(), expected);
        }
    }

    #[test]
    fn a_name_in_front_of_only_some_metrics_stays() {
        let facts = EvaluationFacts::new("TripletEvaluator", "dev").metric("dev_accuracy", 0.5).metric("other", 1.0);
        assert_eq!(metric_names(&[facts]), ["dev_accuracy", "other"]);
    }

    #[test]
    fn text_metrics_are_shown_but_not_indexed() {
        let facts = EvaluationFacts::new("TripletEvaluator", "").metric("note", "n/a").metric("time", "12.5 ms");
        let Yaml::List(index) = model_index("m", std::slice::from_ref(&facts)) else { panic!("a list") };
        let text = crate::yaml::document(&[("model-index", Yaml::List(index))]);
        assert!(text.contains("value: 12.5") && !text.contains("note"), "{text}");
        assert!(tables(&[facts])[0].contains("| note   | n/a     |"));
    }
}
