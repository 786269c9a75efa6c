//! Which texts may name a repository, a revision or a file in one.
//!
//! Everything that comes from a server and ends in a local path passes through here.

use std::path::PathBuf;

use crate::error::{HubError, HubErrorKind};

/// The organisation that a bare name belongs to.
pub(crate) const DEFAULT_ORGANISATION: &str = "sentence-transformers";

/// Models of the Hub's first days that have no organisation: such a name is used as it is.
///
/// The list of sentence-transformers 5.2.3, compared in lower case.
pub(crate) const NAMES_WITHOUT_ORGANISATION: [&str; 68] = [
    "albert-base-v1",
    "albert-base-v2",
    "albert-large-v1",
    "albert-large-v2",
    "albert-xlarge-v1",
    "albert-xlarge-v2",
    "albert-xxlarge-v1",
    "albert-xxlarge-v2",
    "bert-base-cased-finetuned-mrpc",
    "bert-base-cased",
    "bert-base-chinese",
    "bert-base-german-cased",
    "bert-base-german-dbmdz-cased",
    "bert-base-german-dbmdz-uncased",
    "bert-base-multilingual-cased",
    "bert-base-multilingual-uncased",
    "bert-base-uncased",
    "bert-large-cased-whole-word-masking-finetuned-squad",
    "bert-large-cased-whole-word-masking",
    "bert-large-cased",
    "bert-large-uncased-whole-word-masking-finetuned-squad",
    "bert-large-uncased-whole-word-masking",
    "bert-large-uncased",
    "camembert-base",
    "ctrl",
    "distilbert-base-cased-distilled-squad",
    "distilbert-base-cased",
    "distilbert-base-german-cased",
    "distilbert-base-multilingual-cased",
    "distilbert-base-uncased-distilled-squad",
    "distilbert-base-uncased-finetuned-sst-2-english",
    "distilbert-base-uncased",
    "distilgpt2",
    "distilroberta-base",
    "gpt2-large",
    "gpt2-medium",
    "gpt2-xl",
    "gpt2",
    "openai-gpt",
    "roberta-base-openai-detector",
    "roberta-base",
    "roberta-large-mnli",
    "roberta-large-openai-detector",
    "roberta-large",
    "t5-11b",
    "t5-3b",
    "t5-base",
    "t5-large",
    "t5-small",
    "transfo-xl-wt103",
    "xlm-clm-ende-1024",
    "xlm-clm-enfr-1024",
    "xlm-mlm-100-1280",
    "xlm-mlm-17-1280",
    "xlm-mlm-en-2048",
    "xlm-mlm-ende-1024",
    "xlm-mlm-enfr-1024",
    "xlm-mlm-enro-1024",
    "xlm-mlm-tlm-xnli15-1024",
    "xlm-mlm-xnli15-1024",
    "xlm-roberta-base",
    "xlm-roberta-large-finetuned-conll02-dutch",
    "xlm-roberta-large-finetuned-conll02-spanish",
    "xlm-roberta-large-finetuned-conll03-english",
    "xlm-roberta-large-finetuned-conll03-german",
    "xlm-roberta-large",
    "xlnet-base-cased",
    "xlnet-large-cased",
];

const LONGEST_COMPONENT: usize = 255;
const LONGEST_PATH: usize = 1024;
const DEEPEST_PATH: usize = 32;
const LONGEST_REPOSITORY: usize = 96;

/// Names that Windows keeps for devices, with or without an extension.
const RESERVED: [&str; 22] = [
    "con", "prn", "aux", "nul", "com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9", "lpt1", "lpt2",
    "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
];

/// Checks a file name of a repository (`1_Pooling/config.json`) and returns it as a path that stays below its folder.
///
/// Refused are: the empty name, absolute names, `.`, `..` and empty components, backslashes, colons (drive letters and
/// alternate streams), control characters, the device names of Windows, components that end in a dot or a space, and
/// anything longer than a file system takes. The same names are refused on every platform.
///
/// # Errors
/// [`HubErrorKind::UnsafeFileName`] with the reason.
///
/// ```
/// assert!(st_hub::relative_path("1_Pooling/config.json").is_ok());
/// assert!(st_hub::relative_path("../../.ssh/authorized_keys").is_err());
/// ```
pub fn relative_path(name: &str) -> Result<PathBuf, HubError> {
    match unsafe_reason(name) {
        None => Ok(name.split('/').collect()),
        Some(reason) => {
            Err(HubError::new(HubErrorKind::UnsafeFileName, format!("the file name {name:?} is refused: {reason}"))
                .with_hint("a model's file names are relative, use '/' and stay inside the model folder"))
        }
    }
}

fn unsafe_reason(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > LONGEST_PATH {
        return Some("it is too long");
    }
    if name.starts_with('/') {
        return Some("it is absolute");
    }
    if name.split('/').count() > DEEPEST_PATH {
        return Some("it is nested too deeply");
    }
    name.split('/').find_map(unsafe_component)
}

fn unsafe_component(component: &str) -> Option<&'static str> {
    if component.is_empty() {
        return Some("it has an empty part");
    }
    if component == "." || component == ".." {
        return Some("it has a '.' or '..' part");
    }
    if component.len() > LONGEST_COMPONENT {
        return Some("a part is too long");
    }
    if component.contains('\\') {
        return Some("it has a backslash");
    }
    if component.contains(':') {
        return Some("it has a colon");
    }
    if component.contains(char::is_control) {
        return Some("it has a control character");
    }
    if component.ends_with(['.', ' ']) {
        return Some("a part ends in a dot or a space");
    }
    let stem = component.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    if RESERVED.contains(&stem.as_str()) {
        return Some("a part is a device name of Windows");
    }
    None
}

/// Checks a repository id: `name` or `organisation/name` of letters, digits, `-`, `_` and `.`.
pub(crate) fn check_repository(id: &str) -> Result<(), HubError> {
    let part = |part: &str| {
        !part.is_empty()
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
    };
    let valid = id.len() <= LONGEST_REPOSITORY
        && id.split('/').count() <= 2
        && id.split('/').all(part)
        && !id.contains("--")
        && !id.contains("..")
        && !id.ends_with(".git")
        && unsafe_reason(id).is_none();
    if valid {
        return Ok(());
    }
    Err(HubError::new(HubErrorKind::InvalidName, format!("{id:?} is neither an existing path nor a possible Hub id"))
        .with_hint("a Hub id looks like 'organisation/name'; for a local model give the path of an existing folder"))
}

/// Checks a branch, tag, commit or `refs/pr/N`.
pub(crate) fn check_revision(revision: &str) -> Result<(), HubError> {
    let possible = unsafe_reason(revision).is_none()
        && !revision.contains("..")
        && !revision.contains(|c: char| c.is_whitespace() || matches!(c, '~' | '^' | '?' | '*' | '['))
        && !revision.starts_with('-')
        && !revision.ends_with(".lock");
    if possible {
        return Ok(());
    }
    Err(HubError::new(HubErrorKind::InvalidName, format!("{revision:?} is not a possible revision"))
        .with_hint("a revision is a branch, a tag, a commit id or 'refs/pr/N'"))
}

/// Whether the text is a full commit id.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && is_lower_hex(revision)
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// An entity tag as a file name of `blobs/`: weak mark and quotes removed.
pub(crate) fn blob_name(etag: &str) -> Result<String, HubError> {
    let name = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    let plain = !name.is_empty()
        && name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.starts_with('.')
        && unsafe_component(name).is_none();
    if plain {
        return Ok(name.to_owned());
    }
    Err(HubError::new(HubErrorKind::UnsafeFileName, format!("the entity tag {etag:?} cannot name a file of the cache")))
}

/// What a repository holds: it decides the addresses and the folder in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RepositoryKind {
    Model,
    Dataset,
}

impl RepositoryKind {
    /// `models` or `datasets`: the part of the API's addresses and the beginning of the folder in the cache.
    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }

    /// What stands before the id in the address of a page or a file.
    pub(crate) fn page_prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::Dataset => "datasets/",
        }
    }
}

/// The folder of a repository in the cache: `models--organisation--name`.
pub(crate) fn repository_folder(kind: RepositoryKind, id: &str) -> String {
    format!("{}--{}", kind.plural(), id.replace('/', "--"))
}

/// Percent-encodes everything but unreserved characters; slashes stay where `keep_slashes`.
pub(crate) fn percent_encode(text: &str, keep_slashes: bool) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            b'/' if keep_slashes => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_file_names_are_refused() {
        let long = "a".repeat(256);
        let deep = vec!["a"; 33].join("/");
        for name in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            r"a\b",
            r"..\x",
            r"\\host\share",
            "C:/x",
            "C:x",
            "a\0b",
            "a\nb",
            "file:stream",
            "nul",
            "NUL.txt",
            "a/con.json",
            "COM1",
            "a./b",
            "a /b",
            "a.",
            &long,
            &deep,
        ] {
            let error = relative_path(name).unwrap_err();
            assert_eq!(error.kind(), HubErrorKind::UnsafeFileName, "{name:?}");
        }
        for name in ["config.json", "1_Pooling/config.json", ".gitattributes", "a..b", "größe.txt", "connect.json"] {
            assert!(relative_path(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn repositories_and_revisions() {
        for id in ["gpt2", "sentence-transformers/all-MiniLM-L6-v2", "a/b.c_d", "0x/1"] {
            assert!(check_repository(id).is_ok(), "{id}");
        }
        let long = "a".repeat(97);
        for id in ["", "/a", "a/", "a/b/c", "a--b/c", "a/..", "a/b.git", "a b", ".a/b", "a/b-", "ä/b", "nul", &long] {
            assert!(check_repository(id).is_err(), "{id}");
        }
        for revision in ["main", "v1.0", "refs/pr/1", "0123456789abcdef0123456789abcdef01234567"] {
            assert!(check_revision(revision).is_ok(), "{revision}");
        }
        for revision in ["", "../main", "a/../b", "a b", "-x", "/main", r"a\b", "a\0", "x.lock"] {
            assert!(check_revision(revision).is_err(), "{revision}");
        }
    }

    #[test]
    fn entity_tags_become_plain_names() {
        assert_eq!(blob_name("\"abc\"").unwrap(), "abc");
        assert_eq!(blob_name("W/\"abc-2\"").unwrap(), "abc-2");
        for etag in ["", "\"\"", "\"../x\"", "\"a/b\"", "\".hidden\"", r#""a\b""#, "\"con\"", "\"a b\""] {
            assert!(blob_name(etag).is_err(), "{etag}");
        }
    }

    #[test]
    fn the_table_is_the_original_one() {
        assert_eq!(NAMES_WITHOUT_ORGANISATION.len(), 68);
        assert!(NAMES_WITHOUT_ORGANISATION.iter().collect::<std::collections::BTreeSet<_>>().len() == 68);
        assert!(NAMES_WITHOUT_ORGANISATION.iter().all(|name| name.to_lowercase() == *name && !name.contains('/')));
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_below_its_folder(name in any::<String>()) {
            if let Ok(path) = relative_path(&name) {
                prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
                prop_assert!(Path::new("/cache").join(&path).starts_with("/cache"));
                prop_assert_eq!(path.components().count(), name.split('/').count());
            }
        }

        #[test]
        fn a_name_with_a_hostile_part_is_refused(
            before in "[a-z]{0,3}", part in prop::sample::select(vec!["..", ".", "", "a\\b", "c:", "nul", "x\0"]), after in "[a-z]{1,3}",
        ) {
            let name = format!("{before}/{part}/{after}");
            prop_assert!(relative_path(&name).is_err());
        }

        #[test]
        fn an_accepted_repository_is_one_folder(id in "[a-zA-Z0-9._/-]{0,20}") {
            if check_repository(&id).is_ok() {
                let folder = repository_folder(RepositoryKind::Model, &id);
                prop_assert!(!folder.contains('/') && !folder.contains(".."));
                // The way back is unique, so that two repositories never share a folder.
                prop_assert_eq!(folder.strip_prefix("models--").map(|rest| rest.replace("--", "/")), Some(id));
            }
        }

        #[test]
        fn an_accepted_entity_tag_is_one_component(etag in any::<String>()) {
            if let Ok(name) = blob_name(&etag) {
                prop_assert_eq!(Path::new(&name).components().count(), 1);
                prop_assert!(relative_path(&name).is_ok());
            }
        }

        #[test]
        fn encoding_leaves_only_unreserved_characters(text in any::<String>()) {
            let encoded = percent_encode(&text, false);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~%".contains(&b)));
        }
    }
}
