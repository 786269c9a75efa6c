use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::markdown::{Alignment, indent, table};
use crate::{LossFacts, python};

/// Rows that the statistics look at.
const STATISTICS_ROWS: usize = 1000;
/// Rows shown as samples.
const SAMPLE_ROWS: usize = 3;
/// Longest text of a sample, in characters.
const SAMPLE_CHARACTERS: usize = 1000;
/// Most elements of a list in a sample.
const SAMPLE_ELEMENTS: usize = 5;

/// A column's name and its first rows, of which up to 1000 are looked at.
pub type Column = (String, Vec<Value>);

/// A dataset that a model was trained or evaluated with.
///
/// # Examples
///
/// ```
/// use st_card::{DatasetFacts, LossFacts};
/// use serde_json::json;
///
/// let columns = [("text".to_owned(), vec![json!("a b"), json!("c")]), ("score".to_owned(), vec![json!(0.5), json!(1.0)])];
/// let count_words = |texts: &[&str]| Some(texts.iter().map(|text| text.split(' ').count()).collect());
/// let dataset = DatasetFacts::named("pairs").describe(2, &columns, count_words).loss(LossFacts::new("CoSENTLoss"));
/// assert_eq!(dataset.statistics[0].details[0], ("min".to_owned(), "1 tokens".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetFacts {
    /// What it is called; the Hub id where unset.
    pub name: Option<String>,
    /// `organisation/name` on the Hub.
    pub id: Option<String>,
    /// The commit on the Hub.
    pub revision: Option<String>,
    /// Number of rows.
    pub size: Option<u64>,
    /// The columns' names.
    pub columns: Vec<String>,
    /// What the first 1000 rows hold, by column.
    pub statistics: Vec<ColumnStatistics>,
    /// The first three rows, each with one text per column.
    pub samples: Vec<Vec<String>>,
    /// What it was trained or evaluated with.
    pub loss: Option<LossFacts>,
}

/// What a column holds.
///
/// # Examples
///
/// ```
/// use st_card::DatasetFacts;
/// use serde_json::json;
///
/// let labels = ("label".to_owned(), vec![json!(0), json!(1), json!(1), json!(1)]);
/// let dataset = DatasetFacts::default().describe(4, &[labels], |_| None);
/// assert_eq!(dataset.statistics[0].kind, "int");
/// assert_eq!(dataset.statistics[0].details[1], ("1".to_owned(), "~75.00%".to_owned()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ColumnStatistics {
    /// `string`, `int`, `float`, `list`, or Python's name of another type.
    pub kind: String,
    /// Names and values, such as `mean` and `7.77 tokens`.
    pub details: Vec<(String, String)>,
}

impl DatasetFacts {
    /// A dataset of that name.
    #[must_use]
    pub fn named(name: impl Into<String>) -> DatasetFacts {
        DatasetFacts { name: Some(name.into()), ..DatasetFacts::default() }
    }

    /// A dataset on the Hub.
    #[must_use]
    pub fn on_hub(id: impl Into<String>) -> DatasetFacts {
        DatasetFacts { id: Some(id.into()), ..DatasetFacts::default() }
    }

    /// Sets the loss.
    #[must_use]
    pub fn loss(mut self, loss: LossFacts) -> DatasetFacts {
        self.loss = Some(loss);
        self
    }

    /// Fills in size, columns, statistics and samples. `token_lengths` counts the tokens of texts as the model reads them;
    /// where it gives nothing, characters are counted.
    #[must_use]
    pub fn describe(
        mut self,
        size: u64,
        columns: &[Column],
        mut token_lengths: impl FnMut(&[&str]) -> Option<Vec<usize>>,
    ) -> DatasetFacts {
        self.size = Some(size);
        self.columns = columns.iter().map(|(name, _)| name.clone()).collect();
        self.statistics = columns
            .iter()
            .map(|(_, values)| statistics(&values[..values.len().min(STATISTICS_ROWS)], &mut token_lengths))
            .collect();
        let rows = columns.iter().map(|(_, values)| values.len()).min().unwrap_or(0).min(SAMPLE_ROWS);
        self.samples = (0..rows).map(|row| columns.iter().map(|(_, values)| sample(&values[row])).collect()).collect();
        self
    }

    pub(crate) fn title(&self) -> Option<&str> {
        self.name.as_deref().or(self.id.as_deref()).filter(|name| !name.is_empty())
    }

    /// The name, with a link where the dataset is on the Hub.
    pub(crate) fn link(&self) -> Option<String> {
        let title = self.title()?;
        Some(match &self.id {
            Some(id) => format!("[{title}](https://huggingface.co/datasets/{id})"),
            None => title.to_owned(),
        })
    }

    /// The list under the dataset's heading; `purpose` is `training` or `evaluation`.
    pub(crate) fn lines(&self, purpose: &str) -> String {
        let mut out = String::new();
        if let Some(link) = self.link() {
            out.push_str(&format!("* Dataset: {link}"));
            if let (Some(id), Some(revision)) = (&self.id, &self.revision) {
                let short: String = revision.chars().take(7).collect();
                out.push_str(&format!(" at [{short}](https://huggingface.co/datasets/{id}/tree/{revision})"));
            }
            out.push('\n');
        }
        if let Some(size) = self.size.filter(|size| *size > 0) {
            out.push_str(&format!("* Size: {} {purpose} samples\n", python::grouped(size)));
        }
        if !self.columns.is_empty() {
            let columns: Vec<String> = self.columns.iter().map(|name| format!("<code>{name}</code>")).collect();
            out.push_str(&format!("* Columns: {}\n", column_list(&columns)));
        }
        if !self.statistics.is_empty() {
            let rows = self.size.map_or(STATISTICS_ROWS as u64, |size| size.min(STATISTICS_ROWS as u64));
            out.push_str(&format!(
                "* Approximate statistics based on the first {rows} samples:\n{}",
                indent(&self.statistics_table())
            ));
        }
        if !self.samples.is_empty() {
            out.push_str(&format!("* Samples:\n{}", indent(&table(&self.columns, &self.samples, Alignment::Left))));
        }
        if let Some(loss) = &self.loss {
            out.push_str(&format!("* Loss: {}\n", loss.line()));
        }
        out
    }

    fn statistics_table(&self) -> String {
        let mut header = vec![String::new()];
        header.extend(self.columns.iter().cloned());
        let mut kinds = vec!["type".to_owned()];
        let mut details = vec!["details".to_owned()];
        for column in &self.statistics {
            kinds.push(column.kind.clone());
            let items: Vec<String> = column.details.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            details.push(format!("<ul><li>{}</li></ul>", items.join("</li><li>")));
        }
        table(&header, &[kinds, details], Alignment::Left)
    }
}

/// `a`, `a and b`, or `a, b, and c`.
fn column_list(columns: &[String]) -> String {
    match columns {
        [first @ .., last] if columns.len() > 2 => format!("{}, and {last}", first.join(", ")),
        _ => columns.join(" and "),
    }
}

fn statistics(values: &[Value], token_lengths: &mut impl FnMut(&[&str]) -> Option<Vec<usize>>) -> ColumnStatistics {
    let (kind, details) = match values.first() {
        Some(Value::String(_)) => ("string", texts(values, token_lengths)),
        Some(Value::Number(number)) if number.is_f64() => ("float", numbers(values)),
        Some(Value::Number(_) | Value::Bool(_)) => ("int", counts(values)),
        Some(Value::Array(_)) => ("list", lists(values)),
        Some(Value::Object(_)) => ("dict", Vec::new()),
        Some(Value::Null) | None => ("NoneType", Vec::new()),
    };
    let details = details.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ColumnStatistics { kind: kind.to_owned(), details }
}

type Details = Vec<(String, String)>;

fn extremes(lowest: String, mean: String, highest: String) -> Details {
    vec![("min".to_owned(), lowest), ("mean".to_owned(), mean), ("max".to_owned(), highest)]
}

#[expect(clippy::cast_precision_loss, reason = "lengths of texts and lists")]
fn mean(lengths: &[usize]) -> f64 {
    lengths.iter().sum::<usize>() as f64 / lengths.len().max(1) as f64
}

fn texts(values: &[Value], token_lengths: &mut impl FnMut(&[&str]) -> Option<Vec<usize>>) -> Details {
    let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
    let (lengths, unit) = match token_lengths(&texts) {
        Some(lengths) => (lengths, "tokens"),
        None => (texts.iter().map(|text| text.chars().count()).collect(), "characters"),
    };
    let lowest = lengths.iter().min().copied().unwrap_or(0);
    let highest = lengths.iter().max().copied().unwrap_or(0);
    let mean = python::repr_number(python::round(mean(&lengths), 2));
    extremes(format!("{lowest} {unit}"), format!("{mean} {unit}"), format!("{highest} {unit}"))
}

fn numbers(values: &[Value]) -> Details {
    let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let spell = |number: f64| python::repr_number(python::round(number, 2));
    #[expect(clippy::cast_precision_loss, reason = "at most a thousand rows")]
    let mean = numbers.iter().sum::<f64>() / numbers.len().max(1) as f64;
    extremes(
        spell(numbers.iter().copied().fold(f64::INFINITY, f64::min)),
        spell(mean),
        spell(numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    )
}

/// How often each label occurs, by increasing label.
fn counts(values: &[Value]) -> Details {
    let order = |value: &Value| match value {
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        other => other.as_f64().unwrap_or(f64::INFINITY),
    };
    let mut counted: Vec<(&Value, usize)> = Vec::new();
    for value in values {
        match counted.iter_mut().find(|(label, _)| *label == value) {
            Some((_, count)) => *count += 1,
            None => counted.push((value, 1)),
        }
    }
    counted.sort_by(|(left, _), (right, _)| order(left).total_cmp(&order(right)));
    let about = if counted.len() > 1 { "~" } else { "" };
    counted
        .into_iter()
        .map(|(label, count)| {
            #[expect(clippy::cast_precision_loss, reason = "at most a thousand rows")]
            let share = count as f64 / values.len() as f64 * 100.0;
            (python::text(label), format!("{about}{share:.2}%"))
        })
        .collect()
}

/// The lists' lengths; the mean is the one over the different lengths.
fn lists(values: &[Value]) -> Details {
    let mut lengths: Vec<usize> = values.iter().filter_map(Value::as_array).map(Vec::len).collect();
    lengths.sort_unstable();
    lengths.dedup();
    match lengths.as_slice() {
        [only] => vec![("size".to_owned(), format!("{only} elements"))],
        several => extremes(
            format!("{} elements", several.first().copied().unwrap_or(0)),
            format!("{:.2} elements", mean(several)),
            format!("{} elements", several.last().copied().unwrap_or(0)),
        ),
    }
}

/// A value in a table cell: shortened, on one line, without column separators.
fn sample(value: &Value) -> String {
    let mut text = match value {
        Value::Array(items) if items.len() > SAMPLE_ELEMENTS => {
            let shown: Vec<String> = items[..SAMPLE_ELEMENTS].iter().map(python::repr).collect();
            format!("[{}, ...]", shown.join(", "))
        }
        other => python::text(other),
    };
    let shortened = value.is_string() || value.as_array().is_some_and(|items| items.len() > SAMPLE_ELEMENTS);
    if shortened && let Some((end, _)) = text.char_indices().nth(SAMPLE_CHARACTERS) {
        text.truncate(end);
        text.push_str("...");
    }
    format!("<code>{}</code>", text.replace('\n', "<br>").replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn described(values: Vec<Value>) -> ColumnStatistics {
        let size = values.len() as u64;
        DatasetFacts::default().describe(size, &[("c".to_owned(), values)], |_| None).statistics.remove(0)
    }

    fn details(values: Vec<Value>) -> Vec<String> {
        described(values).details.into_iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    #[test]
    fn columns_are_described_by_what_they_hold() {
        assert_eq!(
            details(vec![json!("ab"), json!("äöü")]),
            ["min=2 characters", "mean=2.5 characters", "max=3 characters"]
        );
        assert_eq!(details(vec![json!(0.1), json!(0.25), json!(1.0)]), ["min=0.1", "mean=0.45", "max=1.0"]);
        assert_eq!(details(vec![json!(7), json!(7)]), ["7=100.00%"]);
        assert_eq!(details(vec![json!(true), json!(false), json!(true)]), ["False=~33.33%", "True=~66.67%"]);
        assert_eq!(details(vec![json!([1]), json!([1, 2]), json!([1, 2]), json!([1, 2, 3])])[1], "mean=2.00 elements");
        assert_eq!(described(vec![Value::Null]).kind, "NoneType");
    }

    #[test]
    fn samples_stay_in_their_cell() {
        assert_eq!(sample(&json!("a|b\nc")), "<code>a\\|b<br>c</code>");
        assert_eq!(sample(&json!([1, 2, 3, 4, 5, 6])), "<code>[1, 2, 3, 4, 5, ...]</code>");
        assert_eq!(sample(&json!("é".repeat(1001))), format!("<code>{}...</code>", "é".repeat(1000)));
        assert_eq!(sample(&json!({"a": null})), "<code>{'a': None}</code>");
    }

    #[test]
    fn only_a_thousand_rows_are_counted() {
        let values: Vec<Value> = (0..2000).map(|row| json!(i32::from(row >= 1000))).collect();
        assert_eq!(details(values), ["0=100.00%"]);
    }

    #[test]
    fn a_dataset_listed_by_hand_shows_what_is_known() {
        let dataset = DatasetFacts { revision: Some("0123456789".to_owned()), ..DatasetFacts::on_hub("org/data") };
        assert_eq!(
            dataset.lines("training"),
            "* Dataset: [org/data](https://huggingface.co/datasets/org/data) at \
             [0123456](https://huggingface.co/datasets/org/data/tree/0123456789)\n"
        );
    }
}
