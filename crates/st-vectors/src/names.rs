//! From the names of precisions and similarity functions to the values.

use std::str::FromStr;

use crate::{Precision, SimilarityFunction, VectorError};

impl FromStr for Precision {
    type Err = VectorError;

    fn from_str(name: &str) -> Result<Self, VectorError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found
            .map(|(precision, _)| *precision)
            .ok_or_else(|| VectorError::UnsupportedPrecision { name: name.to_owned() })
    }
}

impl FromStr for SimilarityFunction {
    type Err = VectorError;

    fn from_str(name: &str) -> Result<Self, VectorError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(function, _)| *function).ok_or_else(|| VectorError::UnknownSimilarity { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_precisions_go_both_ways() {
        for (precision, name) in Precision::ALL {
            assert_eq!((precision.to_string().as_str(), name.parse()), (name, Ok(precision)));
        }
    }

    #[test]
    fn names_of_similarity_functions_go_both_ways() {
        for (function, name) in SimilarityFunction::ALL {
            assert_eq!((function.to_string().as_str(), name.parse()), (name, Ok(function)));
        }
    }
}
