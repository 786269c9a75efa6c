//! A static model from a teacher: one vector per token, as model2vec distils them.

use std::collections::HashSet;
use std::path::Path;

use rayon::prelude::*;
use regex::Regex;
use sentence_transformers::modules::{InputModule, StaticEmbedding, Transformer};
use sentence_transformers::{Features, SentenceTransformer};
use serde_json::Value;
use st_encoder::{Batch, Pass};

use crate::error::{Result, TrainError};

use super::eigen;

/// Tokens that the teacher reads at once.
const BATCH: usize = 256;

/// How a static model is made of a teacher: what the original's `StaticEmbedding.from_distillation` does.
///
/// Each token of the teacher's vocabulary is read alone, between the special tokens that a text has, and gets the mean of the
/// hidden states. The vectors are centred and turned into their principal components, of which the first are kept; then each
/// is weighted by `a / (a + p)` (smooth inverse frequency, Arora et al. 2017), with `p` the share of a token of its rank by
/// Zipf's law, since vocabularies are ordered by frequency. Tokens that `removed` matches, and
/// added ones such as those around a text, get a zero vector and no rank: they stay in the tokenizer, and no text has them.
///
/// ```
/// use sentence_transformers::{LoadOptions, Pipeline, SentenceTransformer};
/// use st_train::distillation::StaticDistillation;
///
/// let teacher = SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_string_lossy())?;
/// let student = StaticDistillation::new().dimensions(Some(8)).distil(&teacher)?;
/// let model = SentenceTransformer::from_pipeline(Pipeline::new("0", Box::new(student), vec![])?, &LoadOptions::new())?;
/// assert_eq!(model.encode(&["the cat"])?.dimension(), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Reference
/// model2vec (Stephan Tulkens and Thomas van Dongen, Minish Lab), `model2vec.distill`.
#[derive(Debug, Clone)]
pub struct StaticDistillation {
    dimensions: Option<usize>,
    coefficient: Option<f64>,
    removed: Option<Regex>,
}

impl Default for StaticDistillation {
    fn default() -> Self {
        Self::new()
    }
}

impl StaticDistillation {
    /// The original's defaults: 256 components, smooth inverse frequency with 10⁻⁴, `[unused…]` tokens removed.
    #[must_use]
    pub fn new() -> Self {
        Self { dimensions: Some(256), coefficient: Some(1e-4), removed: Regex::new(r"\[unused\d+\]").ok() }
    }

    /// Sets how many principal components are kept (`pca_dims`), at most the teacher's width; `None` keeps the teacher's
    /// vectors as they are.
    #[must_use]
    pub fn dimensions(mut self, dimensions: Option<usize>) -> Self {
        self.dimensions = dimensions;
        self
    }

    /// Sets the constant of smooth inverse frequency (`sif_coefficient`); `None` weights all tokens alike.
    #[must_use]
    pub fn coefficient(mut self, coefficient: Option<f64>) -> Self {
        self.coefficient = coefficient;
        self
    }

    /// Sets which tokens get no vector (`token_remove_pattern`): those that begin with a match; `None` removes none.
    #[must_use]
    pub fn removed(mut self, pattern: Option<Regex>) -> Self {
        self.removed = pattern;
        self
    }

    /// Makes the static module.
    ///
    /// # Errors
    /// When the teacher's first module is no transformer with a `tokenizer.json`, the options make no sense, or the teacher
    /// fails.
    pub fn distil(&self, teacher: &SentenceTransformer) -> Result<StaticEmbedding> {
        if self.dimensions == Some(0) {
            return Err(TrainError::option("dimensions", "is 0: a vector needs at least one component"));
        }
        if self.coefficient.is_some_and(|a| !(a > 0.0 && a < 1.0)) {
            return Err(TrainError::option("coefficient", "must lie between 0 and 1"));
        }
        let first: &dyn std::any::Any = teacher.pipeline().input();
        let transformer = first.downcast_ref::<Transformer>().ok_or_else(|| {
            let kind = teacher.pipeline().input().kind().name;
            TrainError::unsupported(
                format!("a teacher whose first module is {kind}"),
                "take a transformer as the teacher",
            )
        })?;
        let path = transformer.tokenizer().map(|tokenizer| tokenizer.path().to_path_buf()).unwrap_or_default();
        let folder = path.parent().unwrap_or(&path).to_path_buf();
        let Vocabulary { names, added } = vocabulary(&path)?;
        let read = |id: usize| names[id].as_deref().is_some_and(|name| !self.is_removed(name)) && !added.contains(&id);
        let kept: Vec<u32> = (0..names.len()).filter(|&id| read(id)).map(|id| id as u32).collect();
        let (mut rows, mut width) = token_vectors(transformer, &kept)?;
        if let Some(wanted) = self.dimensions {
            let components = wanted.min(width);
            if components < kept.len() {
                rows = principal_components(&rows, width, components);
                width = components;
            } else {
                log::warn!("{wanted} principal components of {} tokens: the vectors stay as they are.", kept.len());
            }
        }
        if let Some(a) = self.coefficient {
            let total: f64 = (0..kept.len()).map(|rank| 1.0 / (rank + 2) as f64).sum();
            for (rank, row) in rows.chunks_exact_mut(width).enumerate() {
                let share = 1.0 / (rank + 2) as f64 / total;
                row.iter_mut().for_each(|x| *x *= a / (a + share));
            }
        }
        let mut table = vec![0f32; names.len() * width];
        for (id, row) in kept.iter().zip(rows.chunks_exact(width)) {
            let place = &mut table[*id as usize * width..][..width];
            place.iter_mut().zip(row).for_each(|(to, from)| *to = *from as f32);
        }
        Ok(StaticEmbedding::from_table(&folder, names.len(), table)?)
    }

    fn is_removed(&self, token: &str) -> bool {
        // As the package: the pattern must match from the token's start on.
        self.removed.as_ref().and_then(|pattern| pattern.find(token)).is_some_and(|found| found.start() == 0)
    }
}

/// The tokens of a `tokenizer.json`.
struct Vocabulary {
    /// The token of each id; `None` where an id has none.
    names: Vec<Option<String>>,
    /// Tokens beside the tokenizer's model, such as those around a text, but for those of padding and of unknown words.
    added: HashSet<usize>,
}

/// Reads the vocabulary of a `tokenizer.json`.
fn vocabulary(path: &Path) -> Result<Vocabulary> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Err(TrainError::unsupported(
            format!("a teacher whose tokenizer is {}", path.display()),
            "save the tokenizer as tokenizer.json first",
        ));
    }
    let text = std::fs::read(path).map_err(TrainError::reading(path))?;
    let tokenizer: Value = serde_json::from_slice(&text).map_err(TrainError::parse(path, "JSON"))?;
    let id = |value: &Value| value.as_u64().and_then(|id| usize::try_from(id).ok());
    let mut tokens: Vec<(usize, String)> = match &tokenizer["model"]["vocab"] {
        Value::Object(vocabulary) => {
            vocabulary.iter().filter_map(|(token, number)| Some((id(number)?, token.clone()))).collect()
        }
        Value::Array(pieces) => pieces
            .iter()
            .enumerate()
            .filter_map(|(number, piece)| Some((number, piece.get(0)?.as_str()?.to_owned())))
            .collect(),
        _ => return Err(TrainError::format(path, "the tokenizer has no vocabulary")),
    };
    let spared = spared(path, &tokenizer);
    let mut added = HashSet::new();
    for token in tokenizer["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(content)) = (id(&token["id"]), token["content"].as_str()) else { continue };
        tokens.push((id, content.to_owned()));
        if !spared.iter().any(|name| name == content) {
            added.insert(id);
        }
    }
    /// No vocabulary is larger.
    const MOST: usize = 1 << 24;
    let count = tokens.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
    if count == 0 || count > MOST {
        return Err(TrainError::format(path, format!("a vocabulary of {count} tokens")));
    }
    let mut names = vec![None; count];
    for (id, token) in tokens {
        names[id] = Some(token);
    }
    Ok(Vocabulary { names, added })
}

/// The tokens of padding and of unknown words: as `tokenizer_config.json` beside names them, or `tokenizer.json` itself.
fn spared(path: &Path, tokenizer: &Value) -> Vec<String> {
    let beside = std::fs::read(path.with_file_name("tokenizer_config.json")).ok();
    let config: Value = beside.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let named = |value: &Value| value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned);
    [&config["pad_token"], &config["unk_token"], &tokenizer["padding"]["pad_token"], &tokenizer["model"]["unk_token"]]
        .into_iter()
        .filter_map(named)
        .collect()
}

/// The mean hidden state of each token, read alone between special tokens: row after row, and their width.
fn token_vectors(teacher: &Transformer, tokens: &[u32]) -> Result<(Vec<f64>, usize)> {
    let (before, after) = frame(teacher)?;
    let one = |tokens: &[u32]| -> Result<Vec<f64>> {
        let mut batch = Batch::with_capacity(tokens.len(), tokens.len() * (before.len() + after.len() + 1));
        for &token in tokens {
            let sequence: Vec<u32> = before.iter().copied().chain([token]).chain(after.iter().copied()).collect();
            batch.push(&sequence);
        }
        let mut features =
            sentence_transformers::modules::Module::forward(teacher, Features::new(batch), &Pass::default())?;
        let hidden = features.take_tokens()?;
        let mut rows = vec![0f64; hidden.len() * hidden.hidden()];
        for (index, row) in rows.chunks_exact_mut(hidden.hidden().max(1)).enumerate() {
            let states = hidden.sequence(index);
            let count = (states.len() / row.len()).max(1) as f64;
            for state in states.chunks_exact(row.len()) {
                row.iter_mut().zip(state).for_each(|(sum, x)| *sum += f64::from(*x) / count);
            }
        }
        Ok(rows)
    };
    let parts: Vec<Vec<f64>> = tokens.par_chunks(BATCH).map(one).collect::<Result<_>>()?;
    Ok((parts.concat(), InputModule::width(teacher)))
}

/// The special tokens that stand before and after a text.
fn frame(teacher: &Transformer) -> Result<(Vec<u32>, Vec<u32>)> {
    let empty = InputModule::tokenize(teacher, "", None)?.ids().to_vec();
    let filled = InputModule::tokenize(teacher, "a", None)?.ids().to_vec();
    let before = empty.iter().zip(&filled).take_while(|(a, b)| a == b).count();
    let after = empty.len() - before;
    if filled.len() < empty.len() || filled[filled.len() - after..] != empty[before..] {
        return Err(TrainError::unsupported(
            "a teacher whose special tokens depend on the text",
            "take a teacher that puts the same tokens around every text",
        ));
    }
    Ok((empty[..before].to_vec(), empty[before..].to_vec()))
}

/// The first principal components of rows, with the signs that scikit-learn gives them: the largest loading is positive.
fn principal_components(rows: &[f64], width: usize, components: usize) -> Vec<f64> {
    let count = (rows.len() / width.max(1)).max(1) as f64;
    let mut mean = vec![0f64; width];
    for row in rows.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += x / count);
    }
    let mut centred = rows.to_vec();
    for row in centred.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean);
    }
    let covariance: Vec<f64> = (0..width)
        .into_par_iter()
        .flat_map_iter(|i| {
            let mut sums = vec![0f64; width];
            for row in centred.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += row[i] * x);
            }
            sums
        })
        .collect();
    let (_, vectors) = eigen::symmetric(covariance, width);
    let mut axes = vectors[..components * width].to_vec();
    for axis in axes.chunks_exact_mut(width) {
        let largest = axis.iter().fold(0f64, |largest, x| if x.abs() > largest.abs() { *x } else { largest });
        if largest < 0.0 {
            axis.iter_mut().for_each(|x| *x = -*x);
        }
    }
    let project = |row: &[f64]| {
        let of = |axis: &[f64]| row.iter().zip(axis).map(|(a, b)| a * b).sum::<f64>();
        axes.chunks_exact(width).map(of).collect::<Vec<_>>()
    };
    centred.par_chunks_exact(width).flat_map_iter(project).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_of_a_line_by_hand() {
        // Points on a line of direction (3, 4)/5 through (1, 2): the first component is the place on the line.
        let rows: Vec<f64> = [-2.0, 0.0, 2.0].iter().flat_map(|t| [1.0 + 0.6 * t, 2.0 + 0.8 * t]).collect();
        let one = principal_components(&rows, 2, 1);
        for (x, y) in one.iter().zip([-2.0, 0.0, 2.0]) {
            assert!((x - y).abs() < 1e-12, "{one:?}");
        }
    }
}
