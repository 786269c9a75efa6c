//! [`StaticEmbedding`]: the mean of one vector per token.

mod model2vec;
mod table;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Map, Value};
use st_encoder::{Pass, WeightFormat};
use st_vectors::Embeddings;
use tokenizers::pipeline::PipelineToken;

use super::{Dataflow, Feature, InputContext, InputModule, Loader, Module, ModuleFolder, ModuleKind, TextEmbedder};
use crate::files::{ModuleWriter, SavedTensor};
use crate::input::PreparedText;
use crate::tokenizer::{Side, TextTokenizer, TokenizerOptions, Tokens, WordMemory, longest_first};
use crate::{Error, ErrorKind, Features, NewWeights, Result};

use model2vec::Model2Vec;
use table::{TABLE_NAMES, Table};

/// The row of [`super::MODULES`].
pub(super) const STATIC_EMBEDDING: ModuleKind = ModuleKind {
    name: "StaticEmbedding",
    aliases: &[],
    type_path: "sentence_transformers.models.StaticEmbedding",
    load: Loader::Input(|folder, context| Ok(Box::new(StaticEmbedding::load(folder, context)?))),
};

/// Name of the table in files that are written.
const TABLE: &str = TABLE_NAMES[0];
/// A micro-batch of a module that computes next to nothing per token.
const MICRO_BATCH: usize = 16_384;
/// Room for tokens that a thread keeps between texts.
const KEPT_TOKENS: usize = 1 << 16;

/// Sentence embeddings without a network: the mean of the vectors of a text's tokens.
///
/// # Formula
/// `y = (1/n) Σ w[tᵢ] · E[m[tᵢ]]` over the `n` tokens `tᵢ` of the text; without tokens, the zero vector. `E` is the table
/// of vectors. The weights `w` and the row numbers `m` are there in models with a quantised vocabulary only; elsewhere
/// `w[t] = 1` and `m[t] = t`.
///
/// Texts are not stripped and get no special tokens; unknown tokens count like others; the length is not limited, unless
/// `tokenizer.json` stores a truncation.
///
/// # Shapes
/// Texts to `[N, D]`, `D` being the width of the table.
///
/// # Files
/// `tokenizer.json`, and `model.safetensors` (or `pytorch_model.bin`) with the table under the name `embedding.weight`, or
/// `embeddings` in model2vec's models. The table is memory-mapped and stays in its type: any floating-point type, or 8-bit
/// integers, which stand for themselves. The original reads floating-point tables only and does not know the tensors
/// `weights` and `mapping` of models with a quantised vocabulary; this library reads both, with model2vec's results.
///
/// A folder of model2vec without `modules.json` is read by model2vec's own rules: at most `max_length` tokens (512 unless
/// `config.json` says otherwise), of which unknown ones are left out, and unit length where `config.json` says `normalize`.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// # let numbers: Vec<u8> = [1.0f32, 0.0, 0.0, 4.0, 9.0, 9.0].iter().flat_map(|x| x.to_le_bytes()).collect();
/// # let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![3, 2], &numbers)?;
/// # std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize([("embeddings", view)], None)?)?;
/// # std::fs::write(folder.path().join("tokenizer.json"), r#"{"version": "1.0", "truncation": null, "padding": null,
/// #   "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
/// #   "decoder": null, "model": {"type": "WordLevel", "vocab": {"blue": 0, "sky": 1, "[UNK]": 2}, "unk_token": "[UNK]"}}"#)?;
/// # std::fs::write(folder.path().join("modules.json"),
/// #   r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]"#)?;
/// use sentence_transformers::SentenceTransformer;
///
/// // A table with the vectors [1, 0] of "blue" and [0, 4] of "sky".
/// let model = SentenceTransformer::load(folder.path().to_str().unwrap())?;
/// let embeddings = model.encode(&["blue sky", ""])?;
/// assert_eq!((embeddings.row(0), embeddings.row(1)), (&[0.5, 2.0][..], &[0.0, 0.0][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Reference
/// Sentence Transformers (Nils Reimers, Tom Aarsen), `sentence_transformers.models.StaticEmbedding`; model2vec (Stephan
/// Tulkens and Thomas van Dongen, Minish Lab).
#[derive(Debug)]
pub struct StaticEmbedding {
    tokenizer: Arc<TextTokenizer>,
    table: Table,
    folder: PathBuf,
    /// The truncation that `tokenizer.json` stores.
    stored: Option<(usize, Side)>,
    max_seq_length: Option<usize>,
    /// The rules of a folder of model2vec.
    rules: Option<Arc<Model2Vec>>,
    /// What threads need while they embed, kept for the next. There are never more than threads at once.
    workspaces: Mutex<Vec<Workspace>>,
}

/// What one thread needs.
#[derive(Debug)]
struct Workspace {
    words: WordMemory,
    tokens: Vec<PipelineToken>,
}

impl StaticEmbedding {
    /// Reads a folder that the original or model2vec has written.
    ///
    /// # Errors
    /// Whatever is wrong with its files; options about a tokenizer class or about weights, which it has not.
    pub fn load(folder: &ModuleFolder, context: &InputContext) -> Result<Self> {
        refuse_options(context)?;
        let path = folder.folder();
        let tokenizer = Arc::new(TextTokenizer::load_as_is(&path)?);
        let table = Table::open(&path)?;
        let stored = tokenizer.stored_truncation();
        let max_seq_length = context.max_seq_length;
        Ok(Self { tokenizer, table, folder: path, stored, max_seq_length, rules: None, workspaces: Mutex::default() })
    }

    /// A module of a table of token vectors, row after row, one for each of `tokens` tokens of a folder's `tokenizer.json`.
    ///
    /// # Errors
    /// When there is no such tokenizer, or the numbers are no rows of one width.
    pub fn from_table(folder: &Path, tokens: usize, table: Vec<f32>) -> Result<Self> {
        let width = table.len().checked_div(tokens).filter(|width| *width > 0 && width * tokens == table.len());
        let width = width.ok_or_else(|| {
            let message = format!("{} numbers are not {tokens} rows of one width", table.len());
            Error::new(ErrorKind::Argument, message)
        })?;
        let tokenizer = Arc::new(TextTokenizer::load_as_is(folder)?);
        let table = Table::of_numbers(folder, [tokens, width], &table)?;
        let (folder, stored) = (folder.to_path_buf(), tokenizer.stored_truncation());
        Ok(Self { tokenizer, table, folder, stored, max_seq_length: None, rules: None, workspaces: Mutex::default() })
    }

    /// Reads a folder of model2vec as the original's `from_model2vec` does: its table and tokenizer, without model2vec's own
    /// rules. Loading such a folder as a model follows them.
    ///
    /// # Errors
    /// When the folder holds no static model, or one of its files is damaged.
    pub fn from_model2vec(folder: &Path) -> Result<Self> {
        let (place, _) = model2vec::find(folder)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{} holds no model of model2vec", folder.display()))
                .with_path(folder)
                .with_hint("name the folder that model2vec's save_pretrained has written")
        })?;
        let path = place.folder();
        let tokenizer = Arc::new(TextTokenizer::load_as_is(&path)?);
        let table = Table::open(&path)?;
        let stored = tokenizer.stored_truncation();
        Ok(Self {
            tokenizer,
            table,
            folder: path,
            stored,
            max_seq_length: None,
            rules: None,
            workspaces: Mutex::default(),
        })
    }

    /// Reads a folder of model2vec without `modules.json`: the module, and whether unit length is asked for. `None` when
    /// the folder is not one of those.
    pub(crate) fn load_model2vec(root: &Path, context: &InputContext) -> Result<Option<(Self, bool)>> {
        let Some((folder, config)) = model2vec::find(root)? else { return Ok(None) };
        let mut module = Self::load(&folder, context)?;
        let (rules, config) = model2vec::read(&folder, &config)?;
        module.stored = None;
        module.max_seq_length = context.max_seq_length.or(config.max_length);
        module.rules = Some(Arc::new(rules));
        Ok(Some((module, config.normalize)))
    }

    /// The same module with a new table, when there is one.
    fn with_table(&self, path: &str, weights: &mut NewWeights) -> Result<Self> {
        let shape = [self.table.tokens(), self.table.width()];
        let table = match weights.take(&format!("{path}{TABLE}"), &shape)? {
            Some(numbers) => Table::of_numbers(&self.folder, shape, &numbers)?,
            None => self.table.clone(),
        };
        let (tokenizer, rules) = (Arc::clone(&self.tokenizer), self.rules.clone());
        let (folder, stored, max_seq_length) = (self.folder.clone(), self.stored, self.max_seq_length);
        Ok(Self { tokenizer, table, folder, stored, max_seq_length, rules, workspaces: Mutex::default() })
    }

    /// Fills the workspace with the tokens that count; returns how many were cut off.
    fn tokens(&self, first: &str, second: Option<&str>, workspace: &mut Workspace) -> Result<usize> {
        let Workspace { words, tokens } = workspace;
        tokens.clear();
        let limit = self.max_seq_length.map(|limit| (limit, Side::Right)).or(self.stored);
        let first = match (&self.rules, limit) {
            (Some(rules), Some((limit, _))) => rules.shorten(first, limit),
            _ => first,
        };
        self.tokenizer.append_plain(first, words, tokens)?;
        let first_count = tokens.len();
        if let Some(second) = second {
            self.tokenizer.append_plain(second, words, tokens)?;
        }
        let full = tokens.len();
        if let Some((limit, side)) = limit
            && full > limit
        {
            let (keep_first, keep_second) = longest_first(first_count, full - first_count, limit);
            let (cut_first, cut_second) = match side {
                Side::Right => (keep_first..first_count, first_count + keep_second..full),
                Side::Left => (0..first_count - keep_first, first_count..full - keep_second),
            };
            tokens.drain(cut_second);
            tokens.drain(cut_first);
        }
        let lost = full - tokens.len();
        if let Some(unknown) = self.rules.as_ref().and_then(|rules| rules.unknown) {
            tokens.retain(|token| token.id() != unknown);
        }
        Ok(lost)
    }

    /// Runs `work` with a workspace of its own.
    fn with_workspace<T>(&self, work: impl FnOnce(&mut Workspace) -> Result<T>) -> Result<T> {
        let kept = self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut workspace =
            kept.unwrap_or_else(|| Workspace { words: self.tokenizer.word_memory(), tokens: Vec::new() });
        let result = work(&mut workspace);
        workspace.tokens.clear();
        workspace.tokens.shrink_to(KEPT_TOKENS);
        self.workspaces.lock().unwrap_or_else(PoisonError::into_inner).push(workspace);
        result
    }
}

fn refuse_options(context: &InputContext) -> Result<()> {
    let unsupported = |message: &str, hint: &str| Err(Error::new(ErrorKind::Unsupported, message).with_hint(hint));
    if context.tokenizer != TokenizerOptions::default() {
        return unsupported(
            "a StaticEmbedding has no tokenizer options: it takes its tokenizer as tokenizer.json describes it",
            "load it without tokenizer options; max_seq_length limits the number of tokens",
        );
    }
    if !matches!(context.encoder.weights, WeightFormat::F32 | WeightFormat::Auto) {
        return unsupported(
            "a StaticEmbedding keeps its table in the type that the file has",
            "load it without a weight format; model2vec's quantize_to writes smaller tables",
        );
    }
    Ok(())
}

impl TextEmbedder for StaticEmbedding {
    fn embed(
        &self,
        texts: &[PreparedText<'_>],
        rows: &mut [f32],
        cut: &mut dyn FnMut(usize, usize, usize),
    ) -> Result<()> {
        let numbers = self.table.numbers()?;
        self.with_workspace(|workspace| {
            let rows = rows.chunks_exact_mut(self.table.width());
            for (index, ((first, second), row)) in texts.iter().zip(rows).enumerate() {
                let lost = self.tokens(first, second.as_deref(), workspace)?;
                if lost > 0 {
                    cut(index, workspace.tokens.len(), lost);
                }
                self.table.mean(&numbers, PipelineToken::cast_slice(&workspace.tokens), row)?;
            }
            Ok(())
        })
    }
}

impl Module for StaticEmbedding {
    fn kind(&self) -> &'static ModuleKind {
        &STATIC_EMBEDDING
    }

    fn dataflow(&self) -> Dataflow {
        Dataflow { needs: Feature::Tokens, gives: Feature::SentenceEmbedding }
    }

    fn forward(&self, mut features: Features, _: &Pass) -> Result<Features> {
        let mut sentences = Embeddings::zeros(features.batch.len(), self.table.width());
        let numbers = self.table.numbers()?;
        for index in 0..features.batch.len() {
            self.table.mean(&numbers, features.batch.sequence(index), sentences.row_mut(index))?;
        }
        features.sentence_embeddings = Some(sentences);
        Ok(features)
    }

    fn output_dim(&self, _: usize) -> Result<usize, usize> {
        Ok(self.table.width())
    }

    /// Tables of floating-point numbers are saved in their type; others as the 32-bit floats that they stand for, so that
    /// the original reads them too.
    fn save(&self, writer: &ModuleWriter) -> Result<()> {
        let plain = self.table.plain().and_then(|(data_type, bytes)| Some((stored_type(data_type)?, bytes)));
        match plain {
            Some((data_type, bytes)) => {
                let shape = vec![self.table.tokens(), self.table.width()];
                let view = TensorView::new(data_type, shape, bytes);
                let file = view.and_then(|view| safetensors::serialize([(TABLE, view)], None));
                let file = file.map_err(|error| {
                    Error::new(ErrorKind::Weights, "the table cannot be written").with_source(error)
                })?;
                writer.bytes("model.safetensors", &file)?;
            }
            None => writer.tensors(&self.tensors()?)?,
        }
        writer.copy(&self.folder.join("tokenizer.json"))?;
        Ok(())
    }

    /// One vector per token, as 32-bit floats, whatever the file has.
    fn tensors(&self) -> Result<Vec<SavedTensor<'_>>> {
        let shape = [self.table.tokens(), self.table.width()];
        let mut data = vec![0f32; shape[0] * shape[1]];
        let numbers = self.table.numbers()?;
        for (token, row) in (0u32..).zip(data.chunks_exact_mut(shape[1])) {
            self.table.mean(&numbers, &[token], row)?;
        }
        Ok(vec![SavedTensor::new(TABLE, shape, data)])
    }

    fn with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn Module>> {
        Ok(Box::new(self.with_table(path, weights)?))
    }

    fn config(&self) -> Map<String, Value> {
        Map::new()
    }
}

fn stored_type(name: &str) -> Option<Dtype> {
    match name {
        "float64" => Some(Dtype::F64),
        "float32" => Some(Dtype::F32),
        "float16" => Some(Dtype::F16),
        "bfloat16" => Some(Dtype::BF16),
        _ => None,
    }
}

impl InputModule for StaticEmbedding {
    fn tokenizer(&self) -> Option<&TextTokenizer> {
        Some(&self.tokenizer)
    }

    /// `None` unless set or a folder of model2vec says so; a truncation stored in `tokenizer.json` does not show here, as
    /// in the original.
    fn max_seq_length(&self) -> Option<usize> {
        self.max_seq_length
    }

    fn set_max_seq_length(&mut self, length: Option<usize>) {
        self.max_seq_length = length;
    }

    fn input_with_weights(&self, path: &str, weights: &mut NewWeights) -> Result<Box<dyn InputModule>> {
        Ok(Box::new(self.with_table(path, weights)?))
    }

    fn strips(&self) -> bool {
        false
    }

    fn width(&self) -> usize {
        self.table.width()
    }

    fn micro_batch(&self) -> usize {
        MICRO_BATCH
    }

    fn tokenize(&self, first: &str, second: Option<&str>) -> Result<Tokens> {
        self.with_workspace(|workspace| {
            let lost = self.tokens(first, second, workspace)?;
            Ok(Tokens::without_special(PipelineToken::cast_slice(&workspace.tokens).to_vec(), lost))
        })
    }

    fn embedder(&self) -> Option<&dyn TextEmbedder> {
        Some(self)
    }
}
