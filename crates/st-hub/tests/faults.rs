//! A Hub and a network that misbehave: what is retried, what is refused, and that nothing half-written is visible.

#![expect(clippy::unwrap_used, reason = "the helpers of a test end it like the test itself")]

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use st_hub::{Environment, HubErrorKind, HubOptions, Selection, Source};
use st_testing::{Fault, LocalHub};
use tempfile::TempDir;

const ID: &str = "org/model";
const FILE: &str = "model.safetensors";

struct Stage {
    hub: LocalHub,
    cache: TempDir,
    options: HubOptions,
}

impl Stage {
    fn new() -> Self {
        let hub = LocalHub::start();
        hub.add(ID, &[("config.json", b"{\"model_type\": \"bert\"}".as_slice())]);
        hub.add_large(ID, &[(FILE, weights().as_slice())]);
        let cache = TempDir::new().unwrap();
        let mut environment = Environment::isolated(cache.path());
        environment.endpoint = hub.url();
        environment.etag_timeout = Duration::from_millis(400);
        environment.download_timeout = Duration::from_millis(400);
        let options = HubOptions::with_environment(environment).retries(3, Duration::from_millis(1));
        Self { hub, cache, options }
    }

    fn file(&self, name: &str) -> Result<Option<PathBuf>, st_hub::HubError> {
        Source::resolve(ID, &self.options).unwrap().file(name)
    }

    fn assert_weights_arrive(&self) {
        let path = self.file(FILE).unwrap().unwrap();
        assert!(fs::read(path).unwrap() == weights());
        assert!(!self.has_incomplete());
    }

    fn blobs(&self) -> Vec<String> {
        names(&self.cache.path().join("hub/models--org--model/blobs"))
    }

    fn has_incomplete(&self) -> bool {
        self.blobs().iter().any(|name| name.ends_with(".incomplete"))
    }

    /// No file of a snapshot and no blob under its final name.
    fn assert_nothing_visible(&self) {
        assert!(self.blobs().iter().all(|name| name.ends_with(".incomplete")), "{:?}", self.blobs());
        let snapshots = self.cache.path().join("hub/models--org--model/snapshots");
        for commit in names(&snapshots) {
            assert!(names(&snapshots.join(commit)).is_empty());
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_str().unwrap().to_owned()).collect()
}

fn weights() -> Vec<u8> {
    (0..5_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
}

#[test]
fn a_dropped_connection_is_resumed_where_it_broke() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 3, Fault::DropAfter(1_500_000));
    stage.assert_weights_arrive();
    let ranges: Vec<_> = stage.hub.requests().iter().filter_map(|r| r.header("Range").map(str::to_owned)).collect();
    assert!(ranges.contains(&"bytes=1500000-".to_owned()), "{ranges:?}");
    assert!(ranges.contains(&"bytes=4500000-".to_owned()), "{ranges:?}");
}

#[test]
fn progress_renews_the_retries_but_standing_still_does_not() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 20, Fault::DropAfter(0));
    let error = stage.file(FILE).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Network);
    assert_eq!(stage.hub.count("GET", "/blob/"), 4, "one attempt and three retries");
    stage.assert_nothing_visible();
}

#[test]
fn a_download_left_by_another_run_is_continued() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 4, Fault::DropAfter(900_000));
    assert_eq!(stage.file(FILE).unwrap_err().kind(), HubErrorKind::Network);
    assert!(stage.has_incomplete());
    stage.assert_nothing_visible();
    stage.hub.forget_requests();
    stage.assert_weights_arrive();
    let first = stage.hub.requests().into_iter().find(|request| request.target.contains("/blob/")).unwrap();
    assert_eq!(first.header("Range"), Some("bytes=3600000-"));
}

#[test]
fn a_server_without_ranges_starts_over() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 1, Fault::DropAfter(2_000_000));
    stage.hub.fault("GET", "/blob/", 1, Fault::IgnoreRange);
    stage.assert_weights_arrive();
}

#[test]
fn corrupt_contents_are_fetched_again_once_and_never_shown() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 1, Fault::Corrupt);
    stage.assert_weights_arrive();

    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 99, Fault::Corrupt);
    let error = stage.file(FILE).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Integrity);
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(stage.hub.count("GET", "/blob/"), 2);
    assert!(!stage.has_incomplete());
    stage.assert_nothing_visible();
}

#[test]
fn a_spoiled_leftover_does_not_poison_the_download() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 4, Fault::DropAfter(900_000));
    stage.file(FILE).unwrap_err();
    let folder = stage.cache.path().join("hub/models--org--model/blobs");
    let leftover = folder.join(&stage.blobs()[0]);
    let mut bytes = fs::read(&leftover).unwrap();
    bytes[10] ^= 1;
    fs::write(&leftover, &bytes).unwrap();
    stage.assert_weights_arrive();

    // Longer than the file can be.
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 4, Fault::DropAfter(10));
    stage.file(FILE).unwrap_err();
    let folder = stage.cache.path().join("hub/models--org--model/blobs");
    fs::write(folder.join(&stage.blobs()[0]), vec![0; 6_000_000]).unwrap();
    stage.assert_weights_arrive();
}

#[test]
fn wrong_lengths_are_noticed() {
    for length in [10, 9_000_000] {
        let stage = Stage::new();
        stage.hub.fault("GET", "/blob/", 99, Fault::ContentLength(length));
        let error = stage.file(FILE).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::Integrity, "{length}");
        stage.assert_nothing_visible();
        // A small file, whose entity tag is no digest of the contents alone.
        stage.hub.fault("GET", "config.json", 99, Fault::Body("{}"));
        assert_eq!(stage.file("config.json").unwrap_err().kind(), HubErrorKind::Integrity);
        stage.assert_nothing_visible();
    }
}

#[test]
fn failures_of_the_hub_are_retried_and_then_reported() {
    for status in [429, 500, 502, 503, 504] {
        let stage = Stage::new();
        stage.hub.fault("HEAD", FILE, 2, Fault::Status(status, Vec::new()));
        stage.hub.fault("GET", FILE, 1, Fault::Status(status, Vec::new()));
        stage.hub.fault("GET", "/blob/", 1, Fault::Status(status, Vec::new()));
        stage.assert_weights_arrive();

        stage.hub.fault("GET", "/api/models", 99, Fault::Status(status, Vec::new()));
        stage.hub.forget_requests();
        let other = stage.options.clone().cache_folder(stage.cache.path().join("other"));
        let error = Source::resolve(ID, &other).unwrap().snapshot(&Selection::model()).unwrap_err();
        let expected = if status == 429 { HubErrorKind::RateLimited } else { HubErrorKind::Server };
        assert_eq!(error.kind(), expected);
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(stage.hub.requests().len(), 4);
    }
}

#[test]
fn refusals_are_not_retried() {
    let cases = [
        (401, HubErrorKind::Unauthorized),
        (403, HubErrorKind::Forbidden),
        (404, HubErrorKind::RepositoryNotFound),
        (400, HubErrorKind::Refused),
    ];
    for (status, kind) in cases {
        let stage = Stage::new();
        stage.hub.fault("GET", "/api/models", 99, Fault::Status(status, Vec::new()));
        let error = Source::resolve(ID, &stage.options).unwrap().snapshot(&Selection::model()).unwrap_err();
        assert_eq!(error.kind(), kind, "{status}");
        assert_eq!(stage.hub.requests().len(), 1);
    }
    let stage = Stage::new();
    stage.hub.fault("HEAD", FILE, 1, Fault::Status(403, vec![("X-Error-Code", "GatedRepo")]));
    let source = Source::resolve(ID, &stage.options).unwrap();
    assert_eq!(source.file(FILE).unwrap(), None);
    assert!(source.failure().unwrap().to_string().contains("gated"));
}

#[test]
fn retry_after_is_heeded_within_limits() {
    let stage = Stage::new();
    stage.hub.fault("HEAD", FILE, 1, Fault::Status(429, vec![("Retry-After", "1")]));
    let begun = Instant::now();
    stage.assert_weights_arrive();
    assert!(begun.elapsed() >= Duration::from_secs(1));

    let stage = Stage::new();
    stage.hub.fault("GET", "/api/", 99, Fault::Status(429, vec![("Retry-After", "3600")]));
    let begun = Instant::now();
    let error = Source::resolve(ID, &stage.options).unwrap().snapshot(&Selection::model()).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::RateLimited);
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn time_outs_end_a_silence() {
    let stage = Stage::new();
    stage.hub.fault("HEAD", "config.json", 1, Fault::Slow(Duration::from_secs(20)));
    let begun = Instant::now();
    let source = Source::resolve(ID, &stage.options).unwrap();
    assert_eq!(source.file("config.json").unwrap(), None);
    assert_eq!(source.failure().unwrap().kind(), HubErrorKind::Timeout);
    // The host is known to be silent: the next file does not wait again.
    assert_eq!(source.file("modules.json").unwrap(), None);
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    assert_eq!(stage.hub.requests().len(), 1);

    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 1, Fault::Stall(100, Duration::from_secs(20)));
    let once = stage.options.clone().retries(0, Duration::ZERO);
    let error = Source::resolve(ID, &once).unwrap().file(FILE).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Timeout, "{error:?}");
    stage.hub.fault("GET", "/blob/", 1, Fault::Stall(2_000_000, Duration::from_secs(20)));
    let begun = Instant::now();
    stage.assert_weights_arrive();
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
}

#[test]
fn a_closed_connection_before_the_answer() {
    let stage = Stage::new();
    stage.hub.fault("HEAD", FILE, 2, Fault::Close);
    stage.hub.fault("GET", FILE, 2, Fault::Close);
    stage.assert_weights_arrive();
}

#[test]
fn hostile_names_in_a_listing_are_refused_before_anything_is_written() {
    for name in
        ["../evil.json", "/etc/evil.json", r"..\evil.json", "C:/evil.json", "a/../../evil.json", "nul.json", "a\0.json"]
    {
        let stage = Stage::new();
        stage.hub.list_also(ID, name);
        let error = Source::resolve(ID, &stage.options).unwrap().snapshot(&Selection::model()).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::UnsafeFileName, "{name}");
        assert_eq!(stage.hub.requests().len(), 1);
        assert!(!stage.cache.path().join("hub").exists());
    }
}

#[test]
fn hostile_headers_do_not_reach_the_file_system() {
    let stage = Stage::new();
    stage.hub.fault("HEAD", "config.json", 1, Fault::Header("ETag", "\"../../../evil\"".to_owned()));
    assert_eq!(stage.file("config.json").unwrap_err().kind(), HubErrorKind::UnsafeFileName);

    stage.hub.fault("HEAD", "config.json", 1, Fault::Header("X-Repo-Commit", "../../evil".to_owned()));
    let source = Source::resolve(ID, &stage.options).unwrap();
    assert_eq!(source.file("config.json").unwrap(), None);
    assert_eq!(source.failure().unwrap().kind(), HubErrorKind::Protocol);
    stage.assert_nothing_visible();

    stage.hub.fault("HEAD", FILE, 1, Fault::Header("X-Linked-Size", (1_u64 << 50).to_string()));
    assert_eq!(stage.file(FILE).unwrap_err().kind(), HubErrorKind::TooLarge);
    stage.assert_nothing_visible();
}

#[test]
fn redirects_keep_the_token_at_home_and_end() {
    let stage = Stage::new();
    let elsewhere = LocalHub::start();
    let target = format!("{}/stolen", elsewhere.url());
    let options = stage.options.clone().token("hf_secret");
    stage.hub.fault("GET", "/api/models", 1, Fault::Redirect(target));
    Source::resolve(ID, &options).unwrap().snapshot(&Selection::model()).unwrap_err();
    let seen = elsewhere.requests();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].header("Authorization").is_none());
    assert_eq!(stage.hub.requests()[0].header("Authorization"), Some("Bearer hf_secret"));

    // A renamed repository: a relative redirect on the same host keeps the token.
    stage.hub.forget_requests();
    stage.hub.fault("HEAD", "old/name", 1, Fault::Redirect(format!("/{ID}/resolve/main/config.json")));
    stage.hub.fault("GET", "old/name", 1, Fault::Redirect(format!("/{ID}/resolve/main/config.json")));
    let renamed = Source::resolve("old/name", &options).unwrap();
    assert!(renamed.file("config.json").unwrap().is_some());
    assert!(stage.hub.requests().iter().all(|request| request.header("Authorization").is_some()));

    stage.hub.fault("HEAD", "config.json", 99, Fault::Redirect(format!("/{ID}/resolve/main/config.json")));
    let source = Source::resolve(ID, &stage.options).unwrap();
    assert_eq!(source.file("config.json").unwrap(), None);
    assert!(source.failure().unwrap().to_string().contains("redirects"));
}

#[test]
fn a_page_that_is_no_hub_is_named_as_such() {
    let stage = Stage::new();
    stage.hub.fault("HEAD", "config.json", 1, Fault::Status(404, Vec::new()));
    let source = Source::resolve(ID, &stage.options).unwrap();
    assert_eq!(source.file("config.json").unwrap(), None);
    assert_eq!(source.failure().unwrap().kind(), HubErrorKind::FileNotFound);
    assert!(!stage.cache.path().join("hub").exists(), "a bare 404 is not remembered as the absence of the file");

    stage.hub.fault("GET", "/api/models", 1, Fault::Body("<html>please log in</html>"));
    let error = Source::resolve(ID, &stage.options).unwrap().snapshot(&Selection::model()).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Protocol);
    assert!(error.hint().unwrap().contains("HF_ENDPOINT"));
}

#[test]
fn a_changed_entity_tag_brings_the_new_contents() {
    let stage = Stage::new();
    let old = stage.file("config.json").unwrap().unwrap();
    stage.hub.add(ID, &[("config.json", b"{}".as_slice())]);
    let new = stage.file("config.json").unwrap().unwrap();
    assert_ne!(old, new);
    assert_eq!(fs::read_to_string(new).unwrap(), "{}");
    assert!(fs::read_to_string(old).unwrap().contains("bert"), "the old snapshot stays whole");
}

#[cfg(unix)]
#[test]
fn a_cache_that_cannot_be_written_is_an_error_that_names_it() {
    let stage = Stage::new();
    let file = stage.cache.path().join("occupied");
    fs::write(&file, "not a folder").unwrap();
    let options = stage.options.clone().cache_folder(&file);
    let error = Source::resolve(ID, &options).unwrap().file("config.json").unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Io);
    assert!(error.path().unwrap().starts_with(&file));
}

/// The half of the next test that is ended in the middle: downloads where the parent says.
#[test]
fn child_that_downloads_until_it_is_killed() {
    let (Ok(endpoint), Ok(cache)) = (env::var("ST_HUB_TEST_ENDPOINT"), env::var("ST_HUB_TEST_CACHE")) else { return };
    let mut environment = Environment::isolated(&cache);
    environment.endpoint = endpoint;
    let options = HubOptions::with_environment(environment);
    drop(Source::resolve(ID, &options).unwrap().file(FILE));
}

#[test]
fn a_killed_process_leaves_a_cache_that_the_next_one_continues() {
    let stage = Stage::new();
    stage.hub.fault("GET", "/blob/", 1, Fault::Stall(2_000_000, Duration::from_secs(60)));
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child_that_downloads_until_it_is_killed"])
        .env("ST_HUB_TEST_ENDPOINT", stage.hub.url())
        .env("ST_HUB_TEST_CACHE", stage.cache.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let blobs = stage.cache.path().join("hub/models--org--model/blobs");
    let begun = Instant::now();
    let written =
        || stage.blobs().first().map_or(0, |name| fs::metadata(blobs.join(name)).map_or(0, |data| data.len()));
    while written() < 2_000_000 && begun.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(5));
    }
    // While the child lives, its lock keeps others away.
    let impatient = stage.options.clone().lock_timeout(Duration::ZERO);
    let error = Source::resolve(ID, &impatient).unwrap().file(FILE).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Locked);
    child.kill().unwrap();
    child.wait().unwrap();
    stage.assert_nothing_visible();
    stage.hub.forget_requests();
    stage.assert_weights_arrive();
    let requests = stage.hub.requests();
    assert!(requests.iter().any(|request| request.header("Range") == Some("bytes=2000000-")));
}
