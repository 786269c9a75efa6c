//! The files of a local folder, with what the protocol of uploads wants to know of each.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::download::hex;
use crate::error::{HubError, HubErrorKind};
use crate::names::relative_path;

/// As many files as one request may name.
pub(crate) const FILES_PER_REQUEST: usize = 256;
/// How much of a file's beginning the Hub looks at to choose how it is stored.
const SAMPLE: usize = 512;
/// Folders that belong to tools and not to the model.
const SKIPPED_FOLDERS: &[&str] = &[".git", ".cache"];

/// A file of the folder, with what the protocol wants to know of it.
#[derive(Debug)]
pub(crate) struct LocalFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// The first bytes, by which the Hub chooses how the file is stored.
    pub(crate) sample: Vec<u8>,
}

/// All files below a folder in the order of their names. Links to files are followed, links to folders are not.
pub(crate) fn local_files(folder: &Path) -> Result<Vec<LocalFile>, HubError> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        let read = |error| HubError::io("read", &folder, error);
        for entry in fs::read_dir(&folder).map_err(read)? {
            let entry = entry.map_err(read)?;
            let path = entry.path();
            let Some(file_name) = entry.file_name().to_str().map(str::to_owned) else {
                let message = "a file name is not valid Unicode";
                return Err(HubError::new(HubErrorKind::UnsafeFileName, message).at_path(path));
            };
            let name = format!("{prefix}{file_name}");
            let kind = entry.file_type().map_err(read)?;
            if kind.is_dir() {
                if !SKIPPED_FOLDERS.contains(&file_name.as_str()) {
                    folders.push((path, format!("{name}/")));
                }
            } else if path.is_file() {
                relative_path(&name)?;
                files.push(describe(name, path)?);
            } else {
                log::warn!("{} is neither a file nor a folder and is not uploaded", path.display());
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

fn describe(name: String, path: PathBuf) -> Result<LocalFile, HubError> {
    let read = |error| HubError::io("read", &path, error);
    let mut file = File::open(&path).map_err(read)?;
    let mut digest = Sha256::new();
    let mut sample = Vec::new();
    let mut size = 0;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = file.read(&mut buffer).map_err(read)?;
        if length == 0 {
            break;
        }
        let wanted = (SAMPLE - sample.len()).min(length);
        sample.extend_from_slice(&buffer[..wanted]);
        digest.update(&buffer[..length]);
        size += length as u64;
    }
    Ok(LocalFile { name, size, sha256: hex(&digest.finalize()), sample, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_described_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        for (name, contents) in [("b.json", "b"), ("1_Pooling/config.json", ""), (".git/config", "x"), ("a.txt", "abc")]
        {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, contents).unwrap();
        }
        let files = local_files(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["1_Pooling/config.json", "a.txt", "b.json"]);
        assert_eq!((files[1].size, files[1].sample.as_slice()), (3, b"abc".as_slice()));
        assert_eq!(files[1].sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
