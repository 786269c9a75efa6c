use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::citations::{CITATIONS, SENTENCE_TRANSFORMERS};
use crate::{markdown, python};

/// The loss of a dataset.
///
/// # Examples
///
/// ```
/// use st_card::LossFacts;
///
/// let ranking = LossFacts::new("MultipleNegativesRankingLoss").parameter("scale", 20.0);
/// let loss = LossFacts::new("MatryoshkaLoss").parameter("matryoshka_dims", vec![256, 64]).inner(ranking);
/// assert_eq!(loss.parameters["matryoshka_dims"], serde_json::json!([256, 64]));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct LossFacts {
    /// The class's name.
    pub name: String,
    /// Where a class of one's own is, such as `my_package.MyLoss`. Unset: one of the losses of this library, with a link
    /// to its documentation.
    pub full_name: Option<String>,
    /// The parameters shown, in order; empty when the loss shows none.
    pub parameters: Map<String, Value>,
    /// The losses that it uses, which have citations and tags of their own.
    pub inner: Vec<LossFacts>,
    /// BibTeX of a loss of one's own.
    pub citation: Option<String>,
}

impl LossFacts {
    /// One of this library's losses by its class name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> LossFacts {
        LossFacts { name: name.into(), ..LossFacts::default() }
    }

    /// Adds a parameter.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: impl Into<Value>) -> LossFacts {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a model as a parameter, such as the guide of a guided loss, shown with the name of its base model.
    #[must_use]
    pub fn model_parameter(self, name: &str, base_model: Option<&str>) -> LossFacts {
        let base_model = base_model.map_or("None".to_owned(), python::repr_text);
        self.parameter(name, format!("SentenceTransformer({base_model})"))
    }

    /// Adds a loss that this one uses.
    #[must_use]
    pub fn inner(mut self, loss: LossFacts) -> LossFacts {
        self.inner.push(loss);
        self
    }

    fn citation(&self) -> Option<&str> {
        self.citation.as_deref().or_else(|| {
            CITATIONS.iter().find(|(names, _)| names.contains(&self.name.as_str())).map(|(_, citation)| *citation)
        })
    }

    /// What stands behind `* Loss: ` in a dataset's list.
    pub(crate) fn line(&self) -> String {
        let mut out = match &self.full_name {
            Some(name) => format!("<code>{name}</code>"),
            None => format!(
                "[<code>{}</code>](https://sbert.net/docs/package_reference/sentence_transformer/losses.html#{})",
                self.name,
                self.name.to_lowercase()
            ),
        };
        if !self.parameters.is_empty() {
            out.push_str(&parameter_block(&self.parameters));
        }
        out
    }
}

/// A line's end that shows parameters as JSON.
pub(crate) fn parameter_block(parameters: &Map<String, Value>) -> String {
    let json = python::json(&Value::Object(parameters.clone()));
    format!(" with these parameters:\n{}", markdown::indent(&format!("```json\n{json}\n```")))
}

/// The losses and those that they use, level by level.
pub(crate) fn with_inner(losses: &[LossFacts]) -> Vec<&LossFacts> {
    let mut all: Vec<&LossFacts> = losses.iter().collect();
    let mut index = 0;
    while let Some(loss) = all.get(index).copied() {
        for inner in &loss.inner {
            if !all.contains(&inner) {
                all.push(inner);
            }
        }
        index += 1;
    }
    all
}

/// Who is cited for these losses: title and BibTeX, losses with the same paper together.
pub(crate) fn citations(losses: &[&LossFacts]) -> Vec<(String, String)> {
    let mut cited: Vec<(Vec<String>, &str)> = vec![(vec!["Sentence Transformers".to_owned()], SENTENCE_TRANSFORMERS)];
    for loss in losses {
        let Some(citation) = loss.citation() else { continue };
        if cited.iter().any(|(names, _)| names.contains(&loss.name)) {
            continue;
        }
        match cited.iter_mut().find(|(_, text)| *text == citation) {
            Some((names, _)) => names.push(loss.name.clone()),
            None => cited.push((vec![loss.name.clone()], citation)),
        }
    }
    cited.into_iter().map(|(names, text)| (python::join_and(&names), text.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_with_one_paper_share_a_citation() {
        let losses = ["TripletLoss", "SoftmaxLoss", "OnlineContrastiveLoss", "BatchAllTripletLoss"].map(LossFacts::new);
        let titles: Vec<String> = citations(&with_inner(&losses)).into_iter().map(|(title, _)| title).collect();
        assert_eq!(titles, ["Sentence Transformers and SoftmaxLoss", "TripletLoss and BatchAllTripletLoss"]);
    }

    #[test]
    fn inner_losses_come_after_all_outer_ones() {
        let inner = LossFacts::new("CoSENTLoss");
        let losses = [LossFacts::new("MatryoshkaLoss").inner(inner.clone()), LossFacts::new("MSELoss").inner(inner)];
        let names: Vec<&str> = with_inner(&losses).iter().map(|loss| loss.name.as_str()).collect();
        assert_eq!(names, ["MatryoshkaLoss", "MSELoss", "CoSENTLoss"]);
    }

    #[test]
    fn a_guide_is_shown_by_its_base_model() {
        let loss = LossFacts::new("GISTEmbedLoss").model_parameter("guide", Some("org/guide"));
        assert!(loss.line().contains("\"guide\": \"SentenceTransformer('org/guide')\""));
        let unknown = LossFacts::new("GISTEmbedLoss").model_parameter("guide", None);
        assert_eq!(unknown.parameters["guide"], "SentenceTransformer(None)");
    }
}
