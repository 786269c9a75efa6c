//! Weights in the order in which kernels read them.
#![expect(unsafe_code, reason = "transposition by kernels")]

use crate::kernels::{Kernels, STEP};
use crate::memory::Buffer;

/// How one axis of a weight maps to padded columns: groups (heads) of `size` numbers, each padded to [`STEP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Numbers of a group.
    pub(crate) size: usize,
    /// Groups.
    pub(crate) groups: usize,
}

impl Axis {
    /// One group.
    pub(crate) const fn whole(size: usize) -> Self {
        Self { size, groups: 1 }
    }

    /// Numbers without padding.
    pub(crate) const fn len(self) -> usize {
        self.size * self.groups
    }

    /// Numbers with padding.
    pub(crate) const fn padded(self) -> usize {
        self.size.next_multiple_of(STEP) * self.groups
    }

    /// Of `count ≤ STEP` padded places from `place`, the first number and how many there are. Places of a vector are all
    /// in one group.
    fn numbers(self, place: usize, count: usize) -> (usize, usize) {
        let step = self.size.next_multiple_of(STEP);
        let (group, inside) = (place / step, place % step);
        (group * self.size + inside.min(self.size), self.size.saturating_sub(inside).min(count))
    }
}

/// A weight `[outputs, inputs]` that fills part of a packed matrix's columns.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) outputs: Axis,
}

/// Packs weights side by side: panels of `kernels.panel()` columns, each with all its depth, depth by depth.
/// The last panel has only the columns that are left.
pub(crate) fn pack(kernels: &Kernels, parts: &[Part<'_>], inputs: Axis) -> Buffer<f32> {
    let (lanes, panel, depth) = (kernels.lanes, kernels.panel(), inputs.padded());
    let width: usize = parts.iter().map(|part| part.outputs.padded()).sum();
    let mut packed = Buffer::zeroed(width * depth);
    let mut start = 0;
    for part in parts {
        assert_eq!(part.weight.len(), part.outputs.len() * inputs.len(), "a weight of another shape");
        for place in (0..part.outputs.padded()).step_by(lanes) {
            let (output, rows) = part.outputs.numbers(place, lanes);
            let column = start + place;
            let columns = panel.min(width - column / panel * panel);
            let target = column / panel * panel * depth + column % panel;
            for term in (0..depth).step_by(lanes) {
                let (input, count) = inputs.numbers(term, lanes);
                if rows == 0 || count == 0 {
                    continue;
                }
                let to = &mut packed[target + term * columns..];
                if count == lanes {
                    let from = &part.weight[output * inputs.len() + input..];
                    assert!(
                        from.len() >= (rows - 1) * inputs.len() + lanes && to.len() >= (lanes - 1) * columns + lanes
                    );
                    // SAFETY: `rows` rows of `lanes` numbers exist in `from`, and `lanes` rows in `to`.
                    unsafe { (kernels.transpose)(from.as_ptr(), inputs.len(), rows, to.as_mut_ptr(), columns) };
                } else {
                    for row in 0..rows {
                        for k in 0..count {
                            to[k * columns + row] = part.weight[(output + row) * inputs.len() + input + k];
                        }
                    }
                }
            }
        }
        start += part.outputs.padded();
    }
    packed
}

/// Writes the columns of one panel as rows, one after the other.
pub(crate) fn unpack(kernels: &Kernels, panel: &[f32], columns: usize, rows: &mut [f32]) {
    let (lanes, depth) = (kernels.lanes, panel.len() / columns);
    assert!(panel.len() == rows.len() && columns.is_multiple_of(lanes) && depth.is_multiple_of(lanes), "no panel");
    for column in (0..columns).step_by(lanes) {
        for term in (0..depth).step_by(lanes) {
            let (from, to) = (&panel[term * columns + column..], &mut rows[column * depth + term..]);
            // SAFETY: `lanes` rows of `lanes` numbers exist in both.
            unsafe { (kernels.transpose)(from.as_ptr(), columns, lanes, to.as_mut_ptr(), depth) };
        }
    }
}

/// Places numbers along a padded axis.
pub(crate) fn place(numbers: &[f32], axis: Axis, to: &mut [f32]) {
    let step = axis.size.next_multiple_of(STEP);
    for (from, to) in numbers.chunks_exact(axis.size).zip(to.chunks_exact_mut(step)) {
        to[..axis.size].copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstructionSet;

    #[test]
    fn every_weight_lands_in_its_place() {
        for (_, set) in InstructionSet::ALL {
            let Some(kernels) = Kernels::of(set) else { continue };
            for (outputs, inputs) in [
                (Axis { size: 8, groups: 4 }, Axis::whole(32)),
                (Axis::whole(70), Axis { size: 24, groups: 3 }),
                (Axis::whole(48), Axis::whole(48)),
                (Axis::whole(1), Axis::whole(1)),
            ] {
                let weight: Vec<f32> = (0..outputs.len() * inputs.len()).map(|i| i as f32 + 1.0).collect();
                let parts = [Part { weight: &weight, outputs }, Part { weight: &weight, outputs }];
                let packed = pack(kernels, &parts, inputs);
                let (width, depth, panel) = (2 * outputs.padded(), inputs.padded(), kernels.panel());
                let step = |axis: Axis, place: usize| {
                    let step = axis.size.next_multiple_of(STEP);
                    (place % step < axis.size).then(|| place / step * axis.size + place % step)
                };
                for column in 0..width {
                    for k in 0..depth {
                        let columns = panel.min(width - column / panel * panel);
                        let found = packed[column / panel * panel * depth + k * columns + column % panel];
                        let expected = match (step(outputs, column % outputs.padded()), step(inputs, k)) {
                            (Some(row), Some(k)) => weight[row * inputs.len() + k],
                            _ => 0.0,
                        };
                        assert_eq!(found, expected, "{set} column {column} depth {k}");
                    }
                }
            }
        }
    }
}
