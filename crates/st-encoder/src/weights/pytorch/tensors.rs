//! From a pickle's values to the tensors of a state dictionary and where their elements lie.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use super::super::stored::Kind;
use super::Message;
use super::pickle::{Element, Function, Id, Pickle, Value};
use crate::DataType;

/// PyTorch itself allows 64; weights have at most four.
const MOST_DIMENSIONS: usize = 16;
/// Longest name of a tensor or storage, in bytes.
const LONGEST_NAME: usize = 4096;

/// Where a tensor's elements lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) shape: Vec<usize>,
    /// Steps between neighbours along each dimension, in elements.
    strides: Vec<usize>,
    /// First element in the storage.
    offset: usize,
    /// Index of the storage.
    pub(super) storage: usize,
    /// Bytes of an element.
    size: usize,
}

impl Layout {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The bytes of the storage that are the elements in row-major order, if they are.
    pub(super) fn contiguous(&self) -> Option<Range<usize>> {
        let mut step = 1;
        for (&length, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if length > 1 && stride != step {
                return (self.elements() == 0).then_some(0..0);
            }
            step *= length;
        }
        let start = self.offset * self.size;
        Some(start..start + self.elements() * self.size)
    }

    /// Copies the elements into row-major order. `storage` is at least as long as was checked when this was made.
    pub(super) fn gather(&self, storage: &[u8]) -> Vec<u8> {
        let mut gathered = Vec::with_capacity(self.elements() * self.size);
        let mut place = vec![0; self.shape.len()];
        for _ in 0..self.elements() {
            let element = self.offset + place.iter().zip(&self.strides).map(|(at, stride)| at * stride).sum::<usize>();
            gathered.extend_from_slice(&storage[element * self.size..][..self.size]);
            for (at, &length) in place.iter_mut().zip(&self.shape).rev() {
                *at += 1;
                if *at < length {
                    break;
                }
                *at = 0;
            }
        }
        gathered
    }
}

/// A storage that tensors refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StorageNeed {
    pub(super) key: String,
    pub(super) element: Element,
    /// Its length in elements.
    pub(super) elements: usize,
}

/// The tensors of a state dictionary and the storages that they need.
#[derive(Debug, Default)]
pub(super) struct StateDictionary {
    pub(super) storages: Vec<StorageNeed>,
    pub(super) tensors: Vec<(String, Layout)>,
}

impl StorageNeed {
    /// Its length in bytes.
    pub(super) fn bytes(&self) -> Result<usize, Message> {
        self.elements.checked_mul(self.element.size).ok_or_else(|| format!("storage '{}' is too large", self.key))
    }
}

/// Reads the result of a pickle as a state dictionary. Values that are no tensors are passed over.
pub(super) fn state_dictionary(pickle: &Pickle) -> Result<StateDictionary, Message> {
    let Value::Dict(items) = pickle.root() else {
        return Err("the checkpoint is no dictionary of tensors".into());
    };
    let mut dictionary = StateDictionary::default();
    let mut numbers = HashMap::new();
    let mut layouts = BTreeMap::new();
    for &(key, value) in items {
        let (Value::Text(name), Value::Tensor(arguments)) = (pickle.value(key), pickle.value(value)) else { continue };
        if name.len() > LONGEST_NAME {
            return Err(format!("a tensor has a name of {} bytes", name.len()));
        }
        let Value::Tuple(arguments) = pickle.value(*arguments) else { continue };
        let layout = layout(pickle, arguments, &mut dictionary.storages, &mut numbers)
            .map_err(|message| format!("tensor '{}': {message}", name.escape_debug()))?;
        layouts.insert(name.clone(), layout);
    }
    if layouts.is_empty() {
        return Err("the checkpoint holds no tensors: it should be a state dictionary".into());
    }
    dictionary.tensors = layouts.into_iter().collect();
    Ok(dictionary)
}

/// Arguments of `_rebuild_tensor_v2`: storage, offset, shape, strides, and what matters only to training.
fn layout(
    pickle: &Pickle,
    arguments: &[Id],
    storages: &mut Vec<StorageNeed>,
    numbers: &mut HashMap<String, usize>,
) -> Result<Layout, Message> {
    let &[storage, offset, shape, strides, ..] = arguments else {
        return Err("rebuilt with too few arguments".into());
    };
    let Value::Persistent(description) = pickle.value(storage) else {
        return Err("rebuilt without a storage".into());
    };
    let (need, view) = storage_need(pickle, *description)?;
    let number = *numbers.entry(need.key.clone()).or_insert(storages.len());
    match storages.get(number) {
        None => storages.push(need.clone()),
        Some(known) if *known == need => {}
        Some(_) => return Err(format!("storage '{}' is described in two ways", need.key)),
    }
    let offset = size(pickle, offset)?.checked_add(view).ok_or("the offset is too large")?;
    let (shape, strides) = (sizes(pickle, shape)?, sizes(pickle, strides)?);
    if shape.len() != strides.len() || shape.len() > MOST_DIMENSIONS {
        return Err(format!("{} dimensions and {} strides", shape.len(), strides.len()));
    }
    check_bounds(&shape, &strides, offset, need.elements)?;
    let kind = match need.element.name {
        "float64" => Kind::Float(DataType::F64),
        "float32" => Kind::Float(DataType::F32),
        "float16" => Kind::Float(DataType::F16),
        "bfloat16" => Kind::Float(DataType::BF16),
        other => Kind::Other(other.to_owned()),
    };
    Ok(Layout { kind, shape, strides, offset, storage: number, size: need.element.size })
}

/// Checks that every element lies in the storage, and that there are no more elements than the storage has.
fn check_bounds(shape: &[usize], strides: &[usize], offset: usize, available: usize) -> Result<(), Message> {
    let outside = || {
        format!(
            "shape {shape:?} with strides {strides:?} from element {offset} leaves its storage of {available} elements"
        )
    };
    if shape.contains(&0) {
        // The product of the other dimensions must not overflow either.
        let others = shape.iter().filter(|&&length| length > 0).try_fold(1usize, |n, &length| n.checked_mul(length));
        return if offset <= available && others.is_some() { Ok(()) } else { Err(outside()) };
    }
    let elements = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
    let last = shape.iter().zip(strides).try_fold(offset, |last, (&length, &stride)| {
        (length - 1).checked_mul(stride).and_then(|step| last.checked_add(step))
    });
    match (elements, last) {
        (Some(elements), Some(last)) if elements <= available && last < available => Ok(()),
        _ => Err(outside()),
    }
}

/// The tuple `("storage", class, key, location, elements[, view])`; returns the storage and where a view of it begins.
fn storage_need(pickle: &Pickle, description: Id) -> Result<(StorageNeed, usize), Message> {
    let wrong = || "its storage is not described as PyTorch does".to_owned();
    let Value::Tuple(parts) = pickle.value(description) else { return Err(wrong()) };
    let &[tag, class, key, _, elements, ref rest @ ..] = parts.as_slice() else { return Err(wrong()) };
    let (Value::Text(tag), Value::Function(Function::Storage(element)), Value::Text(key)) =
        (pickle.value(tag), pickle.value(class), pickle.value(key))
    else {
        return Err(wrong());
    };
    if tag != "storage" || key.len() > LONGEST_NAME {
        return Err(wrong());
    }
    let view = match rest.first().map(|&view| pickle.value(view)) {
        None | Some(Value::None) => 0,
        Some(Value::Tuple(view)) => size(pickle, *view.get(1).ok_or_else(wrong)?)?,
        Some(_) => return Err(wrong()),
    };
    Ok((StorageNeed { key: key.clone(), element: *element, elements: size(pickle, elements)? }, view))
}

fn sizes(pickle: &Pickle, id: Id) -> Result<Vec<usize>, Message> {
    match pickle.value(id) {
        Value::Tuple(items) | Value::List(items) if items.len() <= MOST_DIMENSIONS => {
            items.iter().map(|&item| size(pickle, item)).collect()
        }
        _ => Err("its shape is no tuple of sizes".into()),
    }
}

fn size(pickle: &Pickle, id: Id) -> Result<usize, Message> {
    match pickle.value(id) {
        Value::Integer(number) => usize::try_from(*number).map_err(|_| format!("{number} is no size")),
        _ => Err("something that is no whole number stands for a size".into()),
    }
}
