//! [`Texts`]: the texts of an input, with what is done about damaged rows.

use sentence_transformers::{AsInput, Input};

use super::{Extent, Rows};
use crate::failure::{Failure, Result};

/// Damaged rows that are reported one by one; the rest is counted.
const REPORTED: u64 = 20;

/// What to do about a row whose text cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnError {
    /// Keep its place: undecodable bytes become U+FFFD, a row without a text the empty text
    Replace,
    /// Leave it out
    Skip,
    /// End with an error
    Stop,
}

/// A text and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// Line or row, from 1.
    pub(crate) number: u64,
    pub(crate) text: String,
}

impl AsInput for Text {
    fn as_input(&self) -> Input<'_> {
        Input::Text(&self.text)
    }
}

/// The texts of an input.
///
/// As an iterator it ends at the first failure; [`Texts::finish`] tells of it.
pub(crate) struct Texts {
    rows: Rows,
    on_error: OnError,
    failure: Option<Failure>,
    /// Rows that were damaged.
    pub(crate) damaged: u64,
}

impl Texts {
    pub(crate) fn new(rows: Rows, on_error: OnError) -> Self {
        Self { rows, on_error, failure: None, damaged: 0 }
    }

    pub(crate) fn extent(&self) -> Extent {
        self.rows.extent.clone()
    }

    /// `data.txt, line 7`.
    pub(crate) fn place(&self, number: u64) -> String {
        format!("{}, {} {number}", self.rows.name, self.rows.unit)
    }

    /// What ended the stream, if it was not its end.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// How many rows were damaged and what became of them; `None` without damage.
    pub(crate) fn summary(&self) -> Option<String> {
        let done = match self.on_error {
            OnError::Replace => "kept, with replacements",
            _ => "left out",
        };
        (self.damaged > 0).then(|| match self.damaged {
            1 => format!("1 damaged row was {done}"),
            many => format!("{many} damaged rows were {done}"),
        })
    }
}

impl Iterator for Texts {
    type Item = Text;

    fn next(&mut self) -> Option<Text> {
        if self.failure.is_some() {
            return None;
        }
        loop {
            let row = match self.rows.rows.next()? {
                Ok(row) => row,
                Err(failure) => {
                    self.failure = Some(failure);
                    return None;
                }
            };
            let number = row.number;
            let damage = match row.text {
                Ok(text) => return Some(Text { number, text }),
                Err(damage) => damage,
            };
            self.damaged += 1;
            let place = self.place(number);
            let what = match self.on_error {
                OnError::Stop => {
                    self.failure = Some(
                        Failure::new(format!("{place}: {}", damage.reason))
                            .with_hint("--on-error skip leaves such rows out, --on-error replace keeps their places"),
                    );
                    return None;
                }
                OnError::Skip => "left out",
                OnError::Replace => "kept, with replacements",
            };
            if self.damaged <= REPORTED {
                eprintln!("warning: {place}: {}; {what}", damage.reason);
            } else if self.damaged == REPORTED + 1 {
                eprintln!("warning: further damaged rows are counted only");
            }
            if self.on_error == OnError::Replace {
                return Some(Text { number, text: damage.salvage });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::{Damage, Row};

    fn texts(on_error: OnError) -> Texts {
        let damage = || Damage { reason: "broken".to_owned(), salvage: "s".to_owned() };
        let rows = [Ok("a".to_owned()), Err(damage()), Ok("b".to_owned())];
        let rows = rows.into_iter().zip(1..).map(|(text, number)| Ok(Row { number, text }));
        let rows = Rows { name: "f".to_owned(), unit: "line", extent: Extent::Unknown, rows: Box::new(rows) };
        Texts::new(rows, on_error)
    }

    #[test]
    fn the_three_ways_with_a_damaged_row() {
        for (on_error, expected, fails) in [
            (OnError::Replace, &["a", "s", "b"][..], false),
            (OnError::Skip, &["a", "b"], false),
            (OnError::Stop, &["a"], true),
        ] {
            let mut texts = texts(on_error);
            let read: Vec<String> = texts.by_ref().map(|text| text.text).collect();
            assert_eq!(read, expected);
            assert_eq!((texts.damaged, texts.finish().is_err()), (1, fails));
        }
    }
}
