//! [`Image`]: what models that see are given.

#[cfg(feature = "images")]
mod decoder;
#[cfg(not(feature = "images"))]
#[path = "no_decoder.rs"]
mod decoder;
mod processor;
mod resample;
mod rgb;

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result};
pub(crate) use processor::ImageProcessor;
pub(crate) use rgb::Rgb;

/// An image to encode: a file, its bytes, or pixels. It is cheap to clone.
///
/// Files and bytes (PNG, JPEG) are decoded with the cargo feature `images`; pixels need no feature. As in the original an alpha
/// channel is dropped, and a rotation that a camera notes beside the pixels is not followed.
///
/// ```
/// use sentence_transformers::{AsInput, Image, Input};
///
/// let white = Image::from_rgb(2, 1, vec![255; 6])?;
/// assert_eq!(white.as_input(), Input::Image(&white));
/// assert!(Image::from_rgb(2, 2, vec![255; 6]).is_err());
/// # Ok::<(), sentence_transformers::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Image(Source);

#[derive(Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Bytes(Arc<[u8]>),
    Pixels(Arc<Rgb>),
}

impl Image {
    /// The image in a file, which is read and decoded each time it is encoded.
    pub fn from_path(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// The image that is the content of a PNG or JPEG file, which is decoded each time it is encoded.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(Source::Bytes(bytes.into()))
    }

    /// An image of pixels, row by row from the top, each red, green and blue.
    ///
    /// # Errors
    /// When there is no pixel, or the bytes are not three per pixel.
    pub fn from_rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Self> {
        let fits = width > 0 && width.checked_mul(height).and_then(|count| count.checked_mul(3)) == Some(pixels.len());
        if !fits || pixels.is_empty() {
            let message = format!("{} bytes are no {width} × {height} pixels of 3 bytes", pixels.len());
            return Err(Error::new(ErrorKind::Argument, message));
        }
        Ok(Self(Source::Pixels(Arc::new(Rgb { width, height, pixels }))))
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.0 {
            Source::File(path) => path.as_os_str().len(),
            Source::Bytes(bytes) => bytes.len(),
            Source::Pixels(rgb) => rgb.pixels.len(),
        }
    }

    /// Its pixels.
    pub(crate) fn decode(&self) -> Result<Cow<'_, Rgb>> {
        match &self.0 {
            Source::File(path) => decoder::read(path).map(Cow::Owned),
            Source::Bytes(bytes) => decoder::decode(bytes).map(Cow::Owned),
            Source::Pixels(rgb) => Ok(Cow::Borrowed(rgb)),
        }
    }
}

/// Says where it comes from, not every pixel.
impl fmt::Debug for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::File(path) => write!(formatter, "Image({})", path.display()),
            Source::Bytes(bytes) => write!(formatter, "Image({} bytes)", bytes.len()),
            Source::Pixels(rgb) => write!(formatter, "Image({} × {} pixels)", rgb.width, rgb.height),
        }
    }
}
