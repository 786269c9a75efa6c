//! Model ids, paths and revisions to local files: the Hugging Face Hub client and cache.
//!
//! The only network code of the workspace. [`Source::resolve`] says what a name means, [`Source::file`] and
//! [`Source::snapshot`] bring files, the standard cache layout keeps them, so that a cache filled by Python's
//! `huggingface_hub` is used as it is, and the reverse. [`Repository`] publishes a folder.
//!
//! ```no_run
//! use st_hub::{HubOptions, Selection, Source};
//!
//! let source = Source::resolve("all-MiniLM-L6-v2", &HubOptions::new())?;
//! let folder = source.snapshot(&Selection::model())?;
//! println!("{} is in {}", source.origin(), folder.display());
//! # Ok::<(), st_hub::HubError>(())
//! ```
//!
//! # Why not the `hf-hub` crate
//!
//! `hf-hub` 1.x stands on tokio and reqwest: an asynchronous runtime in every program that loads a model, for a handful
//! of sequential requests. This client is synchronous over `ureq` and rustls. It also checks what that crate leaves to
//! its caller: lengths and SHA-256 before a file becomes visible, names that would leave the cache, and which host may
//! see the token.
//!
//! # What holds
//!
//! * No request is made when offline, nor for an answer that the cache holds for the commit in use.
//! * A file is visible under its name only when it is complete: it is written to `blobs/….incomplete` under a lock,
//!   checked, renamed, and then linked. A broken download (network, full disk, ended process) is
//!   continued by the next one, by this crate or by Python.
//! * The token is sent to the endpoint's scheme, host and port, never to a host that it redirects to.
//! * Whatever a server says ends in a path only after [`relative_path`] or its siblings accepted it.

mod cache;
mod client;
mod dataset;
mod download;
pub mod environment;
mod error;
mod large_files;
mod local_file;
mod model;
mod names;
mod options;
mod selection;
mod source;
mod upload;

pub use dataset::HubDataset;
pub use environment::Environment;
pub use error::{HubError, HubErrorKind};
pub use model::HubModel;
pub use names::relative_path;
pub use options::{HubOptions, Progress};
pub use selection::Selection;
pub use source::Source;
pub use upload::{Published, Repository, Upload};
