//! [`draw`]: curves of losses over steps, as a PNG file.

use std::io;

use super::font;
use super::png::{Colour, Image};

const WIDTH: i64 = 960;
const HEIGHT: i64 = 540;
/// The rectangle that the curves are in: left, top, right, bottom.
const FRAME: (i64, i64, i64, i64) = (120, 50, 930, 480);
const INK: Colour = [40, 40, 40];
const GRID: Colour = [225, 225, 225];
/// Lines across the chart, in each direction.
const TICKS: i64 = 5;

/// One colour per curve: blue, orange, green, red (told apart by most people).
const COLOURS: [Colour; 4] = [[0, 114, 178], [230, 159, 0], [0, 158, 115], [213, 94, 0]];

/// A curve: its name and its points, (step, value).
pub(super) type Curve<'a> = (&'a str, &'a [(f64, f64)]);

/// A chart of curves. Points that are not finite are left out; without points the chart is empty.
pub(super) fn draw(curves: &[Curve<'_>]) -> io::Result<Vec<u8>> {
    let mut image = Image::new(WIDTH as usize, HEIGHT as usize);
    let curves: Vec<(&str, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|(name, points)| {
            (*name, points.iter().copied().filter(|(step, value)| step.is_finite() && value.is_finite()).collect())
        })
        .collect();
    let points = || curves.iter().flat_map(|(_, points)| points.iter().copied());
    let steps = extent(points().map(|(step, _)| step));
    let values = extent(points().map(|(_, value)| value).chain([0.0]));
    axes(&mut image, steps, values);
    for ((name, points), (number, colour)) in curves.iter().zip((0..).zip(COLOURS.iter().cycle())) {
        let place = |(step, value): (f64, f64)| {
            let (left, top, right, bottom) = FRAME;
            (scale(step, steps, left, right), scale(value, values, bottom, top))
        };
        if let [only] = points[..] {
            image.line(place(only), place(only), *colour);
        }
        for pair in points.windows(2) {
            image.line(place(pair[0]), place(pair[1]), *colour);
        }
        let left = FRAME.0 + number * 330;
        image.line((left, 24), (left + 24, 24), *colour);
        font::write(&mut image, (left + 34, 18), name, INK);
    }
    image.encode()
}

/// The smallest and largest value, apart from each other.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    match (low.is_finite(), high > low) {
        (false, _) => (0.0, 1.0),
        (true, false) => (low - 0.5, high + 0.5),
        (true, true) => (low, high),
    }
}

fn scale(value: f64, (low, high): (f64, f64), from: i64, to: i64) -> i64 {
    from + ((value - low) / (high - low) * (to - from) as f64).round() as i64
}

fn axes(image: &mut Image, steps: (f64, f64), values: (f64, f64)) {
    let (left, top, right, bottom) = FRAME;
    for tick in 0..=TICKS {
        let part = tick as f64 / TICKS as f64;
        let value = values.0 + part * (values.1 - values.0);
        let y = scale(value, values, bottom, top);
        image.rule((left, y), (right, y), GRID);
        let text = number(value);
        font::write(image, (left - 12 - font::width(&text), y - font::HEIGHT / 2), &text, INK);
        let step = steps.0 + part * (steps.1 - steps.0);
        let x = scale(step, steps, left, right);
        image.rule((x, top), (x, bottom), GRID);
        let text = number(step.round());
        font::write(image, (x - font::width(&text) / 2, bottom + 12), &text, INK);
    }
    image.rule((left, top), (left, bottom), INK);
    image.rule((left, bottom), (right, bottom), INK);
    font::write(image, ((left + right - font::width("step")) / 2, bottom + 36), "step", INK);
}

/// At most eight letters.
fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e6).contains(&magnitude) {
        let digits = if magnitude >= 100.0 {
            0
        } else if magnitude >= 1.0 {
            2
        } else {
            4
        };
        let text = format!("{value:.digits$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    } else {
        format!("{value:.1e}")
    };
    if text == "-0" { "0".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_short() {
        for (value, text) in
            [(0.0, "0"), (0.5, "0.5"), (12.345, "12.35"), (1500.0, "1500"), (2e-5, "2.0e-5"), (-3.0, "-3")]
        {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn any_points_make_a_picture() {
        let falling: Vec<(f64, f64)> = (1..50).map(|step| (f64::from(step), 10.0 / f64::from(step))).collect();
        let odd = [(1.0, f64::NAN), (2.0, 1.0), (f64::INFINITY, 1.0)];
        let plain = draw(&[]).unwrap();
        for points in [&falling[..], &odd, &falling[..1]] {
            let chart = draw(&[("training loss", points), ("evaluation loss", &[])]).unwrap();
            assert!(chart.starts_with(b"\x89PNG") && chart != plain);
        }
    }

    #[test]
    fn extents_have_a_width() {
        assert_eq!(extent([].into_iter()), (0.0, 1.0));
        assert_eq!(extent([2.0, 2.0].into_iter()), (1.5, 2.5));
        assert_eq!(scale(5.0, (0.0, 10.0), 100, 200), 150);
    }
}
