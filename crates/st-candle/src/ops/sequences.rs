//! [`Sequences`]: how the ragged rows of a batch are laid out for operations that need rectangles.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

/// The sequences of a batch, grouped for attention.
///
/// On a processor sequences of equal length form a group, so that nothing is padded. On a device where starting an operation
/// costs more than padding there is one group, as long as the longest sequence.
///
/// ```
/// use candle_core::Device;
/// use st_candle::ops::Sequences;
///
/// let sequences = Sequences::new(&[0, 3, 5, 8], &Device::Cpu)?;
/// assert_eq!((sequences.tokens(), sequences.offsets()), (8, &[0, 3, 5, 8][..]));
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Sequences {
    offsets: Arc<[usize]>,
    groups: Vec<Group>,
    /// Where each ragged row is in the groups' rows, one group after the other; `None` when they are the same.
    restore: Option<Tensor>,
    device: Device,
}

/// Sequences that are computed as one rectangle.
#[derive(Debug)]
pub(super) struct Group {
    /// Indices of the sequences.
    pub(super) members: Vec<usize>,
    /// Rows of each sequence, padding included.
    pub(super) length: usize,
    /// The ragged row of each row of the group; `None` when they are the same.
    rows: Option<Tensor>,
}

impl Sequences {
    /// `offsets` are those of [`st_encoder::Batch::offsets`]: rising, from 0 to the number of tokens.
    ///
    /// # Errors
    /// When the device lacks memory.
    pub fn new(offsets: &[usize], device: &Device) -> Result<Self> {
        let exact = device.is_cpu();
        Self::grouped(offsets, device, exact)
    }

    /// With sequences of equal length together (`exact`), or all in one padded group.
    pub(super) fn grouped(offsets: &[usize], device: &Device, exact: bool) -> Result<Self> {
        let length = |sequence: usize| offsets[sequence + 1] - offsets[sequence];
        let used = (0..offsets.len().saturating_sub(1)).filter(|&sequence| length(sequence) > 0);
        let longest = used.clone().map(length).max().unwrap_or(0);
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for sequence in used {
            by_length.entry(if exact { length(sequence) } else { longest }).or_default().push(sequence);
        }
        let tokens = offsets.last().copied().unwrap_or(0);
        let mut groups = Vec::with_capacity(by_length.len());
        let mut restore = vec![0u32; tokens];
        let mut next = 0;
        for (group_length, members) in by_length {
            let mut rows = Vec::with_capacity(members.len() * group_length);
            for &member in &members {
                let start = offsets[member];
                for row in 0..group_length {
                    // Rows of padding read the sequence's first; nothing sees them.
                    let inside = row < length(member);
                    rows.push(if inside { start + row } else { start } as u32);
                    if inside {
                        restore[start + row] = next;
                    }
                    next += 1;
                }
            }
            groups.push(Group { members, length: group_length, rows: index(rows, tokens, device)? });
        }
        let restore = index(restore, next as usize, device)?;
        Ok(Self { offsets: offsets.into(), groups, restore, device: device.clone() })
    }

    /// Where each sequence starts, and at last the number of tokens.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        &self.offsets
    }

    /// Tokens of the batch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Where the rows are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Per row the rows that a window of `kernel` tokens around it sees; `outside` where those are not of its sequence.
    pub(super) fn windows(&self, kernel: usize, outside: u32) -> Vec<u32> {
        let mut places = Vec::with_capacity(self.tokens() * kernel);
        for pair in self.offsets.windows(2) {
            for (row, tap) in (pair[0]..pair[1]).flat_map(|row| (0..kernel).map(move |tap| (row, tap))) {
                let place = (row + tap).checked_sub(kernel / 2).filter(|place| (pair[0]..pair[1]).contains(place));
                places.push(place.map_or(outside, |place| place as u32));
            }
        }
        places
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Tokens of sequence `index`.
    pub(super) fn length(&self, index: usize) -> usize {
        self.offsets[index + 1] - self.offsets[index]
    }

    /// Ragged rows `[n, heads · size]` as a group's rectangle `[members, heads, length, size]`.
    pub(super) fn heads(&self, x: &Tensor, group: &Group, size: usize) -> Result<Tensor> {
        let rows = match &group.rows {
            Some(rows) => x.index_select(rows, 0)?,
            None => x.clone(),
        };
        rows.reshape((group.members.len(), group.length, (), size))?.transpose(1, 2)?.contiguous()
    }

    /// The rectangles of all groups, `[members, heads, length, size]`, as ragged rows.
    pub(super) fn ragged(&self, groups: &[Tensor]) -> Result<Tensor> {
        let rows = |group: &Tensor| {
            let (members, heads, length, size) = group.dims4()?;
            group.transpose(1, 2)?.reshape((members * length, heads * size))
        };
        let all = match groups {
            [one] => rows(one)?,
            groups => Tensor::cat(&groups.iter().map(rows).collect::<Result<Vec<_>>>()?, 0)?,
        };
        match &self.restore {
            Some(restore) => all.index_select(restore, 0),
            None => Ok(all),
        }
    }
}

/// Row numbers on a device; `None` when they are all `rows` rows in order.
fn index(numbers: Vec<u32>, rows: usize, device: &Device) -> Result<Option<Tensor>> {
    if numbers.len() == rows && numbers.iter().enumerate().all(|(place, &row)| place == row as usize) {
        return Ok(None);
    }
    let count = numbers.len();
    Tensor::from_vec(numbers, count, device).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::DType;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_back_as_they_went(lengths in proptest::collection::vec(0usize..6, 1..9), exact: bool) {
            let mut offsets = vec![0];
            for length in lengths {
                offsets.push(offsets.last().unwrap() + length);
            }
            let tokens = *offsets.last().unwrap();
            prop_assume!(tokens > 0);
            let sequences = Sequences::grouped(&offsets, &Device::Cpu, exact).unwrap();
            let x = Tensor::arange(0f64, (tokens * 6) as f64, &Device::Cpu).unwrap().reshape((tokens, 6)).unwrap();
            let parts: Vec<_> =
                sequences.groups().iter().map(|group| sequences.heads(&x, group, 3).unwrap()).collect();
            for (group, part) in sequences.groups().iter().zip(&parts) {
                prop_assert_eq!(part.dims(), &[group.members.len(), 2, group.length, 3]);
            }
            let back = sequences.ragged(&parts).unwrap();
            prop_assert_eq!(back.to_vec2::<f64>().unwrap(), x.to_vec2::<f64>().unwrap());
        }
    }

    #[test]
    fn one_group_in_order_copies_nothing() {
        let sequences = Sequences::new(&[0, 4, 8], &Device::Cpu).unwrap();
        assert_eq!(sequences.groups().len(), 1);
        assert!(sequences.groups()[0].rows.is_none() && sequences.restore.is_none());
        let x = Tensor::zeros((8, 4), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(sequences.heads(&x, &sequences.groups()[0], 2).unwrap().dims(), &[2, 2, 4, 2]);
    }
}
