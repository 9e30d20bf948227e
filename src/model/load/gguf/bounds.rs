//! What a GGUF file claims, held against its length before candle's reader trusts it.

use crate::error::{Error, Place, Result};
use crate::visible::one_line;
use candle_core::quantized::gguf_file::Content;
use std::io::{Read, Seek};

/// Elements an array may have: vocabularies have less than a million tokens and merges.
const LONGEST_ARRAY: u64 = 1 << 24;
/// Arrays of arrays are not used by any writer.
const DEEPEST_ARRAY: usize = 4;
const ALIGNMENT: &str = "general.alignment";

/// Walks the key–value pairs of a reader at its beginning without keeping them: every length must lie
/// inside the file, and the alignment must be one that tensors can have.
///
/// # Errors
/// The first claim that does not hold, with its byte.
pub fn check_metadata(reader: &mut (impl Read + Seek), length: u64, place: &Place) -> Result<()> {
    let mut walk = Walk { reader, at: 0, length, place };
    let (magic, version) = (walk.bytes::<4>()?, walk.number()?);
    if &magic != b"GGUF" || !(2..=3).contains(&version) {
        let got = format!("{:?}, version {version}", String::from_utf8_lossy(&magic));
        return Err(Error::input(place.clone(), "a GGUF file of version 2 or 3", got));
    }
    let _tensors = walk.length()?;
    for _ in 0..walk.length()? {
        let key = walk.length()?;
        let key = if key == ALIGNMENT.len() as u64 {
            walk.bytes::<{ ALIGNMENT.len() }>()?
        } else {
            walk.skip(key)?;
            Default::default()
        };
        let kind = walk.number()?;
        if key == ALIGNMENT.as_bytes() {
            let alignment = if kind == 4 { walk.number()? } else { 0 };
            if !(alignment.is_power_of_two() && alignment <= 1 << 16) {
                let expected = "a power of two up to 65536, as u32";
                return Err(Error::input(place.clone().field(ALIGNMENT), expected, alignment));
            }
        } else {
            walk.value(kind, 0)?;
        }
    }
    Ok(())
}

struct Walk<'a, R> {
    reader: &'a mut R,
    at: u64,
    length: u64,
    place: &'a Place,
}

impl<R: Read + Seek> Walk<'_, R> {
    fn refuse<T>(&self, expected: &str, got: String) -> Result<T> {
        Err(Error::input(self.place.clone(), expected, format!("{got} at byte {}", self.at)))
    }

    /// Claims the next `n` bytes.
    fn claim(&mut self, n: u64) -> Result<()> {
        let left = self.length - self.at;
        if n > left {
            return self.refuse("a whole GGUF file", format!("{left} bytes instead of {n}"));
        }
        self.at += n;
        Ok(())
    }

    fn skip(&mut self, n: u64) -> Result<()> {
        self.claim(n)?;
        // Within what is buffered if possible: `seek` would read the whole buffer anew at every string.
        self.reader.seek_relative(n as i64).map_err(Error::io(&self.place.path))
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.claim(N as u64)?;
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes).map_err(Error::io(&self.place.path))?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Result<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<()> {
        if let Some(size) = scalar_size(kind) {
            return self.skip(size);
        }
        match kind {
            8 => {
                let length = self.length()?;
                self.skip(length)
            }
            9 if depth < DEEPEST_ARRAY => {
                let (kind, length) = (self.number()?, self.length()?);
                if length > LONGEST_ARRAY {
                    return self.refuse("an array of at most 2^24 elements", format!("{length} elements"));
                }
                match scalar_size(kind) {
                    Some(size) => self.skip(length * size),
                    None => (0..length).try_for_each(|_| self.value(kind, depth + 1)),
                }
            }
            other => self.refuse("a known kind of value", format!("kind {other}")),
        }
    }
}

/// Bytes of a value that is neither string (8) nor array (9).
fn scalar_size(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

/// Every tensor must lie inside the file and no two may share bytes: otherwise a small file could
/// claim any amount of memory.
///
/// # Errors
/// The first tensor for which this does not hold.
pub fn check_tensors(content: &Content, length: u64, place: &Place) -> Result<()> {
    let mut extents = Vec::with_capacity(content.tensor_infos.len());
    for (name, info) in &content.tensor_infos {
        let refuse = |expected: &str, got: String| {
            Err(Error::input(place.clone().field(one_line(name)), expected, got))
        };
        let dims = info.shape.dims();
        let (block, bytes) = (info.ggml_dtype.block_size(), info.ggml_dtype.type_size());
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).filter(|&n| n > 0);
        // Blocks run along a row, so a row holds whole blocks.
        let Some(elements) = elements.filter(|_| dims.last().is_some_and(|d| d.is_multiple_of(block))) else {
            return refuse(&format!("rows of whole blocks of {block}"), format!("shape {dims:?}"));
        };
        let size = (elements / block).checked_mul(bytes).map(|n| n as u64);
        let start = content.tensor_data_offset.checked_add(info.offset);
        let end = start.zip(size).and_then(|(start, size)| start.checked_add(size));
        match start.zip(end) {
            Some((start, end)) if end <= length => extents.push((start, end, name)),
            _ => {
                let got = format!("shape {dims:?} at offset {}", info.offset);
                return refuse(&format!("a tensor inside the file's {length} bytes"), got);
            }
        }
    }
    extents.sort_unstable();
    match extents.windows(2).find(|pair| pair[0].1 > pair[1].0) {
        Some(pair) => {
            let got = format!("bytes shared with {}", one_line(pair[0].2));
            Err(Error::input(place.clone().field(one_line(pair[1].2)), "bytes of its own", got))
        }
        None => Ok(()),
    }
}
