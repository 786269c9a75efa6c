//! The version of the original that this library is compared with.

/// It writes the files of this version and warns about models of later ones.
pub(crate) const ORIGINAL_VERSION: &str = "5.2.3";
