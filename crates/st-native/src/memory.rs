//! [`Buffer`]: zeroed memory aligned for the widest vectors, on huge pages where it is large.
#![expect(unsafe_code, reason = "aligned allocation")]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Numbers for which all-zero bytes are a valid value, and every bit pattern is.
pub(crate) trait Number: Copy + Send + Sync + 'static {}
impl Number for f32 {}
impl Number for u16 {}
impl Number for u8 {}
impl Number for i8 {}
impl Number for i32 {}

/// A cache line, and a vector of AVX-512.
const LINE: usize = 64;
/// From this size on memory starts at a huge page.
const HUGE_PAGE: usize = 1 << 21;

/// Zeroed numbers, aligned to cache lines.
pub(crate) struct Buffer<T: Number> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a buffer owns its memory, as a `Vec` does.
unsafe impl<T: Number> Send for Buffer<T> {}
// SAFETY: as above; shared references only read.
unsafe impl<T: Number> Sync for Buffer<T> {}

impl<T: Number> Buffer<T> {
    /// `len` zeros. Sizes come from checked arithmetic; like `Vec`, it aborts when memory is exhausted.
    pub(crate) fn zeroed(len: usize) -> Self {
        let Some(layout) = Self::layout(len).filter(|layout| layout.size() > 0) else {
            assert!(len == 0, "a buffer of {len} numbers exceeds the address space");
            return Self { start: NonNull::dangling(), len: 0 };
        };
        // SAFETY: the layout is not of size zero.
        let memory = unsafe { alloc_zeroed(layout) };
        let Some(start) = NonNull::new(memory.cast()) else { handle_alloc_error(layout) };
        #[cfg(target_os = "linux")]
        if layout.size() >= HUGE_PAGE {
            // SAFETY: advice about memory that was just allocated; it changes no content.
            unsafe { libc::madvise(memory.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        Self { start, len }
    }

    fn layout(len: usize) -> Option<Layout> {
        let size = len.checked_mul(size_of::<T>())?;
        Layout::from_size_align(size, if size >= HUGE_PAGE { HUGE_PAGE } else { LINE }).ok()
    }

    /// Makes room for at least `len` numbers. The content is kept only when there was room already.
    pub(crate) fn reserve(&mut self, len: usize) {
        if self.len < len {
            *self = Self::zeroed(len.next_multiple_of(1024));
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

/// Zeros as a vector; large ones on huge pages, so that filling them costs few page faults.
pub(crate) fn zeroed_vec(len: usize) -> Vec<f32> {
    let numbers = vec![0.0f32; len];
    #[cfg(target_os = "linux")]
    {
        // The whole huge pages inside.
        let start = numbers.as_ptr() as usize;
        let (first, end) =
            (start.next_multiple_of(HUGE_PAGE), (start + len * size_of::<f32>()) / HUGE_PAGE * HUGE_PAGE);
        if first < end {
            let address = numbers.as_ptr().wrapping_byte_add(first - start);
            // SAFETY: advice about memory of the vector; it changes no content.
            unsafe { libc::madvise(address.cast_mut().cast(), end - first, libc::MADV_HUGEPAGE) };
        }
    }
    numbers
}

impl<T: Number> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len > 0
            && let Some(layout) = Self::layout(self.len)
        {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}

impl<T: Number> Deref for Buffer<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` numbers were allocated and zeroed, and zeros are valid.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T: Number> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T: Number> Default for Buffer<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Number> fmt::Debug for Buffer<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Buffer({} × {} bytes)", self.len, size_of::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_aligned_and_writable() {
        for len in [0, 1, 100, 1 << 20] {
            let mut buffer = Buffer::<f32>::zeroed(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
            assert!(len == 0 || (buffer.as_ptr() as usize).is_multiple_of(LINE));
            buffer.fill(2.0);
            assert!(buffer.iter().all(|&x| x == 2.0));
        }
    }

    #[test]
    fn vectors_are_zeros() {
        for len in [0, 1, 1 << 21] {
            let numbers = zeroed_vec(len);
            assert!(numbers.len() == len && numbers.iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn reserve_grows_only() {
        let mut buffer = Buffer::<u8>::default();
        buffer.reserve(10);
        let len = buffer.len();
        assert!(len >= 10);
        buffer.reserve(5);
        assert_eq!(buffer.len(), len);
    }
}
