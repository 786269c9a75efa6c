//! [`Table`]: one row of numbers per token, memory-mapped, summed row by row.

use std::path::Path;

use half::slice::HalfFloatSliceExt as _;
use half::{bf16, f16};
use st_encoder::{DataType, TensorSource, Weights};

use crate::{Error, ErrorKind, Result};

/// Names of the table in its file, first to last: the original's, model2vec's.
const TABLE_NAMES: [&str; 2] = ["embedding.weight", "embeddings"];
/// Rows that are added in one pass over the sum.
const BLOCK: usize = 8;
/// Columns that are converted at a time.
const COLUMNS: usize = 256;

/// A table of token vectors `[rows, width]`, with a row number and a weight per token where the file has them.
#[derive(Debug)]
pub(super) struct Table {
    weights: Weights,
    name: &'static str,
    elements: Elements,
    rows: usize,
    width: usize,
    /// Row of each token, where several tokens share rows.
    mapping: Option<Vec<u32>>,
    /// Factor of each token.
    factors: Option<Vec<f32>>,
}

/// Where the numbers are and what they are.
#[derive(Debug)]
enum Elements {
    /// In the mapped file, aligned.
    F32,
    F16,
    BF16,
    I8,
    /// Converted when the table was read: double precision, or not aligned in the file.
    Converted(Vec<f32>),
}

impl Table {
    /// Reads the table of a folder. `embeddings` may hold 8-bit integers, and `mapping` and `weights` may lie beside it.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let weights = Weights::open(folder)?;
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
            Elements::Converted(tensor.to_f32()?.into_owned())
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
        Ok(Self { weights, name, elements, rows, width, mapping, factors })
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

    /// Writes the mean of the tokens' vectors to `out`; zeros without tokens.
    ///
    /// Rows are added in the order of the tokens, whatever else is computed at the same time.
    pub(super) fn mean<T: Copy + Into<u32>>(&self, tokens: &[T], out: &mut [f32]) -> Result<()> {
        out.fill(0.0);
        match &self.elements {
            Elements::F32 => self.sum(self.mapped::<f32>()?, tokens, out)?,
            Elements::Converted(numbers) => self.sum(numbers, tokens, out)?,
            Elements::F16 => self.sum(self.mapped::<f16>()?, tokens, out)?,
            Elements::BF16 => self.sum(self.mapped::<bf16>()?, tokens, out)?,
            Elements::I8 => self.sum(self.mapped::<i8>()?, tokens, out)?,
        }
        let factor = 1.0 / tokens.len().max(1) as f32;
        out.iter_mut().for_each(|sum| *sum *= factor);
        Ok(())
    }

    fn mapped<E: bytemuck::AnyBitPattern>(&self) -> Result<&[E]> {
        let raw = self.weights.raw(self.name).and_then(|raw| bytemuck::try_cast_slice(raw.bytes).ok());
        raw.ok_or_else(|| Error::new(ErrorKind::Weights, format!("{} has changed", self.weights.path().display())))
    }

    fn sum<E: Element, T: Copy + Into<u32>>(&self, table: &[E], tokens: &[T], out: &mut [f32]) -> Result<()> {
        let (blocks, rest) = tokens.as_chunks::<BLOCK>();
        for block in blocks {
            let mut rows = [&[][..]; BLOCK];
            let mut factors = [1.0; BLOCK];
            for ((row, factor), &token) in rows.iter_mut().zip(&mut factors).zip(block) {
                (*row, *factor) = self.row(table, token.into())?;
            }
            if self.factors.is_some() {
                E::add_scaled(rows, factors, out);
            } else {
                E::add(rows, out);
            }
        }
        for &token in rest {
            let (row, factor) = self.row(table, token.into())?;
            if self.factors.is_some() {
                E::add_scaled([row], [factor], out);
            } else {
                E::add([row], out);
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

/// A number of a table.
trait Element: bytemuck::AnyBitPattern {
    /// Adds rows to a sum, the first row first.
    fn add<const N: usize>(rows: [&[Self]; N], sum: &mut [f32]);
    /// Adds rows times factors to a sum, the first row first.
    fn add_scaled<const N: usize>(rows: [&[Self]; N], factors: [f32; N], sum: &mut [f32]);
}

impl Element for f32 {
    #[inline(always)]
    fn add<const N: usize>(rows: [&[Self]; N], sum: &mut [f32]) {
        let rows = rows.map(|row| &row[..sum.len()]);
        for (column, sum) in sum.iter_mut().enumerate() {
            *sum = rows.iter().fold(*sum, |sum, row| sum + row[column]);
        }
    }

    #[inline(always)]
    fn add_scaled<const N: usize>(rows: [&[Self]; N], factors: [f32; N], sum: &mut [f32]) {
        let rows = rows.map(|row| &row[..sum.len()]);
        for (column, sum) in sum.iter_mut().enumerate() {
            *sum = rows.iter().zip(&factors).fold(*sum, |sum, (row, factor)| sum + row[column] * factor);
        }
    }
}

/// The rows of other types are converted block by block and then added.
macro_rules! converted_element {
    ($type:ty, $convert:expr) => {
        impl Element for $type {
            #[inline(always)]
            fn add<const N: usize>(rows: [&[Self]; N], sum: &mut [f32]) {
                let mut block = [0f32; COLUMNS];
                for row in rows {
                    for (row, sum) in row.chunks(COLUMNS).zip(sum.chunks_mut(COLUMNS)) {
                        let block = &mut block[..row.len()];
                        $convert(row, block);
                        f32::add([&*block], sum);
                    }
                }
            }

            #[inline(always)]
            fn add_scaled<const N: usize>(rows: [&[Self]; N], factors: [f32; N], sum: &mut [f32]) {
                let mut block = [0f32; COLUMNS];
                for (row, factor) in rows.into_iter().zip(factors) {
                    for (row, sum) in row.chunks(COLUMNS).zip(sum.chunks_mut(COLUMNS)) {
                        let block = &mut block[..row.len()];
                        $convert(row, block);
                        f32::add_scaled([&*block], [factor], sum);
                    }
                }
            }
        }
    };
}

converted_element!(f16, |row: &[f16], block: &mut [f32]| row.convert_to_f32_slice(block));
converted_element!(bf16, |row: &[bf16], block: &mut [f32]| {
    for (number, out) in row.iter().zip(block) {
        *out = f32::from_bits(u32::from(number.to_bits()) << 16);
    }
});
converted_element!(i8, |row: &[i8], block: &mut [f32]| {
    for (number, out) in row.iter().zip(block) {
        *out = f32::from(*number);
    }
});
