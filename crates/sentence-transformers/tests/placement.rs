//! `device`, `dtype`, `half`, `float`, `to` and `compile`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use sentence_transformers::encoder::WeightFormat;
use sentence_transformers::native::{InstructionSet, NativeBackend};
use sentence_transformers::{EncodeOptions, ErrorKind, LoadOptions, SentenceTransformer};
use st_testing::{fixture_path, tiny_model};

const TEXTS: [&str; 2] = ["A man is eating food.", "the weather"];

fn load(path: &std::path::Path) -> SentenceTransformer {
    SentenceTransformer::load(path.to_str().unwrap()).unwrap()
}

#[test]
fn forms_change_in_place_and_lose_nothing() {
    let path = tiny_model("tiny-bert");
    let mut model = load(&path);
    let full = model.encode(&TEXTS).unwrap();
    assert_eq!((model.device(), model.dtype()), ("cpu", Some("float32")));
    for (format, name) in [
        (WeightFormat::F16, "float16"),
        (WeightFormat::BF16, "bfloat16"),
        (WeightFormat::Int8, "int8"),
        (WeightFormat::Auto, "float32"),
    ] {
        model.to_format(format).unwrap();
        assert_eq!(model.dtype(), Some(name));
        let loaded = LoadOptions::new().weights(format).load(path.to_str().unwrap()).unwrap();
        assert_eq!(model.encode(&TEXTS).unwrap().as_slice(), loaded.encode(&TEXTS).unwrap().as_slice(), "{name}");
    }
    model.half().unwrap();
    assert_ne!(model.encode(&TEXTS).unwrap().as_slice(), full.as_slice());
    model.bfloat16().unwrap();
    assert_eq!(model.dtype(), Some("bfloat16"));
    model.float().unwrap();
    assert_eq!(model.encode(&TEXTS).unwrap().as_slice(), full.as_slice());
}

#[test]
fn bytes_are_calibrated_on_texts_that_are_given() {
    let path = tiny_model("tiny-bert");
    let mut model = load(&path);
    model.to_format(WeightFormat::Int8).unwrap();
    let built_in = model.encode(&TEXTS).unwrap();
    model.calibrate(&["Rain all day.", "He ate an apple."]).unwrap();
    assert_eq!(model.dtype(), Some("int8"));
    let calibrated = model.encode(&TEXTS).unwrap();
    assert_ne!(calibrated.as_slice(), built_in.as_slice());
    // They are kept.
    model.float().unwrap();
    model.to_format(WeightFormat::Int8).unwrap();
    assert_eq!(model.encode(&TEXTS).unwrap().as_slice(), calibrated.as_slice());
    // The default prompt is part of them.
    let options = LoadOptions::new().prompt("query", "query: ").default_prompt_name("query");
    let mut prompted = options.load(path.to_str().unwrap()).unwrap();
    prompted.calibrate(&["Rain all day.", "He ate an apple."]).unwrap();
    model.calibrate(&["query: Rain all day.", "query: He ate an apple."]).unwrap();
    let without = EncodeOptions::new().prompt(sentence_transformers::Prompt::text(""));
    let found = prompted.encode_with(&TEXTS, &without).unwrap();
    assert_eq!(found.as_slice(), model.encode(&TEXTS).unwrap().as_slice());

    let error = model.calibrate::<&str>(&[]).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Argument, "there are no texts to calibrate on"));
    let mut words = load(&fixture_path("models-modules").join("word-embeddings"));
    assert_eq!(words.calibrate(&TEXTS).unwrap_err().kind(), ErrorKind::Unsupported);
    let mut router = load(&fixture_path("models-modules").join("router-tokens"));
    router.calibrate(&TEXTS).unwrap();
    assert_eq!(router.dtype(), Some("int8"));
}

#[test]
fn backends_change_in_place() {
    let mut model = load(&tiny_model("tiny-bert"));
    model.half().unwrap();
    model.to_backend(Arc::new(NativeBackend::with_instructions(InstructionSet::Portable))).unwrap();
    assert_eq!(model.dtype(), Some("float32"));
    assert_eq!(model.encoder().unwrap().instructions, Some(InstructionSet::Portable.as_str()));
    let portable = model.encode(&TEXTS).unwrap();
    model.to_backend(Arc::new(NativeBackend::new())).unwrap();
    let fast = model.encode(&TEXTS).unwrap();
    for (a, b) in portable.as_slice().iter().zip(fast.as_slice()) {
        assert!((a - b).abs() < 1e-5);
    }
}

#[test]
fn routes_are_converted_and_models_without_an_encoder_refuse() {
    let mut router = load(&fixture_path("models-modules").join("router-tokens"));
    router.half().unwrap();
    assert_eq!(router.dtype(), Some("float16"));
    let mut words = load(&fixture_path("models-modules").join("word-embeddings"));
    assert_eq!((words.device(), words.dtype()), ("cpu", None));
    let error = words.half().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "WordEmbeddings has no encoder whose device or numbers could be changed");
}

#[test]
fn compiling_twice_changes_nothing() {
    let models = ["router", "router-nested", "bow", "asym"].map(|name| fixture_path("models-modules").join(name));
    for path in models.into_iter().chain([tiny_model("tiny-bert")]) {
        let model = load(&path);
        let options = EncodeOptions::new().task("query");
        let before = model.encode_with(&TEXTS, &options).ok();
        model.compile().unwrap();
        model.compile().unwrap();
        assert_eq!(model.encode_with(&TEXTS, &options).ok(), before);
    }
}
