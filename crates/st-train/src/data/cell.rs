//! [`Cell`]: one value of a dataset.

use sentence_transformers::Image;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// One value of a dataset: a text, an image, a label, or a list of them.
///
/// ```
/// use st_train::data::Cell;
///
/// let cells = [Cell::from("a text"), Cell::from(3), Cell::from(0.5), Cell::from(vec![0.5, 1.0])];
/// assert_eq!(cells.map(|cell| cell.to_string()), ["a text", "3", "0.5", "[0.5, 1.0]"]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Several values.
    List(Vec<Cell>),
    /// An image. It is written as what its `Debug` form says of it, and not read back.
    #[serde(serialize_with = "shown", skip_deserializing)]
    Image(Image),
}

fn shown<S: Serializer>(image: &Image, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{image:?}"))
}

impl Cell {
    /// The text, where it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The image, where it is one.
    #[must_use]
    pub fn as_image(&self) -> Option<&Image> {
        match self {
            Self::Image(image) => Some(image),
            _ => None,
        }
    }

    /// The number, where it is one; true and false count as 1 and 0.
    #[must_use]
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            #[expect(clippy::cast_precision_loss, reason = "labels are small")]
            Self::Integer(value) => Some(*value as f64),
            Self::Number(value) => Some(*value),
            _ => None,
        }
    }

    /// What it is, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Image(_) => "an image",
        }
    }

    /// A JSON value; objects have no place in a cell.
    pub(crate) fn from_json(value: Value) -> Result<Self, &'static str> {
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Integer(whole),
                (None, Some(number)) => Self::Number(number),
                (None, None) => return Err("a number that is too large"),
            },
            Value::String(text) => Self::Text(text),
            Value::Array(values) => Self::List(values.into_iter().map(Self::from_json).collect::<Result<_, _>>()?),
            Value::Object(_) => return Err("an object; values are texts, numbers, or lists of them"),
        })
    }
}

/// As Python's `str()`: a text is itself.
impl std::fmt::Display for Cell {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => formatter.write_str("None"),
            Self::Bool(true) => formatter.write_str("True"),
            Self::Bool(false) => formatter.write_str("False"),
            Self::Integer(value) => write!(formatter, "{value}"),
            // `{:?}` keeps the point of whole numbers, as Python does.
            Self::Number(value) => write!(formatter, "{value:?}"),
            Self::Text(text) => formatter.write_str(text),
            Self::List(cells) => {
                formatter.write_str("[")?;
                for (index, cell) in cells.iter().enumerate() {
                    if index > 0 {
                        formatter.write_str(", ")?;
                    }
                    match cell {
                        Self::Text(text) => write!(formatter, "'{}'", text.replace('\'', "\\'"))?,
                        other => write!(formatter, "{other}")?,
                    }
                }
                formatter.write_str("]")
            }
            Self::Image(image) => write!(formatter, "{image:?}"),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Image> for Cell {
    fn from(image: Image) -> Self {
        Self::Image(image)
    }
}

impl From<i64> for Cell {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<f32> for Cell {
    fn from(value: f32) -> Self {
        Self::Number(value.into())
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl<C: Into<Cell>> From<Vec<C>> for Cell {
    fn from(cells: Vec<C>) -> Self {
        Self::List(cells.into_iter().map(Into::into).collect())
    }
}
