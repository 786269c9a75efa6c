//! `download` and `push` against a local Hub; `save` and `card`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::program::{bad, file, good, program, run, with_model};
use serde_json::Value;
use st_testing::LocalHub;

/// A command that asks the local Hub.
fn online(hub: &LocalHub, home: &Path) -> Command {
    let mut command = program();
    command
        .env_remove("HF_HUB_OFFLINE")
        .env("HF_ENDPOINT", hub.url())
        .env("HF_HOME", home)
        .env("NO_PROXY", "127.0.0.1")
        .env("HF_TOKEN", "secret");
    command
}

fn tiny_hub() -> (LocalHub, tempfile::TempDir) {
    let hub = LocalHub::start();
    let folder = st_testing::tiny_model("tiny-bert");
    let mut files = Vec::new();
    for name in ["modules.json", "config.json", "tokenizer.json", "1_Pooling/config.json", "model.safetensors"] {
        files.push((name, fs::read(folder.join(name)).unwrap()));
    }
    files.push(("onnx/model.onnx", b"other engine".to_vec()));
    let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    hub.add("org/tiny", &borrowed);
    hub.add("datasets/org/data", &[("corpus/a.parquet", b"rows".as_slice())]);
    (hub, tempfile::tempdir().unwrap())
}

#[test]
fn download_fetches_what_is_asked_for() {
    let (hub, home) = tiny_hub();
    let out = good(online(&hub, home.path()).args(["download", "org/tiny"]));
    let folder = Path::new(out.trim_end());
    assert!(folder.join("model.safetensors").is_file() && !folder.join("onnx").exists(), "{out}");
    // A second run asks, but fetches nothing.
    hub.forget_requests();
    assert_eq!(good(online(&hub, home.path()).args(["download", "org/tiny"])), out);
    assert_eq!(hub.count("GET", "/resolve/"), 0);

    let json = |arguments: &[&str]| -> Vec<String> {
        let other = tempfile::tempdir().unwrap();
        let out = good(online(&hub, other.path()).args(["download", "--format", "json"]).args(arguments));
        let value: Value = serde_json::from_str(&out).unwrap();
        value["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(
        json(&["org/tiny", "--include", "onnx/*", "--include", "config.json"]),
        ["config.json", "onnx/model.onnx"]
    );
    let excluded = json(&["org/tiny", "--exclude", "*.safetensors", "--exclude", "token*"]);
    assert_eq!(excluded, ["1_Pooling/config.json", "config.json", "modules.json"]);
    assert!(json(&["org/tiny", "--everything"]).contains(&"onnx/model.onnx".to_owned()));
    assert_eq!(json(&["org/data", "--dataset"]), ["corpus/a.parquet"]);
}

#[test]
fn download_says_what_it_cannot_do() {
    let (hub, home) = tiny_hub();
    let error = bad(online(&hub, home.path()).args(["download", "org/none"]), 1);
    assert!(error.starts_with("error: ") && error.contains("org/none"), "{error}");
    let error = bad(program().arg("download").arg(st_testing::tiny_model("tiny-bert")), 2);
    assert!(error.contains("is a folder here\nhint: there is nothing to download"), "{error}");
    hub.stop();
    let error = bad(online(&hub, home.path()).args(["download", "org/tiny", "--local-files-only"]), 1);
    assert!(error.contains("is not in the cache"), "{error}");
}

#[test]
fn push_publishes_a_model() {
    let (hub, home) = tiny_hub();
    hub.require_write_token("secret");
    let push = |arguments: &[&str]| {
        let mut command = online(&hub, home.path());
        command.arg("push").arg("--model").arg(st_testing::tiny_model("tiny-bert")).args(arguments);
        command
    };
    let rehearsal = good(&mut push(&["me/new", "--dry-run"]));
    assert!(rehearsal.ends_with("a commit to main of me/new\n"), "{rehearsal}");
    assert_eq!(hub.files("me/new", "main"), None, "a rehearsal uploads nothing");

    let page = good(&mut push(&["me/new", "--private"]));
    assert!(page.starts_with(&format!("{}/me/new/commit/", hub.url())), "{page}");
    assert_eq!(hub.is_private("me/new"), Some(true));
    let files = hub.files("me/new", "main").unwrap();
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    assert!(card.contains("SentenceTransformer(\"me/new\")"), "{card}");
    assert_eq!(
        files["model.safetensors"],
        fs::read(st_testing::tiny_model("tiny-bert").join("model.safetensors")).unwrap()
    );
    assert_eq!(hub.messages("me/new")[0].0, "Add new SentenceTransformer model");

    let error = bad(&mut push(&["me/new"]), 1);
    assert!(error.contains("the repository me/new exists already"), "{error}");
    good(&mut push(&["me/new", "--exist-ok", "--branch", "v2", "--commit-message", "Second"]));
    assert_eq!(hub.messages("me/new")[1].0, "Second");
    assert!(hub.files("me/new", "v2").is_some());
    let out = good(&mut push(&["me/new", "--create-pr", "--format", "json"]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert!(value["pull_request_url"].as_str().unwrap().ends_with("/me/new/discussions/1"), "{out}");

    let folder = tempfile::tempdir().unwrap();
    file(&folder, "only.txt", "as it is");
    good(push(&["me/folder"]).arg("--local-model-path").arg(folder.path()));
    assert_eq!(hub.files("me/folder", "main").unwrap().keys().collect::<Vec<_>>(), ["only.txt"]);
    good(&mut push(&["me/card", "--new-card", "--train-dataset", "org/data"]));
    let card = String::from_utf8(hub.files("me/card", "main").unwrap()["README.md"].clone()).unwrap();
    assert!(card.contains("trained on the [org/data](https://huggingface.co/datasets/org/data) dataset"), "{card}");

    good(&mut push(&["me/folder", "--exist-ok", "--pytorch"]));
    assert!(hub.files("me/folder", "main").unwrap().contains_key("pytorch_model.bin"));
    hub.add("me/folder", &[("README.md", b"ours")]);
    good(&mut push(&["me/folder", "--exist-ok", "--keep-model-card"]));
    assert_eq!(hub.files("me/folder", "main").unwrap()["README.md"], b"ours");

    let error = bad(push(&["me/other"]).env("HF_TOKEN", "wrong"), 1);
    assert!(error.contains("hint: "), "{error}");
    let error = bad(push(&["me/other"]).env_remove("HF_TOKEN").env("HF_TOKEN_PATH", "/nowhere"), 1);
    assert!(error.contains("writing to me/other needs an access token"), "{error}");
}

#[test]
fn save_writes_a_model_that_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("saved");
    let out =
        good(with_model("save").arg(&target).args(["--prompt", "query=q: ", "--default-prompt-name", "query"]).args([
            "--similarity",
            "dot",
            "--max-seq-length",
            "16",
            "--format",
            "json",
        ]));
    let value: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(value["dimension"], 32);
    assert!(value["files"].as_array().unwrap().iter().any(|file| file["name"] == "1_Pooling/config.json"), "{out}");
    let info = run(program().args(["info", "--format", "json", "--model"]).arg(&target));
    assert!(info.err.starts_with("warning: Default prompt name is set to 'query'."), "{}", info.err);
    let info: Value = serde_json::from_str(&info.out).unwrap();
    assert_eq!((info["similarity"].as_str(), info["max_seq_length"].as_u64()), (Some("dot"), Some(16)));
    assert_eq!((info["default_prompt_name"].as_str(), info["prompts"]["query"].as_str()), (Some("query"), Some("q: ")));
    let other = folder.path().join("other");
    good(with_model("save").arg(&other).args(["--pytorch", "--no-card"]));
    assert!(other.join("pytorch_model.bin").is_file() && !other.join("README.md").exists());
    let error = bad(with_model("save").arg(&target).args(["--default-prompt-name", "none"]), 1);
    assert!(error.contains("Default prompt name 'none' not found"), "{error}");
    bad(with_model("save").arg(&target).args(["--prompt", "x"]), 2);
}

#[test]
fn card_shows_the_card_or_makes_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("model");
    good(with_model("save").arg(&target));
    fs::write(target.join("README.md"), "---\nlicense: mit\n---\n\n# Mine\n").unwrap();
    let card = |arguments: &[&str]| good(program().arg("card").arg("--model").arg(&target).args(arguments));
    assert_eq!(card(&[]), "---\nlicense: mit\n---\n\n# Mine\n");
    let new = card(&["--new", "--language", "en", "--language", "de", "--license", "apache-2.0", "--model-id", "me/x"]);
    assert!(new.starts_with("---\nlanguage:\n- en\n- de\nlicense: apache-2.0\n"), "{new}");
    assert!(new.contains("SentenceTransformer(\"me/x\")"), "{new}");
    let written = folder.path().join("card.md");
    assert_eq!(card(&["--output", written.to_str().unwrap()]), "");
    assert!(fs::read_to_string(written).unwrap().ends_with("# Mine\n"));
    bad(with_model("card").args(["--license", "mit"]), 2);
}
