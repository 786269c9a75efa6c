//! What the two hosts answer.

use serde_json::json;

use super::http::{Answer, Request};
use super::store::{Repository, sha256};
use super::{Shared, uploads};

pub(super) fn hub(shared: &Shared, request: &Request) -> Answer {
    let path = decode(request.path());
    let reads = request.method == "GET" || request.method == "HEAD";
    if let Some((id, rest)) = path[1..].split_once("/resolve/").filter(|_| reads) {
        return resolve(shared, request, id, rest);
    }
    if let Some(rest) = path.strip_prefix("/api/models/").filter(|_| reads) {
        let (id, revision) = rest.split_once("/revision/").unwrap_or((rest, "main"));
        return listing(shared, request, id, revision);
    }
    if let Some(rest) = path.strip_prefix("/api/datasets/").filter(|_| reads) {
        let (id, revision) = rest.split_once("/revision/").unwrap_or((rest, "main"));
        return listing(shared, request, &format!("datasets/{id}"), revision);
    }
    if request.method == "POST" {
        return uploads::hub(shared, request, &path);
    }
    Answer::error(404, "", "no such address")
}

pub(super) fn storage(shared: &Shared, request: &Request) -> Answer {
    if let Some(oid) = request.path().strip_prefix("/blob/") {
        return match shared.store().blobs.get(oid) {
            Some(contents) => {
                let mut answer = Answer::new(200);
                answer.body.clone_from(contents);
                answer.set("ETag", &format!("\"storage-{}\"", &oid[..8]));
                answer
            }
            None => Answer::error(404, "", "no such content"),
        };
    }
    uploads::storage(shared, request)
}

/// Why a repository cannot be read, as the Hub says it: who may not see it is told that it does not exist.
fn refusal(repository: Option<&Repository>, request: &Request) -> Option<Answer> {
    let given = request.header("Authorization").and_then(|value| value.strip_prefix("Bearer "));
    let hidden = || Answer::error(if given.is_some() { 404 } else { 401 }, "RepoNotFound", "Repository not found");
    match repository {
        None => Some(hidden()),
        Some(repository) if repository.token.is_some() && repository.token.as_deref() != given => Some(hidden()),
        Some(_) => None,
    }
}

fn resolve(shared: &Shared, request: &Request, id: &str, rest: &str) -> Answer {
    let store = shared.store();
    let repository = store.existing(id);
    if let Some(refusal) = refusal(repository, request) {
        return refusal;
    }
    let Some(repository) = repository else { return Answer::new(404) };
    // A revision may have slashes itself; the longest that exists wins.
    let split =
        rest.match_indices('/').rev().find_map(|(at, _)| Some((repository.commit(&rest[..at])?, &rest[at + 1..])));
    let Some((commit, name)) = split else {
        return Answer::error(404, "RevisionNotFound", "Invalid rev id");
    };
    let Some(entry) = repository.commits.get(commit).and_then(|files| files.get(name)) else {
        let mut answer = Answer::error(404, "EntryNotFound", "Entry not found");
        answer.set("X-Repo-Commit", commit);
        return answer;
    };
    let digest = sha256(&entry.contents);
    let mut answer = Answer::new(if entry.large { 302 } else { 200 });
    answer.set("X-Repo-Commit", commit);
    if entry.large {
        answer.set("X-Linked-Etag", &format!("\"{digest}\""));
        answer.set("X-Linked-Size", &entry.contents.len().to_string());
        answer.set("Location", &format!("http://{}/blob/{digest}?Signature=secret", shared.storage));
    } else {
        answer.set("ETag", &format!("\"{}\"", &digest[..40]));
        answer.body.clone_from(&entry.contents);
    }
    answer
}

fn listing(shared: &Shared, request: &Request, id: &str, revision: &str) -> Answer {
    let store = shared.store();
    let repository = store.existing(id);
    if let Some(refusal) = refusal(repository, request) {
        return refusal;
    }
    let Some(repository) = repository else { return Answer::new(404) };
    let Some(commit) = repository.commit(revision) else {
        return Answer::error(404, "RevisionNotFound", "Invalid rev id");
    };
    let names = repository.commits.get(commit).into_iter().flat_map(|files| files.keys());
    let siblings: Vec<_> = names.chain(&repository.also_listed).map(|name| json!({ "rfilename": name })).collect();
    Answer::json(&json!({
        "_id": "local", "id": id, "modelId": id, "sha": commit, "private": repository.private, "disabled": false,
        "gated": false, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings,
    }))
}

fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = path.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
