//! NumPy's `.npy`, version 1.0: a header that is corrected at the end, then the rows.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::Write;

use super::{Block, Element, Shape, Target, Writer};
use crate::failure::Result;

/// Bytes before the first number; a multiple of 64, and room for any shape.
const HEADER: usize = 128;

pub(super) fn create(target: Target, shape: Shape) -> Result<Box<dyn Writer>> {
    let mut writer = Npy { target, shape, rows: 0 };
    writer.header()?;
    Ok(Box::new(writer))
}

struct Npy {
    target: Target,
    shape: Shape,
    rows: u64,
}

impl Npy {
    fn header(&mut self) -> Result<()> {
        let element = match self.shape.element {
            Element::Float => "<f4",
            Element::Signed => "|i1",
            Element::Unsigned => "|u1",
        };
        let (rows, width) = (self.rows, self.shape.width);
        let dictionary = format!("{{'descr': '{element}', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(((HEADER - 10) as u16).to_le_bytes());
        bytes.extend(dictionary.as_bytes());
        bytes.resize(HEADER - 1, b' ');
        bytes.push(b'\n');
        self.target.write_all(&bytes).map_err(|error| self.target.failed(&error))
    }
}

impl Writer for Npy {
    fn write(&mut self, block: &Block<'_>) -> Result<()> {
        self.rows += block.texts.len() as u64;
        self.target.write_all(&block.values.bytes()).map_err(|error| self.target.failed(&error))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.target.seek(0).map_err(|error| self.target.failed(&error))?;
        self.header()?;
        self.target.commit()
    }
}
