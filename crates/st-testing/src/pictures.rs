//! Images that are functions of a number, so that no file of them is needed.

/// Width, height and pixels (red, green, blue; row by row) of image `number`, as `fixtures/clip_training.py` computes it.
///
/// ```
/// let (width, height, pixels) = st_testing::picture(3);
/// assert_eq!((width, height, pixels.len()), (41, 34, 3 * 41 * 34));
/// ```
#[must_use]
pub fn picture(number: usize) -> (usize, usize, Vec<u8>) {
    let (width, height) = (20 + number * 7 % 23, 20 + number * 11 % 19);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for (y, x, c) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |c| (y, x, c)))) {
        let value = number * 37 + x * (3 + number % 5) + y * (5 + number % 7) + c * 29 + x * y * (1 + number % 3) % 64;
        pixels.push((value % 256) as u8);
    }
    (width, height, pixels)
}
