//! [`Pooled`]: memory that is used again.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Buffer;

/// Buffers that wait for their next use.
#[derive(Default)]
pub(super) struct Pool(Mutex<Vec<Buffer<f32>>>);

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle = self.idle();
        write!(formatter, "Pool({} buffers, {} bytes)", idle.len(), idle.iter().map(Buffer::bytes).sum::<usize>())
    }
}

/// Numbers that go back to their pool when dropped.
///
/// Fresh pages cost more than the arithmetic that fills them, so what a step needs is kept for the next one.
///
/// ```
/// use st_native::training::Compute;
///
/// let compute = Compute::detect();
/// let mut numbers = compute.numbers(100);
/// numbers.fill(1.0);
/// assert_eq!(numbers.len(), 100);
/// ```
pub struct Pooled {
    buffer: Buffer<f32>,
    len: usize,
    pool: Arc<Pool>,
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Buffer<f32>>> {
        // A panic elsewhere leaves whole buffers.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Numbers of any value.
    pub(super) fn take(self: &Arc<Self>, len: usize) -> Pooled {
        let mut idle = self.idle();
        let fits = |buffer: &Buffer<f32>| buffer.len() >= len && buffer.len() / 2 <= len.next_multiple_of(GRAIN);
        let best = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].len());
        let buffer = match best {
            Some(i) => idle.swap_remove(i),
            None => {
                // A larger batch takes the place of a smaller one, so that what waits does not grow without end.
                if let Some(i) = (0..idle.len()).filter(|&i| idle[i].len() < len).max_by_key(|&i| idle[i].len()) {
                    idle.swap_remove(i);
                }
                Buffer::zeroed(len.next_multiple_of(GRAIN))
            }
        };
        drop(idle);
        Pooled { buffer, len, pool: Arc::clone(self) }
    }

    /// Forgets what waits.
    pub(super) fn clear(&self) {
        self.idle().clear();
    }
}

/// Sizes are rounded up to this, so that batches of nearly the same size share buffers.
const GRAIN: usize = 1 << 12;

impl Drop for Pooled {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        if !buffer.is_empty() {
            self.pool.idle().push(buffer);
        }
    }
}

impl Deref for Pooled {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[..self.len]
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.buffer[..self.len]
    }
}

impl fmt::Debug for Pooled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pooled({} numbers)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_and_grow() {
        let pool = Arc::new(Pool::default());
        let first = pool.take(10_000);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(pool.take(9_000).as_ptr(), address);
        assert_eq!(pool.idle().len(), 1);
        drop(pool.take(50_000));
        assert_eq!(pool.idle().len(), 1, "the smaller one made room");
        drop(pool.take(10));
        assert_eq!(pool.idle().len(), 2, "a buffer much too large is not taken");
        assert_eq!(pool.take(0).len(), 0);
        pool.clear();
        assert!(pool.idle().is_empty());
    }
}
