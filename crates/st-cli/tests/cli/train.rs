//! `train`: small runs of a tiny model, killed and gone on with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{bad, ended, file, good, program, run, with_model};
use serde_json::Value;

/// Pairs of texts that belong together.
fn pairs(folder: &tempfile::TempDir, rows: usize) -> PathBuf {
    let words = ["cats", "rain", "trains", "bread", "stars", "music", "snow", "tea"];
    let row = |row: usize| {
        let (word, other) = (words[row % 8], words[(row / 8 + 3) % 8]);
        format!(
            "{{\"anchor\": \"what about {word} and {other}\", \"positive\": \"{other} go with {word}, number {row}\"}}\n"
        )
    };
    file(folder, "pairs.jsonl", (0..rows).map(row).collect::<String>())
}

fn train(pairs: &Path, output: &Path) -> Command {
    let mut command = with_model("train");
    command.arg("--train").arg(pairs).arg("--output").arg(output);
    command.args(["--loss", "MultipleNegativesRankingLoss", "--batch-size", "4"]);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn rows(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_leaves_a_model_and_its_reports() {
    let folder = tempfile::tempdir().unwrap();
    let (data, output) = (pairs(&folder, 24), folder.path().join("out"));
    let sts = file(&folder, "dev.tsv", "score\tsentence1\tsentence2\n5\train\train\n1\train\tcats\n3\ttea\tbread\n");
    let ended = run(train(&data, &output)
        .args(["--max-steps", "8", "--set", "arguments.logging_steps=2", "--set", "loss.scale=10", "--format", "json"])
        .arg("--evaluator")
        .arg(format!("sts={}", sts.display()))
        .arg("--eval")
        .arg(&data));
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let told: Vec<&str> = ended.err.lines().collect();
    assert!(told[0].starts_with("step 2 of 8, loss ") && told[0].contains(" rows a second, "), "{}", ended.err);
    assert!(ended.err.contains("eval_loss ") && ended.err.contains("eval_dev_spearman_cosine "), "{}", ended.err);

    let summary: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(summary, json(&output.join("training.json")));
    assert_eq!((summary["steps"].as_u64(), summary["model"].as_str()), (Some(8), output.join("final").to_str()));
    let metrics = rows(&output.join("metrics.jsonl"));
    let losses: Vec<f64> = metrics.iter().filter_map(|row| row["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 8, "a row for every step");
    assert!(metrics.iter().any(|row| row["eval_loss"].is_number() && row["eval_dev_spearman_cosine"].is_number()));
    let mean = losses.iter().sum::<f64>() / 8.0;
    assert!((mean - summary["training_loss"].as_f64().unwrap()).abs() < 1e-6);
    assert!(fs::read(output.join("loss.png")).unwrap().starts_with(b"\x89PNG"));
    let events: Vec<_> = fs::read_dir(output.join("runs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let bytes = fs::read(&events[0]).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(holds(b"brain.Event:2") && holds(b"train/loss") && holds(b"eval/dev_spearman_cosine"));
    assert!(output.join("eval/similarity_evaluation_dev_results.csv").is_file());

    let card = fs::read_to_string(output.join("final/README.md")).unwrap();
    assert!(card.contains("- loss:MultipleNegativesRankingLoss\n") && card.contains("\"scale\": 10"), "{card}");
    let tiny = st_testing::tiny_model("tiny-bert");
    let same = |name: &str| fs::read(output.join("final").join(name)).unwrap() == fs::read(tiny.join(name)).unwrap();
    assert!(!same("model.safetensors"), "the weights were trained");
    let embedded = good(program().args(["encode", "rain", "--format", "jsonl", "--model"]).arg(output.join("final")));
    assert_ne!(embedded, good(with_model("encode").args(["rain", "--format", "jsonl"])));

    let error = bad(&mut train(&data, &output), 2);
    assert!(error.contains("is there from an earlier run\nhint: go on with it by --resume"), "{error}");
}

/// Waits until a folder has a checkpoint of that step or a later one.
fn wait_for_checkpoint(output: &Path, least: usize, child: &mut Child) {
    let start = Instant::now();
    loop {
        let step = |name: &str| name.strip_prefix("checkpoint-").and_then(|step| step.parse::<usize>().ok());
        let entries = fs::read_dir(output).into_iter().flatten().flatten();
        if entries.filter_map(|entry| step(entry.file_name().to_str()?)).any(|step| step >= least) {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "the run came to its end too soon");
        assert!(start.elapsed() < Duration::from_secs(300), "no checkpoint in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A run of so many steps that it can be stopped on the way.
fn long_run(data: &Path, output: &Path) -> Command {
    let mut command = train(data, output);
    command.args(["--max-steps", "120", "--quiet", "--no-tensorboard", "--set", "arguments.save_steps=3"]);
    command.args(["--set", "arguments.save_total_limit=2"]);
    command
}

#[test]
fn a_killed_run_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(&folder, 40);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    good(&mut long_run(&data, &whole));
    let mut child = long_run(&data, &killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_checkpoint(&killed, 6, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("final").exists());
    good(long_run(&data, &killed).arg("--resume"));
    for name in ["final/model.safetensors", "metrics.jsonl", "loss.png"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(killed.join(name)).unwrap(), "{name} differs");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (data, output) = (pairs(&folder, 40), folder.path().join("out"));
    let mut child = long_run(&data, &output).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_checkpoint(&output, 3, &mut child);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let run = ended(child.wait_with_output().unwrap());
    assert_eq!(run.code, Some(130), "{}", run.err);
    assert!(run.err.contains("error: interrupted\nhint: the same command with --resume goes on from "), "{}", run.err);
    assert!(!output.join("final").exists());
    good(long_run(&data, &output).arg("--resume"));
    assert_eq!(rows(&output.join("metrics.jsonl")).len(), 120);
}

/// A run that trains an adapter with dropout.
fn adapter_run(data: &Path, output: &Path) -> Command {
    let mut command = train(data, output);
    command.args(["--max-steps", "30", "--quiet", "--no-tensorboard", "--set", "arguments.save_steps=3"]);
    command.args(["--lora-rank", "4", "--lora-dropout", "0.1", "--lora-target", "query,dense", "--merge-adapter"]);
    command.args(["--set", "adapter.use_rslora=true", "--learning-rate", "0.01", "--gradient-checkpointing"]);
    command
}

/// What a model says of a text.
fn embedded(model: &Path) -> Vec<f64> {
    let line = good(program().args(["encode", "rain and tea", "--format", "jsonl", "--model"]).arg(model));
    let row: Value = serde_json::from_str(&line).unwrap();
    row["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn an_adapter_is_trained_saved_merged_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(&folder, 40);
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let plan: Value = serde_json::from_str(&good(adapter_run(&data, &whole).arg("--dry-run"))).unwrap();
    assert_eq!(plan["adapter"]["config"]["lora_dropout"], 0.1);
    let (trained, all) = (plan["parameters"]["trained"].as_u64().unwrap(), plan["parameters"]["all"].as_u64().unwrap());
    assert!(0 < trained && trained < all / 4, "{plan}");

    assert!(good(&mut adapter_run(&data, &whole)).contains("merged         "));
    let (last, merged) = (whole.join("final"), whole.join("merged"));
    let config = json(&last.join("adapter_config.json"));
    assert_eq!((&config["r"], &config["use_rslora"], &config["peft_type"]), (&4.into(), &true.into(), &"LORA".into()));
    assert!(last.join("adapter_model.safetensors").is_file() && !last.join("model.safetensors").exists());
    assert!(merged.join("model.safetensors").is_file() && !merged.join("adapter_config.json").exists());
    let card = fs::read_to_string(merged.join("README.md")).unwrap();
    assert!(card.contains("- loss:MultipleNegativesRankingLoss\n"), "{card}");
    let (adapted, base) = (embedded(&last), embedded(&st_testing::tiny_model("tiny-bert")));
    let furthest = |from: &[f64]| adapted.iter().zip(from).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(furthest(&embedded(&merged)) < 1e-6 && furthest(&base) > 1e-2, "{adapted:?} and {base:?}");

    let mut child = adapter_run(&data, &killed).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for_checkpoint(&killed, 6, &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    good(adapter_run(&data, &killed).arg("--resume"));
    for name in ["final/adapter_model.safetensors", "merged/model.safetensors", "metrics.jsonl"] {
        assert!(fs::read(whole.join(name)).unwrap() == fs::read(killed.join(name)).unwrap(), "{name} differs");
    }

    let again = |more: &[&str]| {
        let mut command = program();
        command.arg("train").arg("--model").arg(&last).arg("--train").arg(&data).arg("--quiet");
        command.args(["--loss", "MNRL", "--max-steps", "2", "--output"]).arg(folder.path().join("more")).args(more);
        command
    };
    let error = bad(&mut again(&[]), 2);
    assert!(
        error.contains("the model's weights are an adapter") && error.contains("--set adapter.name=default"),
        "{error}"
    );
    let error = bad(&mut again(&["--lora-rank", "2"]), 2);
    assert!(error.contains("the model has an adapter \"default\" already"), "{error}");
    good(&mut again(&["--set", "adapter.name=default"]));
    let more = folder.path().join("more/final");
    assert_eq!(json(&more.join("adapter_config.json"))["r"], 4);
    assert!(furthest(&embedded(&more)) > 0.0, "the adapter was trained on");
    let path = format!("adapter.path={}", last.display());
    let taken = folder.path().join("taken");
    good(train(&data, &taken).args(["--quiet", "--max-steps", "2", "--set", &path]));
    assert!(furthest(&embedded(&taken.join("final"))) > 0.0 && taken.join("final/adapter_config.json").is_file());
}

#[test]
fn the_recipes_of_distillation_run() {
    let folder = tempfile::tempdir().unwrap();
    let (student, teacher) = (st_testing::tiny_model("tiny-bert"), st_testing::tiny_model("tiny-roberta"));
    let teacher = format!("distillation.teacher={}", teacher.display());
    let recipe = |name: &str, more: &[&str]| {
        let mut command = program();
        command.current_dir(st_testing::repository()).arg("train").arg(format!("examples/distillation/{name}.toml"));
        command.arg("--model").arg(&student).args(["--quiet", "--format", "json", "--set", &teacher]);
        command
            .args(["--learning-rate", "3e-3", "--epochs", "40", "--output"])
            .arg(folder.path().join(name))
            .args(more);
        command
    };
    for name in ["embeddings", "margins", "scores"] {
        let more: &[&str] = if name == "embeddings" { &["--set", "distillation.keep_layers=[1]"] } else { &[] };
        let summary: Value = serde_json::from_str(&good(&mut recipe(name, more))).unwrap();
        let losses: Vec<f64> = rows(&folder.path().join(name).join("metrics.jsonl"))
            .iter()
            .filter_map(|row| row["loss"].as_f64())
            .collect();
        assert_eq!(summary["steps"].as_u64(), Some(losses.len() as u64));
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let (first, last) = (mean(&losses[..5]), mean(&losses[losses.len() - 5..]));
        assert!(last < 0.8 * first, "{name} learns: {losses:?}");
    }
    let config = json(&folder.path().join("embeddings/final/config.json"));
    assert_eq!(config["num_hidden_layers"], 1, "the student has one of the layers");
    fs::remove_dir_all(folder.path().join("margins")).unwrap();
    let wrong = |more: &[&str]| bad(&mut recipe("margins", more), 2);
    let error = wrong(&["--set", "distillation.techer=x"]);
    assert!(error.contains("distillation has no setting \"techer\"\nhint: its settings are teacher, "), "{error}");
    let error = bad(&mut recipe("margins", &["--loss", "MultipleNegativesRankingLoss"]), 1);
    assert!(error.contains("MultipleNegativesRankingLoss learns nothing from a teacher's labels"), "{error}");
}

#[test]
fn a_file_says_what_flags_say() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(&folder, 24);
    let toml = file(
        &folder,
        "train.toml",
        format!(
            "model = {model:?}\noutput_dir = {output:?}\nfreeze = \"0.auto_model.embeddings\"\n\n[loss]\nname = \"MatryoshkaLoss\"\n\
             loss = \"MNRL\"\nmatryoshka_dims = [32, 16]\n\n[[train_dataset]]\npath = {data:?}\nname = \"first\"\nrows = 9\n\n\
             [[train_dataset]]\npath = {data:?}\nname = \"second\"\ncolumns = [\"positive\", \"anchor\"]\n\n\
             [arguments]\nnum_train_epochs = 1\nper_device_train_batch_size = 4\n",
            model = st_testing::tiny_model("tiny-bert"),
            output = folder.path().join("out"),
        ),
    );
    let out = good(program().arg("train").arg(&toml).args(["--dry-run", "--seed", "7"]));
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["train_dataset"][0]["rows"], 9);
    assert_eq!(plan["train_dataset"][1]["columns"][0], "positive");
    assert_eq!(plan["loss"]["settings"]["matryoshka_dims"][1], 16);
    assert_eq!(
        (plan["arguments"]["seed"].as_u64(), plan["arguments"]["num_train_epochs"].as_f64()),
        (Some(7), Some(1.0))
    );
    let ended = run(program().arg("train").arg(&toml).args(["--quiet", "--format", "json"]));
    assert!(ended.code == Some(0) && ended.err.starts_with("warning: Column 'anchor' is at index 1"), "{}", ended.err);
    let summary: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(summary["steps"], 9, "three batches of the first and six of the second");
    let card = fs::read_to_string(folder.path().join("out/final/README.md")).unwrap();
    assert!(card.contains("#### first\n") && card.contains("- dataset_size:33\n"), "{card}");
}

#[test]
fn losses_that_need_more_than_embeddings_find_it() {
    let folder = tempfile::tempdir().unwrap();
    let data = pairs(&folder, 8);
    let tiny = st_testing::tiny_model("tiny-bert");
    let guide = format!("loss.guide={}", tiny.display());
    for (number, settings) in
        [["loss=TSDAE", "loss.tie_encoder_decoder=true"], ["loss=GISTEmbedLoss", &guide]].iter().enumerate()
    {
        let mut command = with_model("train");
        command.arg("--train").arg(&data).arg("--output").arg(folder.path().join(number.to_string()));
        command.args(["--quiet", "--max-steps", "2", "--set", settings[0], "--set", settings[1]]);
        assert!(good(&mut command).contains("training loss  "));
    }
}

#[test]
fn errors_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (data, output) = (pairs(&folder, 4), folder.path().join("out"));
    let error = bad(program().arg("train"), 2);
    assert!(error.contains("there is no output folder\nhint: name one with --output"), "{error}");
    let error = bad(with_model("train").arg("--output").arg(&output), 2);
    assert!(error.contains("there is nothing to train on\nhint: give files with --train"), "{error}");
    let error = bad(with_model("train").arg("--output").arg(&output).arg("--train").arg(&data), 2);
    assert!(error.contains("there is no loss\nhint: name one with --loss"), "{error}");
    let error = bad(train(&data, &output).args(["--set", "loss.scales=3"]), 2);
    assert!(
        error.contains("MultipleNegativesRankingLoss has no setting \"scales\"\nhint: its settings are scale, "),
        "{error}"
    );
    let error = bad(train(&data, &output).args(["--set", "arguments.learning_rat=3"]), 2);
    assert!(error.contains("unknown field `learning_rat`"), "{error}");
    let error = bad(train(&data, &output).args(["--set", "freeze=nothing"]), 2);
    assert!(error.contains("no parameter's name begins with \"nothing\"\nhint: the names begin with "), "{error}");
    let error = bad(train(&data, &output).arg("--resume"), 1);
    assert!(error.contains("No valid checkpoint found in output directory"), "{error}");
    let error = bad(train(&data, &output).args(["--evaluator", "dev.tsv"]), 2);
    assert!(error.contains("the evaluator \"dev.tsv\" is not understood"), "{error}");
    bad(train(&data, &output).args(["--loss", "HingeLoss"]), 2);
}

#[test]
fn a_clip_model_is_trained_on_files_of_images() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["odd.png", "wide.jpg", "grey.png"] {
        fs::copy(st_testing::fixture_path("clip/images").join(name), folder.path().join(name)).unwrap();
    }
    let data =
        file(&folder, "captions.csv", "image,caption\nodd.png,waves\nwide.jpg,a wide one\ngrey.png,no colours\n");
    let output = folder.path().join("out");
    let train = |arguments: &[&str], output: &Path| {
        let mut command = program();
        command.args(["train", "--model"]).arg(st_testing::fixture_path("clip/model")).arg("--train").arg(&data);
        command.args(["--loss", "MultipleNegativesRankingLoss", "--max-steps", "2", "--learning-rate", "1e-3"]);
        command.arg("--output").arg(output).args(arguments);
        command
    };
    good(&mut train(&["--image-column", "image"], &output));
    let see = |model: &Path| {
        good(program().args(["encode", "--images", "--model"]).arg(model).arg(folder.path().join("odd.png")))
    };
    assert_ne!(see(&output.join("final")), see(&st_testing::fixture_path("clip/model")));
    let adapted = folder.path().join("adapted");
    let lora = ["--image-column", "image", "--lora-rank", "2", "--lora-target", "q_proj", "--merge-adapter"];
    good(&mut train(&lora, &adapted));
    assert!(adapted.join("final/adapter_model.safetensors").is_file());
    assert_eq!(see(&adapted.join("final")), see(&adapted.join("merged")));
    let error = bad(&mut train(&["--image-column", "picture"], &folder.path().join("other")), 1);
    assert!(error.contains("there is no column 'picture'"), "{error}");
}
