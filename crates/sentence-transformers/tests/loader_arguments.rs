//! `model_args`, `tokenizer_args` and `config_args` of `sentence_bert_config.json`: followed where they mean something here,
//! behind what the caller asks for, and refused by name where not.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use sentence_transformers::tokenizer::{Side, TokenizerOptions};
use sentence_transformers::{LoadOptions, SentenceTransformer, WeightFormat};
use serde_json::{Value, json};

/// tiny-bert with more in its settings.
fn folder(arguments: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = st_testing::tiny_model("tiny-bert");
    for entry in std::fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        let to = folder.path().join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&to).unwrap();
            for file in std::fs::read_dir(entry.path()).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
            }
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
    let path = folder.path().join("sentence_bert_config.json");
    let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    settings.as_object_mut().unwrap().extend(arguments.as_object().unwrap().clone());
    std::fs::write(path, settings.to_string()).unwrap();
    folder
}

fn load(arguments: &Value, options: &LoadOptions) -> sentence_transformers::Result<SentenceTransformer> {
    options.load(folder(arguments).path().to_string_lossy())
}

#[test]
fn a_folder_s_data_type_is_followed_unless_the_caller_names_one() {
    let arguments = json!({"model_args": {"torch_dtype": "bfloat16", "attn_implementation": "sdpa",
        "trust_remote_code": true, "add_pooling_layer": false}});
    let weights = |options: LoadOptions| load(&arguments, &options).unwrap().encoder().unwrap().weights;
    assert_eq!(weights(LoadOptions::new()), WeightFormat::BF16);
    assert_eq!(weights(LoadOptions::new().weights(WeightFormat::F32)), WeightFormat::F32);
    let automatic = load(&json!({"model_args": {"dtype": "auto"}}), &LoadOptions::new()).unwrap();
    assert_eq!(automatic.encoder().unwrap().weights, WeightFormat::F32);
}

#[test]
fn a_folder_s_tokenizer_arguments_are_followed_behind_the_caller_s() {
    let text = "where is the cat and the dog before the rain";
    let arguments = json!({"max_seq_length": 6, "tokenizer_args": {"truncation_side": "left", "use_fast": true}});
    let ids = |options: &LoadOptions| {
        let model = load(&arguments, options).unwrap();
        model.tokenize(&[text]).unwrap().texts()[0].ids().to_vec()
    };
    let left = ids(&LoadOptions::new());
    let right = TokenizerOptions { truncation_side: Some(Side::Right), ..Default::default() };
    let right = ids(&LoadOptions::new().tokenizer(right));
    assert_eq!((left.len(), right.len()), (6, 6));
    assert_ne!(left, right);
}

#[test]
fn what_has_no_meaning_is_refused_by_file_and_name() {
    for (arguments, expected) in [
        (json!({"model_args": {"load_in_8bit": true}}), "model argument 'load_in_8bit' has no meaning here"),
        (json!({"model_args": {"torch_dtype": "int4"}}), "torch_dtype \"int4\" is not known"),
        (json!({"model_args": 3}), "'model_args' should be an object"),
        (json!({"tokenizer_args": {"vocab": "x"}}), "tokenizer argument 'vocab' has no meaning here"),
        (json!({"config_args": {"hidden_act": "relu"}}), "configuration argument 'hidden_act' has no meaning here"),
    ] {
        let error = load(&arguments, &LoadOptions::new()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("sentence_bert_config.json") && message.contains(expected), "{message}");
    }
}
