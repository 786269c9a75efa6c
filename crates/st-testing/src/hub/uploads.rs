//! The upload half: repositories, branches, large contents in one piece or in parts, commits.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Shared;
use super::http::{Answer, Request};
use super::store::{Entry, sha256};

/// The owner of repositories that are created without an organisation.
const USER: &str = "tester";
/// Contents from this size on go to the storage.
const LARGE: u64 = 1000;

pub(super) fn hub(shared: &Shared, request: &Request, path: &str) -> Answer {
    // The address of a completion is its own permission: clients come without a token.
    if let Some(oid) = path.strip_prefix("/complete/") {
        return complete(shared, request, oid);
    }
    if let Some(needed) = shared.store().write_token.as_deref()
        && request.header("Authorization") != Some(&format!("Bearer {needed}"))
    {
        return Answer::error(401, "", "Invalid username or password.");
    }
    if path == "/api/repos/create" {
        return create(shared, request);
    }
    if let Some(id) = path[1..].strip_suffix(".git/info/lfs/objects/batch") {
        return batch(shared, request, id);
    }
    if let Some(oid) = path.strip_prefix("/verify/") {
        let there = shared.store().blobs.contains_key(oid);
        return if there { Answer::new(200) } else { Answer::error(404, "", "not uploaded") };
    }
    let rest = path.strip_prefix("/api/models/").unwrap_or_default();
    for (verb, act) in [("/branch/", branch as Act), ("/preupload/", preupload), ("/commit/", commit)] {
        if let Some((id, revision)) = rest.split_once(verb) {
            if shared.store().existing(id).is_none() {
                return Answer::error(404, "RepoNotFound", "Repository not found");
            }
            return act(shared, request, id, revision);
        }
    }
    Answer::error(404, "", "no such address")
}

type Act = fn(&Shared, &Request, &str, &str) -> Answer;

pub(super) fn storage(shared: &Shared, request: &Request) -> Answer {
    if request.header("Authorization").is_some() {
        return Answer::error(400, "", "only one auth mechanism allowed");
    }
    let mut answer = Answer::new(200);
    let path = request.path();
    if request.method != "PUT" {
        return Answer::error(405, "", "only PUT");
    }
    if let Some(oid) = path.strip_prefix("/upload/") {
        if sha256(&request.body) != oid {
            return Answer::error(400, "", "the content does not have the digest");
        }
        shared.store().blobs.insert(oid.to_owned(), request.body.clone());
    } else if let Some((oid, number)) = path.strip_prefix("/part/").and_then(|rest| rest.split_once('/')) {
        let Ok(number) = number.parse() else { return Answer::new(400) };
        shared.store().parts.insert((oid.to_owned(), number), request.body.clone());
        answer.set("ETag", &format!("\"part-{number}\""));
    } else {
        return Answer::new(404);
    }
    answer
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap_or(Value::Null)
}

fn create(shared: &Shared, request: &Request) -> Answer {
    let asked = body(request);
    let Some(name) = asked["name"].as_str() else { return Answer::error(400, "", "name is missing") };
    let id = format!("{}/{name}", asked["organization"].as_str().unwrap_or(USER));
    let mut answer = Answer::json(&json!({ "url": format!("http://{}/{id}", shared.hub), "name": id }));
    let mut store = shared.store();
    if store.existing(&id).is_some() {
        answer.status = 409;
    } else {
        store.repository(&id).private = asked["private"].as_bool().unwrap_or(false);
    }
    answer
}

fn branch(shared: &Shared, _request: &Request, id: &str, name: &str) -> Answer {
    let mut store = shared.store();
    let repository = store.repository(id);
    if repository.references.contains_key(name) {
        return Answer::error(409, "", "Reference already exists");
    }
    if let Some(main) = repository.references.get("main").cloned() {
        repository.references.insert(name.to_owned(), main);
    }
    Answer::json(&json!({}))
}

fn preupload(shared: &Shared, request: &Request, id: &str, revision: &str) -> Answer {
    let store = shared.store();
    if store.existing(id).and_then(|repository| repository.commit(revision)).is_none() {
        return Answer::error(404, "RevisionNotFound", "Invalid rev id");
    }
    let asked = body(request);
    let files: Vec<_> = asked["files"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|file| {
            let path = file["path"].as_str().unwrap_or_default();
            let large = file["size"].as_u64().unwrap_or(0) >= LARGE || path.ends_with(".safetensors");
            let ignored = store.ignored.iter().any(|name| name == path);
            json!({ "path": path, "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": ignored })
        })
        .collect();
    Answer::json(&json!({ "files": files }))
}

fn batch(shared: &Shared, request: &Request, id: &str) -> Answer {
    let store = shared.store();
    if store.existing(id).is_none() {
        return Answer::error(404, "RepoNotFound", "Repository not found");
    }
    let asked = body(request);
    let upload = |oid: &str, size: u64| match store.part_size.map(|part| part as u64).filter(|part| size > *part) {
        None => json!({ "href": format!("http://{}/upload/{oid}?Signature=secret", shared.storage) }),
        Some(part) => {
            let mut header = json!({ "chunk_size": part.to_string() });
            for number in 1..=size.div_ceil(part) {
                header[number.to_string()] = json!(format!("http://{}/part/{oid}/{number}", shared.storage));
            }
            json!({ "href": format!("http://{}/complete/{oid}", shared.hub), "header": header })
        }
    };
    let objects: Vec<_> = asked["objects"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|object| {
            let (oid, size) = (object["oid"].as_str().unwrap_or_default(), object["size"].as_u64().unwrap_or(0));
            let mut answer = json!({ "oid": oid, "size": size });
            if !store.blobs.contains_key(oid) {
                let verify = format!("http://{}/verify/{oid}", shared.hub);
                answer["actions"] = json!({ "upload": upload(oid, size), "verify": { "href": verify } });
            }
            answer
        })
        .collect();
    Answer::json(&json!({ "transfer": "basic", "objects": objects }))
}

fn complete(shared: &Shared, request: &Request, oid: &str) -> Answer {
    let asked = body(request);
    let mut store = shared.store();
    let mut contents = Vec::new();
    for part in asked["parts"].as_array().into_iter().flatten() {
        let number = part["partNumber"].as_u64().unwrap_or(0) as usize;
        if part["etag"] != json!(format!("\"part-{number}\"")) {
            return Answer::error(400, "", "wrong entity tag of a part");
        }
        contents.extend(store.parts.remove(&(oid.to_owned(), number)).unwrap_or_default());
    }
    if sha256(&contents) != oid {
        return Answer::error(400, "", "the parts do not make the content");
    }
    store.blobs.insert(oid.to_owned(), contents);
    Answer::json(&json!({}))
}

fn commit(shared: &Shared, request: &Request, id: &str, revision: &str) -> Answer {
    let mut store = shared.store();
    let mut tree = {
        let repository = store.repository(id);
        let parent = repository.commit(revision).map(str::to_owned);
        match parent.and_then(|parent| repository.commits.get(&parent).cloned()) {
            Some(tree) => tree,
            None => return Answer::error(404, "RevisionNotFound", "Invalid rev id"),
        }
    };
    let mut message = (String::new(), String::new());
    for line in request.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let Ok(operation) = serde_json::from_slice::<Value>(line) else {
            return Answer::error(400, "", "a line is not JSON");
        };
        let value = &operation["value"];
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        match operation["key"].as_str() {
            Some("header") => message = (text("summary"), text("description")),
            Some("file") => {
                let Ok(contents) = STANDARD.decode(text("content")) else {
                    return Answer::error(400, "", "a content is not base64");
                };
                tree.insert(text("path"), Entry { contents, large: false });
            }
            Some("lfsFile") => {
                let Some(contents) = store.blobs.get(&text("oid")).cloned() else {
                    return Answer::error(400, "", "a large content was not uploaded");
                };
                tree.insert(text("path"), Entry { contents, large: true });
            }
            _ => return Answer::error(400, "", "unknown operation"),
        }
    }
    if message.0.is_empty() {
        return Answer::error(400, "", "a commit needs a summary");
    }
    let as_request = request.target.contains("create_pr=1");
    let repository = store.repository(id);
    repository.messages.push(message);
    let mut answer = json!({ "success": true });
    let branch = if as_request {
        repository.pull_requests += 1;
        let number = repository.pull_requests;
        answer["pullRequestUrl"] = json!(format!("http://{}/{id}/discussions/{number}", shared.hub));
        format!("refs/pr/{number}")
    } else {
        revision.to_owned()
    };
    let oid = store.write(id, &branch, tree);
    answer["commitOid"] = json!(oid);
    answer["commitUrl"] = json!(format!("http://{}/{id}/commit/{oid}", shared.hub));
    Answer::json(&answer)
}
