//! Every option of `encode`, on every tiny model, against what the original answered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use sentence_transformers::{
    AsInput, EncodeOptions, ErrorKind, LoadOptions, Precision, Prompt, SentenceTransformer, SimilarityFunction,
};
use st_testing::golden::{Call, Case, Expect, Input, ModelGolden, Outcome, OutputValue};
use st_testing::{assert_close, tiny_model};

/// Components of normalised vectors; other vectors are measured relative to their largest component.
const TOLERANCE: f64 = 1e-5;

fn load(name: &str) -> SentenceTransformer {
    let path = tiny_model(name);
    LoadOptions::new().load(path.to_str().unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn models() -> Vec<String> {
    let folder = st_testing::fixture_path("models");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The largest of 1 and the numbers' magnitudes: unnormalised vectors have components far above 1.
fn scale(numbers: &[f64]) -> f64 {
    numbers.iter().fold(1.0, |largest: f64, x| largest.max(x.abs()))
}

/// The original's max pooling writes −10⁹ over the token embeddings that it leaves out, and where `cls` is pooled beside
/// `max`, the prompt's first token is one of them: its `cls` part becomes −10⁹ too. Ours stays what it is. Such numbers
/// are taken out of the comparison here, for the one model that has them.
fn without_overwritten(golden: &ModelGolden, ours: &[f32], expected: &[f64]) -> Vec<f64> {
    let overwritten = |ours: f32, expected: f64| golden.model == "tiny-bert-concat" && expected == -1e9 && ours != -1e9;
    ours.iter().zip(expected).map(|(&o, &e)| if overwritten(o, e) { f64::from(o) } else { e }).collect()
}

fn options_of(case: &Case) -> EncodeOptions {
    let mut options = EncodeOptions::new().normalize(case.options.normalize_embeddings);
    if let Some(text) = &case.options.prompt {
        options = options.prompt(Prompt::text(text));
    } else if let Some(name) = &case.options.prompt_name {
        options = options.prompt(Prompt::named(name));
    }
    if let Some(size) = case.options.batch_size {
        options = options.batch_size(size);
    }
    if let Some(dimension) = case.options.truncate_dim {
        options = options.truncate_dim(dimension);
    }
    options
}

fn check_case(model: &SentenceTransformer, golden: &ModelGolden, case: &Case) {
    match &case.input {
        Input::Single(text) => check_texts(model, golden, case, std::slice::from_ref(text)),
        Input::Many(texts) => check_texts(model, golden, case, texts),
        Input::Pairs(pairs) => {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect();
            check_texts(model, golden, case, &pairs);
        }
    }
}

fn check_texts<T: AsInput + Sync>(model: &SentenceTransformer, golden: &ModelGolden, case: &Case, texts: &[T]) {
    let what = format!("{}: {}", golden.model, case.name);
    let mut options = options_of(case);
    options = match case.call {
        Call::Encode => options,
        Call::EncodeQuery => options.for_query(model.prompts()),
        Call::EncodeDocument => options.for_document(model.prompts()),
    };
    if let Some(name) = &case.options.precision {
        match name.parse::<Precision>() {
            Ok(precision) => options = options.precision(precision),
            Err(error) => return check_error(case, &error.to_string()),
        }
    }
    if let Outcome::Error(_) = &case.outcome {
        let error = model.encode_with(texts, &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Argument, "{what}");
        return check_error(case, &error.to_string());
    }
    let Outcome::Expect(expect) = &case.outcome else { unreachable!("handled above") };
    match (case.options.output_value, expect) {
        (OutputValue::SentenceEmbedding, Expect::Array(array)) => {
            let quantized = model.encode_quantized(texts, &options).unwrap();
            if array.shape == [0] {
                assert_eq!(quantized.rows(), 0, "{what}");
            } else if let Some(floats) = quantized.as_f32() {
                let expected = without_overwritten(golden, floats, array.best());
                assert_close(floats, &expected, TOLERANCE * scale(&expected), &what);
                let again = model.encode_with(texts, &options).unwrap();
                assert_eq!(again.as_slice(), floats, "{what}");
            } else {
                let numbers: Vec<i64> = match (quantized.as_i8(), quantized.as_u8()) {
                    (Some(numbers), _) => numbers.iter().map(|&x| x.into()).collect(),
                    (_, Some(numbers)) => numbers.iter().map(|&x| x.into()).collect(),
                    _ => panic!("{what}: no numbers"),
                };
                let expected = array.values.to_i64();
                assert_eq!(numbers.len(), expected.len(), "{what}");
                // A component that lies on the border of two steps may fall to either side.
                let scalar = matches!(options_precision(case), Some(Precision::Int8 | Precision::Uint8));
                let apart = numbers.iter().zip(&expected).filter(|(a, b)| a != b).count();
                let furthest = numbers.iter().zip(&expected).map(|(a, b)| (a - b).abs()).max().unwrap_or(0);
                assert!(
                    if scalar { furthest <= 1 && apart * 50 <= numbers.len() } else { apart == 0 },
                    "{what}: {apart}"
                );
            }
        }
        (OutputValue::TokenEmbeddings, Expect::Array(array)) => {
            let tokens = model.encode_tokens(texts, &options).unwrap();
            let expected = array.best();
            assert_eq!(array.shape, [tokens.sequence(0).len() / tokens.hidden(), tokens.hidden()], "{what}");
            assert_close(tokens.sequence(0), expected, TOLERANCE * scale(expected), &what);
        }
        (OutputValue::TokenEmbeddings, Expect::List { rows }) => {
            let tokens = model.encode_tokens(texts, &options).unwrap();
            assert_eq!(tokens.len(), rows.len(), "{what}");
            for (index, row) in rows.iter().enumerate() {
                let ours = tokens.sequence(index);
                let expected = without_overwritten(golden, ours, row.values.as_f64());
                assert_close(ours, &expected, TOLERANCE * scale(&expected), &format!("{what} {index}"));
            }
        }
        (OutputValue::Everything, Expect::Features { rows }) => {
            let features = model.encode_features(texts, &options).unwrap();
            assert_eq!(features.len(), rows.len(), "{what}");
            for (ours, theirs) in features.iter().zip(rows) {
                let mask = theirs["attention_mask"].values.as_ref().unwrap().to_i64();
                let count = mask.iter().filter(|&&bit| bit == 1).count();
                let prompted = theirs.get("prompt_length").and_then(|length| length.values.as_ref());
                if prompted.is_none() || count == ours.input_ids.len() {
                    assert_eq!(count, ours.input_ids.len(), "{what}");
                }
                let ids = theirs["input_ids"].values.as_ref().unwrap().to_i64();
                let own: Vec<i64> = ours.input_ids.iter().map(|&id| id.into()).collect();
                assert_eq!(own, ids[..own.len()], "{what}");
                let sentence = ours.sentence_embedding.as_ref().unwrap();
                let expected = theirs["sentence_embedding"].values.as_ref().unwrap();
                let expected = without_overwritten(golden, sentence, expected.as_f64());
                assert_close(sentence, &expected, TOLERANCE * scale(&expected), &what);
                assert_eq!(ours.prompt_length.map(|length| length as i64), prompted.map(|n| n.to_i64()[0]), "{what}");
                assert_eq!(theirs["token_embeddings"].shape[1], ours.hidden, "{what}");
            }
        }
        (value, expect) => panic!("{what}: {value:?} with {expect:?}"),
    }
}

fn options_precision(case: &Case) -> Option<Precision> {
    case.options.precision.as_deref().and_then(|name| name.parse().ok())
}

fn check_error(case: &Case, message: &str) {
    match &case.outcome {
        Outcome::Error(expected) => assert_eq!(message, expected.message, "{}", case.name),
        Outcome::Expect(_) => panic!("{} fails with {message}", case.name),
    }
}

#[test]
fn every_case_of_every_model() {
    let mut cases = 0;
    for name in models() {
        let golden = ModelGolden::load(&name);
        let model = load(&name);
        for case in &golden.cases {
            check_case(&model, &golden, case);
            cases += 1;
        }
    }
    assert!(cases >= 140, "only {cases} cases");
}

#[test]
fn every_model_says_what_the_original_says_of_it() {
    for name in models() {
        let info = ModelGolden::load(&name).info;
        let model = load(&name);
        let kinds: Vec<&str> = model.pipeline().modules().map(|(_, module)| module.kind().name).collect();
        assert_eq!(kinds, info.modules, "{name}");
        assert_eq!(model.dimension(), Some(info.dimension), "{name}");
        assert_eq!(model.max_seq_length(), info.max_seq_length, "{name}");
        assert_eq!(model.similarity_function().to_string(), info.similarity_fn_name, "{name}");
        assert_eq!(model.default_prompt_name(), info.default_prompt_name.as_deref(), "{name}");
        let prompts = model.prompts().iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        assert_eq!(info.prompts, prompts, "{name}");
        assert_eq!(model.encoder().unwrap().class_name.as_deref(), Some(info.architecture.as_str()), "{name}");
        let repr = |text: &str| {
            // Modules that print in torch's style, not as a configuration, are compared by their names only.
            text.lines()
                .filter(|line| !line.contains("LayerNorm") && !line.contains("Dropout"))
                .collect::<Vec<_>>()
                .join("\n")
        };
        if !info.modules.iter().any(|module| ["Dense", "LayerNorm", "Dropout"].contains(&module.as_str())) {
            assert_eq!(repr(&format!("{model:?}")), repr(&info.repr), "{name}");
        }
        if let Some(cut) = info.dimension_with_truncate_dim_8 {
            let model = LoadOptions::new().truncate_dim(8).load(tiny_model(&name).to_str().unwrap()).unwrap();
            assert_eq!(model.dimension(), Some(cut), "{name}");
        }
    }
}

#[test]
fn token_ids_are_the_original_s() {
    let mut checked = 0;
    for name in models() {
        let golden = ModelGolden::load(&name);
        let model = load(&name);
        if let Some(tokens) = &golden.tokenize {
            let report = model.tokenize(&tokens.texts).unwrap();
            for (index, (text, expected)) in tokens.texts.iter().zip(&tokens.single).enumerate() {
                let own: Vec<i64> = report.texts()[index].ids().iter().map(|&id| id.into()).collect();
                assert_eq!(own, expected["input_ids"].to_i64(), "{name}: {text:?}");
                checked += 1;
            }
        }
        if let Some(tokens) = &golden.tokenize_pairs {
            let pairs: Vec<(&str, &str)> = tokens.texts.iter().map(|[a, b]| (a.as_str(), b.as_str())).collect();
            let report = model.tokenize(&pairs).unwrap();
            for (index, (pair, expected)) in pairs.iter().zip(&tokens.single).enumerate() {
                let own = &report.texts()[index];
                let ids: Vec<i64> = own.ids().iter().map(|&id| id.into()).collect();
                assert_eq!(ids, expected["input_ids"].to_i64(), "{name}: {pair:?}");
                if let Some(types) = expected.get("token_type_ids") {
                    let own: Vec<i64> = match own.type_ids() {
                        Some(types) => types.iter().map(|&id| id.into()).collect(),
                        None => vec![0; ids.len()],
                    };
                    assert_eq!(own, types.to_i64(), "{name}: {pair:?}");
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "only {checked} texts");
}

#[test]
fn similarities_are_the_original_s() {
    let golden = ModelGolden::load("tiny-bert").similarity.unwrap();
    let model = load("tiny-bert");
    let rows =
        |numbers: &st_testing::Numbers| sentence_transformers::Embeddings::from_rows(numbers.to_f32_rows()).unwrap();
    let (a, b) = (rows(&golden.a), rows(&golden.b));
    let mut model = model;
    for function in [
        SimilarityFunction::Cosine,
        SimilarityFunction::Dot,
        SimilarityFunction::Euclidean,
        SimilarityFunction::Manhattan,
    ] {
        model.set_similarity_function(function);
        let name = function.to_string();
        let matrix = model.similarity(&a, &b).unwrap();
        assert_close(matrix.as_slice(), golden.matrix[&name].reference.as_f64(), 1e-5, &name);
        let pairwise = model.similarity_pairwise(&a, &b).unwrap();
        assert_close(&pairwise, golden.pairwise[&name].reference.as_f64(), 1e-5, &name);
    }
}
