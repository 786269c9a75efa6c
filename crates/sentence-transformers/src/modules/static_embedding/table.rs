//! [`Table`]: one row of numbers per token, memory-mapped, summed row by row.

use std::path::Path;
use std::sync::Arc;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView};
use st_encoder::{DataType, TensorSource, Weights};
use st_native::{RowElement, RowSum};

use crate::{Error, ErrorKind, Result};

/// Names of the table in its file, first to last: the original's, model2vec's.
pub(super) const TABLE_NAMES: [&str; 2] = ["embedding.weight", "embeddings"];
/// Rows that are handed to the kernel at a time.
const BLOCK: usize = 32;

/// A table of token vectors `[rows, width]`, with a row number and a weight per token where the file has them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    weights: Arc<Weights>,
    name: &'static str,
    elements: Elements,
    rows: usize,
    width: usize,
    /// Row of each token, where several tokens share rows.
    mapping: Option<Vec<u32>>,
    /// Factor of each token.
    factors: Option<Vec<f32>>,
    kernel: RowSum,
}

/// Where the numbers are and what they are.
#[derive(Debug, Clone)]
enum Elements {
    /// In the mapped file, aligned.
    F32,
    F16,
    BF16,
    I8,
    /// Converted when the table was read: double precision, or not aligned in the file.
    Converted(Arc<[f32]>),
}

/// A table's numbers.
pub(super) enum Numbers<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
    I8(&'a [i8]),
}

impl Table {
    /// Reads the table of a folder. `embeddings` may hold 8-bit integers, and `mapping` and `weights` may lie beside it.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        Self::of_weights(Weights::open(folder)?)
    }

    /// A table of new numbers, `[rows, width]`; `folder` stands in messages.
    pub(super) fn of_numbers(folder: &Path, shape: [usize; 2], numbers: &[f32]) -> Result<Self> {
        let failed = |error| Error::new(ErrorKind::Weights, "the new table is too large").with_source(error);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).map_err(failed)?;
        let file = safetensors::serialize([(TABLE_NAMES[0], view)], None).map_err(failed)?;
        Self::of_weights(Weights::from_bytes(folder, Arc::new(file))?)
    }

    fn of_weights(weights: Weights) -> Result<Self> {
        let path = weights.path().to_path_buf();
        let damaged =
            |message: String| Error::new(ErrorKind::Weights, format!("{}: {message}", path.display())).with_path(&path);
        let name = TABLE_NAMES.into_iter().find(|name| weights.contains(name));
        let name = name.ok_or_else(|| {
            damaged(format!(
                "there is no table of token vectors: neither '{}' nor '{}'",
                TABLE_NAMES[0], TABLE_NAMES[1]
            ))
        })?;
        let raw = weights.raw(name).ok_or_else(|| damaged(format!("tensor '{name}' cannot be read")))?;
        let &[rows, width] = raw.shape else {
            return Err(damaged(format!("tensor '{name}' has the shape {:?}, not [tokens, width]", raw.shape)));
        };
        if width == 0 {
            return Err(damaged(format!("tensor '{name}' has no columns")));
        }
        let is = |data_type: DataType| raw.data_type == data_type.as_str();
        let aligned = |size: usize| cfg!(target_endian = "little") && raw.bytes.as_ptr().addr().is_multiple_of(size);
        let elements = if raw.data_type == "I8" {
            Elements::I8
        } else if is(DataType::F32) && aligned(4) {
            Elements::F32
        } else if is(DataType::F16) && aligned(2) {
            Elements::F16
        } else if is(DataType::BF16) && aligned(2) {
            Elements::BF16
        } else {
            let tensor = weights.tensor(&TensorSource::whole(name), &[rows, width])?;
            Elements::Converted(tensor.to_f32()?.into_owned().into())
        };
        let mapping = match weights.raw("mapping") {
            None => None,
            Some(mapping) => {
                let numbers: Option<Vec<u32>> = match mapping.data_type {
                    "I32" => whole(mapping.bytes, |bytes| i64::from(i32::from_le_bytes(bytes))),
                    "I64" => whole(mapping.bytes, i64::from_le_bytes),
                    other => return Err(damaged(format!("'mapping' holds {other}, not whole numbers"))),
                };
                let fits = |row: &u32| (*row as usize) < rows;
                let numbers = numbers.filter(|numbers| numbers.iter().all(fits));
                Some(
                    numbers
                        .ok_or_else(|| damaged(format!("'mapping' names rows outside of the {rows} of '{name}'")))?,
                )
            }
        };
        let factors = match weights.raw("weights") {
            None => None,
            Some(factors) => {
                let count: usize = factors.shape.iter().product();
                let tensor = weights.tensor(&TensorSource::whole("weights"), &[count])?;
                Some(tensor.to_f32()?.into_owned())
            }
        };
        let weights = Arc::new(weights);
        Ok(Self { weights, name, elements, rows, width, mapping, factors, kernel: RowSum::detect() })
    }

    /// Components of a vector.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Number of tokens that have a vector.
    pub(super) fn tokens(&self) -> usize {
        let count = |numbers: usize| numbers.min(self.factors.as_ref().map_or(usize::MAX, Vec::len));
        count(self.mapping.as_ref().map_or(self.rows, Vec::len))
    }

    /// The table as it lies in its file, when there is nothing but it: its type and bytes.
    pub(super) fn plain(&self) -> Option<(&str, &[u8])> {
        let raw = self.weights.raw(self.name).filter(|raw| raw.data_type != "I8")?;
        (self.mapping.is_none() && self.factors.is_none()).then_some((raw.data_type, raw.bytes))
    }

    /// The numbers, ready to be summed.
    pub(super) fn numbers(&self) -> Result<Numbers<'_>> {
        Ok(match &self.elements {
            Elements::F32 => Numbers::F32(self.mapped()?),
            Elements::Converted(numbers) => Numbers::F32(numbers),
            Elements::F16 => Numbers::F16(self.mapped()?),
            Elements::BF16 => Numbers::BF16(self.mapped()?),
            Elements::I8 => Numbers::I8(self.mapped()?),
        })
    }

    /// Writes the mean of the tokens' vectors to `out`; zeros without tokens.
    ///
    /// Rows are added in the order of the tokens, whatever else is computed at the same time.
    pub(super) fn mean(&self, numbers: &Numbers<'_>, tokens: &[u32], out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        match numbers {
            Numbers::F32(numbers) => self.sum(numbers, tokens, out)?,
            Numbers::F16(numbers) => self.sum(numbers, tokens, out)?,
            Numbers::BF16(numbers) => self.sum(numbers, tokens, out)?,
            Numbers::I8(numbers) => self.sum(numbers, tokens, out)?,
        }
        let factor = 1.0 / tokens.len().max(1) as f32;
        out.iter_mut().for_each(|sum| *sum *= factor);
        Ok(())
    }

    fn mapped<E: bytemuck::AnyBitPattern>(&self) -> Result<&[E]> {
        let raw = self.weights.raw(self.name).and_then(|raw| bytemuck::try_cast_slice(raw.bytes).ok());
        raw.ok_or_else(|| Error::new(ErrorKind::Weights, format!("{} has changed", self.weights.path().display())))
    }

    fn sum<E: RowElement>(&self, table: &[E], tokens: &[u32], out: &mut [f32]) -> Result<()> {
        let mut rows = [&[][..]; BLOCK];
        let mut factors = [1.0; BLOCK];
        for block in tokens.chunks(BLOCK) {
            for ((row, factor), &token) in rows.iter_mut().zip(&mut factors).zip(block) {
                (*row, *factor) = self.row(table, token)?;
            }
            let rows = &rows[..block.len()];
            match &self.factors {
                None => self.kernel.add(rows, out),
                Some(_) => self.kernel.add_scaled(rows, &factors[..block.len()], out),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn row<'t, E>(&self, table: &'t [E], token: u32) -> Result<(&'t [E], f32)> {
        let find = || {
            let token = token as usize;
            let row =
                self.mapping.as_ref().map_or(Some(token), |mapping| mapping.get(token).map(|&row| row as usize))?;
            let factor = self.factors.as_ref().map_or(Some(1.0), |factors| factors.get(token).copied())?;
            Some((table.get(row * self.width..(row + 1) * self.width)?, factor))
        };
        find().ok_or_else(|| self.no_row(token))
    }

    #[cold]
    fn no_row(&self, token: u32) -> Error {
        let path = self.weights.path();
        let tokens = self.tokens();
        Error::new(
            ErrorKind::Encode,
            format!("the tokenizer gave token {token}, but {} has vectors for {tokens} tokens", path.display()),
        )
        .with_path(path)
        .with_hint("tokenizer.json and the weights do not belong together: download the model again")
    }
}

fn whole<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> i64) -> Option<Vec<u32>> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| u32::try_from(number(bytes)).ok()).collect()
}
