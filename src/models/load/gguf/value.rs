//! Values of metadata.

use std::fmt;

/// A value of metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// 8 bits without sign.
    U8(u8),
    /// 8 bits with sign.
    I8(i8),
    /// 16 bits without sign.
    U16(u16),
    /// 16 bits with sign.
    I16(i16),
    /// 32 bits without sign.
    U32(u32),
    /// 32 bits with sign.
    I32(i32),
    /// 64 bits without sign.
    U64(u64),
    /// 64 bits with sign.
    I64(i64),
    /// 32-bit float.
    F32(f32),
    /// 64-bit float.
    F64(f64),
    /// Truth value.
    Bool(bool),
    /// Text.
    Text(String),
    /// Values of one type.
    Array(Array),
}

/// An array of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// 8 bits without sign.
    U8(Vec<u8>),
    /// 8 bits with sign.
    I8(Vec<i8>),
    /// 16 bits without sign.
    U16(Vec<u16>),
    /// 16 bits with sign.
    I16(Vec<i16>),
    /// 32 bits without sign.
    U32(Vec<u32>),
    /// 32 bits with sign.
    I32(Vec<i32>),
    /// 64 bits without sign.
    U64(Vec<u64>),
    /// 64 bits with sign.
    I64(Vec<i64>),
    /// 32-bit floats.
    F32(Vec<f32>),
    /// 64-bit floats.
    F64(Vec<f64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
}

impl Value {
    /// Returns an integer of any type, unless it is beyond the range of `i64` or this is none.
    pub fn as_integer(&self) -> Option<i64> {
        match *self {
            Value::U8(value) => Some(value.into()),
            Value::I8(value) => Some(value.into()),
            Value::U16(value) => Some(value.into()),
            Value::I16(value) => Some(value.into()),
            Value::U32(value) => Some(value.into()),
            Value::I32(value) => Some(value.into()),
            Value::U64(value) => value.try_into().ok(),
            Value::I64(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a float of either type.
    pub fn as_float(&self) -> Option<f64> {
        match *self {
            Value::F32(value) => Some(value.into()),
            Value::F64(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a truth value.
    pub fn as_flag(&self) -> Option<bool> {
        match *self {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Returns a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the elements of an array of texts.
    pub fn as_texts(&self) -> Option<&[String]> {
        match self {
            Value::Array(Array::Text(texts)) => Some(texts),
            _ => None,
        }
    }

    /// Returns the elements of an array of integers, unless one is beyond the range of `i64`.
    pub fn as_integers(&self) -> Option<Vec<i64>> {
        fn wide<T: Copy + Into<i64>>(values: &[T]) -> Option<Vec<i64>> {
            Some(values.iter().map(|&value| value.into()).collect())
        }
        let Value::Array(array) = self else {
            return None;
        };
        match array {
            Array::U8(values) => wide(values),
            Array::I8(values) => wide(values),
            Array::U16(values) => wide(values),
            Array::I16(values) => wide(values),
            Array::U32(values) => wide(values),
            Array::I32(values) => wide(values),
            Array::U64(values) => values.iter().map(|&value| value.try_into().ok()).collect(),
            Array::I64(values) => wide(values),
            _ => None,
        }
    }

    /// Returns the elements of an array of floats.
    pub fn as_floats(&self) -> Option<Vec<f64>> {
        match self {
            Value::Array(Array::F32(values)) => {
                Some(values.iter().map(|&value| value.into()).collect())
            }
            Value::Array(Array::F64(values)) => Some(values.clone()),
            _ => None,
        }
    }
}

/// Type and value, the latter only if it is short, for messages.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Value::U8(value) => write!(f, "the integer {value}"),
            Value::I8(value) => write!(f, "the integer {value}"),
            Value::U16(value) => write!(f, "the integer {value}"),
            Value::I16(value) => write!(f, "the integer {value}"),
            Value::U32(value) => write!(f, "the integer {value}"),
            Value::I32(value) => write!(f, "the integer {value}"),
            Value::U64(value) => write!(f, "the integer {value}"),
            Value::I64(value) => write!(f, "the integer {value}"),
            Value::F32(value) => write!(f, "the float {value}"),
            Value::F64(value) => write!(f, "the float {value}"),
            Value::Bool(value) => write!(f, "the truth value {value}"),
            Value::Text(text) if text.len() <= 40 => write!(f, "the text {text:?}"),
            Value::Text(text) => write!(f, "a text of {} bytes", text.len()),
            Value::Array(array) => write!(f, "{array}"),
        }
    }
}

impl fmt::Display for Array {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (count, what) = match self {
            Array::U8(values) => (values.len(), "integers"),
            Array::I8(values) => (values.len(), "integers"),
            Array::U16(values) => (values.len(), "integers"),
            Array::I16(values) => (values.len(), "integers"),
            Array::U32(values) => (values.len(), "integers"),
            Array::I32(values) => (values.len(), "integers"),
            Array::U64(values) => (values.len(), "integers"),
            Array::I64(values) => (values.len(), "integers"),
            Array::F32(values) => (values.len(), "floats"),
            Array::F64(values) => (values.len(), "floats"),
            Array::Bool(values) => (values.len(), "truth values"),
            Array::Text(values) => (values.len(), "texts"),
        };
        write!(f, "an array of {count} {what}")
    }
}
