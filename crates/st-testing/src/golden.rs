//! The golden files of the tiny models: what the original library answered, as typed data.

use crate::{Numbers, fixture_path};
use serde::de::{DeserializeOwned, Deserializer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything the original said about one tiny model (`fixtures/golden/<model>.json`).
///
/// ```
/// let golden = st_testing::ModelGolden::load("tiny-bert");
/// assert_eq!(golden.info.architecture, "BertModel");
/// assert!(golden.cases.iter().any(|case| case.name == "texts"));
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct ModelGolden {
    /// The folder's name in `fixtures/models`.
    pub model: String,
    /// What the model says about itself.
    pub info: InfoGolden,
    /// Token ids of awkward texts; absent where the tokenizer is the one of `tiny-bert`.
    pub tokenize: Option<TokenizeGolden<String>>,
    /// Token ids of pairs of texts.
    pub tokenize_pairs: Option<TokenizeGolden<[String; 2]>>,
    /// Calls and answers.
    pub cases: Vec<Case>,
    /// The similarity functions on embeddings of this model.
    pub similarity: Option<SimilarityGolden>,
}

impl ModelGolden {
    /// Reads the golden of a tiny model.
    ///
    /// # Panics
    /// When the file is missing or not of this form: a test cannot go on without it.
    pub fn load(model: &str) -> Self {
        read(&format!("golden/{model}.json"))
    }

    /// The case of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn case(&self, name: &str) -> &Case {
        match self.cases.iter().find(|case| case.name == name) {
            Some(case) => case,
            None => panic!("{}: no golden case is called {name:?}", self.model),
        }
    }
}

/// Reads any golden file under `fixtures` into a type of the caller.
///
/// # Panics
/// When the file is missing or not of this form.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = fixture_path(name);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    };
    match serde_json::from_str(&text) {
        Ok(value) => value,
        Err(error) => panic!("{} is not of the expected form: {error}", path.display()),
    }
}

/// The original's message for a wrong argument outside `encode`, by the name it has in `golden/errors.json`.
///
/// ```
/// let message = st_testing::golden::original_message("similarity function that does not exist");
/// assert_eq!(message, "'cos' is not a valid SimilarityFunction");
/// ```
///
/// # Panics
/// When no message has this name.
pub fn original_message(name: &str) -> String {
    #[derive(Deserialize)]
    struct File {
        errors: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        message: String,
    }
    match read::<File>("golden/errors.json").errors.into_iter().find(|error| error.name == name) {
        Some(error) => error.message,
        None => panic!("golden/errors.json has no message called {name:?}"),
    }
}

/// What a model says about itself.
#[derive(Clone, Debug, Deserialize)]
pub struct InfoGolden {
    /// Class names of the modules in order.
    pub modules: Vec<String>,
    /// Class name of the transformer.
    pub architecture: String,
    /// `get_sentence_embedding_dimension()`.
    pub dimension: usize,
    /// The same with `truncate_dim = 8`.
    pub dimension_with_truncate_dim_8: Option<usize>,
    /// `max_seq_length`.
    pub max_seq_length: Option<usize>,
    /// `similarity_fn_name`.
    pub similarity_fn_name: String,
    /// The prompts by name, the two defaults included.
    pub prompts: BTreeMap<String, String>,
    /// `default_prompt_name`.
    pub default_prompt_name: Option<String>,
    /// Number of parameters, the pooler's included.
    pub parameters: usize,
    /// The dtype that the original computes in.
    pub dtype: String,
    /// Python's `repr(model)`.
    pub repr: String,
}

/// What `tokenize` gives, for each text alone and for all in one padded batch.
#[derive(Clone, Debug, Deserialize)]
pub struct TokenizeGolden<T> {
    /// The inputs.
    pub texts: Vec<T>,
    /// The keys in the tokenizer's order, such as `input_ids`.
    pub keys: Vec<String>,
    /// Per text: key to values, without padding.
    pub single: Vec<BTreeMap<String, Numbers>>,
    /// Key to the padded matrix of the whole batch.
    pub batch: BTreeMap<String, Numbers>,
}

/// One call and its answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// What the case is about, unique within the file.
    pub name: String,
    /// The method that was called.
    pub call: Call,
    /// Its input.
    pub input: Input,
    /// Its options.
    pub options: CaseOptions,
    /// The answer or the error.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Case {
    /// The expected array.
    ///
    /// # Panics
    /// When the case ends in something else.
    pub fn array(&self) -> &ArrayGolden {
        match &self.outcome {
            Outcome::Expect(Expect::Array(array)) => array,
            other => panic!("case {:?} expects no array but {other:?}", self.name),
        }
    }
}

/// The encode method of a case.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `encode`
    Encode,
    /// `encode_query`
    EncodeQuery,
    /// `encode_document`
    EncodeDocument,
}

/// The input of a case. An empty list reads as [`Input::Many`].
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(untagged)]
pub enum Input {
    /// One text, not in a list.
    Single(String),
    /// A list of texts.
    Many(Vec<String>),
    /// A list of pairs of texts.
    Pairs(Vec<[String; 2]>),
}

/// The options of a case; an absent one is the method's default.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaseOptions {
    /// The prompt itself.
    pub prompt: Option<String>,
    /// The name of a prompt.
    pub prompt_name: Option<String>,
    /// Texts per batch.
    pub batch_size: Option<usize>,
    /// L2-normalise the rows.
    pub normalize_embeddings: bool,
    /// Keep the first dimensions only.
    pub truncate_dim: Option<usize>,
    /// `float32`, `int8`, `uint8`, `binary`, `ubinary`, or one that does not exist.
    pub precision: Option<String>,
    /// What is asked for.
    pub output_value: OutputValue,
}

/// The `output_value` of a case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OutputValue {
    /// Sentence embeddings.
    #[default]
    SentenceEmbedding,
    /// Token embeddings.
    TokenEmbeddings,
    /// All features (`None` in the original).
    Everything,
}

impl<'de> Deserialize<'de> for OutputValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None => Ok(Self::Everything),
            Some("sentence_embedding") => Ok(Self::SentenceEmbedding),
            Some("token_embeddings") => Ok(Self::TokenEmbeddings),
            Some(other) => Err(serde::de::Error::custom(format!("unknown output_value {other}"))),
        }
    }
}

/// How a case ends.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Expect(Expect),
    /// With an error.
    Error(ErrorGolden),
}

/// An error of the original.
#[derive(Clone, Debug, Deserialize)]
pub struct ErrorGolden {
    /// Python class, such as `ValueError`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The literal message.
    pub message: String,
}

/// An answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Expect {
    /// One vector or one matrix.
    Array(ArrayGolden),
    /// One matrix per text.
    List {
        /// In input order.
        rows: Vec<MatrixGolden>,
    },
    /// The features of each text, by name.
    Features {
        /// In input order.
        rows: Vec<BTreeMap<String, FeatureGolden>>,
    },
}

/// One vector or matrix.
#[derive(Clone, Debug, Deserialize)]
pub struct ArrayGolden {
    /// numpy's name of the element type.
    pub dtype: String,
    /// `[D]` for a single text, `[N, D]` for a list, `[0]` for an empty one.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Numbers,
    /// The same from a float64 run, where there was one.
    pub reference: Option<Numbers>,
}

impl ArrayGolden {
    /// The tightest numbers at hand: the float64 run, else the float32 one.
    pub fn best(&self) -> &[f64] {
        self.reference.as_ref().unwrap_or(&self.values).as_f64()
    }
}

/// One matrix of token embeddings.
#[derive(Clone, Debug, Deserialize)]
pub struct MatrixGolden {
    /// Tokens, hidden size.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Numbers,
}

/// One feature of one text.
#[derive(Clone, Debug, Deserialize)]
pub struct FeatureGolden {
    /// numpy's name of the element type.
    pub dtype: String,
    /// Empty for a plain number.
    pub shape: Vec<usize>,
    /// Whole numbers, and the sentence embedding; token embeddings stand in cases of their own.
    pub values: Option<Numbers>,
}

/// Both forms of the similarity functions on two sets of rows.
#[derive(Clone, Debug, Deserialize)]
pub struct SimilarityGolden {
    /// Left rows.
    pub a: Numbers,
    /// Right rows.
    pub b: Numbers,
    /// Function name to the matrix of all pairs.
    pub matrix: BTreeMap<String, ScoresGolden>,
    /// Function name to the scores of row i with row i; `angle` has this form only.
    pub pairwise: BTreeMap<String, ScoresGolden>,
}

/// Scores of one similarity function.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ScoresGolden {
    /// From float32 rows.
    pub values: Numbers,
    /// From the same rows in float64.
    pub reference: Numbers,
    /// Rows left out, because the function is not defined on zero rows.
    #[serde(default)]
    pub rows_that_are_zero: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_golden_of_a_model_reads_and_names_its_folder() {
        let mut seen = 0;
        for entry in std::fs::read_dir(fixture_path("models")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let golden = ModelGolden::load(&name);
            assert_eq!(golden.model, name);
            let texts = golden.case("texts").array();
            assert_eq!(texts.shape, [23, golden.info.dimension]);
            assert_eq!(texts.values.as_f64().len(), 23 * golden.info.dimension);
            let reference = texts.reference.as_ref().unwrap();
            crate::assert_close(&texts.values.to_f32(), reference.as_f64(), 1e-5, &name);
            seen += 1;
        }
        assert!(seen >= 19, "only {seen} models");
    }

    #[test]
    fn null_and_absent_output_values_differ() {
        let golden = ModelGolden::load("tiny-bert");
        assert_eq!(golden.case("everything").options.output_value, OutputValue::Everything);
        assert_eq!(golden.case("texts").options.output_value, OutputValue::SentenceEmbedding);
        assert!(matches!(golden.case("unknown prompt name").outcome, Outcome::Error(_)));
    }
}
