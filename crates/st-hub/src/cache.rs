//! The cache folder that all Hugging Face libraries share.
//!
//! ```text
//! models--org--name/             (datasets--org--name/ for a data set)
//!   refs/main                        the commit that `main` was when it was last asked for
//!   blobs/<etag>                     contents, named by git object id or SHA-256
//!   blobs/<etag>.incomplete          a download that is under way or was broken off
//!   snapshots/<commit>/config.json   a symbolic link to ../../blobs/<etag>
//!   .no_exist/<commit>/modules.json  the commit is known not to have this file
//! .locks/models--org--name/<etag>.lock
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{HubError, HubErrorKind};
use crate::names::{RepositoryKind, is_commit, repository_folder};

const LOCK_POLL: Duration = Duration::from_millis(50);

/// One repository's part of the cache.
#[derive(Debug, Clone)]
pub(crate) struct RepositoryCache {
    root: PathBuf,
    folder_name: String,
}

/// Held while a blob is written; let go on drop.
#[derive(Debug)]
pub(crate) struct BlobLock(#[expect(dead_code, reason = "the open file is the lock")] File);

impl RepositoryCache {
    pub(crate) fn new(root: &Path, kind: RepositoryKind, id: &str) -> Self {
        Self { root: root.to_owned(), folder_name: repository_folder(kind, id) }
    }

    fn folder(&self) -> PathBuf {
        self.root.join(&self.folder_name)
    }

    pub(crate) fn blob(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(etag)
    }

    pub(crate) fn incomplete(&self, etag: &str) -> PathBuf {
        self.folder().join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder().join("snapshots").join(commit)
    }

    fn reference(&self, revision: &str) -> PathBuf {
        revision.split('/').fold(self.folder().join("refs"), |path, part| path.join(part))
    }

    fn absence(&self, commit: &str, relative: &Path) -> PathBuf {
        self.folder().join(".no_exist").join(commit).join(relative)
    }

    /// The commit that the cache knows for a revision.
    pub(crate) fn commit_of(&self, revision: &str) -> Option<String> {
        if is_commit(revision) {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.reference(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_commit(commit))
    }

    /// The file of a commit, where the cache holds it with its contents.
    pub(crate) fn existing(&self, commit: &str, relative: &Path) -> Option<PathBuf> {
        Some(self.snapshot(commit).join(relative)).filter(|path| path.is_file())
    }

    pub(crate) fn is_known_absent(&self, commit: &str, relative: &Path) -> bool {
        self.absence(commit, relative).is_file()
    }

    /// Remembers that a commit lacks a file. A cache that cannot be written costs a request next time, nothing more.
    pub(crate) fn mark_absent(&self, commit: &str, relative: &Path) {
        let marker = self.absence(commit, relative);
        if let Err(error) = create_parent(&marker)
            .and_then(|()| File::create(&marker).map(drop).map_err(|error| HubError::io("create", &marker, error)))
        {
            log::debug!("{error}");
        }
    }

    /// Remembers which commit a branch or tag is.
    pub(crate) fn record_reference(&self, revision: &str, commit: &str) {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return;
        }
        let path = self.reference(revision);
        let outcome = create_parent(&path).and_then(|()| {
            let beside = beside(&path);
            fs::write(&beside, commit)
                .and_then(|()| fs::rename(&beside, &path))
                .inspect_err(|_| drop(fs::remove_file(&beside)))
                .map_err(|error| HubError::io("write", &path, error))
        });
        if let Err(error) = outcome {
            log::warn!("{error}");
        }
    }

    /// Waits until no other process or thread writes this blob.
    pub(crate) fn lock(&self, etag: &str, timeout: Duration) -> Result<BlobLock, HubError> {
        let path = self.root.join(".locks").join(&self.folder_name).join(format!("{etag}.lock"));
        create_parent(&path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| HubError::io("open", &path, error))?;
        let begun = Instant::now();
        let mut told = false;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(BlobLock(file)),
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    log::warn!("{} cannot be locked on this file system", path.display());
                    return Ok(BlobLock(file));
                }
                Err(TryLockError::Error(error)) => return Err(HubError::io("lock", &path, error)),
                Err(TryLockError::WouldBlock) if begun.elapsed() >= timeout => {
                    let message = "another process is downloading the same file";
                    return Err(HubError::new(HubErrorKind::Locked, message)
                        .at_path(path)
                        .with_hint("wait for it, or end it; a lock ends with the process that holds it"));
                }
                Err(TryLockError::WouldBlock) => {
                    if !told {
                        log::info!("waiting for another download of the same file ({})", path.display());
                        told = true;
                    }
                    thread::sleep(LOCK_POLL);
                }
            }
        }
    }

    /// Makes a complete blob visible as a file of a commit, in one step.
    pub(crate) fn publish(&self, etag: &str, commit: &str, relative: &Path) -> Result<PathBuf, HubError> {
        let pointer = self.snapshot(commit).join(relative);
        if pointer.exists() {
            return Ok(pointer);
        }
        create_parent(&pointer)?;
        let depth = relative.components().count() + 1;
        let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
        target.push("blobs");
        target.push(etag);
        let beside = beside(&pointer);
        link(&target, &self.blob(etag), &beside)
            .and_then(|()| fs::rename(&beside, &pointer))
            .inspect_err(|_| drop(fs::remove_file(&beside)))
            .map_err(|error| HubError::io("create", &pointer, error))?;
        Ok(pointer)
    }
}

pub(crate) fn create_parent(path: &Path) -> Result<(), HubError> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(|error| HubError::io("create", parent, error)),
        None => Ok(()),
    }
}

/// A name in the same folder that no other thread or process uses.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".st-hub-{}-{number}.tmp", process::id()))
}

#[cfg(unix)]
fn link(target: &Path, _blob: &Path, pointer: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, pointer)
}

#[cfg(not(unix))]
fn link(_target: &Path, blob: &Path, pointer: &Path) -> io::Result<()> {
    fs::hard_link(blob, pointer).or_else(|_| fs::copy(blob, pointer).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn references_hold_commits_only() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepositoryCache::new(folder.path(), RepositoryKind::Model, "org/name");
        assert_eq!(cache.commit_of("main"), None);
        cache.record_reference("main", COMMIT);
        cache.record_reference("refs/pr/1", COMMIT);
        assert_eq!(cache.commit_of("main").as_deref(), Some(COMMIT));
        let model = folder.path().join("models--org--name");
        assert_eq!(fs::read_to_string(model.join("refs/refs/pr/1")).unwrap(), COMMIT);
        fs::write(model.join("refs/main"), "../../../etc").unwrap();
        assert_eq!(cache.commit_of("main"), None);
        assert_eq!(cache.commit_of(COMMIT).as_deref(), Some(COMMIT));
    }

    #[test]
    fn published_files_are_links_into_blobs_and_replace_dangling_ones() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepositoryCache::new(folder.path(), RepositoryKind::Model, "org/name");
        let blob = cache.blob("abc");
        create_parent(&blob).unwrap();
        fs::write(&blob, "text").unwrap();
        let relative = Path::new("1_Pooling/config.json");
        let pointer = cache.publish("abc", COMMIT, relative).unwrap();
        assert_eq!(fs::read_to_string(&pointer).unwrap(), "text");
        fs::rename(&blob, cache.blob("other")).unwrap();
        #[cfg(unix)]
        {
            assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../../blobs/abc"));
            assert_eq!(cache.existing(COMMIT, relative), None);
            cache.publish("other", COMMIT, relative).unwrap();
            assert_eq!(fs::read_link(&pointer).unwrap(), Path::new("../../../blobs/other"));
        }
        let left: Vec<_> = fs::read_dir(pointer.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn a_lock_is_waited_for_and_the_wait_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = RepositoryCache::new(folder.path(), RepositoryKind::Model, "org/name");
        let held = cache.lock("abc", Duration::ZERO).unwrap();
        let error = cache.lock("abc", Duration::from_millis(120)).unwrap_err();
        assert_eq!(error.kind(), HubErrorKind::Locked);
        assert!(error.path().unwrap().ends_with(".locks/models--org--name/abc.lock"));
        let other = cache.clone();
        let waiting = thread::spawn(move || other.lock("abc", Duration::from_secs(20)).map(drop));
        thread::sleep(Duration::from_millis(100));
        drop(held);
        waiting.join().unwrap().unwrap();
    }
}
