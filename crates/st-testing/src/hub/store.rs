//! Models, commits and large contents, in memory.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) contents: Vec<u8>,
    pub(super) large: bool,
}

#[derive(Debug, Default)]
pub(super) struct Repository {
    pub(super) commits: HashMap<String, BTreeMap<String, Entry>>,
    pub(super) references: BTreeMap<String, String>,
    pub(super) also_listed: Vec<String>,
    pub(super) token: Option<String>,
    pub(super) private: bool,
    pub(super) messages: Vec<(String, String)>,
    pub(super) pull_requests: usize,
}

impl Repository {
    /// The commit of a branch, tag or commit id.
    pub(super) fn commit(&self, revision: &str) -> Option<&str> {
        match self.commits.get_key_value(revision) {
            Some((commit, _)) => Some(commit),
            None => self.references.get(revision).map(String::as_str),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Store {
    repositories: BTreeMap<String, Repository>,
    /// Contents of large files by SHA-256.
    pub(super) blobs: HashMap<String, Vec<u8>>,
    pub(super) parts: BTreeMap<(String, usize), Vec<u8>>,
    pub(super) write_token: Option<String>,
    pub(super) part_size: Option<usize>,
    pub(super) ignored: Vec<String>,
    changes: u64,
}

impl Store {
    /// A repository, made with an empty first commit where it does not exist.
    pub(super) fn repository(&mut self, id: &str) -> &mut Repository {
        if !self.repositories.contains_key(id) {
            self.repositories.insert(id.to_owned(), Repository::default());
            self.write(id, "main", BTreeMap::new());
        }
        self.repositories.entry(id.to_owned()).or_default()
    }

    pub(super) fn existing(&self, id: &str) -> Option<&Repository> {
        self.repositories.get(id)
    }

    pub(super) fn files(&self, id: &str, revision: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        let repository = self.existing(id)?;
        let files = repository.commits.get(repository.commit(revision)?)?;
        Some(files.iter().map(|(name, entry)| (name.clone(), entry.contents.clone())).collect())
    }

    pub(super) fn commit(&mut self, id: &str, branch: &str, files: &[(&str, &[u8])], large: bool) -> String {
        let repository = self.repository(id);
        let parent = repository.commit(branch).or_else(|| repository.commit("main")).map(str::to_owned);
        let mut tree = parent.and_then(|parent| repository.commits.get(&parent).cloned()).unwrap_or_default();
        for (name, contents) in files {
            tree.insert((*name).to_owned(), Entry { contents: contents.to_vec(), large });
            if large {
                self.blobs.insert(sha256(contents), contents.to_vec());
            }
        }
        self.write(id, branch, tree)
    }

    /// Makes a tree the newest commit of a branch.
    pub(super) fn write(&mut self, id: &str, branch: &str, tree: BTreeMap<String, Entry>) -> String {
        self.changes += 1;
        let commit = sha256(format!("{id} {branch} {}", self.changes).as_bytes())[..40].to_owned();
        let repository = self.repositories.entry(id.to_owned()).or_default();
        repository.references.insert(branch.to_owned(), commit.clone());
        repository.commits.insert(commit.clone(), tree);
        commit
    }
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
