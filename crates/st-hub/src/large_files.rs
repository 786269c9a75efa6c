//! Large contents to the storage behind the Hub: Git LFS's batch protocol, in one piece or in parts.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use serde_json::{Value, json};
use ureq::http::Method;
use ureq::http::header::ETAG;

use crate::client::{Client, Failure, LARGE_FILE_JSON, Patience, Payload, absolute, check_status};
use crate::error::{HubError, HubErrorKind};
use crate::local_file::{FILES_PER_REQUEST, LocalFile};
use crate::options::Progress;

const MOST_PARTS: u64 = 10_000;

/// Sends the contents that the Hub does not have yet.
pub(crate) fn upload(
    client: &Client,
    id: &str,
    revision: &str,
    files: &[&LocalFile],
    progress: Option<&dyn Progress>,
) -> Result<(), HubError> {
    let url = format!("{}/{id}.git/info/lfs/objects/batch", client.endpoint());
    for chunk in files.chunks(FILES_PER_REQUEST) {
        let objects: Vec<Value> = chunk.iter().map(|file| json!({ "oid": file.sha256, "size": file.size })).collect();
        let body = json!({
            "operation": "upload", "transfers": ["basic", "multipart"], "objects": objects, "hash_algo": "sha256",
            "ref": { "name": revision },
        })
        .to_string();
        let answer = client.post(&url, LARGE_FILE_JSON, body.as_bytes(), Patience::Answers)?;
        let objects = answer.get("objects").and_then(Value::as_array);
        let objects = objects.ok_or_else(|| malformed(&url, "it has no objects"))?;
        for file in chunk {
            let object = objects
                .iter()
                .find(|object| object.get("oid").and_then(Value::as_str) == Some(file.sha256.as_str()))
                .ok_or_else(|| malformed(&url, &format!("{} is missing", file.name)))?;
            if let Some(error) = object.get("error") {
                let said = error.get("message").and_then(Value::as_str).unwrap_or("no reason given");
                let message = format!("the Hub does not take {}: {said}", file.name);
                return Err(HubError::new(HubErrorKind::Refused, message).at_url(&url));
            }
            Transfer { client, file, progress }.follow(object.get("actions").unwrap_or(&Value::Null))?;
        }
    }
    Ok(())
}

struct Transfer<'a> {
    client: &'a Client,
    file: &'a LocalFile,
    progress: Option<&'a dyn Progress>,
}

impl Transfer<'_> {
    /// Does what the server's actions say; none means that it has the contents.
    fn follow(&self, actions: &Value) -> Result<(), HubError> {
        let Some(upload) = actions.get("upload") else { return Ok(()) };
        let target = self.address(upload)?;
        if let Some(progress) = self.progress {
            progress.started(&self.file.name, self.file.size, 0);
        }
        let header = upload.get("header").unwrap_or(&Value::Null);
        match header.get("chunk_size") {
            None => {
                self.put(&target, 0, self.file.size)?;
            }
            Some(size) => self.put_parts(&target, header, size)?,
        }
        if let Some(verify) = actions.get("verify") {
            let body = json!({ "oid": self.file.sha256, "size": self.file.size }).to_string();
            self.client.post(&self.address(verify)?, crate::client::JSON, body.as_bytes(), Patience::Answers)?;
        }
        if let Some(progress) = self.progress {
            progress.finished(&self.file.name);
        }
        Ok(())
    }

    fn put_parts(&self, completion: &str, header: &Value, size: &Value) -> Result<(), HubError> {
        let size = size.as_u64().or_else(|| size.as_str()?.parse().ok()).filter(|&size| size > 0);
        let size = size.ok_or_else(|| malformed(completion, "the size of a part is not a number"))?;
        let count = self.file.size.div_ceil(size);
        if count > MOST_PARTS {
            return Err(malformed(completion, "it asks for too many parts"));
        }
        let named = header.as_object().map_or(0, |map| map.keys().filter(|key| key.parse::<u64>().is_ok()).count());
        if named as u64 != count {
            return Err(malformed(completion, &format!("it has {named} addresses for {count} parts")));
        }
        let mut parts = Vec::new();
        for number in 1..=count {
            let target = header
                .get(number.to_string())
                .and_then(Value::as_str)
                .ok_or_else(|| malformed(completion, &format!("part {number} has no address")))?;
            let first = (number - 1) * size;
            let tag = self
                .put(&self.checked(target)?, first, size.min(self.file.size - first))?
                .ok_or_else(|| malformed(target, &format!("part {number} got no entity tag")))?;
            parts.push(json!({ "partNumber": number, "etag": tag }));
        }
        let body = json!({ "oid": self.file.sha256, "parts": parts }).to_string();
        self.client.post(completion, LARGE_FILE_JSON, body.as_bytes(), Patience::Answers)?;
        Ok(())
    }

    /// Puts a part of the file to an address and returns the entity tag that it got.
    fn put(&self, target: &str, first: u64, length: u64) -> Result<Option<String>, HubError> {
        let path = &self.file.path;
        self.client.repeat(Patience::Everything, || {
            let mut file = File::open(path).map_err(|error| HubError::io("read", path, error))?;
            file.seek(SeekFrom::Start(first)).map_err(|error| HubError::io("read", path, error))?;
            let mut reader = Reported { reader: file.take(length), name: &self.file.name, progress: self.progress };
            let payload = Payload::Stream { reader: &mut reader, length };
            let response = self.client.send(&Method::PUT, target, &[], payload)?;
            let response = check_status(target, response)?;
            Ok::<_, Failure>(response.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned))
        })
    }

    fn address(&self, action: &Value) -> Result<String, HubError> {
        let href = action.get("href").and_then(Value::as_str);
        self.checked(href.ok_or_else(|| malformed(self.client.endpoint(), "an action has no address"))?)
    }

    /// An address that the server named: no way from a secure endpoint to an insecure place.
    fn checked(&self, address: &str) -> Result<String, HubError> {
        let endpoint = self.client.endpoint();
        let target = absolute(endpoint, address).ok_or_else(|| malformed(endpoint, "an address is not usable"))?;
        if endpoint.starts_with("https://") && !target.starts_with("https://") {
            return Err(malformed(endpoint, "it sends the contents to an insecure address"));
        }
        Ok(target)
    }
}

fn malformed(url: &str, problem: &str) -> HubError {
    HubError::new(HubErrorKind::Protocol, format!("the answer to an upload is not usable: {problem}")).at_url(url)
}

/// Tells about the bytes as they are read.
struct Reported<'a, R> {
    reader: R,
    name: &'a str,
    progress: Option<&'a dyn Progress>,
}

impl<R: Read> Read for Reported<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        if let Some(progress) = self.progress.filter(|_| read > 0) {
            progress.advanced(self.name, read as u64);
        }
        Ok(read)
    }
}
