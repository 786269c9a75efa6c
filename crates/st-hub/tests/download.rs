//! Files and snapshots from a local Hub into the standard cache.

#![expect(clippy::unwrap_used, reason = "the helpers of a test end it like the test itself")]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use st_hub::{Environment, HubDataset, HubErrorKind, HubOptions, Progress, Selection, Source};
use st_testing::{Fault, Host, LocalHub};
use tempfile::TempDir;

const ID: &str = "org/model";

fn options(hub: &LocalHub, cache: &TempDir) -> HubOptions {
    let mut environment = Environment::isolated(cache.path());
    environment.endpoint = hub.url();
    environment.etag_timeout = Duration::from_secs(5);
    environment.download_timeout = Duration::from_secs(5);
    HubOptions::with_environment(environment).retries(4, Duration::from_millis(1))
}

fn weights() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn hub_with_model() -> (LocalHub, String) {
    let hub = LocalHub::start();
    hub.add(
        ID,
        &[
            ("modules.json", b"[]".as_slice()),
            ("1_Pooling/config.json", b"{\"pooling_mode_mean_tokens\": true}"),
            ("README.md", b"# card"),
            ("modeling_own.py", b"raise SystemExit"),
            (".gitattributes", b"*.safetensors filter=lfs"),
        ],
    );
    let commit = hub.add_large(
        ID,
        &[
            ("model.safetensors", weights().as_slice()),
            ("pytorch_model.bin", b"same weights"),
            ("onnx/model.onnx", b"again the same weights"),
        ],
    );
    (hub, commit)
}

fn names_below(folder: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(root, &path, names);
            } else {
                names.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut names = Vec::new();
    walk(folder, folder, &mut names);
    names.sort();
    names
}

#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<(String, u64)>>, Mutex<Vec<String>>);

impl Progress for Recorder {
    fn started(&self, file: &str, total: u64, already: u64) {
        assert!(already <= total);
        self.0.lock().unwrap().push((file.to_owned(), already));
    }
    fn advanced(&self, file: &str, bytes: u64) {
        self.0.lock().unwrap().push((file.to_owned(), bytes));
    }
    fn finished(&self, file: &str) {
        self.1.lock().unwrap().push(file.to_owned());
    }
}

#[test]
fn a_snapshot_brings_what_a_model_needs_in_the_standard_layout() {
    let (hub, commit) = hub_with_model();
    let cache = TempDir::new().unwrap();
    let progress = Arc::new(Recorder::default());
    let source = Source::resolve(ID, &options(&hub, &cache).progress(progress.clone())).unwrap();
    let folder = source.snapshot(&Selection::model()).unwrap();

    let model = cache.path().join("hub/models--org--model");
    assert_eq!(folder, model.join("snapshots").join(&commit));
    assert_eq!(names_below(&folder), ["1_Pooling/config.json", "README.md", "model.safetensors", "modules.json"]);
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(fs::read_to_string(model.join("refs/main")).unwrap(), commit);
    assert_eq!(source.commit().as_deref(), Some(commit.as_str()));
    assert!(source.origin().contains(&commit));
    let blobs = names_below(&model.join("blobs"));
    assert_eq!(blobs.len(), 4);
    assert!(blobs.iter().all(|name| name.len() == 40 || name.len() == 64), "{blobs:?}");
    #[cfg(unix)]
    assert!(fs::read_link(folder.join("modules.json")).unwrap().starts_with("../../blobs"));

    let bytes: u64 =
        progress.0.lock().unwrap().iter().filter(|(file, _)| file == "model.safetensors").map(|e| e.1).sum();
    assert_eq!(bytes, weights().len() as u64);
    assert_eq!(progress.1.lock().unwrap().len(), 4);

    // All there: a second snapshot asks for the listing only.
    hub.forget_requests();
    let again = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    assert_eq!(again.snapshot(&Selection::model()).unwrap(), folder);
    assert_eq!(hub.requests().len(), 1);
    let with_onnx = again.snapshot(&Selection::model().also("onnx")).unwrap();
    assert!(with_onnx.join("onnx/model.onnx").is_file());
}

#[test]
fn single_files_are_fetched_once_and_absence_is_remembered() {
    let (hub, commit) = hub_with_model();
    let cache = TempDir::new().unwrap();
    let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    let path = source.file("1_Pooling/config.json").unwrap().unwrap();
    assert!(fs::read_to_string(path).unwrap().contains("mean_tokens"));
    assert_eq!(source.file("config_sentence_transformers.json").unwrap(), None);
    let marker = format!("hub/models--org--model/.no_exist/{commit}/config_sentence_transformers.json");
    assert!(cache.path().join(marker).is_file());
    assert!(source.failure().is_none());

    hub.forget_requests();
    assert!(source.file("1_Pooling/config.json").unwrap().is_some());
    assert_eq!(source.file("config_sentence_transformers.json").unwrap(), None);
    assert_eq!(hub.requests().len(), 0, "the commit is settled, so the cache knows both answers");
}

#[test]
fn offline_means_no_request_at_all() {
    let (hub, _) = hub_with_model();
    let cache = TempDir::new().unwrap();
    let online = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    let folder = online.snapshot(&Selection::model()).unwrap();
    hub.forget_requests();

    let mut environment = Environment::isolated(cache.path());
    environment.endpoint = hub.url();
    environment.offline = true;
    for offline in [options(&hub, &cache).local_files_only(true), HubOptions::with_environment(environment)] {
        let source = Source::resolve(ID, &offline).unwrap();
        assert_eq!(source.snapshot(&Selection::model()).unwrap(), folder);
        assert_eq!(source.file("modules.json").unwrap(), Some(folder.join("modules.json")));
        assert_eq!(source.file("config.json").unwrap(), None);
        assert_eq!(source.failure().unwrap().kind(), HubErrorKind::NotCached);

        let unknown = Source::resolve("org/unknown", &offline).unwrap();
        let error = unknown.snapshot(&Selection::model()).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::NotCached);
        assert!(error.hint().unwrap().contains("HF_HUB_OFFLINE"));
    }
    assert_eq!(hub.requests().len(), 0);
}

#[test]
fn revisions_are_branches_commits_and_pull_requests() {
    let hub = LocalHub::start();
    let first = hub.add(ID, &[("config.json", b"1".as_slice())]);
    hub.add(ID, &[("config.json", b"2".as_slice())]);
    hub.add_to(ID, "refs/pr/7", &[("config.json", b"3".as_slice())]);
    let cache = TempDir::new().unwrap();
    let read = |revision: &str| {
        let source = Source::resolve(ID, &options(&hub, &cache).revision(revision)).unwrap();
        let by_file = fs::read_to_string(source.file("config.json").unwrap().unwrap()).unwrap();
        let folder = source.snapshot(&Selection::model()).unwrap();
        assert_eq!(by_file, fs::read_to_string(folder.join("config.json")).unwrap());
        by_file
    };
    assert_eq!((read("main"), read(&first), read("refs/pr/7")), ("2".into(), "1".into(), "3".into()));
    assert!(cache.path().join("hub/models--org--model/refs/refs/pr/7").is_file());

    // A commit that is cached needs no request.
    hub.forget_requests();
    let source = Source::resolve(ID, &options(&hub, &cache).revision(&first)).unwrap();
    assert!(source.file("config.json").unwrap().is_some());
    assert_eq!(hub.requests().len(), 0);

    let missing = Source::resolve(ID, &options(&hub, &cache).revision("v9")).unwrap();
    assert_eq!(missing.file("config.json").unwrap(), None);
    assert_eq!(missing.failure().unwrap().kind(), HubErrorKind::RevisionNotFound);
    assert_eq!(missing.snapshot(&Selection::model()).unwrap_err().kind(), HubErrorKind::RevisionNotFound);
}

#[test]
fn a_moved_branch_is_followed_and_one_source_stays_on_its_commit() {
    let hub = LocalHub::start();
    let first = hub.add(ID, &[("config.json", b"1".as_slice()), ("vocab.txt", b"1")]);
    let cache = TempDir::new().unwrap();
    let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    source.file("config.json").unwrap().unwrap();
    let second = hub.add(ID, &[("config.json", b"2".as_slice()), ("vocab.txt", b"2")]);

    // The files of one source belong together.
    let vocabulary = source.file("vocab.txt").unwrap().unwrap();
    assert_eq!(fs::read_to_string(vocabulary).unwrap(), "1");
    assert_eq!(source.commit(), Some(first));

    let later = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    assert_eq!(fs::read_to_string(later.file("config.json").unwrap().unwrap()).unwrap(), "2");
    assert_eq!(later.commit(), Some(second));
}

#[test]
fn the_cache_serves_when_the_hub_is_down() {
    let (hub, _) = hub_with_model();
    let cache = TempDir::new().unwrap();
    let folder = Source::resolve(ID, &options(&hub, &cache)).unwrap().snapshot(&Selection::model()).unwrap();
    hub.fault("GET", "/api/models", 99, Fault::Status(503, Vec::new()));
    let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    assert_eq!(source.snapshot(&Selection::model()).unwrap(), folder);
    assert_eq!(source.failure().unwrap().kind(), HubErrorKind::Server);

    hub.stop();
    let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    assert_eq!(source.file("modules.json").unwrap(), Some(folder.join("modules.json")));
    assert_eq!(source.file("config.json").unwrap(), None);
    assert_eq!(source.failure().unwrap().kind(), HubErrorKind::Network);
    assert_eq!(source.snapshot(&Selection::model()).unwrap(), folder);

    let unknown = Source::resolve("org/unknown", &options(&hub, &cache)).unwrap();
    let error = unknown.snapshot(&Selection::model()).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Network);
    assert!(error.hint().is_some() && error.url().is_some());
}

#[test]
fn private_models_need_the_token_and_storage_never_sees_it() {
    let (hub, _) = hub_with_model();
    hub.make_private(ID, "hf_secret");
    let cache = TempDir::new().unwrap();

    let anonymous = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    assert_eq!(anonymous.file("modules.json").unwrap(), None);
    let failure = anonymous.failure().unwrap();
    assert_eq!(failure.kind(), HubErrorKind::RepositoryNotFound);
    assert!(failure.hint().unwrap().contains("HF_TOKEN"));
    assert_eq!(anonymous.snapshot(&Selection::model()).unwrap_err().kind(), HubErrorKind::RepositoryNotFound);

    fs::write(cache.path().join("token"), "hf_secret\n").unwrap();
    let folder = Source::resolve(ID, &options(&hub, &cache)).unwrap().snapshot(&Selection::model()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    let requests = hub.requests();
    let to_storage: Vec<_> = requests.iter().filter(|request| request.host == Host::Storage).collect();
    assert!(!to_storage.is_empty());
    assert!(to_storage.iter().all(|request| request.header("Authorization").is_none()));

    hub.forget_requests();
    drop(Source::resolve(ID, &options(&hub, &cache).without_token()).unwrap().file("other.json"));
    assert!(hub.requests().iter().all(|request| request.header("Authorization").is_none()));
}

#[test]
fn many_threads_download_a_file_once() {
    let (hub, _) = hub_with_model();
    let cache = TempDir::new().unwrap();
    hub.fault("GET", "/blob/", 1, Fault::Slow(Duration::from_millis(200)));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
                let path = source.file("model.safetensors").unwrap().unwrap();
                assert_eq!(fs::metadata(path).unwrap().len(), weights().len() as u64);
            });
        }
    });
    assert_eq!(hub.count("GET", "/blob/"), 1);
}

#[test]
fn cache_folder_option_stands_before_the_environment() {
    let (hub, commit) = hub_with_model();
    let (cache, own) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let source = Source::resolve(ID, &options(&hub, &cache).cache_folder(own.path())).unwrap();
    let path = source.file("modules.json").unwrap().unwrap();
    assert_eq!(path, own.path().join(format!("models--org--model/snapshots/{commit}/modules.json")));
    assert!(names_below(cache.path()).is_empty());
}

#[test]
fn names_that_need_encoding_arrive() {
    let hub = LocalHub::start();
    hub.add(ID, &[("a dir/größe #1 100%.json", b"x".as_slice())]);
    let cache = TempDir::new().unwrap();
    let source = Source::resolve(ID, &options(&hub, &cache)).unwrap();
    let folder = source.snapshot(&Selection::model()).unwrap();
    assert_eq!(names_below(&folder), ["a dir/größe #1 100%.json"]);
}

#[test]
fn a_data_set_has_its_own_addresses_and_its_own_folder() {
    let (hub, cache) = (LocalHub::start(), tempfile::tempdir().unwrap());
    hub.add("datasets/org/data", &[("corpus/NanoNQ-00000-of-00001.parquet", b"rows".as_slice()), ("README.md", b"x")]);
    hub.add("org/data", &[("config.json", b"{}".as_slice())]);
    let dataset = HubDataset::new("org/data", &options(&hub, &cache)).unwrap();
    let folder = dataset.snapshot(&Selection::matching(|name| name.ends_with(".parquet"))).unwrap();
    assert_eq!(names_below(&folder), ["corpus/NanoNQ-00000-of-00001.parquet"]);
    assert!(folder.starts_with(cache.path().join("hub/datasets--org--data/snapshots")), "{}", folder.display());
    assert_eq!(
        dataset.file("README.md").unwrap().map(|path| fs::read(path).unwrap()).as_deref(),
        Some(b"x".as_slice())
    );
    assert_eq!(dataset.file("config.json").unwrap(), None, "that is a file of the model of the same name");
    hub.stop();
    let offline = HubDataset::new("org/data", &options(&hub, &cache).local_files_only(true)).unwrap();
    assert_eq!(offline.snapshot(&Selection::everything()).unwrap(), folder);
    assert_eq!(dataset.snapshot(&Selection::everything()).unwrap(), folder, "no network: the cache serves");
}
