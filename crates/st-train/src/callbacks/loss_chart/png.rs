//! [`Image`]: pixels, and the PNG file of them.
//!
//! Format: <https://www.w3.org/TR/png-3/>. Eight-bit RGB, one IDAT chunk.

use std::io::{self, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// A picture, row by row from the top.
pub(super) struct Image {
    width: usize,
    height: usize,
    pixels: Vec<Colour>,
}

impl Image {
    /// A white one.
    pub(super) fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![[255; 3]; width * height] }
    }

    /// Colours a pixel; one outside the picture is left out.
    pub(super) fn set(&mut self, x: i64, y: i64, colour: Colour) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.width && y < self.height {
            self.pixels[y * self.width + x] = colour;
        }
    }

    /// A straight line, two pixels thick.
    pub(super) fn line(&mut self, from: (i64, i64), to: (i64, i64), colour: Colour) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).max(1);
        for step in 0..=steps {
            // Rounded to the nearest pixel.
            let along = |from: i64, to: i64| from + (2 * (to - from) * step + steps).div_euclid(2 * steps);
            let (x, y) = (along(from.0, to.0), along(from.1, to.1));
            for (right, down) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                self.set(x + right, y + down, colour);
            }
        }
    }

    /// A horizontal or vertical line, one pixel thick.
    pub(super) fn rule(&mut self, from: (i64, i64), to: (i64, i64), colour: Colour) {
        for x in from.0..=to.0 {
            for y in from.1..=to.1 {
                self.set(x, y, colour);
            }
        }
    }

    /// The file.
    pub(super) fn encode(&self) -> io::Result<Vec<u8>> {
        let mut rows = ZlibEncoder::new(Vec::new(), Compression::default());
        for row in self.pixels.chunks(self.width.max(1)) {
            // Filter type 0: the bytes as they are.
            rows.write_all(&[0])?;
            rows.write_all(row.as_flattened())?;
        }
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let mut header = [size(self.width), size(self.height)].concat();
        header.extend([8, 2, 0, 0, 0]);
        let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, content) in [(b"IHDR", header), (b"IDAT", rows.finish()?), (b"IEND", Vec::new())] {
            let mut crc = Crc::new();
            crc.update(name);
            crc.update(&content);
            file.extend(size(content.len()));
            file.extend(name);
            file.extend(&content);
            file.extend(crc.sum().to_be_bytes());
        }
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_file_holds_the_pixels() {
        let mut image = Image::new(3, 2);
        image.set(2, 1, [1, 2, 3]);
        image.set(-1, 0, [0; 3]);
        image.set(3, 0, [0; 3]);
        let file = image.encode().unwrap();
        assert_eq!(&file[..8], b"\x89PNG\r\n\x1a\n");
        assert_eq!(&file[8..29], b"\0\0\0\x0dIHDR\0\0\0\x03\0\0\0\x02\x08\x02\0\0\0");
        // The checksum of the last chunk is the same in every file.
        assert_eq!(&file[file.len() - 12..], b"\0\0\0\0IEND\xaeB`\x82");
        let length = u32::from_be_bytes(file[33..37].try_into().unwrap()) as usize;
        let mut rows = Vec::new();
        flate2::read::ZlibDecoder::new(&file[41..41 + length]).read_to_end(&mut rows).unwrap();
        assert_eq!(rows, [&[0][..], &[255; 9], &[0], &[255; 6], &[1, 2, 3]].concat());
    }

    #[test]
    fn a_line_reaches_both_ends() {
        let mut image = Image::new(20, 20);
        image.line((2, 15), (17, 3), [0; 3]);
        for (x, y) in [(2, 15), (17, 3)] {
            assert_eq!(image.pixels[y * 20 + x], [0; 3]);
        }
    }
}
