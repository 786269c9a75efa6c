//! Hand-written and mutated checkpoints: what is refused, in which words, and that nothing panics.

use std::io::Write as _;

use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn integer(number: i32) -> Vec<u8> {
    [&[b'J'][..], &number.to_le_bytes()].concat()
}

fn tuple(items: &[Vec<u8>]) -> Vec<u8> {
    [b"(", items.concat().as_slice(), b"t"].concat()
}

fn sizes(numbers: &[i32]) -> Vec<u8> {
    tuple(&numbers.iter().map(|&number| integer(number)).collect::<Vec<_>>())
}

/// A tensor over the storage `0` of `elements` floats.
fn tensor(elements: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let storage = [
        tuple(&[text("storage"), b"ctorch\nFloatStorage\n".to_vec(), text("0"), text("cpu"), integer(elements)]),
        b"Q".to_vec(),
    ]
    .concat();
    let arguments = tuple(&[
        storage,
        integer(offset),
        sizes(shape),
        sizes(strides),
        vec![0x89],
        b"ccollections\nOrderedDict\n)R".to_vec(),
    ]);
    [b"ctorch._utils\n_rebuild_tensor_v2\n", arguments.as_slice(), b"R"].concat()
}

/// A pickle of the dictionary `{"w": value}`.
fn dictionary(value: &[u8]) -> Vec<u8> {
    [&[0x80, 2][..], b"}", &text("w"), value, b"s."].concat()
}

fn archive(files: &[(&str, &[u8])], compressed: bool) -> Vec<u8> {
    let method = if compressed { zip::CompressionMethod::Deflated } else { zip::CompressionMethod::Stored };
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn floats(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn checkpoint(pickle: &[u8], storage: &[u8]) -> Vec<u8> {
    archive(&[("m/data.pkl", pickle), ("m/byteorder", b"little"), ("m/data/0", storage)], false)
}

/// Reads everything a file holds, as a loader would.
fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, Message> {
    let content = read(bytes)?;
    let load = |(name, layout): (String, Layout)| {
        let storage = match &content.storages[layout.storage] {
            Storage::Mapped(range) => &bytes[range.clone()],
            Storage::Unpacked(unpacked) => unpacked,
        };
        let numbers = layout.contiguous().map_or_else(|| layout.gather(storage), |range| storage[range].to_vec());
        (name, numbers)
    };
    Ok(content.tensors.into_iter().map(load).collect())
}

fn refusal(bytes: &[u8]) -> String {
    read_all(bytes).unwrap_err()
}

#[test]
fn strides_and_offsets_are_followed() {
    let storage = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    // Offset, shape, strides, and the elements in row-major order.
    type Case = (i32, &'static [i32], &'static [i32], &'static [f32]);
    let cases: [Case; 6] = [
        (0, &[2, 3], &[3, 1], &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        (1, &[3, 2], &[1, 3], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0]),
        (0, &[2, 2], &[4, 2], &[0.0, 2.0, 4.0, 6.0]),
        (7, &[], &[], &[7.0]),
        (3, &[1, 2], &[100, 1], &[3.0, 4.0]),
        (8, &[0, 5], &[5, 1], &[]),
    ];
    for (offset, shape, strides, expected) in cases {
        let bytes = checkpoint(&dictionary(&tensor(8, offset, shape, strides)), &storage);
        assert_eq!(read_all(&bytes).unwrap(), [("w".to_owned(), floats(expected))], "{shape:?} {strides:?}");
    }
}

#[test]
fn compressed_archives_are_unpacked_and_parameters_unwrapped() {
    let storage = floats(&[1.0; 64]);
    let parameter = [
        b"ctorch._utils\n_rebuild_parameter\n".as_slice(),
        &tuple(&[tensor(64, 0, &[64], &[1]), vec![0x88], b"}".to_vec()]),
        b"R",
    ]
    .concat();
    let pickle = dictionary(&parameter);
    let bytes = archive(&[("m/data.pkl", &pickle), ("m/data/0", &storage)], true);
    assert_eq!(read_all(&bytes).unwrap(), [("w".to_owned(), storage)]);
}

#[test]
fn code_is_named_and_not_run() {
    let expected = |name: &str| {
        format!(
            "refuses to run code: the checkpoint calls `{name}`, which no checkpoint of tensors needs; save the weights \
             as safetensors with the program that made them"
        )
    };
    let calls = [
        ("posix\nsystem\n", "posix.system"),
        ("builtins\neval\n", "builtins.eval"),
        ("torch.storage\n_load_from_bytes\n", "torch.storage._load_from_bytes"),
        ("torch._utils\n_rebuild_qtensor\n", "torch._utils._rebuild_qtensor"),
        ("a\n\u{1b}[31m\n", "a.\\u{1b}[31m"),
    ];
    for (call, name) in calls {
        let pickle = dictionary(&[b"c", call.as_bytes(), &tuple(&[text("true")]), b"R"].concat());
        assert_eq!(refusal(&checkpoint(&pickle, b"")), expected(name));
    }
    let stack_global = dictionary(&[&text("os"), &text("system"), &[0x93][..]].concat());
    assert_eq!(refusal(&checkpoint(&stack_global, b"")), expected("os.system"));
    for code in [b'i', b'o', 0x81, 0x92, b'P', 0x82] {
        let pickle = dictionary(&[code]);
        let message = format!("refuses to run code: no checkpoint of tensors needs the pickle operation {code:#04x}");
        assert_eq!(refusal(&checkpoint(&pickle, b"")), message);
    }
}

#[test]
fn damage_is_named() {
    let good = dictionary(&tensor(2, 0, &[2], &[1]));
    let storage = floats(&[1.0, 2.0]);
    let cases: [(Vec<u8>, &str); 12] = [
        (b"hello".to_vec(), "not a checkpoint of PyTorch: it is neither a zip archive nor a pickle"),
        (good.clone(), "not a checkpoint of PyTorch: the pickle does not start with its magic number"),
        (archive(&[("readme", b"")], false), "not a checkpoint of PyTorch: the zip archive has no data.pkl"),
        (
            archive(&[("m/data.pkl", &good), ("m/byteorder", b"big")], false),
            "the checkpoint was written on a big-endian machine; save it again on another",
        ),
        (archive(&[("m/data.pkl", &good)], false), "storage '0' is missing from the archive"),
        (checkpoint(&good, &storage[..5]), "storage '0' has 5 of 8 bytes"),
        (checkpoint(&good[..20], &storage), "the pickle is truncated or damaged: download the file again"),
        (
            checkpoint(&dictionary(&tensor(2, 1, &[2], &[1])), &storage),
            "tensor 'w': shape [2] with strides [1] from element 1 leaves its storage of 2 elements",
        ),
        (
            checkpoint(&dictionary(&tensor(2, 0, &[i32::MAX, i32::MAX, i32::MAX], &[0, 0, 0])), &storage),
            "tensor 'w': shape [2147483647, 2147483647, 2147483647] with strides [0, 0, 0] from element 0 leaves its \
             storage of 2 elements",
        ),
        (checkpoint(&dictionary(&tensor(2, 0, &[-1], &[1])), &storage), "tensor 'w': -1 is no size"),
        (checkpoint(&dictionary(b"N"), &storage), "the checkpoint holds no tensors: it should be a state dictionary"),
        (checkpoint(&[0x80, 2, b'N', b'.'], &storage), "the checkpoint is no dictionary of tensors"),
    ];
    for (bytes, message) in cases {
        assert_eq!(refusal(&bytes), message);
    }
    let cut = checkpoint(&good, &storage);
    assert!(refusal(&cut[..cut.len() - 30]).starts_with("the zip archive is truncated or damaged ("));
}

#[test]
fn cycles_and_depth_are_no_danger() {
    // A list that holds itself, and a million lists inside each other.
    let cycle = dictionary(&[b"]q", &[1][..], b"h", &[1], b"a"].concat());
    assert_eq!(refusal(&checkpoint(&cycle, b"")), "the checkpoint holds no tensors: it should be a state dictionary");
    let deep = [&[0x80, 2][..], &vec![b']'; 1_000_000], &vec![b'a'; 999_999], b"."].concat();
    assert_eq!(refusal(&checkpoint(&deep, b"")), "the checkpoint is no dictionary of tensors");
    let many = [&[0x80, 2][..], &vec![b')'; 5_000_000], b"."].concat();
    assert_eq!(refusal(&checkpoint(&many, b"")), "the pickle has more than 4194304 values; no checkpoint has");
}

fn fixture(model: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models");
    std::fs::read(folder.join(model).join("pytorch_model.bin")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_checkpoints_do_not_panic(
        legacy in any::<bool>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        end in any::<prop::sample::Index>(),
        cut in 0u8..4,
    ) {
        let mut bytes = fixture(if legacy { "tiny-bert-bin-legacy" } else { "tiny-bert-bin" });
        // The pickles lie at the start, the zip directory at the end: most changes go there.
        let near = 6000.min(bytes.len());
        for (number, (place, value)) in changes.iter().enumerate() {
            let at = match number % 3 {
                0 => place.index(near),
                1 => bytes.len() - 1 - place.index(near),
                _ => place.index(bytes.len()),
            };
            bytes[at] = *value;
        }
        if cut == 0 {
            bytes.truncate(end.index(bytes.len()));
        }
        let _ = read_all(&bytes);
    }

    #[test]
    fn mutated_pickles_do_not_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut pickle = dictionary(&tensor(8, 1, &[3, 2], &[1, 3]));
        for (place, value) in changes {
            let at = place.index(pickle.len());
            pickle[at] = value;
        }
        let _ = read_all(&checkpoint(&pickle, &floats(&[1.0; 8])));
    }

    #[test]
    fn arbitrary_pickles_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = pickle::read(&bytes);
        let _ = read_all(&[&[0x80, 2][..], &bytes].concat());
    }

    #[test]
    fn gathering_follows_the_strides(
        shape in proptest::collection::vec(1usize..5, 0..4),
        order in any::<prop::sample::Index>(),
        offset in 0usize..5,
    ) {
        // A permuted contiguous tensor: element (i, j, k) lies where its strides say.
        let rank = shape.len();
        let mut permutation: Vec<usize> = (0..rank).collect();
        permutation.rotate_left(if rank == 0 { 0 } else { order.index(rank) });
        let mut strides = vec![0; rank];
        let mut step = 1;
        for &dimension in permutation.iter().rev() {
            strides[dimension] = step;
            step *= shape[dimension];
        }
        let storage: Vec<f32> = (0..(step + offset) as u16).map(f32::from).collect();
        let as_i32 = |numbers: &[usize]| numbers.iter().map(|&n| n as i32).collect::<Vec<_>>();
        let pickle =
            dictionary(&tensor((step + offset) as i32, offset as i32, &as_i32(&shape), &as_i32(&strides)));
        let found = read_all(&checkpoint(&pickle, &floats(&storage))).unwrap().remove(0).1;
        let mut expected = Vec::new();
        let mut place = vec![0; rank];
        for _ in 0..step {
            expected.push((offset + place.iter().zip(&strides).map(|(a, b)| a * b).sum::<usize>()) as f32);
            for (at, &length) in place.iter_mut().zip(&shape).rev() {
                *at += 1;
                if *at < length { break; }
                *at = 0;
            }
        }
        prop_assert_eq!(found, floats(&expected));
    }
}
