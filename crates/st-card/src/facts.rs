use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{CardError, python};

/// A number or text in a table: shown as Python shows it.
///
/// # Examples
///
/// ```
/// use st_card::Scalar;
///
/// assert_eq!(Scalar::Number(20.0).to_string(), "20.0");
/// assert_eq!(Scalar::from(20).to_string(), "20");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Number(f64),
    /// Text.
    Text(String),
}

impl Scalar {
    /// The number; of text such as `12.5 ms` the number in front.
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "a count in a card")]
            Scalar::Integer(number) => Some(*number as f64),
            Scalar::Number(number) => Some(*number),
            Scalar::Text(text) => text.split_whitespace().next()?.parse().ok(),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::Integer(number) => write!(formatter, "{number}"),
            Scalar::Number(number) => formatter.write_str(&python::repr_number(*number)),
            Scalar::Text(text) => formatter.write_str(text),
        }
    }
}

impl From<i64> for Scalar {
    fn from(number: i64) -> Scalar {
        Scalar::Integer(number)
    }
}

impl From<f64> for Scalar {
    fn from(number: f64) -> Scalar {
        Scalar::Number(number)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }
}

/// How many tokens of a text the model reads.
///
/// # Examples
///
/// ```
/// assert_eq!(st_card::SequenceLimit::Tokens(256).to_string(), "256");
/// assert_eq!(st_card::SequenceLimit::Unlimited.to_string(), "inf");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SequenceLimit {
    /// At most this many.
    Tokens(usize),
    /// All of them, as a static embedding does; written `inf`.
    Unlimited,
    /// The model does not say; written `None`.
    #[default]
    Unknown,
}

impl fmt::Display for SequenceLimit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceLimit::Tokens(tokens) => write!(formatter, "{tokens}"),
            SequenceLimit::Unlimited => formatter.write_str("inf"),
            SequenceLimit::Unknown => formatter.write_str("None"),
        }
    }
}

/// The similarity matrix that the model gives for the usage example: one row per query (or sentence), one column per
/// document (or sentence).
///
/// # Examples
///
/// ```
/// let similarities = st_card::Similarities::new(vec![1.0, 0.25, 0.25, 1.0], 2);
/// assert_eq!(similarities.to_string(), "tensor([[1.0000, 0.2500],\n        [0.2500, 1.0000]])");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Similarities {
    values: Vec<f32>,
    width: usize,
    /// Shown after the values when the model does not compute in f32, such as `torch.float16`.
    #[serde(default)]
    pub dtype: Option<String>,
}

impl Similarities {
    /// The values row by row, `width` in each.
    #[must_use]
    pub fn new(values: Vec<f32>, width: usize) -> Similarities {
        Similarities { values, width, dtype: None }
    }

    pub(crate) fn check(&self, rows: usize, columns: usize) -> Result<(), CardError> {
        let (values, width) = (self.values.len(), self.width);
        if width == columns && values == rows * columns {
            Ok(())
        } else {
            Err(CardError::SimilarityShape { rows, columns, values, width })
        }
    }
}

/// As `print` shows a tensor of a few columns: four digits after the point, or none where all numbers are whole, padded to
/// the same width.
impl fmt::Display for Similarities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decisive = || self.values.iter().filter(|value| value.is_finite() && **value != 0.0);
        let whole = decisive().all(|value| value.fract() == 0.0);
        let spell = |value: f32| match whole {
            true if value.is_finite() => format!("{value:.0}."),
            true => python::repr_number(f64::from(value)),
            false if value.is_nan() => "nan".to_owned(),
            false => format!("{value:.4}"),
        };
        let wide = decisive().map(|value| spell(*value).len()).max().unwrap_or(1);
        let rows: Vec<String> = self
            .values
            .chunks(self.width.max(1))
            .map(|row| {
                let cells: Vec<String> = row.iter().map(|value| format!("{:>wide$}", spell(*value))).collect();
                format!("[{}]", cells.join(", "))
            })
            .collect();
        write!(formatter, "tensor([{}]", rows.join(",\n        "))?;
        if let Some(dtype) = &self.dtype {
            write!(formatter, ", dtype={dtype}")?;
        }
        formatter.write_str(")")
    }
}

/// What the library knows about a model when its card is written.
///
/// # Examples
///
/// ```
/// use st_card::{ModelCardData, ModelFacts, SequenceLimit};
///
/// let facts = ModelFacts {
///     architecture: "SentenceTransformer(\n  (0): StaticEmbedding()\n)".to_owned(),
///     max_seq_length: SequenceLimit::Unlimited,
///     output_dimensionality: Some(256),
///     versions: vec![("Rust".to_owned(), "1.92".to_owned())],
///     ..ModelFacts::default()
/// };
/// let card = ModelCardData::new().render(&facts)?;
/// assert!(card.contains("- **Output Dimensionality:** 256 dimensions\n"));
/// # Ok::<(), st_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelFacts {
    /// The modules as `print(model)` shows them.
    pub architecture: String,
    /// Tokens read per text.
    pub max_seq_length: SequenceLimit,
    /// Numbers per vector.
    pub output_dimensionality: Option<usize>,
    /// `cosine`, `dot`, `euclidean`, `manhattan` or a name of one's own; unset is cosine.
    pub similarity_function: Option<String>,
    /// Prompts by name. One for `query`, `document`, `passage` or `corpus` that is not empty makes a retrieval model.
    pub prompts: Vec<(String, String)>,
    /// Whether one of the modules is a Router, which makes a retrieval model.
    pub has_router: bool,
    /// The matrix for the texts of [`ModelCardData::usage_example`](crate::ModelCardData::usage_example).
    pub similarities: Option<Similarities>,
    /// Software and its version, in the order shown.
    pub versions: Vec<(String, String)>,
}

impl ModelFacts {
    /// Whether queries and documents are encoded differently.
    #[must_use]
    pub fn is_retrieval_model(&self) -> bool {
        const NAMES: [&str; 4] = ["query", "document", "passage", "corpus"];
        self.has_router || self.prompts.iter().any(|(name, text)| NAMES.contains(&name.as_str()) && !text.is_empty())
    }

    pub(crate) fn similarity_title(&self) -> String {
        match self.similarity_function.as_deref() {
            None | Some("" | "cosine") => "Cosine Similarity".to_owned(),
            Some("dot") => "Dot Product".to_owned(),
            Some("euclidean") => "Euclidean Distance".to_owned(),
            Some("manhattan") => "Manhattan Distance".to_owned(),
            Some(other) => python::title(&other.replace('_', " ")),
        }
    }
}

/// What training emitted, as CodeCarbon measures it.
///
/// # Examples
///
/// ```
/// use st_card::{Emissions, ModelCardData, ModelFacts};
///
/// let mut data = ModelCardData::new();
/// data.emissions = Some(Emissions { emissions: 12.5, energy_consumed: 0.03, ..Emissions::default() });
/// assert!(data.render(&ModelFacts::default())?.contains("- **Carbon Emitted**: 0.013 kg of CO2\n"));
/// # Ok::<(), st_card::CardError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Emissions {
    /// Grams of CO₂.
    pub emissions: f64,
    /// Kilowatt hours.
    pub energy_consumed: f64,
    /// Whether it ran at a cloud provider.
    pub on_cloud: bool,
    /// The processor's name.
    pub cpu_model: String,
    /// Gigabytes of memory.
    pub ram_total_size: f64,
    /// Hours of training.
    pub hours_used: f64,
    /// The graphics card, if any.
    pub hardware_used: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_print_as_tensors_do() {
        for (values, width, expected) in [
            (vec![1.0, -0.067, 0.351, 1.0], 2, "tensor([[ 1.0000, -0.0670],\n        [ 0.3510,  1.0000]])"),
            (vec![1.0, 0.0], 2, "tensor([[1., 0.]])"),
            (vec![12.0, -3.0], 2, "tensor([[12., -3.]])"),
            (vec![f32::NAN, 0.5], 2, "tensor([[   nan, 0.5000]])"),
            (vec![f32::NAN, f32::NAN], 2, "tensor([[nan, nan]])"),
            (vec![f32::INFINITY, 2.0], 2, "tensor([[inf, 2.]])"),
        ] {
            assert_eq!(Similarities::new(values, width).to_string(), expected);
        }
        let half = Similarities { dtype: Some("torch.float16".to_owned()), ..Similarities::new(vec![0.5], 1) };
        assert_eq!(half.to_string(), "tensor([[0.5000]], dtype=torch.float16)");
    }

    #[test]
    fn text_gives_its_number() {
        assert_eq!(Scalar::from("12.5 ms").number(), Some(12.5));
        assert_eq!(Scalar::from("n/a").number(), None);
        assert_eq!(Scalar::from(3).number(), Some(3.0));
    }

    #[test]
    fn prompts_tell_a_retrieval_model() {
        let mut facts = ModelFacts::default();
        assert!(!facts.is_retrieval_model());
        facts.prompts = vec![("query".to_owned(), String::new()), ("clustering".to_owned(), "x".to_owned())];
        assert!(!facts.is_retrieval_model());
        facts.prompts.push(("passage".to_owned(), "passage: ".to_owned()));
        assert!(facts.is_retrieval_model());
    }
}
