//! `evaluate`: tasks from files, results in every form.

use std::fs;

use crate::program::{bad, file, good, with_model};
use serde_json::Value;

const STS: &str = "split\tscore\tsentence1\tsentence2\n\
dev\t5\tA man plays.\tA man is playing.\n\
dev\t1\tA man plays.\tThe \"sky is blue.\n\
test\t4\tRain falls.\tIt rains.\n\
test\t0\tRain falls.\tCats sleep.\n\
test\t2\tRain falls.\tSnow falls.\n";

#[test]
fn tasks_are_measured_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let sts = file(&folder, "bench.tsv", STS);
    let triplets = file(&folder, "trip.csv", "anchor,positive,negative\na cat,a cat,the moon\n");
    let results = folder.path().join("results");
    let card = folder.path().join("card.md");
    let out = good(
        with_model("evaluate")
            .arg(format!("sts={}", sts.display()))
            .arg(format!("triplets:mine={}", triplets.display()))
            .args(["--split", "test", "--format", "json", "--quiet", "--output"])
            .arg(&results)
            .arg("--card")
            .arg(&card),
    );
    let value: Value = serde_json::from_str(&out).unwrap();
    let names: Vec<&str> =
        value["evaluations"].as_array().unwrap().iter().map(|one| one["primary_metric"].as_str().unwrap()).collect();
    assert_eq!(names, ["bench_spearman_cosine", "mine_cosine_accuracy"]);
    assert_eq!(value["evaluations"][1]["score"], 1.0);
    let csv = fs::read_to_string(results.join("similarity_evaluation_bench_results.csv")).unwrap();
    assert!(csv.starts_with("epoch,steps,cosine_pearson,cosine_spearman\r\n-1,-1,"), "{csv}");
    let written: Value = serde_json::from_str(&fs::read_to_string(results.join("evaluation.json")).unwrap()).unwrap();
    assert_eq!(written, value);
    let card = fs::read_to_string(card).unwrap();
    assert!(card.contains("#### Semantic Similarity\n\n* Dataset: `bench`\n"), "{card}");
}

#[test]
fn tables_and_csv_have_a_row_per_metric() {
    let folder = tempfile::tempdir().unwrap();
    let sts = format!("sts={}", file(&folder, "bench.tsv", STS).display());
    let table = good(with_model("evaluate").arg(&sts).args(["--similarity", "cosine", "--similarity", "dot"]));
    assert_eq!(table.lines().count(), 6, "{table}");
    assert!(table.lines().last().unwrap().starts_with("bench_spearman_max") && table.ends_with("*\n"), "{table}");
    let csv = good(with_model("evaluate").arg(&sts).args(["--format", "csv", "--truncate-dim", "8"]));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "evaluator,name,metric,value,primary");
    assert!(
        lines[1].starts_with("EmbeddingSimilarityEvaluator,bench,bench_pearson_cosine,")
            && lines[1].ends_with(",false")
    );
    let all = good(with_model("evaluate").arg(&sts).args(["--precision", "ubinary"]));
    assert_ne!(all, good(with_model("evaluate").arg(&sts)));
}

#[test]
fn beir_folders_and_teachers() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("mini/qrels")).unwrap();
    file(
        &folder,
        "mini/corpus.jsonl",
        "{\"_id\":\"d1\",\"text\":\"rain falls\"}\n{\"_id\":\"d2\",\"text\":\"a cat\"}\n",
    );
    file(&folder, "mini/queries.jsonl", "{\"_id\":\"q1\",\"text\":\"rain falls\"}\n");
    file(&folder, "mini/qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t1\n");
    let beir = format!("beir={}", folder.path().join("mini").display());
    let out = good(with_model("evaluate").arg(&beir).args(["--split", "dev", "--format", "json"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["evaluations"][0]["metrics"]["mini_cosine_accuracy@1"], 1.0);
    let error = bad(with_model("evaluate").arg(&beir), 1);
    assert!(error.contains("qrels/test.tsv"), "{error}");

    let parallel = format!("mse={}", file(&folder, "parallel.tsv", "source\ttarget\nrain\train\n").display());
    let teacher = st_testing::tiny_model("tiny-bert");
    let out = good(with_model("evaluate").arg(&parallel).arg("--teacher").arg(&teacher).args(["--format", "json"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["evaluations"][0]["score"], 0.0);
    let error = bad(with_model("evaluate").arg(&parallel), 2);
    assert!(error.contains("hint: name it with --teacher"), "{error}");
    let error = bad(with_model("evaluate").arg(&beir).arg("--teacher").arg(&teacher), 2);
    assert!(error.contains("no task compares with a teacher"), "{error}");
}

#[test]
fn errors_name_the_file_and_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = file(&folder, "wrong.csv", "a,b,c,d\n1,2,3,4\n");
    let error = bad(with_model("evaluate").arg(format!("triplets={}", wrong.display())), 1);
    let expected = "has no column anchor, positive, negative\nhint: its columns are a, b, c, d\n";
    assert!(error.ends_with(expected), "{error}");
    let error = bad(with_model("evaluate").arg("nonsense=x"), 2);
    assert!(error.contains("no task \"nonsense\"; there are sts, pairs"), "{error}");
    bad(&mut with_model("evaluate"), 2);
}
