//! What training arguments say about columns: prompts and routes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Result, TrainError};

use super::names::listed;

/// Names and what they stand for, in the order in which they were given.
///
/// ```
/// use st_train::data::Mapping;
///
/// let rates: Mapping<f64> = serde_json::from_str(r#"{"embeddings": 1e-3, "dense": 1e-4}"#)?;
/// assert_eq!(rates, Mapping::from([("embeddings", 1e-3), ("dense", 1e-4)]));
/// assert_eq!(rates.get("dense"), Some(&1e-4));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Mapping<T>(Vec<(String, T)>);

impl<T> Default for Mapping<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Mapping<T> {
    /// What a name stands for.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }
}

impl<N: Into<String>, T, I: IntoIterator<Item = (N, T)>> From<I> for Mapping<T> {
    fn from(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl<T: Serialize> Serialize for Mapping<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Mapping<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Pairs<T> {
            type Value = Mapping<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("names and what they stand for")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Mapping(pairs))
            }
        }
        deserializer.deserialize_map(Pairs(PhantomData))
    }
}

/// `prompts` of the training arguments: what is put before the texts of columns.
///
/// A text for all columns; or prompts by column, by dataset, or by dataset and column. A text that is a JSON object
/// stands for that object.
///
/// ```
/// use st_train::data::PromptSettings;
///
/// let prompts: PromptSettings = serde_json::from_str(r#"{"nli": {"query": "search: "}, "sts": "compare: "}"#)?;
/// assert_eq!(prompts.prompt(Some("nli"), "query")?, Some("search: "));
/// assert_eq!(prompts.prompt(Some("nli"), "answer")?, None);
/// assert_eq!(prompts.prompt(Some("sts"), "anything")?, Some("compare: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PromptSettings {
    /// For all columns of all datasets.
    Text(String),
    /// By column or dataset.
    ByName(Mapping<PromptEntry>),
}

/// What a name in [`PromptSettings`] stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PromptEntry {
    /// The prompt of a column, or of all columns of a dataset.
    Text(String),
    /// The prompts of a dataset's columns.
    Columns(Mapping<String>),
}

impl PromptSettings {
    /// The prompt of a column; an empty one is none. `dataset` is its dataset's name, where there are several.
    ///
    /// # Errors
    /// When the prompts are by dataset, and there is only one.
    pub fn prompt(&self, dataset: Option<&str>, column: &str) -> Result<Option<&str>> {
        let text = match self {
            Self::Text(text) => Some(text.as_str()),
            Self::ByName(entries) => match dataset.and_then(|dataset| entries.get(dataset)) {
                Some(PromptEntry::Text(text)) => Some(text.as_str()),
                Some(PromptEntry::Columns(columns)) => columns.get(column).map(String::as_str),
                None if matches!(entries.iter().next(), Some((_, PromptEntry::Columns(_)))) => match dataset {
                    Some(_) => None,
                    None => {
                        return Err(TrainError::invalid(format!(
                            "The prompts provided to the trainer are a nested dictionary. In this setting, the first \
                             level of the dictionary should map to dataset names and the second level to column names. \
                             However, as the provided dataset is a not a DatasetDict, no dataset names can be inferred. \
                             The keys to the provided prompts dictionary are {}",
                            listed(&entries.names())
                        )));
                    }
                },
                None => match entries.get(column) {
                    Some(PromptEntry::Text(text)) => Some(text.as_str()),
                    _ => None,
                },
            },
        };
        Ok(text.filter(|text| !text.is_empty()))
    }
}

impl<'de> Deserialize<'de> for PromptSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "prompts are a text, or texts by column or dataset, or by dataset and column")]
        enum Given {
            Text(String),
            ByName(Mapping<PromptEntry>),
        }
        match Given::deserialize(deserializer)? {
            Given::Text(text) if text.starts_with('{') => {
                serde_json::from_str(&text).map(Self::ByName).map_err(D::Error::custom)
            }
            Given::Text(text) => Ok(Self::Text(text)),
            Given::ByName(entries) => Ok(Self::ByName(entries)),
        }
    }
}

impl From<&str> for PromptSettings {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// `router_mapping` of the training arguments: the route of each column, by column, or by dataset and column. A text that
/// is a JSON object stands for that object.
///
/// ```
/// use st_train::data::RouterMapping;
///
/// let routes: RouterMapping = serde_json::from_str(r#"{"question": "query", "answer": "document"}"#)?;
/// assert_eq!(routes.route(None, "question"), Some("query"));
/// assert_eq!(routes.route(None, "title"), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct RouterMapping(Mapping<RouteEntry>);

/// What a name in [`RouterMapping`] stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RouteEntry {
    /// The route of a column.
    Route(String),
    /// The routes of a dataset's columns.
    Columns(Mapping<String>),
}

impl RouterMapping {
    /// The route of a column; `dataset` is its dataset's name, where there are several.
    #[must_use]
    pub fn route(&self, dataset: Option<&str>, column: &str) -> Option<&str> {
        let nested = matches!(self.0.iter().next(), Some((_, RouteEntry::Columns(_))));
        let route = if nested {
            match self.0.get(dataset?) {
                Some(RouteEntry::Columns(columns)) => columns.get(column),
                _ => None,
            }
        } else {
            match self.0.get(column) {
                Some(RouteEntry::Route(route)) => Some(route),
                _ => None,
            }
        };
        route.map(String::as_str)
    }

    /// Whether no route is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> From<[(&str, &str); N]> for RouterMapping {
    fn from(routes: [(&str, &str); N]) -> Self {
        Self(routes.map(|(column, route)| (column, RouteEntry::Route(route.to_owned()))).into())
    }
}

impl<'de> Deserialize<'de> for RouterMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Text(String),
            ByName(Mapping<RouteEntry>),
            Nothing(()),
        }
        match Given::deserialize(deserializer) {
            Ok(Given::Text(text)) if text.starts_with('{') => {
                serde_json::from_str(&text).map(Self).map_err(D::Error::custom)
            }
            Ok(Given::ByName(entries)) => Ok(Self(entries)),
            Ok(Given::Nothing(())) => Ok(Self::default()),
            _ => Err(D::Error::custom(
                "The `router_mapping` argument must be a dictionary mapping dataset column names to Router routes, like \
                 'query' or 'document'. A stringified dictionary also works.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_by_column_dataset_and_both() {
        let parse = |json: &str| serde_json::from_str::<PromptSettings>(json).unwrap();
        let by_column = parse(r#"{"query": "q: ", "answer": ""}"#);
        assert_eq!(by_column.prompt(None, "query").unwrap(), Some("q: "));
        assert_eq!(by_column.prompt(Some("nli"), "query").unwrap(), Some("q: "));
        assert_eq!(by_column.prompt(None, "answer").unwrap(), None);
        let nested = parse(r#"{"nli": {"query": "q: "}, "sts": {}}"#);
        assert_eq!(nested.prompt(Some("other"), "query").unwrap(), None);
        let error = nested.prompt(None, "query").unwrap_err().to_string();
        assert!(error.starts_with("The prompts provided to the trainer are a nested dictionary. In this setting, "));
        assert!(error.ends_with("The keys to the provided prompts dictionary are ['nli', 'sts']"), "{error}");
        assert_eq!(parse(r#""{\"a\": \"b\"}""#).prompt(None, "a").unwrap(), Some("b"));
        assert_eq!(parse(r#""all: ""#).prompt(Some("x"), "a").unwrap(), Some("all: "));
        assert!(serde_json::from_str::<PromptSettings>("3").is_err());
    }

    #[test]
    fn routes_are_those_of_the_dataset() {
        let nested: RouterMapping = serde_json::from_str(r#"{"nq": {"q": "query"}}"#).unwrap();
        assert_eq!((nested.route(Some("nq"), "q"), nested.route(Some("x"), "q")), (Some("query"), None));
        assert_eq!(nested.route(None, "q"), None);
        let text: RouterMapping = serde_json::from_str(r#""{\"q\": \"query\"}""#).unwrap();
        assert_eq!(text, RouterMapping::from([("q", "query")]));
        let error = serde_json::from_str::<RouterMapping>(r#""query""#).unwrap_err().to_string();
        assert!(error.starts_with("The `router_mapping` argument must be a dictionary"), "{error}");
        assert!(serde_json::from_str::<RouterMapping>("null").unwrap().is_empty());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let prompts = PromptSettings::ByName(Mapping::from([(
            "b",
            PromptEntry::Columns(Mapping::from([("z", "1".to_owned()), ("a", "2".to_owned())])),
        )]));
        let json = serde_json::to_string(&prompts).unwrap();
        assert_eq!(json, r#"{"b":{"z":"1","a":"2"}}"#);
        assert_eq!(serde_json::from_str::<PromptSettings>(&json).unwrap(), prompts);
    }
}
