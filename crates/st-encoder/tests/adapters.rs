//! Adapters of the fixtures (`fixtures/adapter_models.py`), and what is wrong with damaged and hostile ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use st_encoder::adapters::{AdaptableModules, Adapter, AdapterBias, AdapterConfig, MergedAdapters, ModuleKind};
use st_encoder::{EncoderError, EncoderFiles, TensorSource, Weights};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures")
}

fn bert() -> EncoderFiles {
    EncoderFiles::open(fixtures().join("models/tiny-bert")).unwrap()
}

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// A copy of `bert-lora` in which things can be changed.
struct Copy {
    folder: tempfile::TempDir,
    config: Value,
    tensors: Tensors,
}

const QUERY: &str = "base_model.model.encoder.layer.0.attention.self.query";

impl Copy {
    fn new() -> Self {
        let from = fixtures().join("adapters/bert-lora");
        let file = Weights::open_file(&from.join("adapter_model.safetensors")).unwrap();
        let read = |name: &str| {
            let shape = file.shape_of(name).unwrap().to_vec();
            let numbers = file.tensor(&TensorSource::whole(name), &shape).unwrap().to_f32().unwrap().into_owned();
            (name.to_owned(), (shape, numbers))
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            config: serde_json::from_slice(&std::fs::read(from.join("adapter_config.json")).unwrap()).unwrap(),
            tensors: file.names().map(read).collect(),
        }
    }

    fn open(&self) -> Result<Adapter, EncoderError> {
        let folder = self.folder.path();
        std::fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors
            .iter()
            .map(|(name, (shape, numbers))| (name, shape, numbers.iter().flat_map(|x| x.to_le_bytes()).collect()))
            .collect();
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, (*shape).clone(), bytes).unwrap()));
        std::fs::write(folder.join("adapter_model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
        Adapter::open(folder, &AdaptableModules::of_files(&bert()).unwrap())
    }
}

/// The message of a copy that was changed.
fn refused(edit: impl FnOnce(&mut Copy)) -> String {
    let mut copy = Copy::new();
    edit(&mut copy);
    let error = copy.open().unwrap_err();
    assert!(error.path().is_some(), "{error} names no file");
    error.to_string().replace(copy.folder.path().to_str().unwrap(), "F")
}

#[test]
fn modules_are_named_as_the_originals_classes_name_them() {
    let modules = AdaptableModules::of_files(&bert()).unwrap();
    let query = modules.get("encoder.layer.1.attention.self.query").unwrap();
    assert_eq!((query.kind, query.shape, query.bias, query.used), (ModuleKind::Linear, [32, 32], true, true));
    let words = modules.get("embeddings.word_embeddings").unwrap();
    assert_eq!((words.kind, words.shape, words.bias), (ModuleKind::Embedding, [248, 32], false));
    let pooler = modules.get("pooler.dense").unwrap();
    assert_eq!((pooler.kind, pooler.bias, pooler.used), (ModuleKind::Linear, true, false));
    assert!(modules.get("embeddings.LayerNorm").is_none(), "norms are no linear layers");

    let fused = EncoderFiles::open(fixtures().join("adapters/tiny-modernbert")).unwrap();
    let modules = AdaptableModules::of_files(&fused).unwrap();
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let block =
        |layer: usize| ["attn.Wqkv", "attn.Wo", "mlp.Wi", "mlp.Wo"].map(|name| format!("layers.{layer}.{name}"));
    assert_eq!(names[0], "embeddings.tok_embeddings");
    assert_eq!(names[1..].to_vec(), [block(0), block(1)].concat());
    assert_eq!(modules.get("layers.0.attn.Wqkv").unwrap().shape, [48, 16]);
}

#[test]
fn every_adapter_of_the_fixtures_is_written_as_it_was_read() {
    for entry in std::fs::read_dir(fixtures().join("adapters")).unwrap() {
        let folder = entry.unwrap().path();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if !folder.join("adapter_model.safetensors").is_file() {
            continue;
        }
        let base = match name.split('-').next() {
            Some("mpnet") => "models/tiny-mpnet",
            Some("modernbert") => "adapters/tiny-modernbert",
            _ => "models/tiny-bert",
        };
        let files = EncoderFiles::open(fixtures().join(base)).unwrap();
        let adapter = Adapter::open(&folder, &AdaptableModules::of_files(&files).unwrap()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        let written = copy.path().join("adapter_model.safetensors");
        std::fs::write(&written, adapter.to_safetensors().unwrap()).unwrap();
        let (found, expected) = (
            Weights::open_file(&written).unwrap(),
            Weights::open_file(&folder.join("adapter_model.safetensors")).unwrap(),
        );
        assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>(), "{name}");
        for tensor in expected.names() {
            let (found, expected) = (found.raw(tensor).unwrap(), expected.raw(tensor).unwrap());
            assert!(found.shape == expected.shape && found.bytes == expected.bytes, "{name}: {tensor}");
        }
        let expected: Value =
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap();
        let found: Value = serde_json::from_str(&adapter.config_json()).unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn damaged_and_hostile_adapters_are_refused_by_name() {
    let ranks = |rank: Value| refused(|copy| copy.config["r"] = rank);
    assert_eq!(
        ranks(json!(5)),
        "F/adapter_model.safetensors: tensor 'encoder.layer.0.attention.self.query.lora_A' has shape [4, 32], but the \
         configuration asks for [5, 32]"
    );
    assert!(ranks(json!(1_u64 << 60)).contains("'r' should be a whole number from 1 to 16384"));
    assert!(ranks(json!(16_384)).contains("asks for [16384, 32]"), "nothing is allocated by what a file claims");
    let shape = refused(|copy| {
        copy.tensors.get_mut(&format!("{QUERY}.lora_B.weight")).unwrap().0 = vec![4, 32];
    });
    assert!(shape.contains("query.lora_B' has shape [4, 32], but the configuration asks for [32, 4]"), "{shape}");
    let flat = refused(|copy| copy.tensors.get_mut(&format!("{QUERY}.lora_A.weight")).unwrap().0 = vec![128]);
    assert!(flat.contains("has shape [128]"), "{flat}");
    for bad in [f32::NAN, f32::INFINITY] {
        let message = refused(|copy| copy.tensors.get_mut(&format!("{QUERY}.lora_A.weight")).unwrap().1[3] = bad);
        assert!(message.contains("holds a number that is not finite (element 3)"), "{message}");
    }
    let half = refused(|copy| drop(copy.tensors.remove(&format!("{QUERY}.lora_A.weight"))));
    assert!(half.contains("tensor 'encoder.layer.0.attention.self.query.lora_A' is missing"), "{half}");
    let unknown = refused(|copy| copy.config["target_modules"] = json!(["no_such", "module"]));
    assert_eq!(
        unknown,
        "F/adapter_config.json: Target modules {'module', 'no_such'} not found in the base model. Please check the target \
         modules and try again."
    );
    let foreign = refused(|copy| {
        copy.tensors = [("base_model.model.h.0.lora_A.weight".to_owned(), (vec![4, 32], vec![0.0; 128]))].into();
    });
    assert!(foreign.contains("none of the adapter's 1 tensors fits the model"), "{foreign}");
    let undeclared = refused(|copy| {
        copy.tensors.insert(format!("{QUERY}.lora_magnitude_vector"), (vec![32], vec![1.0; 32]));
    });
    assert!(undeclared.contains("a part that the configuration does not: Magnitude"), "{undeclared}");
    let magnitude = refused(|copy| copy.config["use_dora"] = json!(true));
    assert!(magnitude.contains("query.lora_magnitude_vector' is missing"), "{magnitude}");
    let whole = refused(|copy| {
        copy.tensors.insert("base_model.model.embeddings.LayerNorm.weight".into(), (vec![31], vec![1.0; 31]));
    });
    assert!(whole.contains("has shape [31], but the configuration asks for [32]"), "{whole}");
    let pattern = refused(|copy| copy.config["target_modules"] = json!("((a{200}){200}){200}"));
    assert!(pattern.contains("it is too large when compiled"), "{pattern}");
    let other = refused(|copy| copy.config["peft_type"] = json!("LOHA"));
    assert!(other.contains("adapters of type LOHA are not supported"), "{other}");
    let empty = tempfile::tempdir().unwrap();
    let modules = AdaptableModules::of_files(&bert()).unwrap();
    assert!(matches!(Adapter::open(empty.path(), &modules), Err(EncoderError::Io { .. })));
    std::fs::write(empty.path().join("adapter_config.json"), r#"{"peft_type": "LORA"}"#).unwrap();
    let error = Adapter::open(empty.path(), &modules).unwrap_err();
    assert!(error.to_string().contains("'adapter_model.safetensors' or 'adapter_model.bin'"), "{error}");
}

#[test]
fn a_length_of_zero_under_dora_is_an_error_and_not_nan() {
    let mut copy = Copy::new();
    copy.config["use_dora"] = json!(true);
    for layer in 0..2 {
        for name in ["query", "value"] {
            let module = format!("base_model.model.encoder.layer.{layer}.attention.self.{name}");
            copy.tensors.insert(format!("{module}.lora_magnitude_vector"), (vec![32], vec![1.0; 32]));
            for part in ["lora_A.weight", "lora_B.weight"] {
                copy.tensors.get_mut(&format!("{module}.{part}")).unwrap().1.fill(3e38);
            }
        }
    }
    let adapter = Arc::new(copy.open().unwrap());
    let files = bert().with_overlay(Arc::new(MergedAdapters::new(vec![adapter]).unwrap()));
    let (_, _, weights) = files.network().unwrap();
    let source = TensorSource::whole("encoder.layer.0.attention.self.query.weight");
    let error = weights.tensor(&source, &[32, 32]).and_then(|tensor| tensor.to_f32().map(drop)).unwrap_err();
    assert!(matches!(error, EncoderError::NotFinite { .. }), "{error}");
}

#[test]
fn an_adapter_of_a_larger_model_is_recognised() {
    let mut copy = Copy::new();
    copy.tensors = std::mem::take(&mut copy.tensors)
        .into_iter()
        .map(|(name, tensor)| (name.replace("base_model.model.", "base_model.model.bert."), tensor))
        .collect();
    assert_eq!(copy.open().unwrap().layers().count(), 4);
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_the_same_for_the_same_seed() {
    let files = bert();
    let (_, _, weights) = files.network().unwrap();
    let modules = AdaptableModules::of_files(&files).unwrap();
    let mut config = AdapterConfig::new(4).target_modules(["query", "word_embeddings"]).dora(true);
    config.bias = AdapterBias::Changed;
    config.modules_to_save = vec!["embeddings.LayerNorm".into()];
    let adapter = Adapter::fresh(config.clone(), &modules, &weights, 7).unwrap();
    assert_eq!(adapter, Adapter::fresh(config.clone(), &modules, &weights, 7).unwrap());
    assert_ne!(adapter, Adapter::fresh(config, &modules, &weights, 8).unwrap());
    let layer = adapter.layer("encoder.layer.0.attention.self.query").unwrap();
    let bound = 1.0 / 32.0_f32.sqrt();
    assert!(layer.a.data().iter().all(|x| x.abs() <= bound) && layer.a.data().iter().any(|x| x.abs() > 0.8 * bound));
    assert!(layer.b.data().iter().all(|x| *x == 0.0));
    let names: Vec<String> = adapter.state_dict().into_keys().filter(|name| !name.contains("lora_")).collect();
    let bias = |layer: usize| format!("encoder.layer.{layer}.attention.self.query.base_layer.bias");
    assert_eq!(
        names,
        ["embeddings.LayerNorm.bias".to_owned(), "embeddings.LayerNorm.weight".to_owned(), bias(0), bias(1)]
    );
    let adapted = files.with_overlay(Arc::new(MergedAdapters::new(vec![Arc::new(adapter)]).unwrap()));
    let (_, _, merged) = adapted.network().unwrap();
    for (name, shape) in
        [("encoder.layer.0.attention.self.query.weight", [32, 32]), ("embeddings.word_embeddings.weight", [248, 32])]
    {
        let read = |weights: &Weights| {
            weights.tensor(&TensorSource::whole(name), &shape).unwrap().to_f32().unwrap().into_owned()
        };
        let largest = read(&weights).iter().zip(read(&merged)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-6, "{name}: {largest}");
    }
}

proptest! {
    #[test]
    fn any_configuration_is_read_or_refused(key in "[a-z_]{1,12}|r|lora_alpha|target_modules|rank_pattern|bias|peft_type",
        value in "null|true|-?[1-9][0-9]{0,19}|\\[\\]|\\[1\\]|\\{\\}|\\{\"a\":1\\}|\"[a-z(|*+?.\\[]{0,8}\"") {
        let value: Value = serde_json::from_str(&value).unwrap();
        let mut config = json!({"peft_type": "LORA", "target_modules": ["query"]});
        config[key] = value;
        if let Ok(parsed) = AdapterConfig::parse(&config, "adapter_config.json".as_ref()) {
            prop_assert_eq!(AdapterConfig::parse(&parsed.to_json(), "adapter_config.json".as_ref()).unwrap().rank, parsed.rank);
        }
    }
}
