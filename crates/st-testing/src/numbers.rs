//! Numbers of a golden file, and the comparison that says where two lists of them part.

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A number, a list of numbers or a list of such lists, flattened in row order.
///
/// ```
/// let rows: st_testing::Numbers = serde_json::from_str("[[1, 2.5], [3, -4]]").unwrap();
/// assert_eq!(rows.as_f64(), [1.0, 2.5, 3.0, -4.0]);
/// assert_eq!(rows.rows(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Numbers {
    values: Vec<f64>,
    rows: usize,
}

impl Numbers {
    /// The values, row after row.
    pub fn as_f64(&self) -> &[f64] {
        &self.values
    }

    /// The values as float32. Golden float32 values carry nine digits, so this gives back the very same bits.
    pub fn to_f32(&self) -> Vec<f32> {
        self.values.iter().map(|value| *value as f32).collect()
    }

    /// The values as whole numbers.
    pub fn to_i64(&self) -> Vec<i64> {
        self.values.iter().map(|value| *value as i64).collect()
    }

    /// How many items the outermost list has; 0 for a single number.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Each row as float32.
    pub fn to_f32_rows(&self) -> Vec<Vec<f32>> {
        let width = self.values.len().checked_div(self.rows).unwrap_or(0).max(1);
        self.values.chunks(width).map(|row| row.iter().map(|value| *value as f32).collect()).collect()
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumbersVisitor;
        impl<'de> Visitor<'de> for NumbersVisitor {
            type Value = Numbers;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number or nested lists of numbers")
            }
            fn visit_f64<E>(self, value: f64) -> Result<Numbers, E> {
                Ok(Numbers { values: vec![value], rows: 0 })
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Numbers, E> {
                self.visit_f64(value as f64)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Numbers, E> {
                self.visit_f64(value as f64)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Numbers, A::Error> {
                let mut out = Numbers::default();
                let mut width = None;
                while let Some(item) = sequence.next_element::<Numbers>()? {
                    if *width.get_or_insert(item.values.len()) != item.values.len() {
                        return Err(A::Error::custom(format!("row {} has another length", out.rows)));
                    }
                    out.values.extend(item.values);
                    out.rows += 1;
                }
                Ok(out)
            }
        }
        deserializer.deserialize_any(NumbersVisitor)
    }
}

/// The largest absolute difference, and its place. NaN counts as infinitely far; two equal infinities as equal.
///
/// # Panics
/// When the lengths differ.
pub fn largest_difference(actual: &[f32], expected: &[f64]) -> (f64, usize) {
    assert_eq!(actual.len(), expected.len(), "as many values as expected");
    let mut largest = (0.0, 0);
    for (place, (a, e)) in actual.iter().zip(expected).enumerate() {
        let a = f64::from(*a);
        let difference = if a == *e { 0.0 } else { (a - e).abs() };
        let difference = if difference.is_nan() { f64::INFINITY } else { difference };
        if difference > largest.0 {
            largest = (difference, place);
        }
    }
    largest
}

/// Fails unless every value lies within `tolerance` of its expectation; the message names the place and both values.
///
/// ```
/// st_testing::assert_close(&[0.1, 0.2], &[0.1, 0.2000001], 1e-6, "a small example");
/// ```
///
/// # Panics
/// When a value is further away than `tolerance`, or the lengths differ.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: number of values");
    let (difference, place) = largest_difference(actual, expected);
    assert!(
        difference <= tolerance,
        "{what}: value {place} is {}, expected {}: {difference:e} apart, allowed {tolerance:e}",
        actual[place],
        expected[place]
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_lists_are_flattened_and_ragged_ones_refused() {
        let cube: Numbers = serde_json::from_str("[[[1,2],[3,4]],[[5,6],[7,8]]]").unwrap();
        assert_eq!(cube.to_i64(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(cube.to_f32_rows(), [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]);
        assert!(serde_json::from_str::<Numbers>("[[1,2],[3]]").is_err());
        assert_eq!(serde_json::from_str::<Numbers>("[]").unwrap(), Numbers::default());
        assert_eq!(serde_json::from_str::<Numbers>("7").unwrap().to_i64(), [7]);
    }

    #[test]
    fn nine_digits_give_the_same_float32() {
        for value in [0.1_f32, -1.0 / 3.0, 1.175_494_4e-38, 16_777_217.0, f32::MAX, 0.034_478_2] {
            let text = format!("{value:.8e}");
            assert_eq!(serde_json::from_str::<Numbers>(&text).unwrap().to_f32(), [value]);
        }
    }

    #[test]
    #[should_panic(expected = "value 1 is 2, expected 3")]
    fn a_difference_is_named() {
        assert_close(&[1.0, 2.0], &[1.0, 3.0], 0.5, "example");
    }

    #[test]
    fn not_a_number_is_infinitely_far() {
        assert_eq!(largest_difference(&[f32::NAN], &[0.0]).0, f64::INFINITY);
        assert_eq!(largest_difference(&[f32::NEG_INFINITY], &[f64::NEG_INFINITY]).0, 0.0);
    }
}
