//! Properties of quantisation, and its warning.

use std::sync::Mutex;

use proptest::prelude::*;
use st_vectors::{Embeddings, Precision, QuantizedEmbeddings, Ranges, VectorError, quantize_embeddings};

/// Collects what is logged.
struct Collector(Mutex<Vec<String>>);

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(record.args().to_string());
    }
    fn flush(&self) {}
}

static LOG: Collector = Collector(Mutex::new(Vec::new()));

#[test]
fn few_rows_are_warned_of() {
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
    let one = Embeddings::from(vec![1.0, 2.0]);
    quantize_embeddings(&one, Precision::Uint8, None, None).unwrap();
    quantize_embeddings(&Embeddings::zeros(99, 2), Precision::Int8, None, None).unwrap();
    quantize_embeddings(&Embeddings::zeros(100, 2), Precision::Int8, None, None).unwrap();
    let logged = LOG.0.lock().unwrap().join("\n");
    for (precision, count) in [("uint8", "1 embedding"), ("int8", "99 embeddings")] {
        let expected = format!(
            "Computing {precision} quantization buckets based on {count}. {precision} quantization is more stable with \
             `ranges` calculated from more embeddings or a `calibration_embeddings` that can be used to calculate the \
             buckets."
        );
        assert!(logged.contains(&expected), "{logged}");
    }
    assert!(!logged.contains("100 embeddings"), "{logged}");
}

#[test]
fn values_without_a_bucket() {
    let embeddings =
        Embeddings::from_rows([[1.0, f32::NAN, f32::INFINITY], [1.0, 0.0, 0.0], [1.0, 255.0, 510.0]]).unwrap();
    let signed = quantize_embeddings(&embeddings, Precision::Int8, None, None).unwrap();
    assert_eq!(signed.row_i8(0), Some(&[0, 0, 127][..]), "no extent, NaN, above the range");
    let unsigned = quantize_embeddings(&embeddings, Precision::Uint8, None, None).unwrap();
    assert_eq!(unsigned.row_u8(0), Some(&[0, 0, 255][..]));
    assert_eq!(unsigned.row_u8(2), Some(&[0, 255, 255][..]));
}

/// More rows than one thread takes at a time, in a dimension that fills no whole byte.
#[test]
fn many_rows_are_quantised_as_each_alone() {
    let (rows, dimension) = (257, 13);
    let values: Vec<f32> = (0..rows * dimension).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect();
    let all = Embeddings::new(values.clone(), rows, dimension).unwrap();
    let ranges = Ranges::from_embeddings(&all).unwrap();
    for column in 0..dimension {
        let values = || values.iter().skip(column).step_by(dimension).copied();
        assert_eq!(ranges.minima()[column], values().fold(f32::INFINITY, f32::min));
        assert_eq!(ranges.maxima()[column], values().fold(f32::NEG_INFINITY, f32::max));
    }
    let quantised = |rows: &Embeddings, precision| quantize_embeddings(rows, precision, Some(&ranges), None).unwrap();
    let (bytes, bits) = (quantised(&all, Precision::Int8), quantised(&all, Precision::Ubinary));
    for row in 0..rows {
        let alone = Embeddings::from(all.row(row).to_vec());
        let (byte, bit) = (quantised(&alone, Precision::Int8), quantised(&alone, Precision::Ubinary));
        assert_eq!(bytes.as_i8().unwrap()[row * dimension..][..dimension], *byte.as_i8().unwrap());
        assert_eq!(bits.as_u8().unwrap()[row * 2..][..2], *bit.as_u8().unwrap());
    }
}

#[test]
fn no_rows_and_wrong_shapes() {
    let none = Embeddings::zeros(0, 12);
    for (precision, _) in Precision::ALL {
        let stored = quantize_embeddings(&none, precision, None, None).unwrap();
        assert_eq!((stored.rows(), stored.original_dimension(), stored.precision()), (0, 12, precision));
    }
    let error = quantize_embeddings(&none, Precision::Int8, None, Some(&none)).unwrap_err();
    assert_eq!((error.clone(), error.hint().is_some()), (VectorError::NoVectors, true));
    let ranges = Ranges::new(vec![0.0], vec![1.0]).unwrap();
    let error = quantize_embeddings(&none, Precision::Uint8, Some(&ranges), None).unwrap_err();
    assert_eq!(error.to_string(), "ranges have 1 minima and 1 maxima, the vectors have 12 dimensions");
    assert!(Ranges::new(vec![0.0], vec![]).is_err());
    for (minimum, maximum) in [(2.0, 1.0), (f32::NAN, 1.0), (0.0, f32::INFINITY)] {
        assert!(matches!(Ranges::new(vec![minimum], vec![maximum]), Err(VectorError::InvalidRange { .. })));
    }
    let error = QuantizedEmbeddings::from_ubinary(vec![0; 3], 2, 9).unwrap_err();
    assert_eq!(error, VectorError::Shape { length: 3, rows: 2, dimension: 2 });
}

proptest! {
    #[test]
    fn stored_integers_lead_back_to_within_a_step(
        rows in 2usize..8,
        dimension in 1usize..12,
        values in prop::collection::vec(-50f32..50.0, 100),
    ) {
        let embeddings = Embeddings::new(values[..rows * dimension].to_vec(), rows, dimension).unwrap();
        let ranges = Ranges::from_embeddings(&embeddings).unwrap();
        for (precision, offset) in [(Precision::Int8, 128.0), (Precision::Uint8, 0.0)] {
            let stored = quantize_embeddings(&embeddings, precision, Some(&ranges), None).unwrap().to_embeddings();
            for (stored, row) in stored.rows_iter().zip(embeddings.rows_iter()) {
                for (d, (&stored, &value)) in stored.iter().zip(row).enumerate() {
                    let step = (ranges.maxima()[d] - ranges.minima()[d]) / 255.0;
                    let back = ranges.minima()[d] + (stored + offset) * step;
                    prop_assert!((back - value).abs() <= step * 1.001 + 1e-4, "{back} {value}");
                }
            }
        }
    }

    #[test]
    fn bits_come_back_row_by_row(rows in 0usize..6, dimension in 0usize..30, values in prop::collection::vec(-1f32..1.0, 150)) {
        let embeddings = Embeddings::new(values[..rows * dimension].to_vec(), rows, dimension).unwrap();
        let signs: Vec<f32> = embeddings.as_slice().iter().map(|&x| f32::from(u8::from(x > 0.0))).collect();
        let signed = quantize_embeddings(&embeddings, Precision::Binary, None, None).unwrap();
        let unsigned = quantize_embeddings(&embeddings, Precision::Ubinary, None, None).unwrap();
        prop_assert_eq!(signed.dimension(), dimension.div_ceil(8));
        for stored in [&signed, &unsigned] {
            let unpacked = stored.to_embeddings();
            prop_assert_eq!(unpacked.as_slice(), &signs[..]);
        }
        let shifted: Vec<i16> = signed.as_i8().unwrap().iter().map(|&byte| i16::from(byte) + 128).collect();
        let bytes: Vec<i16> = unsigned.as_u8().unwrap().iter().map(|&byte| i16::from(byte)).collect();
        prop_assert_eq!(shifted, bytes);
    }
}
