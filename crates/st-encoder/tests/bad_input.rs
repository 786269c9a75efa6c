//! What is wrong with a model folder is said in words that name the file, the tensor or field, and the way out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use st_encoder::{EncoderError, EncoderFiles, TensorSource, Weights};
use tempfile::TempDir;

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// A checkpoint with `w: [2, 3]` of 32-bit floats, `ids: [2]` of 64-bit integers and `bad: [2]` with a NaN.
fn checkpoint() -> Vec<u8> {
    let numbers: Vec<u8> = (0..6u8).flat_map(|n| f32::from(n).to_le_bytes()).collect();
    let ids = [0u8; 16];
    let bad = [1.0f32.to_le_bytes(), f32::NAN.to_le_bytes()].concat();
    let tensors = [
        ("w", TensorView::new(Dtype::F32, vec![2, 3], &numbers).unwrap()),
        ("ids", TensorView::new(Dtype::I64, vec![2], &ids).unwrap()),
        ("bad", TensorView::new(Dtype::F32, vec![2], &bad).unwrap()),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

/// The message of opening a folder, without the folder's own path.
fn message(folder: &TempDir, error: &EncoderError) -> String {
    let path = folder.path().display().to_string();
    error.to_string().replace(&format!("{path}/"), "").replace(&path, "FOLDER")
}

fn refusal(files: &[(&str, &[u8])]) -> String {
    let folder = folder(files);
    message(&folder, &Weights::open(folder.path()).unwrap_err())
}

#[test]
fn a_folder_without_weights_says_what_was_looked_for() {
    let folder = folder(&[("config.json", b"{}")]);
    let error = Weights::open(folder.path()).unwrap_err();
    assert_eq!(
        message(&folder, &error),
        "could not find 'model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', \
         'pytorch_model.bin.index.json' in FOLDER"
    );
    assert_eq!(error.hint(), Some("download the weights too, or name the folder that holds them"));
    assert!(matches!(Weights::open(&folder.path().join("gone")), Err(EncoderError::NoWeights { .. })));
    let error = Weights::open_file(&folder.path().join("gone.safetensors")).unwrap_err();
    assert_eq!(message(&folder, &error), "cannot read gone.safetensors");
}

#[test]
fn what_stands_in_place_of_weights_is_recognised() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:53aa5117\nsize 90868376\n";
    for name in ["model.safetensors", "pytorch_model.bin"] {
        let cases: [(&[u8], &str); 4] = [
            (
                pointer,
                "this is a Git LFS pointer, not the weights: run `git lfs pull` in the folder, or download the file again",
            ),
            (b"", "the file is empty: the download did not finish, download the file again"),
            (
                b"<!DOCTYPE html><html>",
                "this is a web page, not weights: the download went wrong, download the file again",
            ),
            (
                b"{\"error\": \"not found\"}",
                "this is JSON, not weights: the download went wrong, download the file again",
            ),
        ];
        for (content, expected) in cases {
            assert_eq!(refusal(&[(name, content)]), format!("{name}: {expected}"));
        }
    }
}

#[test]
fn truncated_and_damaged_safetensors_are_named() {
    let good = checkpoint();
    for length in [4, 7, 60, good.len() - 1] {
        assert_eq!(
            refusal(&[("model.safetensors", &good[..length])]),
            format!(
                "model.safetensors: the file is truncated or damaged ({length} bytes are there): download the file again"
            )
        );
    }
    let longer = [good.as_slice(), b"more"].concat();
    assert!(refusal(&[("model.safetensors", &longer)]).contains("truncated or damaged"));
    let with_header =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
    let entry = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let twice = with_header(&format!("{{{entry},{entry}}}"), &[0; 4]);
    assert_eq!(
        refusal(&[("model.safetensors", &twice)]),
        "model.safetensors: the header is damaged: tensor 'w' occurs twice at line 1 column 107"
    );
    for header in [
        r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"["w"]   "#,
    ] {
        let refused = refusal(&[("model.safetensors", &with_header(header, &[0; 4]))]);
        assert!(refused.starts_with("model.safetensors: not a valid safetensors file: "), "{header}: {refused}");
    }
    let huge = [&u64::MAX.to_le_bytes()[..], b"{}"].concat();
    assert_eq!(
        refusal(&[("model.safetensors", &huge)]),
        "model.safetensors: not a valid safetensors file: the header is too large"
    );
}

#[test]
fn tensors_are_checked_when_they_are_asked_for() {
    let folder = folder(&[("model.safetensors", &checkpoint())]);
    let weights = Weights::open(folder.path()).unwrap();
    let ask = |source: &TensorSource, shape: &[usize]| message(&folder, &weights.tensor(source, shape).unwrap_err());
    assert_eq!(ask(&TensorSource::whole("v"), &[2]), "model.safetensors: tensor 'v' is missing");
    assert_eq!(
        ask(&TensorSource::whole("w"), &[3, 2]),
        "model.safetensors: tensor 'w' has shape [2, 3], but the configuration asks for [3, 2]"
    );
    assert_eq!(
        ask(&TensorSource::rows("w", 1..3), &[2, 3]),
        "model.safetensors: tensor 'w' has shape [2, 3], but the configuration asks for [2, 3]"
    );
    assert_eq!(
        ask(&TensorSource::whole("ids"), &[2]),
        "model.safetensors: tensor 'ids' holds I64, not floating-point numbers"
    );
    let bad = weights.tensor(&TensorSource::whole("bad"), &[2]).unwrap();
    let error = bad.to_f32().unwrap_err();
    assert_eq!(
        message(&folder, &error),
        "model.safetensors: tensor 'bad' holds a number that is not finite (element 1)"
    );
    assert!(error.hint().unwrap().contains("damaged"));
    // Integer buffers are there but are no weights.
    assert_eq!(weights.names().collect::<Vec<_>>(), ["bad", "w"]);
    let row = weights.tensor(&TensorSource::rows("w", 1..2), &[1, 3]).unwrap();
    assert_eq!(*row.to_f32().unwrap(), [3.0, 4.0, 5.0]);
    let second = TensorSource::whole("tied").or("w");
    assert_eq!(weights.tensor(&second, &[2, 3]).unwrap().shape(), [2, 3]);
    assert_eq!(weights.parameters([&second, &TensorSource::rows("w", 0..1), &TensorSource::whole("bad")]), 8);
}

#[test]
fn an_index_stays_in_its_folder() {
    let index = "model.safetensors.index.json";
    let good = checkpoint();
    let named = |file: &str| format!(r#"{{"metadata": {{}}, "weight_map": {{"w": "{file}"}}}}"#);
    let folder = folder(&[(index, named("a.safetensors").as_bytes()), ("a.safetensors", &good)]);
    let weights = Weights::open(folder.path()).unwrap();
    assert_eq!(weights.shape_of("w"), Some(&[2, 3][..]));

    for outside in ["../a.safetensors", "/etc/passwd", "b/a.safetensors", "..", ".", "", "b\\\\a", "c:a"] {
        let shown = outside.replace("\\\\", "\\");
        assert_eq!(
            refusal(&[(index, named(outside).as_bytes())]),
            format!("{index}: file name '{shown}' of tensor 'w' leads out of the folder")
        );
    }
    assert_eq!(
        refusal(&[(index, named("a.safetensors").as_bytes())]),
        format!("{index}: 'a.safetensors' is named here but is not there: download it too")
    );
    assert_eq!(
        refusal(&[(index, b"{\"weight_map\": {\n  \"w\": \"a\",\n}}")]),
        format!("{index}: trailing comma at line 3 column 1")
    );
    for text in ["[]", "{}", r#"{"weight_map": 3}"#] {
        let expected = format!("{index}: 'weight_map' should be an object that names the file of each tensor");
        assert_eq!(refusal(&[(index, text.as_bytes())]), expected);
    }
    assert_eq!(
        refusal(&[(index, br#"{"weight_map": {"w": 3}}"#)]),
        format!("{index}: 'weight_map' should name a file for tensor 'w'")
    );
    // A tensor that the index promises and the shard lacks is missing from the shard.
    let lacking = named("a.safetensors").replace("\"w\"", "\"v\"");
    fs::write(folder.path().join(index), lacking).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    let error = weights.tensor(&TensorSource::whole("v"), &[1]).unwrap_err();
    assert_eq!(message(&folder, &error), "a.safetensors: tensor 'v' is missing");
    assert_eq!(
        error.hint(),
        Some("config.json and the weights do not belong together: download both again from one revision")
    );
}

#[cfg(unix)]
#[test]
fn a_shard_that_links_out_of_the_folder_is_only_read_as_weights() {
    let secret = folder(&[("secret", b"root:x:0:0")]);
    let index = br#"{"weight_map": {"w": "a.safetensors"}}"#;
    let folder = folder(&[("model.safetensors.index.json", index)]);
    std::os::unix::fs::symlink(secret.path().join("secret"), folder.path().join("a.safetensors")).unwrap();
    // The Hub's cache is made of such links, so they are followed; the message shows nothing of the content.
    let refused = message(&folder, &Weights::open(folder.path()).unwrap_err());
    assert!(refused.starts_with("a.safetensors: ") && !refused.contains("root"), "{refused}");
}

#[test]
fn old_names_of_norms_are_understood() {
    let numbers = [0u8; 8];
    let view = || TensorView::new(Dtype::F32, vec![2], &numbers).unwrap();
    let names = ["bert.LayerNorm.gamma", "bert.LayerNorm.beta", "gamma"];
    let content = safetensors::serialize(names.map(|name| (name, view())), None).unwrap();
    let folder = folder(&[("model.safetensors", &content)]);
    let weights = Weights::open(folder.path()).unwrap().with_prefix_of(&["", "bert."], "LayerNorm.weight");
    assert!(weights.contains("LayerNorm.weight") && weights.contains("LayerNorm.bias"));
    assert!(!weights.contains("weight"));
    assert_eq!(weights.names().count(), 3);
}

#[test]
fn configurations_are_read_with_line_and_column() {
    let cases: [(&[u8], &str); 4] = [
        (b"{\n  \"model_type\": bert\n}", "config.json: expected value at line 2 column 17"),
        (b"{\"model_type\": \"bert\"", "config.json: EOF while parsing an object at line 1 column 21"),
        (b"", "config.json: EOF while parsing a value at line 1 column 0"),
        (b"{\"a\": \"\xff\"}", "config.json: invalid unicode code point at line 1 column 8"),
    ];
    for (content, expected) in cases {
        let folder = folder(&[("config.json", content)]);
        assert_eq!(message(&folder, &EncoderFiles::open(folder.path()).unwrap_err()), expected);
    }
    let folder = folder(&[]);
    assert_eq!(message(&folder, &EncoderFiles::open(folder.path()).unwrap_err()), "cannot read config.json");
    let deep = folder.path().join("config.json");
    fs::write(&deep, "[".repeat(1_000_000)).unwrap();
    assert!(message(&folder, &EncoderFiles::open(folder.path()).unwrap_err()).contains("recursion limit exceeded"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn mutated_safetensors_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = checkpoint();
        for (place, value) in changes {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        open_and_read(&bytes);
    }

    #[test]
    fn mutated_configurations_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        which in any::<prop::sample::Index>(),
    ) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/architectures");
        let mut paths: Vec<_> = fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        let file: serde_json::Value = serde_json::from_slice(&fs::read(&paths[which.index(paths.len())]).unwrap()).unwrap();
        let mut text = file["config"].to_string().into_bytes();
        for (place, value) in changes {
            let at = place.index(text.len());
            text[at] = value;
        }
        if let Ok(config) = serde_json::from_slice(&text)
            && let Ok((architecture, spec)) = st_encoder::architectures::describe(&config, Path::new("config.json"))
        {
            for (slot, _) in st_encoder::required_slots(&spec).into_iter().take(200) {
                (architecture.source)(&spec, slot);
            }
        }
    }
}

fn open_and_read(bytes: &[u8]) {
    let folder = folder(&[("model.safetensors", bytes)]);
    if let Ok(weights) = Weights::open(folder.path()) {
        for name in weights.names() {
            let shape = weights.shape_of(name).unwrap();
            let _ = weights.tensor(&TensorSource::whole(name), shape).unwrap().to_f32();
        }
    }
}
