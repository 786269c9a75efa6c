//! Agreement with the original library and with hand-sized numbers; see `fixtures/README.md`.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use st_vectors::{
    CommunityOptions, Embeddings, MiningOptions, Precision, QuantizedEmbeddings, QuantizedSearchOptions, Ranges,
    SearchOptions, SimilarityFunction, community_detection, compute_count_vector, pairwise_angle_sim,
    paraphrase_mining_embeddings, quantize_embeddings, select_max_active_dims, semantic_search,
    semantic_search_quantized,
};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../fixtures/vectors.json")).unwrap()
}

fn toy() -> Value {
    serde_json::from_str(include_str!("../fixtures/toy.json")).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    serde_json::from_value(value.clone()).unwrap()
}

fn matrix(value: &Value) -> Embeddings {
    Embeddings::from_rows(list::<Vec<f32>>(value)).unwrap()
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * expected.abs().max(1.0), "value {index}: {found}, expected {expected}");
    }
}

#[test]
fn similarity_of_toy_vectors() {
    let golden = &toy()["similarity"];
    let (a, b) = (matrix(&golden["a"]), matrix(&golden["b"]));
    for (function, name) in SimilarityFunction::ALL {
        let expected: Vec<f64> = list::<Vec<f64>>(&golden[name]).concat();
        assert_close(function.similarity(&a, &b).unwrap().as_slice(), &expected, 1e-6);
    }
    let angles = pairwise_angle_sim(&a, &b).unwrap();
    assert_close(&[angles[0], angles[2], angles[3]], &list(&golden["pairwise_angle_rows_0_2_3"]), 1e-6);
    assert!(angles[1].is_nan(), "row 1 of a is zero");
}

#[test]
fn similarity_as_the_original_in_double_precision() {
    let golden = &vectors()["similarity"];
    let (a, b) = (matrix(&golden["a"]), matrix(&golden["b"]));
    for (function, name) in SimilarityFunction::ALL {
        let expected: Vec<f64> = list::<Vec<f64>>(&golden[name]["matrix"]).concat();
        assert_close(function.similarity(&a, &b).unwrap().as_slice(), &expected, 5e-7);
        assert_close(&function.similarity_pairwise(&a, &b).unwrap(), &list(&golden[name]["pairwise"]), 5e-7);
    }
    assert_close(&pairwise_angle_sim(&a, &b).unwrap(), &list(&golden["angle"]), 5e-7);
    let distance = SimilarityFunction::Euclidean.similarity_pairwise(&a, &b).unwrap();
    let expected: Vec<f64> = list(&golden["euclidean"]["pairwise"]);
    assert!((f64::from(distance[3]) / expected[3] - 1.0).abs() < 1e-6, "a small distance keeps its digits");
    assert_eq!(distance[5], 0.0);
}

fn as_i64(stored: &QuantizedEmbeddings) -> Vec<i64> {
    let signed = stored.as_i8().unwrap_or_default().iter().map(|&x| i64::from(x));
    signed.chain(stored.as_u8().unwrap_or_default().iter().map(|&x| i64::from(x))).collect()
}

#[test]
fn quantisation_of_toy_vectors() {
    let golden = &toy()["quantisation"];
    let embeddings = matrix(&golden["embeddings"]);
    let saturating = &golden["calibrated_saturating"];
    for (precision, name) in Precision::ALL.into_iter().skip(1) {
        let found = quantize_embeddings(&embeddings, precision, None, None).unwrap();
        let expected: Vec<i64> = list::<Vec<i64>>(&golden[name]).concat();
        // The goldens are in float64: a value that is whole there may lie just below in float32.
        let most = if matches!(precision, Precision::Int8 | Precision::Uint8) { 1 } else { 0 };
        assert_eq!(as_i64(&found).len(), expected.len());
        assert!(as_i64(&found).iter().zip(&expected).all(|(a, b)| (a - b).abs() <= most), "{name}: {found:?}");
        if most > 0 {
            let row = Embeddings::from(list::<f32>(&saturating["row"]));
            let calibration = matrix(&saturating["calibration"]);
            let found = quantize_embeddings(&row, precision, None, Some(&calibration)).unwrap();
            assert_eq!(as_i64(&found), list::<i64>(&saturating[name]), "{name} saturates");
        }
    }
}

#[test]
fn quantisation_as_the_original_to_the_last_integer() {
    let golden = &vectors()["quantization"];
    let embeddings = matrix(&golden["embeddings"]);
    let calibration = matrix(&golden["calibration"]);
    let bounds = matrix(&golden["ranges"]);
    let ranges = Ranges::new(bounds.row(0).to_vec(), bounds.row(1).to_vec()).unwrap();
    for (precision, name) in Precision::ALL.into_iter().skip(1) {
        let golden = &golden[name];
        let quantize = |ranges, calibration| quantize_embeddings(&embeddings, precision, ranges, calibration).unwrap();
        if matches!(precision, Precision::Int8 | Precision::Uint8) {
            let expected = |key: &str| list::<Vec<i64>>(&golden[key]).concat();
            assert_eq!(as_i64(&quantize(None, None)), expected("own"), "{name}");
            assert_eq!(as_i64(&quantize(None, Some(&calibration))), expected("calibration"), "{name}");
            assert_eq!(as_i64(&quantize(Some(&ranges), Some(&calibration))), expected("ranges"), "{name}");
        } else {
            assert_eq!(as_i64(&quantize(None, None)), list::<Vec<i64>>(golden).concat(), "{name}");
        }
    }
}

#[test]
fn search_as_the_original() {
    let golden = vectors();
    let (corpus, queries) = (matrix(&golden["corpus"]), matrix(&golden["queries"]));
    for case in golden["search"].as_array().unwrap() {
        let number = |name: &str, default: usize| case["options"][name].as_u64().map_or(default, |x| x as usize);
        let options = SearchOptions::new()
            .top_k(number("top_k", 10))
            .query_chunk_size(number("query_chunk_size", 100))
            .corpus_chunk_size(number("corpus_chunk_size", 500_000))
            .score_function(case["function"].as_str().unwrap().parse().unwrap());
        let found = semantic_search(&queries, &corpus, &options).unwrap();
        let expected: Vec<Vec<(usize, f64)>> = list(&case["hits"]);
        for (found, expected) in found.iter().zip(&expected) {
            let (ids, scores): (Vec<usize>, Vec<f64>) = expected.iter().copied().unzip();
            assert_eq!(found.iter().map(|hit| hit.corpus_id).collect::<Vec<_>>(), ids, "{options:?}");
            assert_close(&found.iter().map(|hit| hit.score).collect::<Vec<_>>(), &scores, 1e-5);
        }
    }
}

#[test]
fn quantised_search_as_the_original_around_an_exact_index() {
    let golden = vectors();
    let (corpus, queries) = (matrix(&golden["corpus"]), matrix(&golden["queries"]));
    for case in golden["quantized_search"].as_array().unwrap() {
        let precision: Precision = case["precision"].as_str().unwrap().parse().unwrap();
        let bounds = matrix(&case["ranges"]);
        let ranges = Ranges::new(bounds.row(0).to_vec(), bounds.row(1).to_vec()).unwrap();
        let mut precisions = vec![precision];
        precisions.extend((precision == Precision::Ubinary).then_some(Precision::Binary));
        for precision in precisions {
            let stored = quantize_embeddings(&corpus, precision, Some(&ranges), None).unwrap();
            let asked = quantize_embeddings(&queries, precision, Some(&ranges), None).unwrap();
            let options = QuantizedSearchOptions::new().ranges(ranges.clone());
            let plain = semantic_search_quantized(&asked, &stored, &options.clone().rescore(false)).unwrap();
            let same = semantic_search_quantized(&queries, &stored, &options.clone().rescore(false)).unwrap();
            assert_eq!(plain, same, "float queries are stored first");
            let rescored = semantic_search_quantized(&queries, &stored, &options).unwrap();
            for (found, kind) in [(plain, "plain"), (rescored, "rescored")] {
                let ids = found.iter().map(|hits| hits.iter().map(|hit| hit.corpus_id).collect());
                let expected: Vec<Vec<usize>> = list(&case[format!("{kind}_ids")]);
                assert_eq!(ids.collect::<Vec<Vec<usize>>>(), expected, "{precision} {kind}");
                let scores: Vec<f32> = found.iter().flatten().map(|hit| hit.score).collect();
                let expected: Vec<Vec<f64>> = list(&case[format!("{kind}_scores")]);
                assert_close(&scores, &expected.concat(), 1e-6);
            }
        }
    }
}

#[test]
fn mining_as_the_original() {
    let golden = vectors();
    let corpus = matrix(&golden["corpus"]);
    for case in golden["mining"].as_array().unwrap() {
        let number = |name: &str, default: usize| case["options"][name].as_u64().map_or(default, |x| x as usize);
        let options = MiningOptions::new()
            .top_k(number("top_k", 100))
            .query_chunk_size(number("query_chunk_size", 5000))
            .corpus_chunk_size(number("corpus_chunk_size", 100_000))
            .max_pairs(number("max_pairs", 500_000));
        let found = paraphrase_mining_embeddings(&corpus, &options).unwrap();
        let expected: Vec<(f64, usize, usize)> = list(&case["pairs"]);
        let sorted = |mut pairs: Vec<(usize, usize)>| {
            pairs.sort_unstable();
            pairs
        };
        // Neighbours in the list may be within a rounding error of each other; sets and scores are exact.
        assert_eq!(
            sorted(found.iter().map(|pair| (pair.first, pair.second)).collect()),
            sorted(expected.iter().map(|&(_, first, second)| (first, second)).collect()),
            "{options:?}"
        );
        let scores: Vec<f32> = found.iter().map(|pair| pair.score).collect();
        assert_close(&scores, &expected.iter().map(|pair| pair.0).collect::<Vec<_>>(), 1e-6);
    }
}

#[test]
fn communities_as_the_original() {
    let golden = vectors();
    let corpus = matrix(&golden["corpus"]);
    for case in golden["communities"].as_array().unwrap() {
        let options = CommunityOptions {
            threshold: case["threshold"].as_f64().unwrap() as f32,
            min_community_size: case["min_community_size"].as_u64().unwrap() as usize,
        };
        let expected: Vec<Vec<usize>> = list(&case["communities"]);
        assert_eq!(community_detection(&corpus, &options).unwrap(), expected, "{options:?}");
    }
}

#[test]
fn active_dimensions_as_the_original() {
    let golden: Value = serde_json::from_str(include_str!("../fixtures/active_dimensions.json")).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let mut embeddings = matrix(&golden["embeddings"]);
        select_max_active_dims(&mut embeddings, case["max_active_dims"].as_u64().map(|kept| kept as usize));
        assert_eq!(embeddings, matrix(&case["rows"]), "{}", case["max_active_dims"]);
        assert_eq!(compute_count_vector(&embeddings), list::<u32>(&case["counts"]), "{}", case["max_active_dims"]);
    }
}
