//! Rows of a table, and the gradient of the table.
#![expect(unsafe_code, reason = "threads write disjoint columns")]

use super::compute::Compute;
use crate::split::Shared;

/// Columns that a thread takes at once, at least: two cache lines.
const COLUMNS: usize = 32;

impl Compute {
    /// Adds row `t` of `gradient` `[ids, width]` to row `ids[t]` of `table` `[rows, width]`, in the order of the ids.
    ///
    /// ```
    /// use st_native::training::Compute;
    ///
    /// let mut table = [0.0; 6];
    /// Compute::detect().add_rows(&[2, 0, 2], 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut table);
    /// assert_eq!(table, [3.0, 4.0, 0.0, 0.0, 6.0, 8.0]);
    /// ```
    ///
    /// # Panics
    /// When lengths do not fit or an id is beyond the table.
    pub fn add_rows(&self, ids: &[u32], width: usize, gradient: &[f32], table: &mut [f32]) {
        assert_eq!(gradient.len(), ids.len() * width, "a row for every id");
        let rows = table.len() / width.max(1);
        assert!(ids.iter().all(|&id| (id as usize) < rows), "an id beyond the table of {rows} rows");
        let shared = Shared::new(table);
        self.over(width, COLUMNS, &|columns| {
            for (&id, gradient) in ids.iter().zip(gradient.chunks_exact(width)) {
                let first = id as usize * width;
                // SAFETY: ranges of columns do not overlap.
                let row = unsafe { shared.part(first + columns.start..first + columns.end) };
                row.iter_mut().zip(&gradient[columns.clone()]).for_each(|(to, from)| *to += from);
            }
        });
    }
}
