//! The format before PyTorch 1.6: five pickles (magic number, protocol, system, tensors, storage keys), then the storages.

use std::collections::HashMap;

use super::pickle::{Pickle, Value};
use super::{Content, Message, Storage, pickle, tensors};

/// `torch.serialization.MAGIC_NUMBER`.
const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// `torch.serialization.PROTOCOL_VERSION`.
const PROTOCOL: i128 = 1001;

pub(super) fn read(bytes: &[u8]) -> Result<Content, Message> {
    let mut at = 0;
    let mut next = || -> Result<Pickle, Message> {
        let (pickle, length) = pickle::read(&bytes[at..])?;
        at += length;
        Ok(pickle)
    };
    if *next()?.root() != Value::Integer(MAGIC) || *next()?.root() != Value::Integer(PROTOCOL) {
        return Err("not a checkpoint of PyTorch: the pickle does not start with its magic number".into());
    }
    if !little_endian(&next()?) {
        return Err("the checkpoint was written on a big-endian machine; save it again on another".into());
    }
    let dictionary = tensors::state_dictionary(&next()?)?;
    let keys = next()?;
    let Value::List(keys_in_order) = keys.root() else {
        return Err("the list of storages is damaged".into());
    };
    let needs: HashMap<_, _> =
        dictionary.storages.iter().enumerate().map(|(number, need)| (need.key.as_str(), number)).collect();
    let mut found = vec![None; dictionary.storages.len()];
    for &key in keys_in_order {
        let Value::Text(key) = keys.value(key) else { return Err("the list of storages is damaged".into()) };
        // Without a tensor that uses a storage its element size is unknown, and so is where the next one starts.
        let &number =
            needs.get(key.as_str()).ok_or_else(|| format!("storage '{}' belongs to no tensor", key.escape_debug()))?;
        let need = &dictionary.storages[number];
        let truncated = || format!("storage '{}' is truncated: download the file again", key.escape_debug());
        let count = bytes[at..].first_chunk().map(|&count| u64::from_le_bytes(count)).ok_or_else(truncated)?;
        if usize::try_from(count) != Ok(need.elements) {
            return Err(format!("storage '{}' has {count} elements, not {}", key.escape_debug(), need.elements));
        }
        let start = at + 8;
        let end = start.checked_add(need.bytes()?).filter(|&end| end <= bytes.len()).ok_or_else(truncated)?;
        found[number] = Some(start..end);
        at = end;
    }
    let storages = found
        .into_iter()
        .zip(&dictionary.storages)
        .map(|(range, need)| {
            range.map(Storage::Mapped).ok_or_else(|| format!("storage '{}' is missing", need.key.escape_debug()))
        })
        .collect::<Result<_, _>>()?;
    Ok(Content { storages, tensors: dictionary.tensors })
}

/// What the third pickle says of the machine's byte order.
fn little_endian(system: &Pickle) -> bool {
    let Value::Dict(items) = system.root() else { return false };
    items.iter().any(|&(key, value)| {
        matches!(system.value(key), Value::Text(key) if key == "little_endian")
            && *system.value(value) == Value::Bool(true)
    })
}
