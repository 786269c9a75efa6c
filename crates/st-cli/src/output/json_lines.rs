//! JSON lines: `{"text": …, "embedding": […]}` for every row.

use std::io::{self, Write};

use serde_json::Value;

use super::{Block, Shape, Target, Values, Writer};
use crate::failure::Result;

pub(super) fn create(target: Target, _shape: Shape) -> Result<Box<dyn Writer>> {
    Ok(Box::new(JsonLines::new(target)))
}

/// A file of JSON lines in the making.
pub(crate) struct JsonLines {
    target: Target,
}

impl JsonLines {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }

    /// Adds any object.
    pub(crate) fn write_value(&mut self, value: &Value) -> Result<()> {
        let written = serde_json::to_writer(&mut self.target, value).map_err(io::Error::from);
        written.and_then(|()| self.target.write_all(b"\n")).map_err(|error| self.target.failed(&error))
    }

    /// Hands on what was written so far.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.target.flush().map_err(|error| self.target.failed(&error))
    }

    pub(crate) fn commit(self) -> Result<()> {
        self.target.commit()
    }

    fn write_row(&mut self, text: &str, values: Values<'_>) -> io::Result<()> {
        let out = &mut self.target;
        out.write_all(b"{\"text\":")?;
        serde_json::to_writer(&mut *out, text)?;
        out.write_all(b",\"embedding\":")?;
        match values {
            Values::Float(values) => serde_json::to_writer(&mut *out, values)?,
            Values::Signed(values) => serde_json::to_writer(&mut *out, values)?,
            Values::Unsigned(values) => serde_json::to_writer(&mut *out, values)?,
        }
        out.write_all(b"}\n")
    }
}

impl Writer for JsonLines {
    fn write(&mut self, block: &Block<'_>) -> Result<()> {
        for (row, text) in block.texts.iter().enumerate() {
            let values = block.values.slice(row * block.width, (row + 1) * block.width);
            self.write_row(text, values).map_err(|error| self.target.failed(&error))?;
        }
        self.flush()
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.commit()
    }
}
