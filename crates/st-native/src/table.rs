//! [`Table`]: rows that are looked up, kept as they are stored.
#![expect(unsafe_code, reason = "a table borrows from what it keeps alive")]

use std::sync::Arc;

use half::{bf16, f16};
use st_encoder::{DataType, EncoderError, Tensor, TensorSource, Weights};

/// A table `[rows, width]` in a checkpoint's memory map, or in memory where an overlay changed it.
#[derive(Debug)]
pub(crate) struct Table {
    /// The bytes, which belong to `_owner`.
    bytes: &'static [u8],
    data_type: DataType,
    width: usize,
    /// Keeps the memory of `bytes` alive.
    _owner: Owner,
}

/// Whose a table's bytes are.
#[derive(Debug)]
enum Owner {
    File(#[expect(dead_code, reason = "keeps memory alive")] Arc<Weights>),
    Bytes(#[expect(dead_code, reason = "keeps memory alive")] Box<[u8]>),
}

impl Table {
    /// Opens a table and checks that its numbers are finite.
    pub(crate) fn open(
        file: &Arc<Weights>,
        source: &TensorSource,
        rows: usize,
        width: usize,
    ) -> Result<Self, EncoderError> {
        let tensor: Tensor<'_> = file.tensor(source, &[rows, width])?;
        tensor.to_f32()?;
        let (bytes, owner) = match tensor.stored_bytes() {
            Some(bytes) => (bytes.as_ptr_range(), Owner::File(file.clone())),
            None => {
                let bytes: Box<[u8]> = tensor.bytes().into();
                (bytes.as_ptr_range(), Owner::Bytes(bytes))
            }
        };
        // SAFETY: the bytes lie in memory that `Weights`, or the box, owns and never changes or moves while it lives; the
        // table keeps the owner alive, and the reference does not leave the table.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.start, bytes.end.addr() - bytes.start.addr()) };
        Ok(Self { bytes, data_type: tensor.data_type(), width, _owner: owner })
    }

    /// Writes a row.
    pub(crate) fn copy_row(&self, row: usize, to: &mut [f32]) {
        self.with_row(row, to, |to, number| *to = number);
    }

    /// Adds a row.
    pub(crate) fn add_row(&self, row: usize, to: &mut [f32]) {
        self.with_row(row, to, |to, number| *to += number);
    }

    #[expect(clippy::cast_possible_truncation, reason = "doubles are rounded to floats on purpose")]
    fn with_row(&self, row: usize, to: &mut [f32], put: impl Fn(&mut f32, f32)) {
        let size = self.width * self.data_type.size();
        let bytes = &self.bytes[row * size..(row + 1) * size];
        match self.data_type {
            DataType::F32 => each(bytes, to, f32::from_le_bytes, put),
            DataType::F16 => each(bytes, to, |b| f16::from_le_bytes(b).to_f32(), put),
            DataType::BF16 => each(bytes, to, |b| bf16::from_le_bytes(b).to_f32(), put),
            _ => each(bytes, to, |b| f64::from_le_bytes(b) as f32, put),
        }
    }
}

fn each<const N: usize>(bytes: &[u8], to: &mut [f32], read: impl Fn([u8; N]) -> f32, put: impl Fn(&mut f32, f32)) {
    for (to, &number) in to.iter_mut().zip(bytes.as_chunks::<N>().0) {
        put(to, read(number));
    }
}
