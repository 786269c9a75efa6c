//! Resizing as Pillow does it: two passes of a filter that widens when the image shrinks, each rounded to bytes.
//!
//! The weights are fixed-point numbers of 22 bits, and sums are rounded as Pillow's `Resample.c` rounds them, so that the bytes
//! are the same.

use super::Rgb;

/// Filters by which pixels are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    /// A triangle; reaches one pixel.
    Bilinear,
    /// Keys' cubic with a = −½ (Keys 1981); reaches two pixels.
    Bicubic,
}

impl Filter {
    fn reach(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bicubic => 0.0,
        }
    }
}

/// Part of an image that was resized along one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Pixels along the whole resized side.
    pub(super) size: usize,
    /// First pixel wanted.
    pub(super) start: usize,
    /// Pixels wanted.
    pub(super) count: usize,
}

/// Binary digits of the weights' fractions.
const PRECISION: u32 = 22;

/// The pixels that one pixel of the result is made of: the first, and a weight for each.
type Weights = (usize, Vec<i64>);

/// Weights of the wanted pixels of a side; `None` when the side keeps its size, so that nothing is weighted.
fn weights(filter: Filter, from: usize, to: Span) -> Option<Vec<Weights>> {
    if from == to.size {
        return None;
    }
    let scale = from as f64 / to.size as f64;
    let stretch = scale.max(1.0);
    let reach = filter.reach() * stretch;
    let of_pixel = |place: usize| {
        let center = (place as f64 + 0.5) * scale;
        let first = ((center - reach + 0.5).max(0.0)) as usize;
        let last = ((center + reach + 0.5) as usize).min(from);
        let raw: Vec<f64> = (first..last).map(|x| filter.weight((x as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = raw.iter().sum();
        let fixed = |weight: f64| {
            let weight = if total == 0.0 { weight } else { weight / total } * f64::from(1u32 << PRECISION);
            (if weight < 0.0 { weight - 0.5 } else { weight + 0.5 }) as i64
        };
        (first, raw.into_iter().map(fixed).collect())
    };
    Some((to.start..to.start + to.count).map(of_pixel).collect())
}

fn to_byte(sum: i64) -> u8 {
    ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
}

/// The wanted part of an image resized to `across.size × down.size`. Only what is wanted is computed and held.
pub(super) fn resize(image: &Rgb, filter: Filter, across: Span, down: Span) -> Rgb {
    let columns = weights(filter, image.width, across);
    let rows = weights(filter, image.height, down);
    // The rows that the second pass reads.
    let (top, bottom) = match &rows {
        None => (down.start, down.start + down.count),
        Some(rows) => (
            rows.iter().map(|(first, _)| *first).min().unwrap_or(0),
            rows.iter().map(|(first, weights)| first + weights.len()).max().unwrap_or(0),
        ),
    };
    let stride = 3 * across.count;
    let mut narrowed = vec![0u8; (bottom - top) * stride];
    for (row, to) in (top..bottom).zip(narrowed.chunks_exact_mut(stride.max(1))) {
        let from = &image.pixels[row * image.width * 3..(row + 1) * image.width * 3];
        match &columns {
            None => to.copy_from_slice(&from[across.start * 3..][..stride]),
            Some(columns) => {
                for ((first, weights), to) in columns.iter().zip(to.chunks_exact_mut(3)) {
                    for (channel, to) in to.iter_mut().enumerate() {
                        let pixels = from[first * 3..].iter().skip(channel).step_by(3);
                        *to = to_byte(weights.iter().zip(pixels).map(|(w, &pixel)| w * i64::from(pixel)).sum());
                    }
                }
            }
        }
    }
    let pixels = match rows {
        None => narrowed,
        Some(rows) => {
            let mut pixels = vec![0u8; down.count * stride];
            for ((first, weights), to) in rows.iter().zip(pixels.chunks_exact_mut(stride.max(1))) {
                let from = &narrowed[(first - top) * stride..];
                for (place, to) in to.iter_mut().enumerate() {
                    let column = from.iter().skip(place).step_by(stride);
                    *to = to_byte(weights.iter().zip(column).map(|(w, &pixel)| w * i64::from(pixel)).sum());
                }
            }
            pixels
        }
    };
    Rgb { width: across.count, height: down.count, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(size: usize) -> Span {
        Span { size, start: 0, count: size }
    }

    #[test]
    fn an_even_image_stays_even_and_a_part_is_a_part() {
        let even = Rgb { width: 7, height: 5, pixels: vec![93; 105] };
        for filter in [Filter::Bilinear, Filter::Bicubic] {
            assert!(resize(&even, filter, whole(20), whole(3)).pixels.iter().all(|&byte| byte == 93));
        }
        let uneven = Rgb { width: 7, height: 5, pixels: (0..105).map(|i| (i * 41 % 256) as u8).collect() };
        let all = resize(&uneven, Filter::Bicubic, whole(12), whole(9));
        let part = resize(
            &uneven,
            Filter::Bicubic,
            Span { size: 12, start: 3, count: 4 },
            Span { size: 9, start: 2, count: 5 },
        );
        for row in 0..5 {
            let expected = &all.pixels[((row + 2) * 12 + 3) * 3..][..12];
            assert_eq!(&part.pixels[row * 12..][..12], expected);
        }
    }

    /// Worked out by hand: halving [0, 100, 200, 40] with a triangle of reach 2 weights the pixels of the first half
    /// 3 : 3 : 1, of the second 1 : 3 : 3.
    #[test]
    fn two_pixels_of_four() {
        let line: Vec<u8> = [0, 100, 200, 40].iter().flat_map(|&byte| [byte; 3]).collect();
        let halved = resize(&Rgb { width: 4, height: 1, pixels: line }, Filter::Bilinear, whole(2), whole(1));
        let expected = [(300.0 + 200.0) / 7.0, (100.0 + 600.0 + 120.0) / 7.0].map(|mean: f64| mean.round() as u8);
        assert_eq!([halved.pixels[0], halved.pixels[3]], expected);
    }
}
