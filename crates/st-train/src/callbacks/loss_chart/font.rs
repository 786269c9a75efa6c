//! Letters of five by seven pixels, for the labels of charts.

use super::png::{Colour, Image};

/// Pixels from one letter to the next.
pub(super) const ADVANCE: i64 = 12;
/// Height of a letter.
pub(super) const HEIGHT: i64 = 14;

/// Each pixel of a letter is so many pixels wide and high.
const SCALE: i64 = 2;

/// The letters that labels use; the five low bits of each byte are a row, from the top.
const GLYPHS: &[(char, [u8; 7])] = &[
    ('0', [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110]),
    ('1', [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('2', [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111]),
    ('3', [0b01110, 0b10001, 0b00001, 0b00110, 0b00001, 0b10001, 0b01110]),
    ('4', [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010]),
    ('5', [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110]),
    ('6', [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110]),
    ('7', [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000]),
    ('8', [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110]),
    ('9', [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100]),
    ('.', [0, 0, 0, 0, 0, 0b01100, 0b01100]),
    ('-', [0, 0, 0, 0b11111, 0, 0, 0]),
    ('+', [0, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0]),
    ('e', [0, 0, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110]),
    ('a', [0, 0, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111]),
    ('i', [0b00100, 0, 0b01100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('l', [0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('n', [0, 0, 0b10110, 0b11001, 0b10001, 0b10001, 0b10001]),
    ('o', [0, 0, 0b01110, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('p', [0, 0, 0b11110, 0b10001, 0b11110, 0b10000, 0b10000]),
    ('r', [0, 0, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000]),
    ('s', [0, 0, 0b01111, 0b10000, 0b01110, 0b00001, 0b11110]),
    ('t', [0b01000, 0b01000, 0b11100, 0b01000, 0b01000, 0b01001, 0b00110]),
    ('u', [0, 0, 0b10001, 0b10001, 0b10001, 0b10011, 0b01101]),
    ('v', [0, 0, 0b10001, 0b10001, 0b10001, 0b01010, 0b00100]),
    ('g', [0, 0, 0b01111, 0b10001, 0b01111, 0b00001, 0b01110]),
];

/// Writes a text with its upper left corner at a place; letters that there are none of leave a gap.
pub(super) fn write(image: &mut Image, (x, y): (i64, i64), text: &str, colour: Colour) {
    for (letter, left) in text.chars().zip((0..).map(|place| x + place * ADVANCE)) {
        let Some((_, rows)) = GLYPHS.iter().find(|(known, _)| *known == letter) else { continue };
        for (row, top) in rows.iter().zip((0..).map(|row| y + row * SCALE)) {
            for column in (0..5).filter(|column| row >> (4 - column) & 1 == 1) {
                let from = (left + column * SCALE, top);
                image.rule(from, (from.0 + SCALE - 1, from.1 + SCALE - 1), colour);
            }
        }
    }
}

/// Pixels that a text is wide.
pub(super) fn width(text: &str) -> i64 {
    text.chars().count() as i64 * ADVANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_can_be_written() {
        for text in ["training loss", "evaluation loss", "step", "-1.25e+07", "0123456789"] {
            for letter in text.chars().filter(|letter| *letter != ' ') {
                assert!(
                    GLYPHS.iter().any(|(known, rows)| *known == letter && rows.iter().all(|row| *row < 32)),
                    "{letter}"
                );
            }
        }
    }
}
