//! A folder to a local Hub and back.

#![expect(clippy::unwrap_used, reason = "the helpers of a test end it like the test itself")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use st_hub::{Environment, HubErrorKind, HubOptions, Repository, Selection, Source, Upload};
use st_testing::{Fault, Host, LocalHub};
use tempfile::TempDir;

const TOKEN: &str = "hf_write";

fn options(hub: &LocalHub, home: &Path) -> HubOptions {
    let mut environment = Environment::isolated(home);
    environment.endpoint = hub.url();
    HubOptions::with_environment(environment).token(TOKEN).retries(3, Duration::from_millis(1))
}

fn weights() -> Vec<u8> {
    (0..2_500_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// A model folder, a Hub that wants a token, and a home for the cache.
fn stage() -> (LocalHub, TempDir, TempDir) {
    let hub = LocalHub::start();
    hub.require_write_token(TOKEN);
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    fs::write(folder.path().join("1_Pooling/config.json"), "{}").unwrap();
    fs::write(folder.path().join("modules.json"), "[]").unwrap();
    fs::write(folder.path().join("README.md"), "# größe").unwrap();
    fs::write(folder.path().join("empty.txt"), "").unwrap();
    fs::write(folder.path().join("model.safetensors"), weights()).unwrap();
    (hub, folder, TempDir::new().unwrap())
}

fn assert_published(hub: &LocalHub, id: &str, revision: &str) {
    let files = hub.files(id, revision).unwrap();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["1_Pooling/config.json", "README.md", "empty.txt", "model.safetensors", "modules.json"]
    );
    assert!(files["model.safetensors"] == weights());
    assert_eq!(files["README.md"], "# größe".as_bytes());
}

#[test]
fn a_pushed_folder_comes_back_the_same() {
    let (hub, folder, home) = stage();
    let options = options(&hub, home.path());
    let repository = Repository::create("org/mine", Some(true), false, &options).unwrap();
    let upload = Upload::new("Add new SentenceTransformer model").description("why");
    let published = repository.upload_folder(folder.path(), &upload).unwrap();
    assert_eq!(published.commit_url, format!("{}/org/mine/commit/{}", hub.url(), published.commit));
    assert_eq!(published.pull_request_url, None);
    assert_eq!(hub.is_private("org/mine"), Some(true));
    assert_eq!(hub.messages("org/mine"), [("Add new SentenceTransformer model".to_owned(), "why".to_owned())]);
    assert_published(&hub, "org/mine", "main");
    assert!(hub.requests().iter().all(|r| (r.host == Host::Storage) == r.header("Authorization").is_none()));

    let source = Source::resolve("org/mine", &options).unwrap();
    let back = source.snapshot(&Selection::everything()).unwrap();
    assert!(fs::read(back.join("model.safetensors")).unwrap() == weights());
    assert_eq!(source.commit(), Some(published.commit));

    // Contents that the Hub has are not sent again.
    hub.forget_requests();
    repository.upload_folder(folder.path(), &Upload::new("again")).unwrap();
    assert_eq!(hub.count("PUT", "/"), 0);
}

#[test]
fn a_name_without_an_organisation_belongs_to_the_user() {
    let (hub, folder, home) = stage();
    let repository = Repository::create("mine", None, false, &options(&hub, home.path())).unwrap();
    assert_eq!(repository.id(), "tester/mine");
    assert_eq!(repository.url(), format!("{}/tester/mine", hub.url()));
    assert!(!format!("{repository:?}").contains(TOKEN));
    repository.upload_folder(folder.path(), &Upload::new("m")).unwrap();
    assert_published(&hub, "tester/mine", "main");
    assert_eq!(hub.is_private("tester/mine"), Some(false));
}

#[test]
fn an_existing_repository_needs_permission() {
    let (hub, _folder, home) = stage();
    let options = options(&hub, home.path());
    hub.add("org/mine", &[("config.json", b"{}".as_slice())]);
    let error = Repository::create("org/mine", None, false, &options).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Conflict);
    assert!(error.hint().unwrap().contains("exist_ok"));
    assert_eq!(Repository::create("org/mine", None, true, &options).unwrap().id(), "org/mine");
    // Someone else's: creation is forbidden, the repository is there.
    hub.fault("POST", "/api/repos/create", 2, Fault::Status(403, Vec::new()));
    assert_eq!(Repository::create("org/mine", None, true, &options).unwrap().id(), "org/mine");
    let error = Repository::create("org/absent", None, true, &options).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Forbidden);
}

#[test]
fn branches_and_pull_requests() {
    let (hub, folder, home) = stage();
    let repository = Repository::create("org/mine", None, false, &options(&hub, home.path())).unwrap();
    repository.create_branch("v2/beta").unwrap();
    repository.create_branch("v2/beta").unwrap();
    repository.upload_folder(folder.path(), &Upload::new("m").revision("v2/beta")).unwrap();
    assert_published(&hub, "org/mine", "v2/beta");
    assert!(hub.files("org/mine", "main").unwrap().is_empty());

    let published = repository.upload_folder(folder.path(), &Upload::new("m").create_pull_request(true)).unwrap();
    assert_eq!(published.pull_request_url, Some(format!("{}/org/mine/discussions/1", hub.url())));
    assert_published(&hub, "org/mine", "refs/pr/1");
    assert!(hub.files("org/mine", "main").unwrap().is_empty());

    let error = repository.upload_folder(folder.path(), &Upload::new("m").revision("absent")).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::RevisionNotFound);
}

#[test]
fn large_files_go_in_parts_where_the_hub_asks() {
    let (hub, folder, home) = stage();
    hub.upload_in_parts(1_000_000);
    let repository = Repository::create("org/mine", None, false, &options(&hub, home.path())).unwrap();
    hub.fault("PUT", "/part/", 1, Fault::Status(500, Vec::new()));
    hub.fault("PUT", "/part/", 1, Fault::Close);
    repository.upload_folder(folder.path(), &Upload::new("m")).unwrap();
    assert_published(&hub, "org/mine", "main");
    assert_eq!(hub.count("PUT", "/part/"), 5);
    assert_eq!(hub.count("POST", "/complete/"), 1);
}

#[test]
fn ignored_files_and_tool_folders_stay_here() {
    let (hub, folder, home) = stage();
    hub.ignore("secret.txt");
    fs::write(folder.path().join("secret.txt"), "x").unwrap();
    fs::create_dir(folder.path().join(".git")).unwrap();
    fs::write(folder.path().join(".git/config"), "x").unwrap();
    let repository = Repository::create("org/mine", None, false, &options(&hub, home.path())).unwrap();
    repository.upload_folder(folder.path(), &Upload::new("m")).unwrap();
    assert_published(&hub, "org/mine", "main");
}

#[test]
fn failures_leave_the_repository_as_it_was() {
    let (hub, folder, home) = stage();
    let options = options(&hub, home.path());
    let repository = Repository::create("org/mine", None, false, &options).unwrap();
    for (method, part, status, kind) in [
        ("POST", "/preupload/", 403, HubErrorKind::Forbidden),
        ("POST", "/objects/batch", 500, HubErrorKind::Server),
        ("PUT", "/upload/", 503, HubErrorKind::Server),
        ("POST", "/verify/", 404, HubErrorKind::FileNotFound),
        ("POST", "/commit/", 503, HubErrorKind::Server),
    ] {
        // A commit is not repeated: it may have been made. Everything else is.
        let expected = if status >= 500 && part != "/commit/" { 4 } else { 1 };
        hub.fault(method, part, expected, Fault::Status(status, Vec::new()));
        hub.forget_requests();
        fs::write(folder.path().join("model.safetensors"), [weights(), part.as_bytes().to_vec()].concat()).unwrap();
        let error = repository.upload_folder(folder.path(), &Upload::new("m")).unwrap_err();
        assert_eq!(error.kind(), kind, "{part}");
        assert!(hub.files("org/mine", "main").unwrap().is_empty());
        assert_eq!(hub.count(method, part), expected, "{part}");
    }
}

#[test]
fn writing_needs_a_token_and_a_network() {
    let (hub, _folder, home) = stage();
    let options = options(&hub, home.path());
    let error = Repository::open("org/mine", &options.clone().without_token()).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Unauthorized);
    let error = Repository::open("org/mine", &options.clone().local_files_only(true)).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Offline);
    assert!(hub.requests().is_empty());
    let error = Repository::create("org/mine", None, false, &options.clone().token("wrong")).unwrap_err();
    assert_eq!(error.kind(), HubErrorKind::Unauthorized);
    let repository = Repository::open("org/mine", &options).unwrap();
    let empty = TempDir::new().unwrap();
    assert_eq!(
        repository.upload_folder(empty.path(), &Upload::new("m")).unwrap_err().kind(),
        HubErrorKind::FileNotFound
    );
    let missing = empty.path().join("missing");
    assert_eq!(repository.upload_folder(&missing, &Upload::new("m")).unwrap_err().kind(), HubErrorKind::Io);
}
