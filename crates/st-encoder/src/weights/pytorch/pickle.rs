//! A reader of Python pickles that runs nothing: it knows the few functions that PyTorch's checkpoints call, as data.
//!
//! Values live in one vector and refer to each other by index, so nesting costs no stack and cycles cost nothing.

use std::collections::HashMap;

use super::Message;

/// Largest pickle read, in bytes. The names and shapes of 10,000 tensors take about two million.
const MOST_BYTES: usize = 1 << 26;
/// Most values of one pickle.
const MOST_VALUES: usize = 1 << 22;

/// Index of a value in its [`Pickle`].
pub(super) type Id = usize;

/// A value of the closed set that checkpoints are made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    /// Large enough for the 80-bit magic number.
    Integer(i128),
    Float,
    Text(String),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Function(Function),
    /// What a persistent id names: the tuple that describes a storage.
    Persistent(Id),
    /// A rebuilt tensor, by the tuple of its arguments.
    Tensor(Id),
}

/// Everything that a checkpoint may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// A class of storages with its element type.
    Storage(Element),
}

/// Element types of storages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: &'static str,
    pub(super) size: usize,
}

/// The functions and classes that are known, by module and name.
const FUNCTIONS: &[(&str, &str, Function)] = &[
    ("collections", "OrderedDict", Function::OrderedDict),
    ("torch._utils", "_rebuild_tensor", Function::RebuildTensor),
    ("torch._utils", "_rebuild_tensor_v2", Function::RebuildTensor),
    ("torch._utils", "_rebuild_parameter", Function::RebuildParameter),
    ("torch", "DoubleStorage", storage("float64", 8)),
    ("torch", "FloatStorage", storage("float32", 4)),
    ("torch", "HalfStorage", storage("float16", 2)),
    ("torch", "BFloat16Storage", storage("bfloat16", 2)),
    ("torch", "LongStorage", storage("int64", 8)),
    ("torch", "IntStorage", storage("int32", 4)),
    ("torch", "ShortStorage", storage("int16", 2)),
    ("torch", "CharStorage", storage("int8", 1)),
    ("torch", "ByteStorage", storage("uint8", 1)),
    ("torch", "BoolStorage", storage("bool", 1)),
];

const fn storage(name: &'static str, size: usize) -> Function {
    Function::Storage(Element { name, size })
}

/// A pickle that was read: its values and which of them is the result.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// A value. Every [`Id`] inside comes from this pickle.
    pub(super) fn value(&self, id: Id) -> &Value {
        self.values.get(id).unwrap_or(&Value::None)
    }

    /// The result.
    pub(super) fn root(&self) -> &Value {
        self.value(self.root)
    }
}

/// Reads one pickle from the start of `bytes`; returns it and how many bytes it took.
pub(super) fn read(bytes: &[u8]) -> Result<(Pickle, usize), Message> {
    let mut reader = Reader {
        bytes: &bytes[..bytes.len().min(MOST_BYTES)],
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    let root = reader.run()?;
    Ok((Pickle { values: reader.values, root }, reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    values: Vec<Value>,
    stack: Vec<Id>,
    /// Heights of the stack at its marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

impl<'a> Reader<'a> {
    fn run(&mut self) -> Result<Id, Message> {
        loop {
            let code = self.byte()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
            if self.values.len() > MOST_VALUES || self.stack.len() > MOST_VALUES || self.marks.len() > MOST_VALUES {
                return Err(format!("the pickle has more than {MOST_VALUES} values; no checkpoint has"));
            }
        }
    }

    /// One operation, by its code in Python's `pickletools`.
    fn step(&mut self, code: u8) -> Result<(), Message> {
        match code {
            // PROTO, FRAME: nothing to do.
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.integer(code)?,
            b'G' => {
                self.take(8)?;
                self.push(Value::Float);
            }
            b'X' | 0x8c | 0x8d | b'T' | b'U' => self.text(code)?,
            b'B' | b'C' | 0x8e => {
                let width = match code {
                    b'B' => 4,
                    b'C' => 1,
                    _ => 8,
                };
                self.counted(width)?;
                self.push(Value::Bytes);
            }
            b']' | b'l' | b'a' | b'e' | b')' | b't' | 0x85..=0x87 | b'}' | b'd' | b's' | b'u' => {
                self.container(code)?
            }
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(code)?,
            b'c' | 0x93 => self.global(code)?,
            b'R' => self.reduce()?,
            b'b' => self.build()?,
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }
            other => {
                return Err(format!(
                    "refuses to run code: no checkpoint of tensors needs the pickle operation {other:#04x}"
                ));
            }
        }
        Ok(())
    }

    fn integer(&mut self, code: u8) -> Result<(), Message> {
        let value = match code {
            b'J' => {
                let bytes = self.take(4)?;
                i128::from(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            }
            b'K' => i128::from(self.byte()?),
            b'M' => self.unsigned(2)?.into(),
            _ => {
                let digits = self.counted(if code == 0x8a { 1 } else { 4 })?;
                if digits.len() > 16 {
                    return Err("the pickle has an integer of more than 128 bits".into());
                }
                let fill = if digits.last().is_some_and(|last| last & 0x80 != 0) { 0xff } else { 0 };
                let mut bytes = [fill; 16];
                bytes[..digits.len()].copy_from_slice(digits);
                i128::from_le_bytes(bytes)
            }
        };
        self.push(Value::Integer(value));
        Ok(())
    }

    fn text(&mut self, code: u8) -> Result<(), Message> {
        let width = match code {
            0x8c | b'U' => 1,
            0x8d => 8,
            _ => 4,
        };
        let bytes = self.counted(width)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "the pickle has a text that is not UTF-8".to_owned())?;
        self.push(Value::Text(text.to_owned()));
        Ok(())
    }

    fn container(&mut self, code: u8) -> Result<(), Message> {
        match code {
            b']' => self.push(Value::List(Vec::new())),
            b'l' => {
                let items = self.pop_mark()?;
                self.push(Value::List(items));
            }
            b')' => self.push(Value::Tuple(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Value::Tuple(items));
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or_else(ended)?;
                let items = self.stack.split_off(start);
                self.push(Value::Tuple(items));
            }
            b'}' => self.push(Value::Dict(Vec::new())),
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Value::Dict(pairs(&items)?));
            }
            b'a' | b'e' => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
                match self.top()? {
                    Value::List(list) => list.extend(items),
                    _ => return Err("the pickle appends to something that is no list".into()),
                }
            }
            _ => {
                let items = if code == b's' {
                    let value = self.pop()?;
                    vec![self.pop()?, value]
                } else {
                    self.pop_mark()?
                };
                let items = pairs(&items)?;
                match self.top()? {
                    Value::Dict(dict) => dict.extend(items),
                    _ => return Err("the pickle sets items of something that is no dictionary".into()),
                }
            }
        }
        Ok(())
    }

    fn memo(&mut self, code: u8) -> Result<(), Message> {
        match code {
            b'h' | b'j' => {
                let key = self.unsigned(if code == b'h' { 1 } else { 4 })?;
                let id = *self.memo.get(&key).ok_or("the pickle refers to a value that it has not made")?;
                self.stack.push(id);
            }
            _ => {
                let key = match code {
                    b'q' => self.unsigned(1)?,
                    b'r' => self.unsigned(4)?,
                    _ => self.memo.len() as u64,
                };
                let id = *self.stack.last().ok_or_else(ended)?;
                self.memo.insert(key, id);
            }
        }
        Ok(())
    }

    fn global(&mut self, code: u8) -> Result<(), Message> {
        let (module, name) = if code == b'c' {
            (self.line()?.to_owned(), self.line()?.to_owned())
        } else {
            let (name, module) = (self.pop()?, self.pop()?);
            match (&self.values[module], &self.values[name]) {
                (Value::Text(module), Value::Text(name)) => (module.clone(), name.clone()),
                _ => return Err("the pickle names a function by something that is no text".into()),
            }
        };
        let known = FUNCTIONS.iter().find(|(in_module, called, _)| *in_module == module && *called == name);
        let (.., function) = known.ok_or_else(|| {
            format!(
                "refuses to run code: the checkpoint calls `{}.{}`, which no checkpoint of tensors needs; save the \
                 weights as safetensors with the program that made them",
                module.escape_debug(),
                name.escape_debug()
            )
        })?;
        self.push(Value::Function(*function));
        Ok(())
    }

    fn reduce(&mut self) -> Result<(), Message> {
        let (tuple, function) = (self.pop()?, self.pop()?);
        let Value::Tuple(arguments) = &self.values[tuple] else {
            return Err("the pickle calls a function without a tuple of arguments".into());
        };
        match (&self.values[function], arguments.as_slice()) {
            (Value::Function(Function::OrderedDict), []) => self.push(Value::Dict(Vec::new())),
            (Value::Function(Function::RebuildTensor), _) => self.push(Value::Tensor(tuple)),
            (Value::Function(Function::RebuildParameter), &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err("the pickle calls something that is no known function".into()),
        }
        Ok(())
    }

    /// Sets attributes of an object. A state dictionary has one, the versions of its modules, and nothing depends on it.
    fn build(&mut self) -> Result<(), Message> {
        self.pop()?;
        match self.top()? {
            Value::Dict(_) => Ok(()),
            _ => Err("refuses to run code: the pickle sets attributes of something that is no dictionary".into()),
        }
    }

    fn push(&mut self, value: Value) {
        self.stack.push(self.values.len());
        self.values.push(value);
    }

    fn pop(&mut self) -> Result<Id, Message> {
        if self.marks.last().is_some_and(|&mark| mark >= self.stack.len()) {
            return Err(ended());
        }
        self.stack.pop().ok_or_else(ended)
    }

    fn pop_mark(&mut self) -> Result<Vec<Id>, Message> {
        let mark = self.marks.pop().ok_or_else(ended)?;
        if mark > self.stack.len() {
            return Err(ended());
        }
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Value, Message> {
        let id = *self.stack.last().ok_or_else(ended)?;
        self.values.get_mut(id).ok_or_else(ended)
    }

    fn byte(&mut self) -> Result<u8, Message> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Message> {
        let taken = self.bytes[self.at..].get(..count).ok_or_else(ended)?;
        self.at += count;
        Ok(taken)
    }

    fn unsigned(&mut self, width: usize) -> Result<u64, Message> {
        Ok(self.take(width)?.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// As many bytes as a count of `width` bytes says.
    fn counted(&mut self, width: usize) -> Result<&'a [u8], Message> {
        let count = self.unsigned(width)?;
        self.take(usize::try_from(count).map_err(|_| ended())?)
    }

    fn line(&mut self) -> Result<&'a str, Message> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| byte == b'\n').ok_or_else(ended)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| "the pickle has a name that is not UTF-8".into())
    }
}

fn ended() -> Message {
    "the pickle is truncated or damaged: download the file again".into()
}

fn pairs(items: &[Id]) -> Result<Vec<(Id, Id)>, Message> {
    match items.as_chunks() {
        (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
        _ => Err("the pickle has a key without a value".into()),
    }
}
