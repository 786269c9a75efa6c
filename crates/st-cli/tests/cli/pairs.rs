//! `mine`, `cluster` and `quantize`.

use std::fs;

use crate::program::{bad, file, floats, good, npy, program, run, with_model};
use sentence_transformers::{
    CommunityOptions, Embeddings, MiningOptions, Precision, Ranges, SentenceTransformer, community_detection,
    paraphrase_mining_embeddings, quantize_embeddings,
};
use serde_json::Value;

fn corpus() -> Vec<String> {
    (0..60).map(|row| format!("number {} about {}", row % 7, ["cats", "cars", "rain"][row % 3])).collect()
}

fn embeddings(texts: &[String]) -> Embeddings {
    SentenceTransformer::load(st_testing::tiny_model("tiny-bert").to_str().unwrap()).unwrap().encode(texts).unwrap()
}

#[test]
fn mine_finds_what_the_library_finds() {
    let folder = tempfile::tempdir().unwrap();
    let texts = corpus();
    let path = file(&folder, "corpus.txt", texts.join("\n"));
    let expected = paraphrase_mining_embeddings(&embeddings(&texts), &MiningOptions::new().top_k(5)).unwrap();
    let out = good(with_model("mine").arg(&path).args(["-k", "5", "--format", "jsonl"]));
    let found: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found["score"].as_f64().unwrap() as f32, expected.score);
        assert_eq!(found["number1"], expected.first as u64 + 1);
        assert_eq!(found["text2"], texts[expected.second].as_str());
    }
    let pairs = folder.path().join("pairs.tsv");
    assert_eq!(good(with_model("mine").arg(&path).arg("--output").arg(&pairs).args(["--min-score", "0.999999"])), "");
    let table = fs::read_to_string(pairs).unwrap();
    assert!(table.starts_with("score\tnumber1\tnumber2\ttext1\ttext2\n"), "{table}");
    assert!(table.lines().count() > 1 && table.lines().count() < expected.len(), "{table}");
    let damaged = file(&folder, "damaged.txt", b"a\n\xff\nb\n");
    assert_eq!(run(with_model("mine").arg(damaged)).code, Some(3));
    let error = bad(with_model("mine").arg(&path).args(["--output", "pairs.xlsx"]), 2);
    assert!(
        error.contains("pairs.xlsx does not say its format\nhint: end the name in .tsv, .csv or .jsonl"),
        "{error}"
    );
    let empty = file(&folder, "empty.txt", "");
    assert!(bad(with_model("mine").arg(empty), 1).contains("holds no texts"));
}

#[test]
fn cluster_finds_what_the_library_finds() {
    let folder = tempfile::tempdir().unwrap();
    let texts = corpus();
    let path = file(&folder, "corpus.txt", texts.join("\n"));
    let options = CommunityOptions::new().threshold(0.99).min_community_size(2);
    let expected = community_detection(&embeddings(&texts), &options).unwrap();
    assert!(!expected.is_empty());
    let arguments = ["--threshold", "0.99", "--min-community-size", "2", "--quiet"];
    let out = good(with_model("cluster").arg(&path).args(arguments).args(["--format", "jsonl"]));
    let found: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        let numbers: Vec<usize> = found["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member["number"].as_u64().unwrap() as usize - 1)
            .collect();
        assert_eq!(&numbers, expected);
        assert!((found["members"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5, "the centre comes first");
    }
    let table = good(with_model("cluster").arg(&path).args(arguments));
    assert_eq!(table.lines().count(), 1 + expected.iter().map(Vec::len).sum::<usize>());
    let spoken = run(with_model("cluster").arg(&path).args(&arguments[..4]));
    assert!(spoken.err.ends_with("of 60 texts\n"), "{}", spoken.err);
}

#[test]
fn quantize_gives_the_librarys_bytes_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let texts = corpus();
    let path = file(&folder, "corpus.txt", texts.join("\n"));
    let rows = embeddings(&texts);
    let ranges = Ranges::from_embeddings(&rows).unwrap();
    for format in ["npy", "safetensors", "parquet"] {
        let floats = folder.path().join(format!("floats.{format}"));
        run(with_model("encode").arg("--input").arg(&path).arg("--output").arg(&floats).arg("--quiet"));
        for precision in [Precision::Int8, Precision::Uint8, Precision::Binary, Precision::Ubinary] {
            let out = folder.path().join("out.npy");
            let ended = run(program()
                .arg("quantize")
                .arg(&floats)
                .args(["--precision", precision.as_str(), "--output"])
                .arg(&out));
            assert_eq!(ended.code, Some(0), "{}", ended.err);
            assert_eq!(
                ended.err.contains("ranges come from 60 embeddings only"),
                precision == Precision::Int8 || precision == Precision::Uint8
            );
            let expected = quantize_embeddings(&rows, precision, Some(&ranges), None).unwrap();
            let (count, width, _, bytes) = npy(&out);
            assert_eq!((count, width), (60, expected.dimension()));
            let expected: Vec<u8> = match (expected.as_i8(), expected.as_u8()) {
                (Some(values), _) => values.iter().map(|value| value.cast_unsigned()).collect(),
                (_, values) => values.unwrap().to_vec(),
            };
            assert_eq!(bytes, expected, "{format} {precision}");
        }
    }
    // Texts stay where the file has them.
    let lines = folder.path().join("out.jsonl");
    good(
        program()
            .arg("quantize")
            .arg(folder.path().join("floats.parquet"))
            .args(["--precision", "ubinary", "--output"])
            .arg(&lines),
    );
    let first: Value = serde_json::from_str(fs::read_to_string(lines).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(first["text"], texts[0].as_str());
}

#[test]
fn ranges_are_kept_for_queries() {
    let folder = tempfile::tempdir().unwrap();
    let texts = corpus();
    let corpus_file = folder.path().join("corpus.npy");
    let path = file(&folder, "corpus.txt", texts.join("\n"));
    good(with_model("encode").arg("--input").arg(&path).arg("--output").arg(&corpus_file).arg("--quiet"));
    let ranges_file = folder.path().join("ranges.npy");
    let quantize = |arguments: &[&str], out: &str| {
        let out = folder.path().join(out);
        let mut command = program();
        command.arg("quantize").arg(&corpus_file).args(["--precision", "int8", "--output"]).arg(&out).args(arguments);
        (run(&mut command), out)
    };
    let (_, first) = quantize(&["--save-ranges", ranges_file.to_str().unwrap()], "first.npy");
    let (count, width, _, bytes) = npy(&ranges_file);
    assert_eq!((count, width), (2, 32));
    assert_eq!(floats(&bytes)[..32], *Ranges::from_embeddings(&embeddings(&texts)).unwrap().minima());
    let (ended, again) = quantize(&["--ranges", ranges_file.to_str().unwrap()], "again.npy");
    assert_eq!(ended.err, "", "given ranges need no warning");
    assert_eq!(fs::read(&first).unwrap(), fs::read(again).unwrap());
    let (_, calibrated) = quantize(&["--calibration", corpus_file.to_str().unwrap()], "calibrated.npy");
    assert_eq!(fs::read(first).unwrap(), fs::read(calibrated).unwrap());
    let error = bad(
        program()
            .arg("quantize")
            .arg(&corpus_file)
            .args(["--precision", "binary", "--output", "x.npy", "--ranges"])
            .arg(&ranges_file),
        2,
    );
    assert!(error.contains("binary has no ranges"), "{error}");
    let error = bad(program().args(["quantize", "texts.txt", "--precision", "int8", "--output", "x.npy"]), 2);
    assert!(error.contains("embeddings are read from .npy, .safetensors, .parquet, .pq"), "{error}");
}

#[test]
fn mine_negatives_writes_training_data() {
    let folder = tempfile::tempdir().unwrap();
    let row = |row: usize| format!("{{\"q\": \"question {row}\", \"a\": \"answer {row} about {}\"}}\n", row % 3);
    let path = file(&folder, "pairs.jsonl", (0..20).map(row).collect::<String>());
    let more = file(&folder, "more.txt", "another text\nyet another\n");
    let mined = |arguments: &[&str]| -> Vec<Value> {
        let mut command = with_model("mine-negatives");
        command.arg(&path).arg("--corpus").arg(&more).args(["--format", "jsonl", "--quiet"]).args(arguments);
        good(&mut command).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let triplets = mined(&["--num-negatives", "2"]);
    assert_eq!(triplets.len(), 40);
    assert_eq!(triplets[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["q", "a", "negative"]);
    assert!(triplets.iter().all(|row| row["negative"] != row["a"]), "an answer is no negative");
    let tuples = mined(&["--num-negatives", "2", "--layout", "n-tuple", "--output-scores"]);
    assert_eq!(
        tuples[0].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["q", "a", "negative_1", "negative_2", "scores"]
    );
    assert_eq!(tuples[0]["scores"].as_array().unwrap().len(), 3);
    let labelled = mined(&["--num-negatives", "1", "--layout", "labeled-pair"]);
    assert_eq!((labelled.len(), labelled[0]["label"].as_u64(), labelled[1]["label"].as_u64()), (40, Some(1), Some(0)));
    let lists = mined(&["--num-negatives", "2", "--layout", "labeled-list", "--random", "3"]);
    assert_eq!(lists[0]["labels"].as_array().unwrap().len(), 3);
    let spoken = run(with_model("mine-negatives").arg(&path).args(["--num-negatives", "1"]));
    assert!(!spoken.err.is_empty(), "statistics are told");
    let error = bad(with_model("mine-negatives").arg(&path).arg("--include-positives"), 2);
    assert!(error.contains("--include-positives goes with --layout n-tuple only"), "{error}");
    let error = bad(with_model("mine-negatives").arg(&path).args(["--anchor-column", "x"]), 2);
    assert!(error.contains("hint: its columns are q, a"), "{error}");
}
