//! [`EventFile`]: scalars as TensorBoard reads them.
//!
//! A file is a sequence of TFRecords: length (8 bytes, little-endian), masked CRC-32C of these 8 bytes, data, masked
//! CRC-32C of the data. Each data is a protobuf message `Event` with `wall_time` (1, double), `step` (2, varint), and
//! `file_version` (3, string) in the first or `summary` (5) in the others, a `Summary` of `value` (1) with `tag` (1,
//! string) and `simple_value` (2, float).
//!
//! Formats: <https://www.tensorflow.org/tutorials/load_data/tfrecord>,
//! <https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto>.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C, the Castagnoli polynomial, reflected.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Bytes of the file before they reach the disk, at most.
const BUFFER: usize = 1 << 13;

/// A file of events in the making. What was written is readable after each [`EventFile::flush`].
///
/// ```
/// use st_train::callbacks::EventFile;
///
/// let folder = tempfile::tempdir()?;
/// let mut events = EventFile::create(folder.path())?;
/// events.scalars(1, &[("train/loss".to_owned(), 0.5)])?;
/// events.flush()?;
/// assert_eq!(std::fs::read_dir(folder.path())?.count(), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct EventFile {
    file: BufWriter<File>,
}

impl EventFile {
    /// Makes a new file in a folder, which is made too.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let now = now();
        let (seconds, process) = (now as u64, std::process::id());
        let mut number = 0;
        // A run that goes on gets a file of its own, which TensorBoard reads as one with the earlier ones.
        let file = loop {
            let path = folder.join(format!("events.out.tfevents.{seconds:010}.localhost.{process}.{number}"));
            match File::create_new(&path) {
                Ok(file) => break file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        let mut file = Self { file: BufWriter::with_capacity(BUFFER, file) };
        let mut event = header(now, 0);
        bytes_field(&mut event, 3, b"brain.Event:2");
        file.record(&event)?;
        file.flush()?;
        Ok(file)
    }

    /// Adds values of a step: tag and value.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(String, f32)]) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, value) in values {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, tag.as_bytes());
            entry.push(2 << 3 | 5);
            entry.extend(value.to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        let mut event = header(now(), step);
        bytes_field(&mut event, 5, &summary);
        self.record(&event)
    }

    /// Writes what waits in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn record(&mut self, data: &[u8]) -> io::Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        self.file.write_all(&length)?;
        self.file.write_all(&masked(crc32c(&length)).to_le_bytes())?;
        self.file.write_all(data)?;
        self.file.write_all(&masked(crc32c(data)).to_le_bytes())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// An event's time and step.
fn header(time: f64, step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | 1];
    event.extend(time.to_le_bytes());
    event.push(2 << 3);
    varint(&mut event, step);
    event
}

fn bytes_field(message: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    message.push(number << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut crc: u32, byte| {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
        }
        crc
    })
}

/// As TFRecord stores a checksum, so that a checksum of data with checksums in it stays sound.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, appendix B.4, and the usual check value.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Number and content of the fields of a message: a varint's value as bytes, others as they are.
    fn fields(mut message: &[u8]) -> Vec<(u8, Vec<u8>)> {
        fn number(message: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = message[0];
                *message = &message[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut found = Vec::new();
        while !message.is_empty() {
            let key = number(&mut message) as u8;
            let content = match key & 7 {
                0 => number(&mut message).to_le_bytes().to_vec(),
                kind => {
                    let length = match kind {
                        1 => 8,
                        5 => 4,
                        _ => number(&mut message) as usize,
                    };
                    let (content, rest) = message.split_at(length);
                    message = rest;
                    content.to_vec()
                }
            };
            found.push((key >> 3, content));
        }
        found
    }

    #[test]
    fn a_reader_of_the_format_finds_the_values() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        let files = || fs::read_dir(&runs).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
        let mut file = EventFile::create(&runs).unwrap();
        let path = files().pop().unwrap();
        file.scalars(300, &[("train/loss".to_owned(), 0.5), ("train/learning_rate".to_owned(), 2e-5)]).unwrap();
        file.flush().unwrap();
        EventFile::create(&runs).unwrap();
        assert_eq!(files().len(), 2, "an earlier file is never touched");
        let bytes = fs::read(path).unwrap();
        let mut rest = &bytes[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let check = |bytes: &[u8], stored: &[u8]| {
                assert_eq!(masked(crc32c(bytes)), u32::from_le_bytes(stored.try_into().unwrap()));
            };
            check(&rest[..8], &rest[8..12]);
            let data = &rest[12..12 + length];
            check(data, &rest[12 + length..16 + length]);
            records.push(fields(data));
            rest = &rest[16 + length..];
        }
        assert_eq!(records[0][2], (3, b"brain.Event:2".to_vec()));
        let event = &records[1];
        assert!(f64::from_le_bytes(event[0].1[..].try_into().unwrap()) > 1.7e9, "{event:?}");
        assert_eq!(event[1], (2, 300_u64.to_le_bytes().to_vec()));
        let values: Vec<_> = fields(&event[2].1).iter().map(|(_, value)| fields(value)).collect();
        assert_eq!(values[0], [(1, b"train/loss".to_vec()), (2, 0.5_f32.to_le_bytes().to_vec())]);
        assert_eq!(values[1], [(1, b"train/learning_rate".to_vec()), (2, 2e-5_f32.to_le_bytes().to_vec())]);
    }
}
