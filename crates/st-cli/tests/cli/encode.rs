//! `encode`: every input, every output, every option.

use crate::program::{DIMENSION, bad, embeddings, ended, file, floats, good, npy, program, run, with_model};
use sentence_transformers::{EncodeOptions, Precision, Prompt, SentenceTransformer};
use std::io::{Read, Write};
use std::process::Stdio;

const TEXTS: [&str; 3] = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."];

fn model(name: &str) -> SentenceTransformer {
    SentenceTransformer::load(st_testing::tiny_model(name).to_str().unwrap()).unwrap()
}

fn expected(options: &EncodeOptions) -> Vec<Vec<f32>> {
    let rows = model("tiny-bert").encode_with(&TEXTS, options).unwrap();
    rows.rows_iter().map(<[f32]>::to_vec).collect()
}

#[test]
fn texts_come_out_as_json_lines_with_the_librarys_numbers() {
    let out = good(with_model("encode").args(TEXTS));
    assert_eq!(embeddings(&out), expected(&EncodeOptions::new()));
    assert!(out.lines().next().unwrap().starts_with("{\"text\":\"The weather is lovely today.\",\"embedding\":["));
}

#[test]
fn options_reach_the_library() {
    let short = EncodeOptions::new().prompt(Prompt::text("query: ")).truncate_dim(8).normalize(true);
    let out =
        good(with_model("encode").args(["--prompt", "query: ", "--truncate-dim", "8", "--normalize"]).args(TEXTS));
    assert_eq!(embeddings(&out), expected(&short));
    let out = good(with_model("encode").args(["--batch-size", "1", "--threads", "1"]).args(TEXTS));
    assert_eq!(embeddings(&out), expected(&EncodeOptions::new()));
    let half = good(with_model("encode").args(["--weights", "bfloat16"]).args(TEXTS));
    assert_ne!(embeddings(&half), expected(&EncodeOptions::new()));
}

#[test]
fn int8_is_calibrated_on_texts_of_a_file() {
    let place = tempfile::tempdir().unwrap();
    let texts = file(&place, "calibration.jsonl", "{\"text\": \"Rain all day.\"}\n{\"text\": \"An apple.\"}\n");
    let mut calibrated = model("tiny-bert");
    calibrated.calibrate(&["Rain all day.", "An apple."]).unwrap();
    let expected: Vec<Vec<f32>> = calibrated.encode(&TEXTS).unwrap().rows_iter().map(<[f32]>::to_vec).collect();
    let given = ["--calibration-texts", texts.to_str().unwrap()];
    assert_eq!(embeddings(&good(with_model("encode").args(["--weights", "int8"]).args(given).args(TEXTS))), expected);
    assert_ne!(embeddings(&good(with_model("encode").args(["--weights", "int8"]).args(TEXTS))), expected);
    let error = bad(with_model("encode").args(given).args(TEXTS), 2);
    assert!(error.contains("--calibration-texts is for int8 weights\nhint: add --weights int8"), "{error}");
    let empty = file(&place, "empty.txt", "");
    let given = ["--weights", "int8", "--calibration-texts", empty.to_str().unwrap()];
    let error = bad(with_model("encode").args(given).args(TEXTS), 1);
    assert!(error.contains("empty.txt holds no texts to calibrate on"), "{error}");
}

#[test]
fn named_prompts_queries_and_documents() {
    let model = model("tiny-bert-prompts");
    let encode = |arguments: &[&str]| {
        let folder = st_testing::tiny_model("tiny-bert-prompts");
        let mut command = program();
        command.arg("encode").arg("--model").arg(folder).args(arguments).arg("hello there");
        embeddings(&run(&mut command).out)
    };
    let rows = |rows: sentence_transformers::Embeddings| vec![rows.into_vec()];
    let plain = EncodeOptions::new();
    assert_eq!(encode(&["--query"]), rows(model.encode_query(&["hello there"], &plain).unwrap()));
    assert_eq!(encode(&["--document"]), rows(model.encode_document(&["hello there"], &plain).unwrap()));
    let named = plain.clone().prompt(Prompt::named("query"));
    assert_eq!(encode(&["--prompt-name", "query"]), rows(model.encode_with(&["hello there"], &named).unwrap()));
    assert_ne!(encode(&["--query"]), encode(&["--prompt", ""]));
    let error = bad(with_model("encode").args(["--prompt-name", "nope", "x"]), 1);
    assert!(error.starts_with("error: Prompt name 'nope' not found"), "{error}");
    assert!(error.contains("\nhint: choose one of these names"), "{error}");
}

#[test]
fn images_are_read_from_their_paths() {
    let folder = st_testing::fixture_path("clip/model");
    let paths = ["odd.png", "wide.jpg"].map(|name| st_testing::fixture_path("clip/images").join(name));
    let clip = |arguments: &[&str]| {
        let mut command = program();
        command.arg("encode").arg("--model").arg(&folder).args(arguments);
        command
    };
    let model = SentenceTransformer::load(folder.to_str().unwrap()).unwrap();
    let images = paths.clone().map(sentence_transformers::Image::from_path);
    let rows = model.encode(&images).unwrap();
    let wanted: Vec<Vec<f32>> = rows.rows_iter().map(<[f32]>::to_vec).collect();
    let names = paths.each_ref().map(|path| path.to_str().unwrap());
    assert_eq!(embeddings(&good(clip(&["--images"]).args(names))), wanted);
    assert_ne!(embeddings(&run(clip(&[]).args(names)).out), wanted, "without --images the names are texts");
    let place = tempfile::tempdir().unwrap();
    let list = file(&place, "images.txt", names.join("\n"));
    assert_eq!(embeddings(&good(clip(&["--images", "--input"]).arg(&list))), wanted);
    let error = bad(&mut clip(&["--images", "nowhere.png"]), 1);
    assert!(error.contains("nowhere.png"), "{error}");
    let error = bad(with_model("encode").arg("--images").args(names), 1);
    assert!(error.contains("this model reads texts, not images"), "{error}");
    bad(clip(&["--images", "--output-value", "all"]).args(names), 2);
}

#[test]
fn every_input_format_gives_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let quoted: Vec<String> = TEXTS.iter().map(|text| format!("{text:?}")).collect();
    let objects: Vec<String> = quoted.iter().map(|text| format!("{{\"id\": 1, \"body\": {text}}}\n")).collect();
    let csv: Vec<String> = quoted.iter().map(|text| format!("7,{text}\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(TEXTS.join("\n").as_bytes()).unwrap();
    let parquet = folder.path().join("again.parquet");
    good(with_model("encode").args(TEXTS).arg("--output").arg(&parquet));
    for (path, column) in [
        (file(&folder, "a.txt", TEXTS.join("\r\n")), None),
        (file(&folder, "a.txt.gz", gzip.finish().unwrap()), None),
        (file(&folder, "a.jsonl", objects.concat()), Some("body")),
        (file(&folder, "a.csv", format!("id,body\n{}", csv.concat())), Some("body")),
        (file(&folder, "a.tsv", format!("text\n{}\n", TEXTS.join("\n"))), None),
        (parquet, None),
    ] {
        let mut command = with_model("encode");
        command.arg("--input").arg(&path).args(column.map(|column| ["--column", column]).iter().flatten());
        assert_eq!(embeddings(&good(&mut command)), expected(&EncodeOptions::new()), "{}", path.display());
    }
    let error = bad(with_model("encode").arg("--input").arg(folder.path().join("a.csv")).args(["--column", "nope"]), 2);
    assert!(error.contains("no column \"nope\"") && error.contains("id, body"), "{error}");
}

#[test]
fn standard_input_is_read_as_any_format() {
    let mut command = with_model("encode");
    command.args(["--input", "-", "--input-format", "jsonl"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let lines: String = TEXTS.iter().map(|text| format!("{text:?}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let out = ended(child.wait_with_output().unwrap()).out;
    assert_eq!(embeddings(&out), expected(&EncodeOptions::new()));
}

#[test]
fn every_output_format_holds_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let all = expected(&EncodeOptions::new()).concat();
    let path = |name: &str| folder.path().join(name);
    for name in ["a.npy", "a.safetensors", "a.jsonl", "a.parquet"] {
        good(with_model("encode").args(TEXTS).arg("--output").arg(path(name)));
    }
    let (rows, columns, element, bytes) = npy(&path("a.npy"));
    assert_eq!((rows, columns, element.as_str()), (3, DIMENSION, "<f4"));
    assert_eq!(floats(&bytes), all);
    let bytes = std::fs::read(path("a.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(floats(tensors.tensor("embeddings").unwrap().data()), all);
    assert_eq!(embeddings(&std::fs::read_to_string(path("a.jsonl")).unwrap()).concat(), all);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    let piped = with_model("encode").args(TEXTS).args(["--format", "npy"]).output().unwrap();
    assert_eq!(piped.stdout, std::fs::read(path("a.npy")).unwrap());
}

#[test]
fn every_precision_is_quantised_over_all_rows() {
    let folder = tempfile::tempdir().unwrap();
    for (precision, name) in Precision::ALL.into_iter().skip(1) {
        let path = folder.path().join(format!("{name}.npy"));
        // Parts of two rows: the ranges must still be those of all three.
        good(
            with_model("encode").args(TEXTS).args(["--precision", name, "--rows-per-part", "2", "--output"]).arg(&path),
        );
        let whole = model("tiny-bert").encode_quantized(&TEXTS, &EncodeOptions::new().precision(precision)).unwrap();
        let (rows, columns, element, bytes) = npy(&path);
        assert_eq!((rows, columns), (3, whole.dimension()));
        match (whole.as_i8(), whole.as_u8()) {
            (Some(values), _) => {
                assert_eq!(element, "|i1");
                assert_eq!(bytes, values.iter().map(|value| *value as u8).collect::<Vec<u8>>());
            }
            (_, Some(values)) => assert_eq!((element.as_str(), bytes.as_slice()), ("|u1", values)),
            _ => panic!("{name} is not stored in bytes"),
        }
    }
    let out = good(with_model("encode").args(TEXTS).args(["--precision", "int8"]));
    assert_eq!(out.lines().count(), 3);
}

#[test]
fn token_embeddings_and_all_features() {
    let library = model("tiny-bert").encode_features(&TEXTS, &EncodeOptions::new()).unwrap();
    let out = good(with_model("encode").args(TEXTS).args(["--output-value", "token_embeddings"]));
    for (line, features) in out.lines().zip(&library) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["token_embeddings"].as_array().unwrap().len(), features.input_ids.len());
        let first = value["token_embeddings"][0][0].as_f64().unwrap() as f32;
        assert_eq!(first, features.token_embeddings.as_ref().unwrap()[0]);
    }
    let out = good(with_model("encode").args(TEXTS).args(["--output-value", "all", "--prompt", "a "]));
    let value: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert!(value["prompt_length"].is_u64() && value["sentence_embedding"].is_array() && value["input_ids"].is_array());
    let error = bad(with_model("encode").args(["--output-value", "all", "--output", "a.npy", "x"]), 2);
    assert!(error.contains("--output-value cannot go with --format npy"), "{error}");
}

#[test]
fn long_texts_are_summed_up_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.txt", format!("short\n{}\nshort\n", "word ".repeat(100)));
    let ended = run(with_model("encode").arg("--input").arg(&path));
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.err, "1 of 3 texts was longer than 48 tokens; the rest was cut off\n");
    assert_eq!(run(with_model("encode").arg("--quiet").arg("--input").arg(&path)).err, "");
    for value in ["sentence_embedding", "token_embeddings"] {
        let error = bad(with_model("encode").args(["--strict", "--output-value", value, "--input"]).arg(&path), 1);
        assert!(error.contains("a.txt, line 2: the text has 10"), "{error}");
        assert!(error.contains("hint: split the text"), "{error}");
    }
}

#[test]
fn damaged_rows_are_named_and_the_rest_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(&folder, "a.txt", b"one\ntw\xffo\nthree\n");
    let objects = file(&folder, "a.jsonl", "{\"text\": \"one\"}\n{\"text\": \n{\"text\": \"three\"}\n");
    for (path, place) in [(&lines, "a.txt, line 2: invalid UTF-8"), (&objects, "a.jsonl, line 2: malformed JSON")] {
        for (way, rows, code) in [("replace", 3, 3), ("skip", 2, 3), ("stop", 1, 1)] {
            let ended = run(with_model("encode").args(["--on-error", way, "--input"]).arg(path));
            assert_eq!((ended.code, ended.out.lines().count()), (Some(code), rows), "{way}: {}", ended.err);
            assert!(ended.err.contains(place), "{}", ended.err);
        }
        assert_eq!(run(with_model("encode").arg("--input").arg(path)).out.lines().count(), 3, "the default");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    for format in ["jsonl", "npy", "parquet"] {
        let error = bad(with_model("encode").args(["--format", format, "--output", "/dev/full", "x"]), 1);
        assert!(error.contains("cannot write /dev/full") && error.contains("hint: free some space"), "{error}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, "a.txt", "some words\n".repeat(5000));
    let mut command = with_model("encode");
    let mut child = command.arg("--input").arg(&path).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let refused = |arguments: &[&str], code, message: &str, hint: &str| {
        let error = bad(program().arg("encode").args(arguments), code);
        assert!(error.contains(message) && error.contains(hint), "{error}");
    };
    refused(&[], 2, "there is nothing to encode", "hint: give texts");
    refused(&["--output", "a.xyz", "x"], 2, "a.xyz does not say its format", ".npy, .jsonl");
    refused(&["--output", "/no/such/a.npy", "x"], 2, "no folder /no/such", "hint: make it first");
    refused(&["--input", "/no/such.txt"], 1, "cannot read /no/such.txt", "hint: check the path");
    refused(&["--input", "/"], 2, "/ is a folder", "hint: give one of its files");
    refused(&["--model", "/no/such/model", "x"], 1, "Path /no/such/model not found", "");
    refused(&["--precision", "int4", "x"], 2, "int4", "float32, int8, uint8, binary, ubinary");
    refused(&["--query", "--prompt", "q", "x"], 2, "cannot be used with", "");
    refused(&["--batch-size", "0", "x"], 2, "should be at least 1", "");
}

#[test]
fn an_empty_input_makes_an_empty_output() {
    let folder = tempfile::tempdir().unwrap();
    let input = file(&folder, "a.txt", "");
    for (name, precision) in
        [("a.npy", "float32"), ("b.npy", "int8"), ("a.parquet", "float32"), ("b.parquet", "binary")]
    {
        let output = folder.path().join(name);
        let mut command = with_model("encode");
        good(command.arg("--input").arg(&input).args(["--precision", precision, "--output"]).arg(&output));
        assert!(output.is_file(), "{name}");
    }
    assert_eq!(npy(&folder.path().join("b.npy")).0, 0);
}
