//! In the place of the decoder where the feature `images` is off.

use std::path::Path;

use super::Rgb;
use crate::{Error, ErrorKind, Result};

fn refuse() -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "files of images cannot be decoded: the library was built without its feature 'images'",
    )
    .with_hint("build with the feature 'images', or decode the image yourself and give its pixels to Image::from_rgb")
}

/// Refuses.
pub(super) fn read(path: &Path) -> Result<Rgb> {
    Err(refuse().with_path(path))
}

/// Refuses.
pub(super) fn decode(_: &[u8]) -> Result<Rgb> {
    Err(refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_is_named() {
        for error in [read("cat.png".as_ref()), decode(&[])].map(Result::unwrap_err) {
            assert!(error.to_string().contains("feature 'images'"));
        }
    }
}
