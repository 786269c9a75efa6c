//! New weights: what training hands back to the library.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::PathBuf;

use sentence_transformers::encoder::Weights;
use sentence_transformers::{NewWeights, SentenceTransformer};

fn fixture(kind: &str, name: &str) -> String {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    root.join(kind).join(name).to_string_lossy().into_owned()
}

fn load(path: &str) -> SentenceTransformer {
    SentenceTransformer::load(path).unwrap()
}

const TEXTS: [&str; 3] = ["A man is eating food.", "the", "Two women walk and talk."];

#[test]
fn encoder_weights_change_what_is_encoded_and_saved() {
    for name in ["tiny-bert", "tiny-bert-prefixed", "tiny-bert-bin-legacy", "tiny-bert-sharded", "tiny-bert-f16"] {
        let model = load(&fixture("models", name));
        let before = model.encode(&TEXTS).unwrap();
        let key = "0.auto_model.embeddings.LayerNorm.bias";
        let width = model.encoder().unwrap().hidden;
        let mut weights = NewWeights::new();
        weights.insert(key, vec![width], vec![0.5; width]).unwrap();
        let trained = model.with_weights(weights).unwrap();
        let after = trained.encode(&TEXTS).unwrap();
        assert_ne!(before.as_slice(), after.as_slice(), "{name}");
        assert_eq!(model.encode(&TEXTS).unwrap().as_slice(), before.as_slice());

        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("saved");
        trained.save_pretrained(&target).unwrap();
        assert_eq!(load(&target.to_string_lossy()).encode(&TEXTS).unwrap().as_slice(), after.as_slice(), "{name}");
        let saved = Weights::open(&target).unwrap();
        assert!(saved.path().ends_with("model.safetensors"));
        let names = |path: &str| Weights::open(path.as_ref()).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names(&target.to_string_lossy()), names(&fixture("models", name)), "{name}");
        let config = std::fs::read_to_string(target.join("config.json")).unwrap();
        assert!(!config.contains("float16"), "{name}: {config}");
        // Untouched weights are saved again as they are.
        let again = folder.path().join("again");
        trained.with_weights(NewWeights::new()).unwrap().save_pretrained(&again).unwrap();
        assert_eq!(
            std::fs::read(again.join("model.safetensors")).unwrap(),
            std::fs::read(target.join("model.safetensors")).unwrap()
        );
    }
}

#[test]
fn every_module_takes_back_its_own_weights() {
    let root = PathBuf::from(fixture("models-modules", ""));
    let mut count = 0;
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("modules.json").is_file() {
            continue;
        }
        let model = load(&path.to_string_lossy());
        let mut weights = NewWeights::new();
        let mut changed = false;
        for (name, module) in model.pipeline().modules() {
            for tensor in module.tensors().unwrap() {
                let data = tensor.data.iter().map(|x| 0.5 * x).collect();
                weights.insert(format!("{name}.{}", tensor.name), tensor.shape.clone(), data).unwrap();
                changed |= tensor.data.iter().any(|x| *x != 0.0);
                count += 1;
            }
        }
        let trained = model.with_weights(weights).unwrap();
        let (before, after) = (model.encode(&TEXTS), trained.encode(&TEXTS));
        let (Ok(before), Ok(after)) = (before, after) else { continue };
        assert!(after.as_slice().iter().all(|x| x.is_finite()));
        let normalized = model.pipeline().modules().any(|(_, module)| module.kind().name == "Normalize");
        let averaged = model.pipeline().modules().any(|(_, module)| module.kind().name == "WeightedLayerPooling");
        let known = before.as_slice().iter().any(|x| *x != 0.0);
        if changed && known && !normalized && !averaged {
            assert_ne!(before.as_slice(), after.as_slice(), "{}", path.display());
        }
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("saved");
        trained.save_pretrained(&target).unwrap();
        let reloaded = load(&target.to_string_lossy());
        assert_eq!(reloaded.encode(&TEXTS).unwrap().as_slice(), after.as_slice(), "{}", path.display());
    }
    assert!(count >= 10, "only {count} tensors were seen");
}

#[test]
fn foreign_weights_are_refused() {
    let model = load(&fixture("models", "tiny-bert"));
    let refused = |name: &str, shape: Vec<usize>| {
        let mut weights = NewWeights::new();
        let count = shape.iter().product();
        weights.insert(name, shape, vec![0.0; count]).unwrap();
        model.with_weights(weights).unwrap_err().to_string()
    };
    assert_eq!(refused("0.auto_model.nothing", vec![1]), "no module of the model has a weight '0.auto_model.nothing'");
    assert_eq!(refused("7.linear.weight", vec![1]), "no module of the model has a weight '7.linear.weight'");
    let message = refused("0.auto_model.embeddings.LayerNorm.bias", vec![1, 1]);
    assert!(message.starts_with("the new '0.auto_model.embeddings.LayerNorm.bias' has the shape [1, 1]"), "{message}");
    assert!(NewWeights::new().insert("x", vec![2], vec![1.0]).is_err());
}
