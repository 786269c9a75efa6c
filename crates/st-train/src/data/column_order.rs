//! A warning when columns seem to stand in the wrong order.

/// Names that usually go together, in their usual order.
const USUAL_ORDERS: [&[&str]; 4] = [
    &["anchor", "positive", "negative"],
    &["question", "answer"],
    &["query", "response"],
    &["hypothesis", "entailment", "contradiction"],
];

/// What to say when a column with a telling name stands at another place than usual; the first one only. Label columns
/// count as places, as in the original.
pub(super) fn warning(columns: &[&str]) -> Option<String> {
    for usual in USUAL_ORDERS {
        for (expected, name) in usual.iter().enumerate() {
            let Some(found) = columns.iter().position(|column| column == name) else { continue };
            if found != expected {
                let fix = super::listed(usual);
                return Some(format!(
                    "Column '{name}' is at index {found}, whereas a column with this name is usually expected at index \
                     {expected}. Note that the column order can be important for some losses, e.g. \
                     MultipleNegativesRankingLoss will always consider the first column as the anchor and the second as \
                     the positive, regardless of the dataset column names. Consider renaming the columns to match the \
                     expected order, e.g.:\ndataset = dataset.select_columns({fix})"
                ));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_wrong_places_are_named() {
        assert_eq!(warning(&["anchor", "positive", "negative", "label"]), None);
        assert_eq!(warning(&["sentence1", "sentence2", "score"]), None);
        let text = warning(&["answer", "question"]).unwrap();
        assert!(text.starts_with("Column 'question' is at index 1, whereas"), "{text}");
        assert!(text.ends_with("e.g.:\ndataset = dataset.select_columns(['question', 'answer'])"), "{text}");
        assert!(warning(&["label", "anchor", "positive"]).unwrap().starts_with("Column 'anchor' is at index 1"));
    }
}
