//! `.safetensors` with one tensor, `embeddings`: a header that is corrected at the end, then the rows.
//!
//! Format: <https://github.com/huggingface/safetensors#format>.

use std::io::Write;

use super::{Block, Element, Shape, Target, Writer};
use crate::failure::Result;

/// Bytes before the first number: the header's length, and the header with spaces to fill it up.
const HEADER: usize = 192;

pub(super) fn create(target: Target, shape: Shape) -> Result<Box<dyn Writer>> {
    let mut writer = SafeTensors { target, shape, rows: 0 };
    writer.header()?;
    Ok(Box::new(writer))
}

struct SafeTensors {
    target: Target,
    shape: Shape,
    rows: u64,
}

impl SafeTensors {
    fn header(&mut self) -> Result<()> {
        let element = match self.shape.element {
            Element::Float => "F32",
            Element::Signed => "I8",
            Element::Unsigned => "U8",
        };
        let (rows, width) = (self.rows, self.shape.width);
        let end = rows * width as u64 * self.shape.size();
        let header = format!(
            "{{\"embeddings\":{{\"dtype\":\"{element}\",\"shape\":[{rows},{width}],\"data_offsets\":[0,{end}]}}}}"
        );
        let mut bytes = ((HEADER - 8) as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.resize(HEADER, b' ');
        self.target.write_all(&bytes).map_err(|error| self.target.failed(&error))
    }
}

impl Writer for SafeTensors {
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
