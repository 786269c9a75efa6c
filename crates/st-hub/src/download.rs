//! One file of a repository: what the Hub says about it, and its contents into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use ureq::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, LOCATION};
use ureq::http::{Method, StatusCode};

use crate::cache::{RepositoryCache, create_parent};
use crate::client::{Client, Failure, Patience, broken_transfer, check_status, same_origin};
use crate::error::{HubError, HubErrorKind};
use crate::names::{RepositoryKind, blob_name, is_commit, is_lower_hex, percent_encode};
use crate::options::HubOptions;

const BUFFER: usize = 256 << 10;
/// An attempt that brought this much is not counted against the retries: the next one resumes behind it.
const WORTHWHILE: u64 = 1 << 20;

/// What the Hub says about a file name at a revision.
#[derive(Debug)]
pub(crate) enum Lookup {
    Found(Metadata),
    Absent { commit: Option<String>, error: HubError },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) etag: String,
    pub(crate) commit: String,
    pub(crate) size: u64,
}

impl Metadata {
    /// The SHA-256 that a large file's entity tag is.
    fn sha256(&self) -> Option<&str> {
        (self.etag.len() == 64 && is_lower_hex(&self.etag)).then_some(self.etag.as_str())
    }
}

/// A repository that files are fetched from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetcher<'a> {
    pub(crate) client: &'a Client,
    pub(crate) cache: &'a RepositoryCache,
    pub(crate) options: &'a HubOptions,
    pub(crate) kind: RepositoryKind,
    pub(crate) id: &'a str,
}

impl Fetcher<'_> {
    fn url(&self, revision: &str, name: &str) -> String {
        let (revision, name) = (percent_encode(revision, false), percent_encode(name, true));
        format!("{}/{}{}/resolve/{revision}/{name}", self.client.endpoint(), self.kind.page_prefix(), self.id)
    }

    /// Asks for entity tag, commit and size.
    pub(crate) fn look_up(&self, revision: &str, name: &str, patience: Patience) -> Result<Lookup, HubError> {
        let url = self.url(revision, name);
        let leaves_the_hub = |headers: &HeaderMap| {
            let location = text(headers, LOCATION.as_str()).unwrap_or_default();
            headers.contains_key("X-Linked-Etag")
                || (location.contains("://") && !same_origin(&location, self.client.endpoint()))
        };
        self.client.repeat(patience, || {
            let (url, response) = self.client.follow(&Method::HEAD, &url, &[], leaves_the_hub)?;
            let commit = text(response.headers(), "X-Repo-Commit").filter(|commit| is_commit(commit));
            if response.status().is_redirection() {
                return Ok(Lookup::Found(metadata(&url, revision, commit, response.headers())?));
            }
            match check_status(&url, response) {
                Ok(response) => Ok(Lookup::Found(metadata(&url, revision, commit, response.headers())?)),
                Err(failure) if failure.error.kind() == HubErrorKind::FileNotFound => {
                    Ok(Lookup::Absent { commit, error: failure.error })
                }
                Err(failure) => Err(failure),
            }
        })
    }

    /// Brings a file that was found into the cache and returns its place there.
    pub(crate) fn fetch(&self, name: &str, relative: &Path, found: &Metadata) -> Result<PathBuf, HubError> {
        if let Some(path) = self.cache.existing(&found.commit, relative) {
            return Ok(path);
        }
        if found.size > self.options.max_file_size {
            let limit = self.options.max_file_size;
            let message = format!("{name} has {} bytes; the limit is {limit}", found.size);
            return Err(HubError::new(HubErrorKind::TooLarge, message).with_hint("raise HubOptions::max_file_size"));
        }
        let _lock = self.cache.lock(&found.etag, self.options.lock_timeout)?;
        let blob = self.cache.blob(&found.etag);
        if !blob.exists() {
            self.download(name, found)?;
            let incomplete = self.cache.incomplete(&found.etag);
            fs::rename(&incomplete, &blob).map_err(|error| HubError::io("rename", &incomplete, error))?;
            if let Some(progress) = &self.options.progress {
                progress.finished(name);
            }
        }
        self.cache.publish(&found.etag, &found.commit, relative)
    }

    fn download(&self, name: &str, found: &Metadata) -> Result<(), HubError> {
        // By commit, so that the contents belong to the entity tag even when the branch has moved on.
        let url = self.url(&found.commit, name);
        let incomplete = self.cache.incomplete(&found.etag);
        create_parent(&incomplete)?;
        let (mut tried, mut spoiled) = (0, false);
        loop {
            let before = fs::metadata(&incomplete).map_or(0, |metadata| metadata.len());
            let failure = match self.attempt(&url, name, found, &incomplete) {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            if failure.error.kind() == HubErrorKind::Integrity {
                // What is there cannot be continued; a second complete failure is not an accident.
                if let Err(error) = fs::remove_file(&incomplete) {
                    log::debug!("{}: {error}", incomplete.display());
                }
                if std::mem::replace(&mut spoiled, true) {
                    return Err(failure.error);
                }
            }
            let after = fs::metadata(&incomplete).map_or(0, |metadata| metadata.len());
            if after.saturating_sub(before) >= WORTHWHILE {
                tried = 0;
            }
            self.client.pause(Patience::Everything, tried, failure)?;
            tried += 1;
        }
    }

    /// One connection's worth: continues behind what is there, checks length and SHA-256 at the end.
    fn attempt(&self, url: &str, name: &str, found: &Metadata, incomplete: &Path) -> Result<(), Failure> {
        let io = |action: &str| {
            let action = action.to_owned();
            move |error| HubError::io(&action, incomplete, error)
        };
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(incomplete)
            .map_err(io("open"))?;
        let mut have = file.metadata().map_err(io("read"))?.len();
        if have > found.size {
            have = restart(&mut file).map_err(io("write"))?;
        }
        let mut digest = found.sha256().map(|_| Sha256::new());
        if let Some(digest) = digest.as_mut() {
            hash_prefix(&mut file, digest).map_err(io("read"))?;
        }
        file.seek(SeekFrom::Start(have)).map_err(io("read"))?;
        if have < found.size || have == 0 {
            let range = format!("bytes={have}-");
            let headers: &[(&str, &str)] = if have > 0 { &[("Range", range.as_str())] } else { &[] };
            let (url, response) = self.client.follow(&Method::GET, url, headers, |_| false)?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                restart(&mut file).map_err(io("write"))?;
                let message = "the Hub cannot continue the download where it was broken off";
                return Err(Failure::connection(HubError::new(HubErrorKind::Network, message).at_url(url)));
            }
            let response = check_status(&url, response)?;
            if have > 0 && !continues_at(response.status(), response.headers(), have, found.size) {
                if response.status() == StatusCode::PARTIAL_CONTENT {
                    return Err(spoiled(&url, "the Hub sent another part than was asked for"));
                }
                have = restart(&mut file).map_err(io("write"))?;
                digest = digest.map(|_| Sha256::new());
            }
            check_announcement(&url, response.headers(), found.size - have)?;
            if let Some(progress) = &self.options.progress {
                progress.started(name, found.size, have);
            }
            let mut reader = response.into_body().into_reader();
            let advanced = |bytes| {
                if let Some(progress) = &self.options.progress {
                    progress.advanced(name, bytes);
                }
            };
            copy(&mut reader, &mut file, digest.as_mut(), found.size - have, advanced)
                .map_err(|problem| problem.into_failure(&url, incomplete))?;
        }
        if let (Some(expected), Some(digest)) = (found.sha256(), digest) {
            let actual = hex(&digest.finalize());
            if actual != expected {
                let message = format!("{name}: the contents have SHA-256 {actual}, announced was {expected}");
                return Err(spoiled(url, &message));
            }
        }
        file.sync_all().map_err(io("write"))?;
        Ok(())
    }
}

fn metadata(url: &str, revision: &str, commit: Option<String>, headers: &HeaderMap) -> Result<Metadata, HubError> {
    let lacking = |what: &str| {
        HubError::new(HubErrorKind::Protocol, format!("the answer does not come from a Hub: it has no {what}"))
            .at_url(url)
            .with_hint("is HF_ENDPOINT the address of a Hub, and no proxy or login page in between?")
    };
    let commit = commit.ok_or_else(|| lacking("commit id"))?;
    if is_commit(revision) && revision != commit {
        let message = format!("commit {revision} was asked for and {commit} answered");
        return Err(HubError::new(HubErrorKind::Protocol, message).at_url(url));
    }
    let etag =
        text(headers, "X-Linked-Etag").or_else(|| text(headers, ETAG.as_str())).ok_or_else(|| lacking("entity tag"))?;
    let size = text(headers, "X-Linked-Size")
        .or_else(|| text(headers, CONTENT_LENGTH.as_str()))
        .and_then(|size| size.parse().ok())
        .ok_or_else(|| lacking("length"))?;
    Ok(Metadata { etag: blob_name(&etag)?, commit, size })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(|value| value.trim().to_owned())
}

fn restart(file: &mut File) -> io::Result<u64> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))
}

fn hash_prefix(file: &mut File, digest: &mut Sha256) -> io::Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// Whether the answer is the rest of the file: `Content-Range: bytes 100-199/200`.
fn continues_at(status: StatusCode, headers: &HeaderMap, have: u64, size: u64) -> bool {
    let range = text(headers, CONTENT_RANGE.as_str()).unwrap_or_default();
    let parsed = range.strip_prefix("bytes ").and_then(|range| {
        let (span, total) = range.split_once('/')?;
        let (first, _) = span.split_once('-')?;
        Some((first.trim().parse::<u64>().ok()?, total.trim().parse::<u64>().ok()))
    });
    status == StatusCode::PARTIAL_CONTENT
        && parsed.is_some_and(|(first, total)| first == have && total.is_none_or(|total| total == size))
}

fn check_announcement(url: &str, headers: &HeaderMap, expected: u64) -> Result<(), Failure> {
    if text(headers, CONTENT_ENCODING.as_str()).is_some_and(|encoding| encoding != "identity") {
        return Err(HubError::new(HubErrorKind::Protocol, "the contents come compressed").at_url(url).into());
    }
    match text(headers, CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length != expected => {
            Err(spoiled(url, &format!("{length} bytes are coming, {expected} were announced")))
        }
        _ => Ok(()),
    }
}

fn spoiled(url: &str, message: &str) -> Failure {
    Failure::connection(HubError::new(HubErrorKind::Integrity, message).at_url(url))
}

#[derive(Debug)]
enum CopyProblem {
    Read(io::Error),
    Write(io::Error),
    TooShort { missing: u64 },
    TooLong,
}

impl CopyProblem {
    fn into_failure(self, url: &str, path: &Path) -> Failure {
        match self {
            Self::Read(error) => Failure::connection(broken_transfer(url, error)),
            Self::Write(error) => HubError::io("write", path, error).into(),
            Self::TooShort { missing } => Failure::connection(
                HubError::new(HubErrorKind::Network, format!("the transfer ended {missing} bytes early")).at_url(url),
            ),
            Self::TooLong => spoiled(url, "more bytes came than were announced"),
        }
    }
}

/// Copies exactly `expected` bytes.
fn copy(
    reader: &mut impl Read,
    writer: &mut impl Write,
    mut digest: Option<&mut Sha256>,
    expected: u64,
    advanced: impl Fn(u64),
) -> Result<(), CopyProblem> {
    let mut buffer = vec![0; BUFFER];
    let mut missing = expected;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyProblem::Read(error)),
        };
        missing = missing.checked_sub(read as u64).ok_or(CopyProblem::TooLong)?;
        writer.write_all(&buffer[..read]).map_err(CopyProblem::Write)?;
        if let Some(digest) = digest.as_deref_mut() {
            digest.update(&buffer[..read]);
        }
        advanced(read as u64);
    }
    if missing > 0 { Err(CopyProblem::TooShort { missing }) } else { Ok(()) }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for a few bytes.
    struct SmallDisk(usize);

    impl Write for SmallDisk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let written = bytes.len().min(self.0);
            self.0 -= written;
            Ok(written)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_a_typed_error_and_not_retried() {
        let problem = copy(&mut &[1_u8; 10][..], &mut SmallDisk(4), None, 10, |_| ()).unwrap_err();
        let failure = problem.into_failure("http://hub/file", Path::new("blobs/x.incomplete"));
        assert_eq!(failure.error.kind(), HubErrorKind::DiskFull);
        assert_eq!(failure.retry, crate::client::Retry::Never);
    }

    #[test]
    fn exactly_the_announced_bytes_are_copied() {
        let mut out = Vec::new();
        assert!(copy(&mut &b"abc"[..], &mut out, None, 3, |_| ()).is_ok());
        assert!(matches!(copy(&mut &b"abc"[..], &mut out, None, 4, |_| ()), Err(CopyProblem::TooShort { missing: 1 })));
        assert!(matches!(copy(&mut &b"abc"[..], &mut out, None, 2, |_| ()), Err(CopyProblem::TooLong)));
    }

    #[test]
    fn a_part_must_begin_where_ours_ends() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, "bytes 100-199/200".parse().unwrap());
        assert!(continues_at(StatusCode::PARTIAL_CONTENT, &headers, 100, 200));
        assert!(!continues_at(StatusCode::PARTIAL_CONTENT, &headers, 99, 200));
        assert!(!continues_at(StatusCode::PARTIAL_CONTENT, &headers, 100, 201));
        assert!(!continues_at(StatusCode::OK, &headers, 100, 200));
    }
}
