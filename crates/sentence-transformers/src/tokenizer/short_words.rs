//! Words of at most sixteen bytes, each held in one number.

/// Longest word that is held so, in bytes.
pub(super) const LONGEST: usize = 16;

/// A place for a word among `count`, a power of two and at least 2.
#[inline(always)]
pub(super) fn place(word: u128, count: usize) -> usize {
    let (low, high) = (word as u64, (word >> 64) as u64);
    let mixed = (low ^ high.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed >> (64 - count.trailing_zeros())) as usize
}

/// The bytes, zeros after them.
pub(super) fn padded(bytes: &[u8]) -> u128 {
    let mut all = [0; LONGEST];
    all[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(all)
}

/// The first `length` bytes of a word, at most sixteen.
#[inline(always)]
pub(super) fn first(word: u128, length: usize) -> u128 {
    if length >= LONGEST { word } else { word & !(u128::MAX << (8 * length)) }
}
