//! Writing a checkpoint of PyTorch in the zip format: a pickle that names the tensors, and one stored file for each.
//!
//! The opcodes are those of Python's pickle protocol 2; the layout is that of `torch.save` since PyTorch 1.6.

use std::io::{Seek, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::{EncoderError, RawTensor};

/// Folder inside the archive.
const ROOT: &str = "archive";

/// Data types by the names of [`RawTensor::data_type`], with the class of their storage and the bytes of one number.
const STORAGES: &[(&str, &str, usize)] = &[
    ("float64", "DoubleStorage", 8),
    ("float32", "FloatStorage", 4),
    ("float16", "HalfStorage", 2),
    ("bfloat16", "BFloat16Storage", 2),
    ("I64", "LongStorage", 8),
    ("I32", "IntStorage", 4),
    ("I16", "ShortStorage", 2),
    ("I8", "CharStorage", 1),
    ("U8", "ByteStorage", 1),
    ("BOOL", "BoolStorage", 1),
];

/// Writes tensors as `torch.save` writes a state dictionary: `pytorch_model.bin` (the original's
/// `safe_serialization=False`). Tensors keep the order given.
///
/// # Errors
/// [`EncoderError::Weights`] for a type that PyTorch has no storage for, and for bytes that do not fill the shape;
/// [`EncoderError::Io`] when the file cannot be written.
///
/// ```
/// use st_encoder::weights::{RawTensor, Weights, write_pytorch};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("pytorch_model.bin");
/// let bytes = [1.0f32, -2.0].map(f32::to_le_bytes).concat();
/// let tensor = RawTensor { data_type: "float32", shape: &[1, 2], bytes: &bytes };
/// write_pytorch(&path, &[("linear.weight", tensor)])?;
/// assert_eq!(Weights::open_file(&path)?.raw("linear.weight").unwrap().bytes, bytes);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_pytorch(path: &Path, tensors: &[(&str, RawTensor<'_>)]) -> Result<(), EncoderError> {
    let io = |source: std::io::Error| EncoderError::Io { path: path.to_path_buf(), source };
    let pickle = pickle(tensors).map_err(|message| super::mapped::damaged(path, message))?;
    let file = std::fs::File::create(path).map_err(io)?;
    let mut file =
        archive(std::io::BufWriter::new(file), &pickle, tensors).map_err(|error| io(std::io::Error::other(error)))?;
    file.flush().map_err(io)?;
    file.get_ref().sync_all().map_err(io)
}

fn archive<W: Write + Seek>(out: W, pickle: &[u8], tensors: &[(&str, RawTensor<'_>)]) -> zip::result::ZipResult<W> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(64);
    let mut zip = ZipWriter::new(out);
    let mut write = |name: &str, bytes: &[u8]| -> zip::result::ZipResult<()> {
        zip.start_file(format!("{ROOT}/{name}"), options.large_file(bytes.len() > u32::MAX as usize))?;
        Ok(zip.write_all(bytes)?)
    };
    write("data.pkl", pickle)?;
    write("byteorder", b"little")?;
    for (key, (_, tensor)) in tensors.iter().enumerate() {
        write(&format!("data/{key}"), tensor.bytes)?;
    }
    write("version", b"3\n")?;
    zip.finish()
}

/// `OrderedDict` of name → `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict())`.
fn pickle(tensors: &[(&str, RawTensor<'_>)]) -> Result<Vec<u8>, super::Message> {
    let mut out = Pickle(vec![0x80, 2]);
    out.empty_dictionary();
    out.op(b'(');
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        let (_, storage, size) = STORAGES
            .iter()
            .find(|(known, ..)| *known == tensor.data_type)
            .ok_or_else(|| format!("'{name}' has type {}, for which PyTorch has no storage", tensor.data_type))?;
        let numbers = tensor.shape.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        if numbers.and_then(|numbers| numbers.checked_mul(*size)) != Some(tensor.bytes.len()) {
            return Err(format!("'{name}' has {} bytes, which do not fill {:?}", tensor.bytes.len(), tensor.shape));
        }
        out.text(name);
        out.global("torch._utils", "_rebuild_tensor_v2");
        out.op(b'(');
        out.op(b'(');
        out.text("storage");
        out.global("torch", storage);
        out.text(&key.to_string());
        out.text("cpu");
        out.integer(tensor.bytes.len() / size);
        out.op(b't');
        out.op(b'Q');
        out.integer(0);
        out.tuple(tensor.shape);
        out.tuple(&strides(tensor.shape));
        out.op(0x89);
        out.empty_dictionary();
        out.op(b't');
        out.op(b'R');
    }
    out.op(b'u');
    out.op(b'.');
    Ok(out.0)
}

/// Numbers from one index to the next, row-major.
fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at].max(1);
    }
    strides
}

struct Pickle(Vec<u8>);

impl Pickle {
    fn op(&mut self, op: u8) {
        self.0.push(op);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").as_bytes());
    }

    fn empty_dictionary(&mut self) {
        self.global("collections", "OrderedDict");
        self.op(b')');
        self.op(b'R');
    }

    fn text(&mut self, text: &str) {
        self.op(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn integer(&mut self, number: usize) {
        match i32::try_from(number) {
            Ok(number) => {
                self.op(b'J');
                self.0.extend(number.to_le_bytes());
            }
            Err(_) => {
                // LONG1 of nine bytes: the ninth keeps it positive.
                self.0.extend([0x8a, 9]);
                self.0.extend((number as u64).to_le_bytes());
                self.op(0);
            }
        }
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.op(b'(');
        numbers.iter().for_each(|&number| self.integer(number));
        self.op(b't');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Weights;

    proptest! {
        #[test]
        fn what_is_written_is_read(
            shapes in prop::collection::vec((0usize..4, prop::collection::vec(0usize..5, 0..4)), 1..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("pytorch_model.bin");
            let names: Vec<String> = (0..shapes.len()).map(|number| format!("layer.{number}.weight")).collect();
            let bytes: Vec<Vec<u8>> = shapes
                .iter()
                .map(|(kind, shape)| {
                    let count = shape.iter().product::<usize>() * STORAGES[*kind].2;
                    (0..count).map(|i| (i * 7 % 251) as u8).collect()
                })
                .collect();
            let tensors: Vec<_> = shapes.iter().zip(&bytes).zip(&names).map(|(((kind, shape), bytes), name)| {
                (name.as_str(), RawTensor { data_type: STORAGES[*kind].0, shape, bytes })
            }).collect();
            write_pytorch(&path, &tensors).unwrap();
            let read = Weights::open_file(&path).unwrap();
            for (name, tensor) in &tensors {
                let found = read.raw(name).unwrap();
                prop_assert_eq!(found.shape, tensor.shape);
                prop_assert_eq!(found.bytes, tensor.bytes);
                prop_assert_eq!(found.data_type, tensor.data_type);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let path = Path::new("never-written.bin");
        let tensor = RawTensor { data_type: "float32", shape: &[3], bytes: &[0; 8] };
        let error = write_pytorch(path, &[("a", tensor)]).unwrap_err().to_string();
        assert!(error.contains("'a' has 8 bytes, which do not fill [3]"), "{error}");
        let tensor = RawTensor { data_type: "F8_E4M3", shape: &[8], bytes: &[0; 8] };
        let error = write_pytorch(path, &[("a", tensor)]).unwrap_err().to_string();
        assert!(error.contains("F8_E4M3"), "{error}");
        assert!(!path.exists());
    }
}
