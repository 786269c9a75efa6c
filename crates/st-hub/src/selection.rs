//! Which files of a repository belong to a model.

use std::fmt;
use std::sync::Arc;

/// Extensions of descriptions, vocabularies and tokenisers.
const TEXT_EXTENSIONS: &[&str] = &["json", "jinja", "md", "model", "spm", "tiktoken", "txt", "vocab"];
/// Beginnings of the names that PyTorch weights have.
const PYTORCH_WEIGHTS: &[&str] = &["pytorch_model", "adapter_model"];
/// Folders that hold the same weights for another engine; they come only when asked for.
const OTHER_ENGINES: &[&str] = &["coreml", "onnx", "openvino", "original", "tflite", "gguf"];

#[derive(Clone)]
enum Rule {
    Model,
    Everything,
    Matching(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

/// Which files a [`snapshot`](crate::Source::snapshot) brings.
///
/// [`Selection::model`] is what loading a model needs: descriptions, tokeniser files, the card, and the weights: as
/// safetensors, or as PyTorch's `.bin` for a folder without safetensors. Copies of the weights for other engines
/// (ONNX, OpenVINO, TensorFlow, Flax, GGUF) and Python code stay where they are.
///
/// ```
/// use st_hub::Selection;
///
/// let names = ["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "tf_model.h5"];
/// assert_eq!(Selection::model().choose(&names), ["config.json", "model.safetensors"]);
/// assert_eq!(Selection::model().also("onnx/model.onnx").choose(&names).len(), 3);
/// ```
#[derive(Clone)]
pub struct Selection {
    rule: Rule,
    also: Vec<String>,
}

impl fmt::Debug for Selection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Model => "model",
            Rule::Everything => "everything",
            Rule::Matching(_) => "matching",
        };
        formatter.debug_struct("Selection").field("rule", &rule).field("also", &self.also).finish()
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::model()
    }
}

impl Selection {
    /// What loading a model needs.
    #[must_use]
    pub fn model() -> Self {
        Self { rule: Rule::Model, also: Vec::new() }
    }

    /// Every file of the repository.
    #[must_use]
    pub fn everything() -> Self {
        Self { rule: Rule::Everything, also: Vec::new() }
    }

    /// The files that a predicate accepts.
    ///
    /// ```
    /// let only_card = st_hub::Selection::matching(|name| name == "README.md");
    /// assert_eq!(only_card.choose(&["README.md", "config.json"]), ["README.md"]);
    /// ```
    #[must_use]
    pub fn matching(predicate: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self { rule: Rule::Matching(Arc::new(predicate)), also: Vec::new() }
    }

    /// A file, or a folder with all that is in it, besides: `onnx/model.onnx`, `openvino`.
    #[must_use]
    pub fn also(mut self, file_or_folder: impl Into<String>) -> Self {
        self.also.push(file_or_folder.into().trim_end_matches('/').to_owned());
        self
    }

    /// The chosen names, in the given order.
    #[must_use]
    pub fn choose<'a, N: AsRef<str>>(&self, names: &'a [N]) -> Vec<&'a str> {
        let all: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let asked = |name: &str| {
            self.also.iter().any(|also| {
                name.strip_prefix(also.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let chosen = |name: &str| match &self.rule {
            Rule::Everything => true,
            Rule::Matching(predicate) => predicate(name),
            Rule::Model => is_needed(name, &all),
        };
        all.iter().copied().filter(|name| asked(name) || chosen(name)).collect()
    }
}

fn is_needed(name: &str, all: &[&str]) -> bool {
    let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
    if folder.split('/').any(|part| OTHER_ENGINES.contains(&part) || (part.starts_with('.') && part.len() > 2)) {
        return false;
    }
    let (stem, extension) = file.rsplit_once('.').unwrap_or((file, ""));
    match extension {
        "safetensors" => !stem.starts_with("consolidated"),
        "bin" => is_pytorch(file) && !all.iter().any(|other| replaces(other, folder, file)),
        _ => TEXT_EXTENSIONS.contains(&extension),
    }
}

fn is_pytorch(file: &str) -> bool {
    PYTORCH_WEIGHTS.iter().any(|start| file.starts_with(start))
}

/// Whether `other` holds as safetensors, in the same folder, what `file` holds as `.bin`.
fn replaces(other: &str, folder: &str, file: &str) -> bool {
    let (other_folder, other_file) = other.rsplit_once('/').unwrap_or(("", other));
    let adapter = file.starts_with("adapter_model");
    other_folder == folder
        && other_file.ends_with(".safetensors")
        && !other_file.starts_with("consolidated")
        && other_file.starts_with("adapter_model") == adapter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_its_descriptions_tokeniser_and_one_copy_of_the_weights() {
        let names = [
            ".gitattributes",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/pytorch_model.bin",
            "README.md",
            "config.json",
            "flax_model.msgpack",
            "merges.txt",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "modeling_custom.py",
            "onnx/config.json",
            "onnx/model.onnx",
            "openvino/openvino_model.xml",
            "optimizer.pt",
            "pytorch_model.bin",
            "rust_model.ot",
            "sentencepiece.bpe.model",
            "tf_model.h5",
            "tokenizer.json",
            "training_args.bin",
            "vocab.txt",
        ];
        let expected = [
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/pytorch_model.bin",
            "README.md",
            "config.json",
            "merges.txt",
            "model-00001-of-00002.safetensors",
            "model.safetensors.index.json",
            "sentencepiece.bpe.model",
            "tokenizer.json",
            "vocab.txt",
        ];
        assert_eq!(Selection::model().choose(&names), expected);
        assert_eq!(Selection::everything().choose(&names).len(), names.len());
        assert_eq!(Selection::model().also("onnx/").choose(&names).len(), expected.len() + 2);
    }

    #[test]
    fn adapter_weights_do_not_replace_the_model() {
        let names = ["adapter_model.safetensors", "pytorch_model.bin", "adapter_model.bin"];
        assert_eq!(Selection::model().choose(&names), ["adapter_model.safetensors", "pytorch_model.bin"]);
    }
}
