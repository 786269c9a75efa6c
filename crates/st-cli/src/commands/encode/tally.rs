//! [`Tally`]: texts that were encoded, and those that were too long.

use sentence_transformers::Truncation;

use crate::failure::{Failure, Result};
use crate::input::Texts;

/// How many texts there were, and how many were cut.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) texts: u64,
    pub(super) cut: u64,
}

impl Tally {
    pub(super) fn summary(&self, limit: Option<usize>) -> Option<String> {
        let limit = limit.map_or(String::new(), |limit| format!(" than {limit} tokens"));
        let were = if self.cut == 1 { "was" } else { "were" };
        (self.cut > 0)
            .then(|| format!("{} of {} texts {were} longer{limit}; the rest was cut off", self.cut, self.texts))
    }
}

/// With `--strict`, an error that names the first text that is too long.
pub(super) fn refuse_cut(texts: &Texts, numbers: impl Fn(usize) -> Option<u64>, cut: &[Truncation]) -> Result<()> {
    let Some(first) = cut.iter().min_by_key(|truncation| truncation.index) else { return Ok(()) };
    let place = texts.place(numbers(first.index).unwrap_or(0));
    let (all, kept) = (first.kept + first.lost, first.kept);
    Err(Failure::new(format!("{place}: the text has {all} tokens, but the model reads {kept}"))
        .with_hint("split the text, or leave --strict out to have it cut"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_is_summed_up() {
        let summary = |texts, cut| Tally { texts, cut }.summary(Some(256));
        assert_eq!(summary(10, 0), None);
        assert_eq!(summary(1000, 3).unwrap(), "3 of 1000 texts were longer than 256 tokens; the rest was cut off");
        assert_eq!(summary(1, 1).unwrap(), "1 of 1 texts was longer than 256 tokens; the rest was cut off");
    }
}
