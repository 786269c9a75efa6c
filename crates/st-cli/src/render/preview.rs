//! [`Preview`]: embeddings before a person's eyes.

use super::{print, shorten};
use crate::failure::Result;
use crate::output::{Block, Values};

/// Numbers of a row that are shown.
const SHOWN: usize = 5;
/// Columns of a text that are shown.
const TEXT: usize = 40;

/// The first numbers of every embedding.
#[derive(Debug)]
pub(crate) struct Preview(());

impl Preview {
    pub(crate) fn new() -> Self {
        Self(())
    }

    pub(crate) fn write(&mut self, block: &Block<'_>) -> Result<()> {
        print(&excerpt(block))
    }
}

fn excerpt(block: &Block<'_>) -> String {
    let mut out = String::new();
    for (row, text) in block.texts.iter().enumerate() {
        let shown = row * block.width..row * block.width + block.width.min(SHOWN);
        let numbers: Vec<String> = match block.values {
            Values::Float(values) => values[shown].iter().map(|value| format!("{value:.4}")).collect(),
            Values::Signed(values) => values[shown].iter().map(i8::to_string).collect(),
            Values::Unsigned(values) => values[shown].iter().map(u8::to_string).collect(),
        };
        let more = if block.width > SHOWN { format!(", … {} in all", block.width) } else { String::new() };
        out.push_str(&format!("{}  [{}{more}]\n", shorten(text, TEXT), numbers.join(", ")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_are_shown() {
        let values: Vec<f32> = (0..12u8).map(|n| f32::from(n) / 8.0).collect();
        let block = Block { texts: &["one", "two\nlines"], values: Values::Float(&values), width: 6 };
        assert_eq!(
            excerpt(&block),
            "one  [0.0000, 0.1250, 0.2500, 0.3750, 0.5000, … 6 in all]\n\
             two lines  [0.7500, 0.8750, 1.0000, 1.1250, 1.2500, … 6 in all]\n"
        );
    }
}
