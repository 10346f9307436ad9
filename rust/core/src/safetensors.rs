//! The header of safetensors files: what a file of tensors says about itself before the data.
//!
//! A file is eight bytes with the length of the header (little-endian), the header (JSON, padded by spaces to a
//! multiple of eight bytes) and the data of all tensors without gaps. The crate `safetensors` reads the JSON
//! and validates shapes, dtypes and offsets; this module adds that a header has one form only: what is parsed
//! must be what [`Header::encode`] writes, byte for byte. That leaves no room for duplicate keys, other
//! spellings or bytes that mean nothing.

use std::collections::{BTreeMap, HashSet};

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::dtype::DType;
use crate::error::{Error, Result};

/// The most bytes that a header may have: enough for thousands of layers, and little to refuse.
pub const MAX_HEADER: usize = 1 << 23;

/// The key under which the JSON keeps the metadata; no tensor may have this name.
const METADATA: &str = "__metadata__";
const LENGTH: usize = 8;

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name.
    pub name: String,
    /// The type of the elements, which are little-endian.
    pub dtype: DType,
    /// The shape; the elements are in row-major order.
    pub shape: Vec<usize>,
}

/// Texts by name, and the tensors in the order of their data: wider elements first, then by name, so that
/// every tensor is aligned.
///
/// ```
/// use autodan_core::safetensors::Header;
///
/// let header = Header::new([("format".into(), "1".into())].into(), vec![])?;
/// assert_eq!(Header::parse(&header.encode()?)?, header);
/// # Ok::<(), autodan_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<Entry>,
}

impl Header {
    /// The header of a file with these tensors, in any order.
    ///
    /// # Errors
    /// [`Error::Value`] when two tensors have the same name, or one the name `__metadata__`.
    pub fn new(metadata: BTreeMap<String, String>, mut tensors: Vec<Entry>) -> Result<Header> {
        let mut names = HashSet::from([METADATA]);
        if let Some(twice) = tensors.iter().find(|entry| !names.insert(&entry.name)) {
            return Err(refuse(format!("the name '{}' is taken", twice.name)));
        }
        tensors.sort_by(|a, b| b.dtype.size().cmp(&a.dtype.size()).then_with(|| a.name.cmp(&b.name)));
        Ok(Header { metadata, tensors })
    }

    /// The texts by name.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The tensors in the order of their data.
    pub fn tensors(&self) -> &[Entry] {
        &self.tensors
    }

    /// The first bytes of a file, up to where the data begins.
    ///
    /// # Errors
    /// [`Error::Value`] when the tensors have more bytes than can be counted, or the header more than
    /// [`MAX_HEADER`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut text = format!("{{\"{METADATA}\":{}", json(&self.metadata)?);
        let mut start = 0usize;
        for entry in &self.tensors {
            let stop = entry.bytes().and_then(|bytes| start.checked_add(bytes));
            let stop = stop.ok_or_else(|| refuse(format!("'{}' is too large", entry.name)))?;
            let info = TensorInfo {
                dtype: to_file(entry.dtype),
                shape: entry.shape.clone(),
                data_offsets: (start, stop),
            };
            text.push_str(&format!(",{}:{}", json(&entry.name)?, json(&info)?));
            start = stop;
        }
        text.push('}');
        let length = text.len().next_multiple_of(LENGTH);
        if length > MAX_HEADER {
            return Err(refuse(format!("the header would have {length} bytes, the most is {MAX_HEADER}")));
        }
        let mut bytes = Vec::with_capacity(LENGTH + length);
        bytes.extend_from_slice(&(length as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes.resize(LENGTH + length, b' ');
        Ok(bytes)
    }

    /// The header that a file begins with, given its bytes up to where the data begins: any bytes give a
    /// header or an error.
    ///
    /// # Errors
    /// [`Error::Value`] when they are not what [`Header::encode`] writes.
    pub fn parse(bytes: &[u8]) -> Result<Header> {
        let (length, text) = bytes.split_first_chunk::<LENGTH>().ok_or_else(|| refuse("it is cut short"))?;
        if text.len() > MAX_HEADER || u64::from_le_bytes(*length) != text.len() as u64 {
            return Err(refuse("its length is not the one that it states"));
        }
        let text = std::str::from_utf8(text).map_err(refuse)?;
        let parsed: Metadata = serde_json::from_str(text).map_err(refuse)?;
        let metadata = parsed.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
        let tensors = parsed.tensors().into_iter().map(|(name, info)| {
            let dtype = from_file(info.dtype);
            let dtype = dtype.ok_or_else(|| refuse(format!("'{name}' has the dtype {}", info.dtype)))?;
            Ok(Entry { name, dtype, shape: info.shape.clone() })
        });
        let header = Header::new(metadata, tensors.collect::<Result<_>>()?)?;
        if header.encode()? != bytes {
            return Err(refuse("it is not in the one form that is accepted"));
        }
        Ok(header)
    }
}

impl Entry {
    fn bytes(&self) -> Option<usize> {
        self.shape.iter().try_fold(self.dtype.size(), |bytes, &side| bytes.checked_mul(side))
    }
}

fn refuse(problem: impl ToString) -> Error {
    Error::value("safetensors header", problem.to_string())
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(refuse)
}

fn to_file(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::UInt8 => Dtype::U8,
        DType::Int32 => Dtype::I32,
        DType::Int64 => Dtype::I64,
        DType::Float32 => Dtype::F32,
        DType::Float64 => Dtype::F64,
    }
}

fn from_file(dtype: Dtype) -> Option<DType> {
    DType::ALL.into_iter().find(|&candidate| to_file(candidate) == dtype)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn header() -> Header {
        let entry =
            |name: &str, dtype, shape: &[usize]| Entry { name: name.into(), dtype, shape: shape.to_vec() };
        let tensors = vec![
            entry("b\"\\é", DType::UInt8, &[3]),
            entry("none", DType::Float32, &[0, 7]),
            entry("no", DType::Float32, &[7, 0]),
            entry("a", DType::Float32, &[2, 3]),
            entry("scalar", DType::Int64, &[]),
            entry("flag", DType::Bool, &[1]),
            entry("int", DType::Int32, &[2]),
            entry("wide", DType::Float64, &[1]),
        ];
        Header::new([("x".into(), "\n\u{1}".into()), ("a".into(), String::new())].into(), tensors).unwrap()
    }

    fn with_text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = header().encode().unwrap();
        assert_eq!(bytes.len() % 8, 0);
        assert_eq!(Header::parse(&bytes).unwrap(), header());
        let header = header();
        let names: Vec<&str> = header.tensors().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["scalar", "wide", "a", "int", "no", "none", "b\"\\é", "flag"]);
        let empty = Header::new(BTreeMap::new(), vec![]).unwrap();
        assert_eq!(Header::parse(&empty.encode().unwrap()).unwrap(), empty);
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = header().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Header::parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused_or_another_header() {
        let bytes = header().encode().unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Header::parse(&damaged) {
                assert_eq!(other.encode().unwrap(), damaged);
                assert_ne!(other, header());
            }
        }
    }

    #[test]
    fn hostile_headers_are_refused() {
        let info = |dtype: &str, shape: &str, offsets: &str| {
            format!("{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[{offsets}]}}")
        };
        let float = info("F32", "1", "0,4");
        let huge = u64::MAX.to_string();
        let cases = [
            String::new(),
            "null".into(),
            "[]".into(),
            "{}".into(),
            "[".repeat(100_000),
            format!("{{\"__metadata__\":{{}},\"a\":{float},\"a\":{float}}}"),
            format!("{{\"__metadata__\":{{\"k\":\"1\",\"k\":\"2\"}},\"a\":{float}}}"),
            "{\"__metadata__\":{\"k\":1}}".into(),
            format!("{{\"__metadata__\":{{}}, \"a\":{float}}}"),
            format!("{{\"a\":{float},\"__metadata__\":{{}}}}"),
            format!("{{\"__metadata__\":{{}},\"a\":{float}}}x"),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F32", "1", "4,8")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F32", "1", "4,0")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F32", "2", "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F32", "-1", "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F16", "2", "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F33", "1", "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{}}}", info("F32", &format!("{huge},{huge}"), "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{float},\"b\":{}}}", info("F32", "1", "0,4")),
            format!("{{\"__metadata__\":{{}},\"a\":{float},\"b\":{}}}", info("F32", "1", "8,12")),
        ];
        for text in cases {
            let padding = " ".repeat(text.len().next_multiple_of(8) - text.len());
            let padded = text.clone() + &padding;
            assert!(Header::parse(&with_text(&padded)).is_err(), "{text:.200}");
        }
        assert!(Header::parse(&[with_text("{\"__metadata__\":{}}     "), vec![0]].concat()).is_err());
        assert!(Header::parse(&u64::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn names_are_unique_and_sizes_countable() {
        let entry = |name: &str, shape: &[usize]| Entry {
            name: name.into(),
            dtype: DType::Float32,
            shape: shape.into(),
        };
        assert!(Header::new(BTreeMap::new(), vec![entry("a", &[]), entry("a", &[1])]).is_err());
        assert!(Header::new(BTreeMap::new(), vec![entry(METADATA, &[])]).is_err());
        let large = |shape: &[usize]| Header::new(BTreeMap::new(), vec![entry("a", &[4]), entry("b", shape)]);
        assert!(large(&[usize::MAX]).unwrap().encode().is_err());
        assert!(large(&[usize::MAX / 4]).unwrap().encode().is_err());
        let wordy = Header::new([("k".into(), "x".repeat(MAX_HEADER))].into(), vec![]).unwrap();
        assert!(wordy.encode().is_err());
    }
}
