//! Decoding PNG and JPEG, with limits against files that would fill the memory.

use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use image::error::{DecodingError, ImageFormatHint};
use image::{ImageError, ImageFormat, ImageReader, Limits};

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

fn decode_from(mut from: impl BufRead + Seek) -> std::result::Result<Rgb, ImageError> {
    check_palette(&mut from)?;
    let mut reader = ImageReader::new(from).with_guessed_format()?;
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let rgb = reader.decode()?.into_rgb8();
    Ok(Rgb { width: rgb.width() as usize, height: rgb.height() as usize, pixels: rgb.into_raw() })
}

const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// Refuses PNG files whose palette is no whole number of colours: the crate `png` panics over them up to version 0.18.1.
fn check_palette(from: &mut (impl BufRead + Seek)) -> std::result::Result<(), ImageError> {
    let mut head = [0; 8];
    if from.read_exact(&mut head).is_ok() && head == PNG {
        // A chunk is the length of its content, its kind, the content and a check sum.
        while from.read_exact(&mut head).is_ok() {
            let [length @ .., _, _, _, _] = head;
            let length = u32::from_be_bytes(length);
            match &head[4..] {
                b"PLTE" if !length.is_multiple_of(3) => {
                    let message = format!("a palette of {length} bytes, which are no colours of 3 bytes");
                    let format = ImageFormatHint::Exact(ImageFormat::Png);
                    return Err(ImageError::Decoding(DecodingError::new(format, message)));
                }
                b"IDAT" | b"IEND" => break,
                _ => std::io::copy(&mut from.by_ref().take(u64::from(length) + 4), &mut std::io::sink())?,
            };
        }
    }
    Ok(from.rewind()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk of a PNG file.
    fn chunk(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let checked = [kind, content].concat();
        let check = checked.iter().fold(u32::MAX, |check, &byte| {
            (0..8).fold(check ^ u32::from(byte), |check, _| (check >> 1) ^ (0xedb8_8320 & (check & 1).wrapping_neg()))
        });
        [&(content.len() as u32).to_be_bytes(), &checked[..], &(!check).to_be_bytes()].concat()
    }

    /// The beginning of a PNG file of a given size and type of colours.
    fn beginning(width: u32, height: u32, colours: u8) -> Vec<u8> {
        let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
        [&PNG[..], &chunk(b"IHDR", &[&size[..], &[8, colours, 0, 0, 0]].concat())].concat()
    }

    /// The header of a PNG file of a given size, and nothing behind it.
    fn header(width: u32, height: u32) -> Vec<u8> {
        beginning(width, height, 2)
    }

    /// Of one pixel, which is the palette's first colour.
    fn with_palette(palette: &[u8]) -> Vec<u8> {
        // One block that is stored as it is: the row's filter and its pixel, 0 and 0.
        let row = [0x78, 1, 1, 2, 0, 0xfd, 0xff, 0, 0, 0, 2, 0, 1];
        let chunks = [chunk(b"gAMA", &[0, 0, 0xb1, 0x8f]), chunk(b"PLTE", palette), chunk(b"IDAT", &row)];
        [beginning(1, 1, 3), chunks.concat(), chunk(b"IEND", &[])].concat()
    }

    #[test]
    fn palettes_hold_whole_colours() {
        let whole = decode(&with_palette(&[7, 8, 9, 1, 2, 3])).unwrap();
        assert_eq!(whole, Rgb { width: 1, height: 1, pixels: vec![7, 8, 9] });
        for length in [4, 5, 49] {
            let error = decode(&with_palette(&vec![7; length])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Argument);
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert!(source.contains(&format!("a palette of {length} bytes")), "{source}");
        }
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
