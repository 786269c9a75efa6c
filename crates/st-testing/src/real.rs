//! Goldens of the real models, and the STS benchmark's test pairs.

use crate::golden::read;
use crate::{Numbers, fixture_path};
use serde::Deserialize;
use std::io::Read;

/// What the original says about the texts of [`real_texts`] with one real model, in float64.
///
/// ```
/// let golden = st_testing::RealGolden::load("all-MiniLM-L6-v2");
/// assert_eq!((golden.dimension, golden.max_seq_length), (384, 256));
/// assert_eq!(golden.full().len(), golden.full_rows);
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct RealGolden {
    /// The model's name.
    pub model: String,
    /// Width of an embedding.
    pub dimension: usize,
    /// Tokens at most.
    pub max_seq_length: usize,
    /// Tokens of each text after truncation.
    pub tokens: Vec<usize>,
    /// The first eight components of each text, `[N, 8]`.
    pub first: Numbers,
    /// Sum over the components of each text.
    pub sum: Numbers,
    /// The same with signs + − + − …
    pub alternating_sum: Numbers,
    /// How far the original's own float32 run is from its float64 run.
    pub float32_largest_difference: f64,
    /// How many texts have all their components here.
    pub full_rows: usize,
    full_base64_f32: String,
}

impl RealGolden {
    /// Reads the golden of a real model.
    ///
    /// # Panics
    /// When the file is missing or not of this form.
    pub fn load(model: &str) -> Self {
        read(&format!("golden/{model}.json"))
    }

    /// Every component of the first [`RealGolden::full_rows`] texts, `[full_rows, dimension]`.
    ///
    /// # Panics
    /// When the file's base64 is damaged.
    pub fn full(&self) -> Vec<Vec<f32>> {
        let Some(bytes) = decode_base64(&self.full_base64_f32) else {
            panic!("golden of {}: full_base64_f32 is not base64", self.model)
        };
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        assert_eq!(values.len(), self.full_rows * self.dimension, "golden of {}: number of components", self.model);
        values.chunks(self.dimension).map(<[f32]>::to_vec).collect()
    }

    /// Compares embeddings of all [`real_texts`] with everything this golden holds.
    ///
    /// # Panics
    /// When a component differs by more than `tolerance`, or a sum by more than `tolerance · √dimension`.
    #[track_caller]
    pub fn assert_matches<R: AsRef<[f32]>>(&self, rows: &[R], tolerance: f64) {
        assert_eq!(rows.len(), self.tokens.len(), "one row per text");
        let spread = tolerance * (self.dimension as f64).sqrt();
        for (index, (row, first)) in rows.iter().zip(self.first.as_f64().chunks(8)).enumerate() {
            let (row, what) = (row.as_ref(), format!("{}, text {index}", self.model));
            assert_eq!(row.len(), self.dimension, "{what}: dimension");
            crate::assert_close(&row[..8], first, tolerance, &what);
            let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
            let alternating: f64 =
                row.iter().enumerate().map(|(i, x)| if i % 2 == 0 { f64::from(*x) } else { -f64::from(*x) }).sum();
            for (got, expected, name) in
                [(sum, &self.sum, "sum"), (alternating, &self.alternating_sum, "alternating sum")]
            {
                let expected = expected.as_f64()[index];
                assert!((got - expected).abs() <= spread, "{what}: {name} is {got}, expected {expected}");
            }
        }
        for (index, (row, expected)) in rows.iter().zip(self.full()).enumerate() {
            let expected: Vec<f64> = expected.into_iter().map(f64::from).collect();
            crate::assert_close(row.as_ref(), &expected, tolerance, &format!("{}, text {index}", self.model));
        }
    }
}

/// The texts behind the real goldens: awkward ones first, then sentences, then long texts.
///
/// # Panics
/// When the file is missing or not of its form.
pub fn real_texts() -> Vec<String> {
    #[derive(Deserialize)]
    struct File {
        texts: Vec<String>,
    }
    read::<File>("golden/real-texts.json").texts
}

/// One pair of the STS benchmark.
///
/// ```
/// let pairs = st_testing::sts_test();
/// assert_eq!(pairs.len(), 1379);
/// assert_eq!(pairs[0].sentence1, "A girl is styling her hair.");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct StsPair {
    /// How alike people found the two, 0 to 5.
    pub score: f64,
    /// One sentence.
    pub sentence1: String,
    /// The other.
    pub sentence2: String,
}

/// The 1379 test pairs of the STS benchmark.
///
/// # Panics
/// When the fixture is missing or damaged.
pub fn sts_test() -> Vec<StsPair> {
    let path = fixture_path("data/stsb-test.tsv.gz");
    let mut text = String::new();
    let file = match std::fs::File::open(&path) {
        Ok(file) => file,
        Err(error) => panic!("cannot read {}: {error}", path.display()),
    };
    if let Err(error) = flate2::read::GzDecoder::new(file).read_to_string(&mut text) {
        panic!("cannot unpack {}: {error}", path.display());
    }
    let pair = |line: &str| {
        let mut columns = line.split('\t');
        let score = columns.next()?.parse().ok()?;
        let pair = StsPair { score, sentence1: columns.next()?.to_owned(), sentence2: columns.next()?.to_owned() };
        columns.next().is_none().then_some(pair)
    };
    let row = |(number, line)| pair(line).unwrap_or_else(|| panic!("{} line {}: bad row", path.display(), number + 1));
    text.lines().enumerate().skip(1).map(row).collect()
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let letters = text.trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let mut bits = 0_u32;
        for letter in group {
            bits = bits << 6 | u32::from(value(*letter)?);
        }
        bits <<= 6 * (4 - group.len());
        out.extend_from_slice(bits.to_be_bytes().get(1..group.len())?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_all_lengths() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
            assert_eq!(decode_base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(decode_base64("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode_base64("a b="), None);
    }

    #[test]
    fn full_rows_agree_with_the_few_numbers_and_have_length_one() {
        for name in ["all-MiniLM-L6-v2", "all-mpnet-base-v2"] {
            let golden = RealGolden::load(name);
            assert_eq!(golden.tokens.len(), real_texts().len());
            for (index, row) in golden.full().iter().enumerate() {
                let squares: f64 = row.iter().map(|x| f64::from(*x).powi(2)).sum();
                assert!((squares - 1.0).abs() < 1e-6);
                crate::assert_close(&row[..8], &golden.first.as_f64()[index * 8..][..8], 1e-8, name);
                let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
                assert!((sum - golden.sum.as_f64()[index]).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn two_independent_references_agree() {
        #[derive(Deserialize)]
        struct File {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            sentence: String,
            n_tokens: usize,
            normalized_mean: Numbers,
        }
        let golden = RealGolden::load("all-MiniLM-L6-v2");
        let (texts, rows) = (real_texts(), golden.full());
        let mut compared = 0;
        for item in read::<File>("golden/all-MiniLM-L6-v2.float64.json").items {
            if let Some(index) = texts[..golden.full_rows].iter().position(|text| *text == item.sentence) {
                assert_eq!(golden.tokens[index], item.n_tokens);
                crate::assert_close(&rows[index], item.normalized_mean.as_f64(), 1e-7, &item.sentence);
                compared += 1;
            }
        }
        assert!(compared >= 4, "only {compared} texts are in both files");
    }

    #[test]
    #[should_panic(expected = "text 3")]
    fn a_wrong_component_is_found() {
        let mut golden = RealGolden::load("all-MiniLM-L6-v2");
        let mut rows = golden.full();
        let kept = rows.len();
        golden.tokens.truncate(kept);
        rows[3][200] += 2e-5;
        golden.assert_matches(&rows, 1e-5);
    }
}
