//! [`Pooling`]: from one vector per token to one per text. It exists here and nowhere else.

use std::str::FromStr;

use st_encoder::{Pass, Rows, TokenEmbeddings};
use st_vectors::Embeddings;

use super::{Dataflow, Feature, Loader, Module, ModuleConfig, ModuleFolder, ModuleKind};
use crate::files::ModuleWriter;
use crate::{Error, ErrorKind, Features, NewWeights, Result};

/// The row of [`super::MODULES`].
pub(super) const POOLING: ModuleKind = ModuleKind {
    name: "Pooling",
    aliases: &[],
    type_path: "sentence_transformers.models.Pooling",
    load: Loader::Inner(|folder| Ok(Box::new(Pooling::load(folder)?))),
};

/// How the token vectors of a text become one part of its sentence vector.
///
/// With `x` the vectors of the text's `T` tokens and `m` 1 for tokens that count and 0 for prompt tokens left out.
///
/// ```
/// use sentence_transformers::modules::PoolingMode;
///
/// assert_eq!("mean".parse::<PoolingMode>()?, PoolingMode::Mean);
/// assert!("median".parse::<PoolingMode>().is_err());
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PoolingMode {
    /// The first token's vector.
    Cls,
    /// The largest value of each component over tokens with `m = 1`; −10⁹ without any.
    Max,
    /// `Σ m·x / max(s, 1e-9)` with `s = Σ m`, or the sum of the tokens' weights where a module weighted them.
    Mean,
    /// `Σ m·x / √max(s, 1e-9)` with the same `s`.
    MeanSqrtLength,
    /// `Σ m·t·x / max(s, 1e-9)` with `t` the position from 1 (Muennighoff 2022) and `s = Σ m·t`, or again the sum of the
    /// tokens' weights.
    WeightedMean,
    /// The vector of the last token with `m = 1`; zero without any.
    LastToken,
}

impl PoolingMode {
    /// All modes in the order in which their parts are joined, with the name of `pooling_mode`, the key of
    /// `config.json`, and the name by which the original prints it.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Cls, "cls", "pooling_mode_cls_token"),
        (Self::Max, "max", "pooling_mode_max_tokens"),
        (Self::Mean, "mean", "pooling_mode_mean_tokens"),
        (Self::MeanSqrtLength, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
        (Self::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
        (Self::LastToken, "lasttoken", "pooling_mode_lasttoken"),
    ];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(mode, ..)| *mode == self).map_or("", |(_, name, _)| name)
    }
}

impl FromStr for PoolingMode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let lower = name.to_lowercase();
        Self::ALL.iter().find(|(_, known, _)| *known == lower).map(|(mode, ..)| *mode).ok_or_else(|| {
            Error::new(
                ErrorKind::Argument,
                format!(
                    "Set invalid pooling mode: {name}. Valid pooling modes are: ('cls', 'lasttoken', 'max', 'mean', \
                     'mean_sqrt_len_tokens', 'weightedmean')."
                ),
            )
        })
    }
}

/// Makes one vector per text from its token vectors; several modes are joined end to end, in the order of
/// [`PoolingMode::ALL`].
///
/// Shapes: tokens `[T, H]` per text to `[N, modes·H]`. File: `config.json`.
///
/// ```
/// use sentence_transformers::modules::{Module, Pooling, PoolingMode};
///
/// let pooling = Pooling::new(384, &[PoolingMode::Mean, PoolingMode::Cls])?;
/// assert_eq!(pooling.modes(), &[PoolingMode::Cls, PoolingMode::Mean]);
/// assert_eq!(pooling.output_dim(384), Ok(768));
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pooling {
    dimension: usize,
    modes: Vec<PoolingMode>,
    include_prompt: bool,
}

impl Pooling {
    /// Pooling of token vectors of `dimension` components.
    ///
    /// # Errors
    /// Without a mode.
    pub fn new(dimension: usize, modes: &[PoolingMode]) -> Result<Self> {
        let mut modes = modes.to_vec();
        modes.sort_unstable();
        modes.dedup();
        if modes.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "pooling needs at least one mode"));
        }
        Ok(Self { dimension, modes, include_prompt: true })
    }

    /// Sets whether prompt tokens take part (they do by default; INSTRUCTOR models leave them out).
    #[must_use]
    pub fn include_prompt(mut self, include: bool) -> Self {
        self.include_prompt = include;
        self
    }

    fn load(folder: &ModuleFolder) -> Result<Self> {
        let mut config = ModuleConfig::read(folder.file("config.json"))?;
        let dimension = config.size(&["word_embedding_dimension", "embedding_dimension"])?;
        let mut modes = Vec::new();
        if let Some(value) = config.value(&["pooling_mode"]).cloned() {
            let names: Option<Vec<&str>> = match &value {
                serde_json::Value::String(name) => Some(vec![name]),
                serde_json::Value::Array(names) => names.iter().map(serde_json::Value::as_str).collect(),
                _ => None,
            };
            let names = names.ok_or_else(|| config.error("'pooling_mode' should be a text or a list of texts"))?;
            for name in names {
                modes.push(name.parse().map_err(|error| config.error(error))?);
            }
            config.ignore(&PoolingMode::ALL.map(|(.., key)| key));
        } else {
            for (mode, _, key) in PoolingMode::ALL {
                if config.flag(key)?.unwrap_or(mode == PoolingMode::Mean) {
                    modes.push(mode);
                }
            }
        }
        let include_prompt = config.flag("include_prompt")?.unwrap_or(true);
        let pooling = Self::new(dimension, &modes).map_err(|error| config.error(error))?.include_prompt(include_prompt);
        config.finish()?;
        Ok(pooling)
    }

    /// The modes, in the order in which their parts are joined.
    #[must_use]
    pub fn modes(&self) -> &[PoolingMode] {
        &self.modes
    }

    fn pool(&self, tokens: &TokenEmbeddings, weights: Option<&[f32]>, skip: usize) -> Result<Embeddings> {
        let hidden = tokens.hidden();
        let mut out = Embeddings::zeros(tokens.len(), hidden * self.modes.len());
        for index in 0..tokens.len() {
            let rows = tokens.sequence(index);
            let parts = out.row_mut(index).chunks_exact_mut(hidden.max(1));
            for (mode, part) in self.modes.iter().zip(parts) {
                pool_text(*mode, rows, weights.and_then(|weights| weights.get(index)).copied(), skip, part);
            }
        }
        Ok(out)
    }
}

/// Pools the rows of one text into `out`, leaving out the first `skip` tokens. `weights` is the sum of their weights.
fn pool_text(mode: PoolingMode, rows: &[f32], weights: Option<f32>, skip: usize, out: &mut [f32]) {
    let hidden = out.len();
    let count = rows.len() / hidden;
    let counted = &rows[skip.min(count) * hidden..];
    let vectors = || counted.chunks_exact(hidden);
    let number = (counted.len() / hidden) as f32;
    match mode {
        PoolingMode::Cls => out.copy_from_slice(rows.get(..hidden).unwrap_or(&vec![0.0; hidden])),
        PoolingMode::Max => {
            out.fill(-1e9);
            for vector in vectors() {
                for (largest, x) in out.iter_mut().zip(vector) {
                    *largest = largest.max(*x);
                }
            }
        }
        PoolingMode::Mean | PoolingMode::MeanSqrtLength => {
            out.fill(0.0);
            for vector in vectors() {
                for (sum, x) in out.iter_mut().zip(vector) {
                    *sum += x;
                }
            }
            let number = weights.unwrap_or(number).max(1e-9);
            let divisor = if mode == PoolingMode::Mean { number } else { number.sqrt() };
            out.iter_mut().for_each(|sum| *sum /= divisor);
        }
        PoolingMode::WeightedMean => {
            out.fill(0.0);
            let mut total = 0f32;
            for (position, vector) in (skip + 1..).zip(vectors()) {
                let weight = position as f32;
                total += weight;
                for (sum, x) in out.iter_mut().zip(vector) {
                    *sum += weight * x;
                }
            }
            let divisor = weights.unwrap_or(total).max(1e-9);
            out.iter_mut().for_each(|sum| *sum /= divisor);
        }
        PoolingMode::LastToken => match counted.len().checked_sub(hidden) {
            Some(start) => out.copy_from_slice(&counted[start..]),
            None => out.fill(0.0),
        },
    }
}

impl Module for Pooling {
    fn kind(&self) -> &'static ModuleKind {
        &POOLING
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::TokenEmbeddings, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let skip = if self.include_prompt { 0 } else { features.prompt_length.unwrap_or(0) };
        let pooled = self.pool(features.tokens()?, features.token_weights_sum.as_deref(), skip)?;
        features.sentence_embeddings = Some(pooled);
        Ok(features)
    }

    fn output_dim(&self, input: usize) -> Result<usize, usize> {
        if input == self.dimension { Ok(input * self.modes.len()) } else { Err(self.dimension) }
    }

    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        writer.config("config.json", self.config())
    }

    fn with_weights(&self, _: &str, _: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.clone()))
    }

    fn config(&self) -> serde_json::Map<String, serde_json::Value> {
        // The file's order has mean before max, unlike the order of the parts.
        let mut order = PoolingMode::ALL;
        order.swap(1, 2);
        let mut keys = serde_json::Map::new();
        keys.insert("word_embedding_dimension".into(), self.dimension.into());
        for (mode, _, key) in order {
            keys.insert(key.into(), self.modes.contains(&mode).into());
        }
        keys.insert("include_prompt".into(), self.include_prompt.into());
        keys
    }

    fn rows(&self) -> Rows {
        if self.modes == [PoolingMode::Cls] { Rows::First } else { Rows::All }
    }

    fn set_include_prompt(&mut self, include: bool) -> bool {
        self.include_prompt = include;
        true
    }

    fn excludes_prompt(&self) -> bool {
        !self.include_prompt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(modes: &[PoolingMode], tokens: &[f32], offsets: &[usize], skip: usize) -> Vec<f32> {
        let tokens = TokenEmbeddings::new(tokens.to_vec(), 2, offsets.to_vec()).unwrap();
        Pooling::new(2, modes).unwrap().pool(&tokens, None, skip).unwrap().into_vec()
    }

    #[test]
    fn means_are_divided_by_the_sum_of_weights() {
        let tokens = TokenEmbeddings::new(TOKENS.to_vec(), 2, vec![0, 3]).unwrap();
        let one = |mode| Pooling::new(2, &[mode]).unwrap().pool(&tokens, Some(&[4.0]), 0).unwrap().into_vec();
        assert_eq!(one(PoolingMode::Mean), [2.25, 1.5]);
        assert_eq!(one(PoolingMode::MeanSqrtLength), [4.5, 3.0]);
        assert_eq!(one(PoolingMode::WeightedMean), [5.5, 1.0]);
        assert_eq!(one(PoolingMode::Max), [5.0, 8.0]);
    }

    const TOKENS: [f32; 6] = [1.0, 8.0, 3.0, -2.0, 5.0, 0.0];

    #[test]
    fn every_mode_by_hand() {
        let one = |mode| pooled(&[mode], &TOKENS, &[0, 3], 0);
        assert_eq!(one(PoolingMode::Cls), [1.0, 8.0]);
        assert_eq!(one(PoolingMode::Max), [5.0, 8.0]);
        assert_eq!(one(PoolingMode::Mean), [3.0, 2.0]);
        assert_eq!(one(PoolingMode::MeanSqrtLength), [9.0 / 3f32.sqrt(), 6.0 / 3f32.sqrt()]);
        assert_eq!(one(PoolingMode::WeightedMean), [22.0 / 6.0, 4.0 / 6.0]);
        assert_eq!(one(PoolingMode::LastToken), [5.0, 0.0]);
    }

    #[test]
    fn prompt_tokens_are_left_out_and_positions_stay() {
        let one = |mode| pooled(&[mode], &TOKENS, &[0, 3], 1);
        assert_eq!(one(PoolingMode::Cls), [1.0, 8.0]);
        assert_eq!(one(PoolingMode::Max), [5.0, 0.0]);
        assert_eq!(one(PoolingMode::Mean), [4.0, -1.0]);
        assert_eq!(one(PoolingMode::WeightedMean), [21.0 / 5.0, -4.0 / 5.0]);
        assert_eq!(pooled(&[PoolingMode::Mean, PoolingMode::LastToken], &TOKENS, &[0, 3], 9), [0.0; 4]);
        assert_eq!(pooled(&[PoolingMode::Max], &TOKENS, &[0, 3], 9), [-1e9, -1e9]);
    }

    #[test]
    fn texts_without_tokens_give_zeros() {
        assert_eq!(pooled(&[PoolingMode::Cls, PoolingMode::Mean], &TOKENS, &[0, 0, 3], 0)[..4], [0.0; 4]);
    }

    #[test]
    fn cls_alone_reads_first_rows_only() {
        assert_eq!(Pooling::new(2, &[PoolingMode::Cls]).unwrap().rows(), Rows::First);
        assert_eq!(Pooling::new(2, &[PoolingMode::Cls, PoolingMode::Max]).unwrap().rows(), Rows::All);
    }
}
