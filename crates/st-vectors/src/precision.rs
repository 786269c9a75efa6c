//! The five precisions in which embeddings are stored.

use std::fmt;

/// How embeddings are stored.
///
/// ```
/// use st_vectors::Precision;
/// assert_eq!("ubinary".parse(), Ok(Precision::Ubinary));
/// assert_eq!("int4".parse::<Precision>().unwrap_err().to_string(), "Precision 'int4' is not supported");
/// assert_eq!(Precision::possible_values(), ["float32", "int8", "uint8", "binary", "ubinary"]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As computed.
    #[default]
    Float32,
    /// One signed byte per dimension: 255 steps between minimum and maximum of the dimension, from −128.
    Int8,
    /// One byte per dimension: 255 steps between minimum and maximum of the dimension, from 0.
    Uint8,
    /// The bytes of [`Precision::Ubinary`] minus 128, as signed bytes.
    Binary,
    /// One bit per dimension, set where the value is above zero; eight to a byte, most significant bit first.
    Ubinary,
}

impl Precision {
    /// Every precision with its name.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Float32, "float32"),
        (Self::Int8, "int8"),
        (Self::Uint8, "uint8"),
        (Self::Binary, "binary"),
        (Self::Ubinary, "ubinary"),
    ];

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(precision, _)| *precision == self).map_or("", |(_, name)| name)
    }

    /// All names, in the order of [`Precision::ALL`].
    #[must_use]
    pub fn possible_values() -> [&'static str; 5] {
        Self::ALL.map(|(_, name)| name)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
