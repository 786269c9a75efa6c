//! Which row stands for a text, and the map into the space that texts and images share.

use std::path::Path;

use serde_json::Value;

use crate::modules::dense::dot;
use crate::{Error, Result};

/// How the token is found whose row stands for its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastToken {
    /// The first of the largest id. Configurations from before transformers 4.31 name a wrong id, 2, and mean this: the end
    /// of a text had the largest id of all.
    Largest,
    /// The first of this id; the first token where there is none.
    Id(u32),
}

impl LastToken {
    /// By `eos_token_id` of the configuration of the texts' encoder.
    pub(super) fn of_config(config: &Value, path: &Path) -> Result<Self> {
        match config.get("eos_token_id").map_or(Some(49_407), Value::as_u64) {
            Some(2) => Ok(Self::Largest),
            Some(id) if u32::try_from(id).is_ok() => Ok(Self::Id(id as u32)),
            _ => Err(Error::config(path, "'eos_token_id' of 'text_config' should be a whole number")),
        }
    }

    /// Its place in a text.
    pub(super) fn place(self, ids: &[u32]) -> usize {
        let wanted = match self {
            Self::Largest => ids.iter().max().copied(),
            Self::Id(id) => Some(id),
        };
        ids.iter().position(|&id| Some(id) == wanted).unwrap_or(0)
    }
}

/// A linear map without a bias.
#[derive(Debug)]
pub(super) struct Projection {
    /// `[width, hidden]`, row-major.
    weight: Vec<f32>,
    hidden: usize,
    width: usize,
}

impl Projection {
    /// Of a weight `[width, hidden]`, row-major.
    pub(super) fn new(weight: Vec<f32>, [width, hidden]: [usize; 2]) -> Self {
        Self { weight, hidden, width }
    }

    /// Of its weight.
    pub(super) fn shape(&self) -> [usize; 2] {
        [self.width, self.hidden]
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Appends a mapped row.
    pub(super) fn apply(&self, row: &[f32], out: &mut Vec<f32>) {
        out.extend(self.weight.chunks_exact(self.hidden).map(|weights| dot(weights, row)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_end_of_a_text_by_either_rule() {
        let rule = |config| LastToken::of_config(&config, "config.json".as_ref());
        let ids = [5, 9, 8, 7, 8];
        assert_eq!(rule(json!({"eos_token_id": 2})).unwrap().place(&ids), 1);
        assert_eq!(rule(json!({"eos_token_id": 8})).unwrap().place(&ids), 2);
        assert_eq!(rule(json!({})).unwrap(), LastToken::Id(49_407));
        assert_eq!(LastToken::Id(3).place(&ids), 0);
        assert!(rule(json!({"eos_token_id": "end"})).is_err());
    }

    #[test]
    fn a_map_of_two_rows() {
        let map = Projection::new(vec![1.0, 2.0, -1.0, 0.5], [2, 2]);
        let mut out = Vec::new();
        map.apply(&[3.0, 4.0], &mut out);
        assert_eq!(out, [11.0, -1.0]);
    }
}
