//! Damaged and hostile model folders: each a clear error, none a panic.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::{Path, PathBuf};

use sentence_transformers::{Error, ErrorKind, LoadOptions, SentenceTransformer};
use st_testing::tiny_model;
use tempfile::TempDir;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target)
        } else {
            drop(fs::copy(entry.path(), target))
        }
    }
}

/// A copy of a tiny model that a test may damage.
fn damaged(name: &str, damage: impl FnOnce(&Path)) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    copy(&tiny_model(name), &path);
    damage(&path);
    (folder, path)
}

fn error_of(name: &str, damage: impl FnOnce(&Path)) -> Error {
    let (_keep, path) = damaged(name, damage);
    SentenceTransformer::load(path.to_str().unwrap()).expect_err("a damaged model must not load")
}

/// The whole chain of messages.
fn chain(error: &Error) -> String {
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        out.push_str(" <- ");
        out.push_str(&next.to_string());
        cause = next.source();
    }
    out
}

fn edit_json(path: PathBuf, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, serde_json::to_vec_pretty(&value).unwrap()).unwrap();
}

#[test]
fn a_missing_folder() {
    let error = SentenceTransformer::load("no/such/folder").unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::NotFound, "Path no/such/folder not found"));
}

#[test]
fn an_empty_folder() {
    let folder = tempfile::tempdir().unwrap();
    let error = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("neither modules.json nor config.json"), "{error}");
}

#[test]
fn missing_weights() {
    let error = error_of("tiny-bert", |path| fs::remove_file(path.join("model.safetensors")).unwrap());
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().starts_with("Could not find 'model.safetensors' or 'pytorch_model.bin' in "), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn truncated_weights() {
    for keep in [0, 4, 100, 5000, 100_000] {
        let error = error_of("tiny-bert", |path| {
            let file = path.join("model.safetensors");
            let bytes = fs::read(&file).unwrap();
            fs::write(file, &bytes[..keep]).unwrap();
        });
        assert_eq!(error.kind(), ErrorKind::Weights, "{keep}: {}", chain(&error));
        assert!(error.to_string().contains("model.safetensors"), "{keep}: {error}");
    }
}

#[test]
fn truncated_pickles() {
    for name in ["tiny-bert-bin", "tiny-bert-bin-legacy"] {
        for keep in [0, 4, 100, 5000, 60_000] {
            let error = error_of(name, |path| {
                let file = path.join("pytorch_model.bin");
                let bytes = fs::read(&file).unwrap();
                fs::write(file, &bytes[..keep]).unwrap();
            });
            assert_eq!(error.kind(), ErrorKind::Weights, "{name} {keep}: {}", chain(&error));
        }
    }
}

#[test]
fn a_git_lfs_pointer_instead_of_weights() {
    let error = error_of("tiny-bert", |path| {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db\nsize 90868376\n";
        fs::write(path.join("model.safetensors"), pointer).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(chain(&error).contains("Git LFS pointer"), "{}", chain(&error));
}

#[test]
fn weights_of_another_shape() {
    let error = error_of("tiny-bert", |path| {
        edit_json(path.join("config.json"), |config| config["intermediate_size"] = 65.into());
    });
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().contains("has shape [64, 32]"), "{error}");
}

#[test]
fn absurd_dimensions() {
    for (field, value) in
        [("hidden_size", u64::MAX), ("vocab_size", 1 << 40), ("num_hidden_layers", 0), ("num_hidden_layers", 1 << 23)]
    {
        let error = error_of("tiny-bert", |path| {
            edit_json(path.join("config.json"), |config| config[field] = value.into());
        });
        assert!(matches!(error.kind(), ErrorKind::Config | ErrorKind::Weights), "{field} {value}: {error}");
    }
}

#[test]
fn an_unknown_architecture_is_named_with_what_is_supported() {
    let error = error_of("tiny-bert", |path| {
        edit_json(path.join("config.json"), |config| config["model_type"] = "perceiver".into());
    });
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("'perceiver'") && error.to_string().contains("mpnet"), "{error}");
}

#[test]
fn an_unknown_module_type_is_named_with_what_is_supported() {
    let error = error_of("tiny-bert", |path| {
        edit_json(path.join("modules.json"), |modules| {
            modules[1]["type"] = "sentence_transformers.models.Whiten".into()
        });
    });
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("sentence_transformers.models.Whiten"), "{error}");
    assert!(error.to_string().contains("Pooling"), "{error}");
}

#[test]
fn python_modules_are_refused_with_the_reason() {
    let error = error_of("tiny-bert", |path| {
        edit_json(path.join("modules.json"), |modules| modules[1]["type"] = "custom_pooling.Pooling".into());
    });
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("is Python code, which this library does not run"), "{error}");
}

#[test]
fn malformed_json_is_reported_with_file_and_line() {
    for file in
        ["modules.json", "config.json", "config_sentence_transformers.json", "1_Pooling/config.json", "tokenizer.json"]
    {
        let error = error_of("tiny-bert", |path| fs::write(path.join(file), "{\n  \"a\": 1,\n  oops\n}").unwrap());
        assert!(chain(&error).contains("line 3"), "{file}: {}", chain(&error));
        assert!(error.to_string().contains(file), "{file}: {error}");
    }
}

#[test]
fn paths_that_leave_the_folder_are_refused() {
    for path in ["../1_Pooling", "/etc", "a/../../b", "..", "C:\\x", "a\\b"] {
        let error = error_of("tiny-bert", |folder| {
            edit_json(folder.join("modules.json"), |modules| modules[1]["path"] = path.into());
        });
        assert_eq!(error.kind(), ErrorKind::Config, "{path}");
        assert!(error.to_string().contains("leaves the model's folder"), "{path}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_folder_are_refused() {
    let outside = tempfile::tempdir().unwrap();
    copy(&tiny_model("tiny-bert").join("1_Pooling"), outside.path());
    let error = error_of("tiny-bert", |folder| {
        fs::remove_dir_all(folder.join("1_Pooling")).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.join("1_Pooling")).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("outside the model's folder"), "{error}");
}

#[test]
fn modules_in_an_impossible_order() {
    let swap = |a: usize, b: usize| {
        error_of("tiny-bert", |folder| {
            edit_json(folder.join("modules.json"), |modules| modules.as_array_mut().unwrap().swap(a, b));
        })
    };
    assert!(swap(1, 2).to_string().contains("needs 'sentence_embedding'"), "{}", swap(1, 2));
    assert!(swap(0, 1).to_string().contains("cannot read texts"), "{}", swap(0, 1));
}

#[test]
fn modules_of_another_width() {
    let error = error_of("tiny-bert", |folder| {
        edit_json(folder.join("1_Pooling/config.json"), |config| config["word_embedding_dimension"] = 48.into());
    });
    assert!(error.to_string().contains("takes vectors of 48 components, but is given 32"), "{error}");
}

#[test]
fn an_unknown_key_of_a_module() {
    let error = error_of("tiny-bert", |folder| {
        edit_json(folder.join("1_Pooling/config.json"), |config| config["output_key"] = "x".into());
    });
    assert!(error.to_string().contains("unknown key 'output_key'"), "{error}");
}

#[test]
fn weights_that_are_not_finite() {
    let error = error_of("tiny-bert", |folder| {
        let file = folder.join("model.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        let header_length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_length]).unwrap();
        let offsets = &header["encoder.layer.1.output.dense.weight"]["data_offsets"];
        let start = 8 + header_length + offsets[0].as_u64().unwrap() as usize;
        bytes[start + 40..start + 44].copy_from_slice(&f32::NAN.to_le_bytes());
        fs::write(file, bytes).unwrap();
    });
    assert_eq!(error.kind(), ErrorKind::Weights);
    assert!(error.to_string().contains("not finite (element 10)"), "{error}");
}

#[test]
fn an_adapter_of_a_kind_that_is_not_followed() {
    let config = r#"{"peft_type": "IA3", "base_model_name_or_path": "models/tiny-bert"}"#;
    let error = error_of("tiny-bert", |folder| fs::write(folder.join("adapter_config.json"), config).unwrap());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("adapters of type IA3 are not supported"), "{error}");
    assert!(error.hint().unwrap().contains("merge"), "{:?}", error.hint());
}

#[test]
fn an_unknown_default_prompt() {
    let path = tiny_model("tiny-bert");
    let error = LoadOptions::new().default_prompt_name("x").load(path.to_str().unwrap()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Default prompt name 'x' not found in the configured prompts dictionary with keys ['query', 'document']."
    );
}

#[test]
fn a_damaged_tokenizer() {
    for text in ["{}", "[]", "{\"version\": \"1.0\", \"model\": {\"type\": \"Nonsense\"}}"] {
        let error = error_of("tiny-bert", |folder| fs::write(folder.join("tokenizer.json"), text).unwrap());
        assert!(matches!(error.kind(), ErrorKind::Tokenizer | ErrorKind::Config), "{text}: {error}");
        assert!(error.to_string().contains("tokenizer.json"), "{text}: {error}");
    }
}

#[test]
fn a_tokenizer_with_more_tokens_than_the_model() {
    let (_keep, path) = damaged("tiny-bert", |folder| {
        edit_json(folder.join("tokenizer.json"), |tokenizer| {
            let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
            vocabulary.insert("weather".into(), 100_000.into());
        });
    });
    let model = SentenceTransformer::load(path.to_str().unwrap()).unwrap();
    let error = model.encode(&["The weather"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Encode);
    assert!(error.to_string().contains("100000"), "{error}");
}
