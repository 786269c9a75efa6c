//! [`Split`]: spreading one forward pass over threads.
#![expect(unsafe_code, reason = "threads write disjoint parts of one matrix")]

use std::ops::Range;

/// Into how many pieces work is cut. One piece runs on the caller's thread, without touching a thread pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Split {
    threads: usize,
}

impl Split {
    pub(crate) fn new(threads: usize) -> Self {
        Self { threads: threads.max(1) }
    }

    /// Everything on the caller's thread.
    pub(crate) const fn none() -> Self {
        Self { threads: 1 }
    }

    pub(crate) fn threads(self) -> usize {
        self.threads
    }

    /// Calls `work` on ranges that cover `0..count`, at once on several threads, each of at least `grain`.
    pub(crate) fn over(self, count: usize, grain: usize, work: &(dyn Fn(Range<usize>) + Sync)) {
        let pieces = self.threads.min(count / grain.max(1)).max(1);
        fork(0..pieces, &|piece| work(count * piece / pieces..count * (piece + 1) / pieces));
    }
}

fn fork(pieces: Range<usize>, work: &(dyn Fn(usize) + Sync)) {
    if pieces.len() <= 1 {
        pieces.for_each(work);
        return;
    }
    let middle = pieces.start + pieces.len() / 2;
    rayon::join(|| fork(pieces.start..middle, work), || fork(middle..pieces.end, work));
}

/// Cuts rows into the fewest pieces of at most `most`, of nearly the same height.
pub(crate) fn evenly(rows: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (pieces, mut start) = (rows.len().div_ceil(most), rows.start);
    (0..pieces).map(move |piece| {
        let end = start + (rows.end - start).div_ceil(pieces - piece);
        std::mem::replace(&mut start, end)..end
    })
}

/// A mutable slice that several threads write to, each its own part.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    borrow: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever takes a pointer out promises that parts do not overlap.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), borrow: std::marker::PhantomData }
    }

    /// Pointer to number `index`, which must exist.
    pub(crate) fn at(self, index: usize) -> *mut f32 {
        assert!(index <= self.len, "number {index} of {}", self.len);
        self.start.wrapping_add(index)
    }

    /// A part as a slice.
    ///
    /// # Safety
    /// No other thread uses this part while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that parts do not overlap")]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "numbers {range:?} of {}", self.len);
        // SAFETY: inside the borrowed slice, and used by nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn even_pieces_are_few_and_alike() {
        for (rows, most) in [(0..0, 9), (3..4, 9), (5..14, 9), (5..15, 9), (7..200, 36)] {
            let pieces: Vec<_> = evenly(rows.clone(), most).collect();
            assert_eq!(pieces.len(), rows.len().div_ceil(most));
            assert!(pieces.iter().cloned().flatten().eq(rows));
            let heights = || pieces.iter().map(ExactSizeIterator::len);
            assert!(heights().all(|height| height <= most));
            assert!(heights().max().unwrap_or(0) - heights().min().unwrap_or(0) <= 1);
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        for threads in [1, 2, 3, 7] {
            for count in [0, 1, 5, 100] {
                let seen = Mutex::new(vec![0; count]);
                Split::new(threads).over(count, 2, &|range| {
                    assert!(range.len() >= 2 || count < 2);
                    for i in range {
                        seen.lock().unwrap()[i] += 1;
                    }
                });
                assert!(seen.into_inner().unwrap().iter().all(|&n| n == 1));
            }
        }
    }
}
