use serde::{Deserialize, Serialize};

/// What the Hub says about a repository.
///
/// # Examples
///
/// ```
/// let facts = st_card::RepositoryFacts { id: "org/model".to_owned(), ..Default::default() };
/// assert!(facts.languages.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositoryFacts {
    /// The id as the Hub spells it.
    pub id: String,
    /// The commit of the main branch.
    pub revision: Option<String>,
    /// The languages in a dataset's card.
    pub languages: Vec<String>,
}

/// Asks the Hub whether a repository exists. Cards name a base model and link a dataset only when it does.
///
/// This crate has no network code: whoever has it implements this trait.
///
/// # Examples
///
/// ```
/// use st_card::{HubLookup, ModelCardData, RepositoryFacts};
///
/// struct Known;
/// impl HubLookup for Known {
///     fn model(&self, id: &str) -> Option<RepositoryFacts> {
///         (id == "org/base").then(|| RepositoryFacts { id: id.to_owned(), ..RepositoryFacts::default() })
///     }
///     fn dataset(&self, _: &str) -> Option<RepositoryFacts> {
///         None
///     }
/// }
///
/// let mut data = ModelCardData::new();
/// assert!(data.set_base_model("org/base", None, &Known));
/// assert!(!data.set_base_model("org/other", None, &Known));
/// assert_eq!(data.base_model.as_deref(), Some("org/base"));
/// ```
pub trait HubLookup {
    /// A model's repository, or nothing where it is not there or cannot be asked for.
    fn model(&self, id: &str) -> Option<RepositoryFacts>;
    /// A dataset's repository, or nothing where it is not there or cannot be asked for.
    fn dataset(&self, id: &str) -> Option<RepositoryFacts>;
}

/// Ids that a local path may stand for: its last two parts, or its last part split at each `_`.
///
/// # Examples
///
/// ```
/// assert_eq!(st_card::base_model_candidates("/cache/org_my_model"), ["cache/org_my_model", "org/my_model", "org_my/model"]);
/// ```
#[must_use]
pub fn base_model_candidates(name_or_path: &str) -> Vec<String> {
    let parts: Vec<&str> = name_or_path.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    let mut candidates = vec![parts[parts.len().saturating_sub(2)..].join("/")];
    let last = parts.last().copied().unwrap_or_default();
    candidates.extend(last.match_indices('_').map(|(index, _)| format!("{}/{}", &last[..index], &last[index + 1..])));
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_give_candidates() {
        assert_eq!(base_model_candidates("org/model"), ["org/model"]);
        assert_eq!(base_model_candidates(r"C:\cache\BAAI_bge-small\")[1], "BAAI/bge-small");
        assert_eq!(base_model_candidates(""), [""]);
    }
}
