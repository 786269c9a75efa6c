//! Loading from and pushing to a Hub, against a local server that speaks its protocol.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;

use sentence_transformers::hub::{Environment, HubOptions};
use sentence_transformers::save::PushOptions;
use sentence_transformers::{ErrorKind, LoadOptions, SentenceTransformer};
use st_testing::{LocalHub, tiny_model};
use tempfile::TempDir;

fn options(hub: &LocalHub, cache: &TempDir) -> HubOptions {
    let mut environment = Environment::isolated(cache.path());
    environment.endpoint = hub.url();
    HubOptions::with_environment(environment)
}

fn files_of(folder: &Path, prefix: &str, out: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files_of(&entry.path(), &format!("{name}/"), out);
        } else {
            out.push((name, std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// A Hub with a tiny model under the library's own organisation.
fn hub_with_model() -> LocalHub {
    let hub = LocalHub::start();
    let mut files = Vec::new();
    files_of(&tiny_model("tiny-bert"), "", &mut files);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    hub.add("sentence-transformers/tiny-bert", &files);
    hub
}

const TEXTS: [&str; 2] = ["The weather is lovely today.", "It's so sunny outside!"];

#[test]
fn a_model_loads_by_its_short_name_and_then_offline() {
    let (hub, cache) = (hub_with_model(), tempfile::tempdir().unwrap());
    let expected =
        SentenceTransformer::load(tiny_model("tiny-bert").to_str().unwrap()).unwrap().encode(&TEXTS).unwrap();
    let model = LoadOptions::new().hub(options(&hub, &cache)).load("tiny-bert").unwrap();
    assert_eq!(model.encode(&TEXTS).unwrap(), expected);
    assert!(model.origin().contains("sentence-transformers/tiny-bert"), "{}", model.origin());
    hub.forget_requests();
    let offline = LoadOptions::new().hub(options(&hub, &cache)).local_files_only(true).load("tiny-bert").unwrap();
    assert_eq!(offline.encode(&TEXTS).unwrap(), expected);
    assert!(hub.requests().is_empty(), "{:?}", hub.requests());
}

#[test]
fn a_model_that_is_nowhere_is_an_error_with_the_reason() {
    let (hub, cache) = (hub_with_model(), tempfile::tempdir().unwrap());
    let error = LoadOptions::new().hub(options(&hub, &cache)).load("org/nothing").unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Hub), "{error:?}");
    assert!(error.to_string().contains("org/nothing"), "{error}");
    let offline = LoadOptions::new().hub(options(&hub, &cache).local_files_only(true)).load("tiny-bert").unwrap_err();
    assert_eq!(offline.kind(), ErrorKind::Hub, "{offline:?}");
    assert!(offline.hint().is_some(), "{offline:?}");
}

#[test]
fn what_was_pushed_loads_again() {
    let (hub, cache) = (LocalHub::start(), tempfile::tempdir().unwrap());
    hub.require_write_token("secret");
    let model = SentenceTransformer::load(tiny_model("tiny-bert").to_str().unwrap()).unwrap();
    let refused =
        model.push_to_hub("me/new", &PushOptions::new().hub(options(&hub, &cache).without_token())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Hub, "{refused:?}");
    let with_token = options(&hub, &cache).token("secret");
    let push = PushOptions::new().hub(with_token.clone()).private(true).commit_message("First");
    model.push_to_hub("me/new", &push).unwrap();
    assert_eq!(hub.is_private("me/new"), Some(true));
    let again = LoadOptions::new().hub(with_token.clone()).load("me/new").unwrap();
    assert_eq!(again.encode(&TEXTS).unwrap(), model.encode(&TEXTS).unwrap());
    assert!(model.push_to_hub("me/new", &push).is_err(), "an existing repository needs exist_ok");
    model.push_to_hub("me/new", &push.exist_ok(true).revision("side")).unwrap();
    assert!(hub.files("me/new", "side").unwrap().contains_key("modules.json"));
}
