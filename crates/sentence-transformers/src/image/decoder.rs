//! Decoding PNG and JPEG, with limits against files that would fill the memory.

use std::io::{BufRead, BufReader, Cursor, Seek};
use std::path::Path;

use image::{ImageError, ImageReader, Limits};

use super::Rgb;
use crate::{Error, ErrorKind, Result};

/// Longest side, in pixels.
const LONGEST_SIDE: u32 = 1 << 16;
/// Bytes that decoding may take; an RGB image of 170 million pixels.
const MOST_MEMORY: u64 = 512 << 20;
/// No image file is larger.
const LARGEST_FILE: u64 = 512 << 20;

/// Reads and decodes a file.
pub(super) fn read(path: &Path) -> Result<Rgb> {
    let failed = |source: std::io::Error| {
        let kind = if source.kind() == std::io::ErrorKind::NotFound { ErrorKind::NotFound } else { ErrorKind::Io };
        Error::new(kind, format!("cannot read the image {}", path.display())).with_path(path).with_source(source)
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() > LARGEST_FILE {
        let message = format!("the image {} is larger than {LARGEST_FILE} bytes", path.display());
        return Err(Error::new(ErrorKind::Argument, message).with_path(path));
    }
    decode_from(BufReader::new(file)).map_err(|error| {
        Error::new(ErrorKind::Argument, format!("the image {} cannot be decoded", path.display()))
            .with_path(path)
            .with_hint("PNG and JPEG files are read; the file is of another kind, damaged or too large")
            .with_source(error)
    })
}

/// Decodes the content of a file.
pub(super) fn decode(bytes: &[u8]) -> Result<Rgb> {
    decode_from(Cursor::new(bytes)).map_err(|error| {
        Error::new(ErrorKind::Argument, format!("an image of {} bytes cannot be decoded", bytes.len()))
            .with_hint("PNG and JPEG are read; the bytes are of another kind, damaged or too large")
            .with_source(error)
    })
}

fn decode_from(from: impl BufRead + Seek) -> std::result::Result<Rgb, ImageError> {
    let mut reader = ImageReader::new(from).with_guessed_format()?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let rgb = reader.decode()?.into_rgb8();
    Ok(Rgb { width: rgb.width() as usize, height: rgb.height() as usize, pixels: rgb.into_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header of a PNG file of a given size, and nothing behind it.
    fn header(width: u32, height: u32) -> Vec<u8> {
        let mut chunk = b"IHDR".to_vec();
        chunk.extend(width.to_be_bytes().iter().chain(&height.to_be_bytes()).chain(&[8, 2, 0, 0, 0]));
        let check = chunk.iter().fold(u32::MAX, |check, &byte| {
            (0..8).fold(check ^ u32::from(byte), |check, _| (check >> 1) ^ (0xedb8_8320 & (check & 1).wrapping_neg()))
        });
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0d", &chunk[..], &(!check).to_be_bytes()].concat()
    }

    #[test]
    fn hostile_sizes_and_other_files_are_refused() {
        let hostile = [header(60_000, 60_000), header(1 << 17, 1), header(0, 5), b"GIF89a".to_vec(), Vec::new()];
        for bytes in hostile {
            let error = decode(&bytes).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            assert!(error.hint().is_some());
        }
        assert_eq!(read("/no/such/image.png".as_ref()).unwrap_err().kind(), ErrorKind::NotFound);
    }
}
