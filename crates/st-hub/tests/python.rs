//! The same cache and the same protocol as Python's `huggingface_hub`, checked with the package itself.
//!
//! Runs where `ST_ORACLE_PYTHON` names a Python that has it, and says so where it does not. What it checks is also
//! checked without Python: the layout in `download.rs`, resuming in `faults.rs`, uploads in `upload.rs`.

#![expect(clippy::unwrap_used, reason = "the helpers of a test end it like the test itself")]

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use st_hub::{Environment, HubOptions, Repository, Selection, Source, Upload};
use st_testing::{Fault, LocalHub};
use tempfile::TempDir;

const ID: &str = "org/model";
const FILE: &str = "model.safetensors";
const VARIABLE: &str = "ST_ORACLE_PYTHON";

struct Python {
    executable: String,
    endpoint: String,
    home: TempDir,
}

impl Python {
    fn new(hub: &LocalHub) -> Option<Self> {
        let Some(executable) = env::var(VARIABLE).ok().filter(|path| !path.is_empty()) else {
            eprintln!("passed over: {VARIABLE} names no Python with huggingface_hub");
            return None;
        };
        Some(Self { executable, endpoint: hub.url(), home: TempDir::new().unwrap() })
    }

    fn try_step(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(&self.executable)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cross_check.py"))
            .args(arguments)
            .env("HF_ENDPOINT", &self.endpoint)
            .env("HF_HOME", self.home.path())
            .env("HF_HUB_DISABLE_XET", "1")
            .env("HF_HUB_DISABLE_TELEMETRY", "1")
            .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("HF_HUB_OFFLINE")
            .env_remove("TRANSFORMERS_OFFLINE")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            Ok(serde_json::from_str(text.trim()).unwrap())
        } else {
            Err(format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
        }
    }

    fn step(&self, arguments: &[&str]) -> Value {
        self.try_step(arguments).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }
}

fn options(hub: &LocalHub, cache: &Path) -> HubOptions {
    let mut environment = Environment::isolated(cache);
    environment.endpoint = hub.url();
    HubOptions::with_environment(environment).cache_folder(cache).retries(1, Duration::from_millis(1))
}

fn weights() -> Vec<u8> {
    (0..4_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn hub_with_model() -> LocalHub {
    let hub = LocalHub::start();
    hub.add(ID, &[("config.json", b"{}".as_slice()), ("1_Pooling/config.json", b"{\"a\": 1}")]);
    hub.add_large(ID, &[(FILE, weights().as_slice())]);
    hub
}

/// Names, link targets and contents of a model's folder in the cache.
fn layout(folder: &Path) -> BTreeMap<String, (Option<PathBuf>, Vec<u8>)> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, (Option<PathBuf>, Vec<u8>)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, (fs::read_link(&path).ok(), fs::read(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(folder, folder, &mut found);
    found
}

#[test]
fn both_fill_the_cache_alike_and_read_each_other() {
    let hub = hub_with_model();
    let Some(python) = Python::new(&hub) else { return };
    println!("huggingface_hub {}", python.step(&["version", ID, "."]));
    let (theirs, ours) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let text = |folder: &TempDir| folder.path().to_str().unwrap().to_owned();

    let their_folder = python.step(&["snapshot", ID, &text(&theirs)]);
    let our_folder =
        Source::resolve(ID, &options(&hub, ours.path())).unwrap().snapshot(&Selection::everything()).unwrap();
    let model = |folder: &TempDir| folder.path().join("models--org--model");
    assert_eq!(layout(&model(&ours)), layout(&model(&theirs)));

    // Ours in their cache: nothing is fetched again, online or offline.
    hub.forget_requests();
    for offline in [false, true] {
        let options = options(&hub, theirs.path()).local_files_only(offline);
        let folder = Source::resolve(ID, &options).unwrap().snapshot(&Selection::everything()).unwrap();
        assert_eq!(Value::from(folder.to_str().unwrap()), their_folder);
    }
    assert_eq!(hub.requests().len(), 1);

    // They in ours.
    assert_eq!(python.step(&["snapshot-offline", ID, &text(&ours)]), our_folder.to_str().unwrap());
    hub.forget_requests();
    assert_eq!(python.step(&["snapshot", ID, &text(&ours)]), our_folder.to_str().unwrap());
    assert_eq!(hub.count("GET", "/resolve/") + hub.count("GET", "/blob/"), 0);
    let scan = python.step(&["scan", ID, &text(&ours)]);
    assert_eq!(scan["warnings"], serde_json::json!([]));
    assert_eq!(scan["repositories"], serde_json::json!([ID]));
    assert_eq!(scan["refs"], serde_json::json!(["main"]));

    // Absence is remembered for both.
    let source = Source::resolve(ID, &options(&hub, ours.path())).unwrap();
    assert_eq!(source.file("modules.json").unwrap(), None);
    assert_eq!(python.step(&["known-absent", ID, &text(&ours), "modules.json"]), true);
    assert!(python.try_step(&["file", ID, &text(&theirs), "modules.json"]).unwrap_err().contains("EntryNotFound"));
    let source = Source::resolve(ID, &options(&hub, theirs.path()).revision(source.commit().unwrap())).unwrap();
    hub.forget_requests();
    assert_eq!(source.file("modules.json").unwrap(), None);
    assert_eq!(hub.requests().len(), 0);
}

#[test]
fn each_continues_the_broken_download_of_the_other() {
    let hub = hub_with_model();
    let Some(python) = Python::new(&hub) else { return };
    let first_range = || {
        let requests = hub.requests();
        let storage = requests.iter().find(|request| request.method == "GET" && request.target.contains("/blob/"));
        storage.and_then(|request| request.header("Range")).map(str::to_owned)
    };

    let cache = TempDir::new().unwrap();
    let cache_text = cache.path().to_str().unwrap();
    hub.fault("GET", "/blob/", 1, Fault::DropAfter(1_000_000));
    Source::resolve(ID, &options(&hub, cache.path()).retries(0, Duration::ZERO)).unwrap().file(FILE).unwrap_err();
    let left = fs::read_dir(cache.path().join("models--org--model/blobs")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap()).collect();
    assert_eq!((left.len(), left[0].metadata().unwrap().len()), (1, 1_000_000));
    assert!(left[0].file_name().to_str().unwrap().ends_with(".incomplete"));
    hub.forget_requests();
    let path = python.step(&["file", ID, cache_text, FILE]);
    assert!(fs::read(path.as_str().unwrap()).unwrap() == weights());
    assert_eq!(first_range().as_deref(), Some("bytes=1000000-"));

    // The reverse: what Python leaves when it is ended in the middle.
    let cache = TempDir::new().unwrap();
    let blobs = cache.path().join("models--org--model/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(left[0].file_name()), &weights()[..1_234_567]).unwrap();
    hub.forget_requests();
    let path = Source::resolve(ID, &options(&hub, cache.path())).unwrap().file(FILE).unwrap().unwrap();
    assert!(fs::read(path).unwrap() == weights());
    assert_eq!(first_range().as_deref(), Some("bytes=1234567-"));
}

#[test]
fn both_upload_the_same() {
    let hub = hub_with_model();
    let Some(python) = Python::new(&hub) else { return };
    hub.require_write_token("hf_write");
    hub.upload_in_parts(1_500_000);
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::write(folder.path().join("1_Pooling/config.json"), "{}").unwrap();
    fs::write(folder.path().join("empty.txt"), "").unwrap();
    fs::write(folder.path().join(FILE), weights().iter().map(|byte| byte ^ 1).collect::<Vec<_>>()).unwrap();
    fs::write(folder.path().join("pytorch_model.bin"), vec![7; 5000]).unwrap();

    let url = python.step(&["upload", "org/theirs", folder.path().to_str().unwrap()]);
    let options = options(&hub, folder.path()).token("hf_write");
    let repository = Repository::create("org/ours", Some(true), false, &options).unwrap();
    let published = repository.upload_folder(folder.path(), &Upload::new("from Rust")).unwrap();
    assert!(published.commit_url.starts_with(url.as_str().unwrap().split("/org/").next().unwrap()));
    assert_eq!(hub.files("org/ours", "main"), hub.files("org/theirs", "main"));
    assert_eq!(hub.files("org/ours", "main").unwrap().len(), 4);
    assert_eq!(hub.is_private("org/ours"), hub.is_private("org/theirs"));
}
