//! Pooling, Dense, LayerNorm and Normalize against hand-sized numbers and against the original.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;

use sentence_transformers::encoder::{Batch, Pass, TokenEmbeddings};
use sentence_transformers::modules::{Module, Normalize, Pooling, PoolingMode};
use sentence_transformers::{Embeddings, EncodeOptions, Features, Prompt, SentenceTransformer};
use serde::Deserialize;
use serde_json::{Value, json};
use st_testing::golden::read;
use st_testing::{Numbers, assert_close, tiny_model};

#[derive(Deserialize)]
struct Toy {
    pooling: ToyPooling,
}

#[derive(Deserialize)]
struct ToyPooling {
    token_embeddings: Vec<Vec<Vec<f32>>>,
    attention_mask: Vec<Vec<u8>>,
    result: BTreeMap<String, Numbers>,
    prompt_length_2_include_prompt_false: BTreeMap<String, Numbers>,
}

#[test]
fn every_mode_gives_the_hand_sized_numbers() {
    let toy = read::<Toy>("golden/toy.json").pooling;
    let mut data = Vec::new();
    let mut offsets = vec![0];
    for (rows, mask) in toy.token_embeddings.iter().zip(&toy.attention_mask) {
        // Padding, of which there is none here, is left out.
        let counted = rows.iter().zip(mask).filter(|(_, mask)| **mask == 1);
        data.extend(counted.flat_map(|(row, _)| row.iter().copied()));
        offsets.push(data.len() / 3);
    }
    let sets = [(true, None, &toy.result), (false, Some(2), &toy.prompt_length_2_include_prompt_false)];
    let mut checked = 0;
    for (include, prompt_length, expected) in sets {
        for (name, numbers) in expected {
            let mode: PoolingMode = name.parse().unwrap();
            let pooling = Pooling::new(3, &[mode]).unwrap().include_prompt(include);
            let mut features = Features::new(Batch::from_sequences([&[0u32; 3][..], &[0; 4]]));
            features.token_embeddings = Some(TokenEmbeddings::new(data.clone(), 3, offsets.clone()).unwrap());
            features.prompt_length = prompt_length;
            let pooled = pooling.forward(features, &Pass::default()).unwrap().sentence_embeddings.unwrap();
            assert_close(pooled.as_slice(), numbers.as_f64(), 1e-6, &format!("{name}, prompt {prompt_length:?}"));
            checked += 1;
        }
    }
    assert!(checked >= 8, "only {checked} results");
}

#[derive(Deserialize)]
struct PoolingGolden {
    texts: Vec<String>,
    prompt: String,
    cases: Vec<PoolingCase>,
}

#[derive(Deserialize)]
struct PoolingCase {
    config: Value,
    dimension: usize,
    without_prompt: Numbers,
    with_prompt: Option<Numbers>,
}

/// A copy of tiny-bert with other modules after its encoder.
fn model_with(modules: &[(&str, &Value)]) -> (tempfile::TempDir, SentenceTransformer) {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(tiny_model("tiny-bert")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let mut list = vec![json!({"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"})];
    for (index, (kind, config)) in modules.iter().enumerate() {
        let path = format!("{}_{kind}", index + 1);
        let type_path = format!("sentence_transformers.models.{kind}");
        list.push(json!({"idx": index + 1, "name": (index + 1).to_string(), "path": path, "type": type_path}));
        std::fs::create_dir(folder.path().join(&path)).unwrap();
        std::fs::write(folder.path().join(path).join("config.json"), config.to_string()).unwrap();
    }
    std::fs::write(folder.path().join("modules.json"), Value::Array(list).to_string()).unwrap();
    let model = SentenceTransformer::load(folder.path().to_str().unwrap()).unwrap();
    (folder, model)
}

#[test]
fn every_combination_of_modes_agrees_with_the_original() {
    let golden: PoolingGolden = read("golden/pooling.json");
    for case in &golden.cases {
        let (_keep, model) = model_with(&[("Pooling", &case.config)]);
        assert_eq!(model.dimension(), Some(case.dimension), "{}", case.config);
        let check = |options: &EncodeOptions, expected: &Numbers, what: &str| {
            let rows = model.encode_with(&golden.texts, options).unwrap();
            let expected = expected.as_f64();
            // Where `cls` stands beside `max` and the prompt is left out, the original overwrites the first token.
            let expected: Vec<f64> = rows
                .as_slice()
                .iter()
                .zip(expected)
                .map(|(&ours, &theirs)| if theirs == -1e9 && ours > -1e8 { f64::from(ours) } else { theirs })
                .collect();
            let scale = expected.iter().fold(1.0f64, |largest, x| largest.max(x.abs()));
            assert_close(rows.as_slice(), &expected, 1e-5 * scale, &format!("{what} {}", case.config));
        };
        check(&EncodeOptions::new(), &case.without_prompt, "without prompt");
        if let Some(expected) = &case.with_prompt {
            check(&EncodeOptions::new().prompt(Prompt::text(&golden.prompt)), expected, "with prompt");
        }
    }
    assert!(golden.cases.len() >= 18);
}

#[derive(Deserialize)]
struct NormalizeGolden {
    rows: Numbers,
    normalize: Values,
}

#[derive(Deserialize)]
struct Values {
    reference: Numbers,
}

#[test]
fn normalize_agrees_with_the_original() {
    let golden: NormalizeGolden = read("golden/modules.json");
    let mut features = Features::new(Batch::new());
    features.sentence_embeddings = Some(Embeddings::from_rows(golden.rows.to_f32_rows()).unwrap());
    let out = Normalize.forward(features, &Pass::default()).unwrap().sentence_embeddings.unwrap();
    assert_close(out.as_slice(), golden.normalize.reference.as_f64(), 1e-6, "normalize");
}

#[derive(Deserialize)]
struct DenseGolden {
    rows: Numbers,
    dense: Vec<DenseCase>,
    layer_norm: LayerNormCase,
}

#[derive(Deserialize)]
struct DenseCase {
    config: Value,
    weight: Numbers,
    bias: Option<Numbers>,
    reference: Numbers,
}

#[derive(Deserialize)]
struct LayerNormCase {
    weight: Numbers,
    bias: Numbers,
    reference: Numbers,
}

#[test]
fn dense_and_layer_norm_agree_with_the_original() {
    use sentence_transformers::modules::{Dense, DenseActivation, LayerNorm};
    let golden: DenseGolden = read("golden/modules.json");
    let rows = Embeddings::from_rows(golden.rows.to_f32_rows()).unwrap();
    let run = |module: &dyn Module| {
        let mut features = Features::new(Batch::new());
        features.sentence_embeddings = Some(rows.clone());
        module.forward(features, &Pass::default()).unwrap().sentence_embeddings.unwrap()
    };
    for case in &golden.dense {
        let name = case.config["activation_function"].as_str().unwrap();
        let activation = DenseActivation::ALL.iter().find(|(known, _)| *known == name).unwrap().1;
        let (inputs, outputs) =
            (case.config["in_features"].as_u64().unwrap(), case.config["out_features"].as_u64().unwrap());
        let bias = case.bias.as_ref().map(Numbers::to_f32);
        let dense = Dense::new(inputs as usize, outputs as usize, case.weight.to_f32(), bias, activation).unwrap();
        assert_close(run(&dense).as_slice(), case.reference.as_f64(), 2e-6, name);
        assert_eq!(Value::Object(dense.config()), case.config);
    }
    let norm = LayerNorm::new(golden.layer_norm.weight.to_f32(), golden.layer_norm.bias.to_f32()).unwrap();
    assert_close(run(&norm).as_slice(), golden.layer_norm.reference.as_f64(), 2e-6, "layer norm");
}
