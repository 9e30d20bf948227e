//! Writing files so that a reader never sees half of one.

use crate::error::{Error, Place, Result};
use crate::visible::one_line;
use safetensors::tensor::Metadata;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// Replaces `path` by `bytes` in one step: a temporary file in the same folder, flushed to disk,
/// then renamed over it. Missing folders are made.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?;
    temporary.write_all(bytes).and_then(|()| temporary.as_file().sync_all()).map_err(Error::io(path))?;
    readable_by_all(temporary.as_file()).map_err(Error::io(path))?;
    temporary.persist(path).map_err(|e| Error::io(path)(e.error))?;
    sync_folder(folder)
}

/// [`write_atomic`] for tensors, without a copy of them in memory.
pub fn write_tensors<N, T>(
    path: &Path,
    tensors: impl IntoIterator<Item = (N, T)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()>
where
    N: AsRef<str> + Ord + Display,
    T: safetensors::View,
{
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let temporary = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(folder))?.into_temp_path();
    safetensors::serialize_to_file(tensors, metadata, &temporary)
        .map_err(|e| Error::io(path)(std::io::Error::other(e)))?;
    // The library may have put another file in the temporary one's place: open what is there now.
    let synced = File::open(&temporary).and_then(|f| readable_by_all(&f).and_then(|()| f.sync_all()));
    synced.map_err(Error::io(path))?;
    temporary.persist(path).map_err(|e| Error::io(path)(e.error))?;
    sync_folder(folder)
}

/// Puts a file that was written whole in the place of another, which stays until then.
pub fn replace(path: &Path, by: &Path) -> Result<()> {
    fs::rename(by, path).map_err(Error::io(path))?;
    sync_folder(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// Temporary files are private to their owner; results are not.
fn readable_by_all(file: &File) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
    }
    let _ = file;
    Ok(())
}

/// A rename is durable only once its folder is on disk. Only Unix can open a folder for that.
fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

/// Lower-case hexadecimal SHA-256.
///
/// ```
/// assert!(lpc::files::sha256(b"abc").starts_with("ba7816bf8f01cfea"));
/// ```
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256 of a file's content.
pub fn sha256_file(path: &Path) -> Result<String> {
    fs::read(path).map(|bytes| sha256(&bytes)).map_err(Error::io(path))
}

/// Bytes of a safetensors file's first number, the length of its header; and the most that header may have, as the
/// format's own library has it.
const LENGTH: usize = size_of::<u64>();
const LONGEST_HEADER: u64 = 100_000_000;

/// A safetensors file's header, and where its data begins.
///
/// Errors: the file cannot be read, or its header does not say what lies in all of it.
pub fn safetensors_header(path: &Path) -> Result<(u64, Metadata)> {
    let broken = |got: String| Error::input(Place::file(path), "a safetensors file", got);
    let mut file = File::open(path).map_err(Error::io(path))?;
    let size = file.metadata().map_err(Error::io(path))?.len();
    let mut length = [0; LENGTH];
    if size < LENGTH as u64 {
        return Err(broken(format!("{size} bytes")));
    }
    file.read_exact(&mut length).map_err(Error::io(path))?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > size - LENGTH as u64 {
        return Err(broken(format!("a header of {length} bytes in a file of {size}")));
    }
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(Error::io(path))?;
    let header: Metadata = serde_json::from_slice(&header).map_err(|e| broken(e.to_string()))?;
    let (data, mut end) = (LENGTH as u64 + length, 0);
    for (name, info) in header.tensors() {
        let (first, last) = info.data_offsets;
        let numbers = info.shape.iter().try_fold(1usize, |n, m| n.checked_mul(*m));
        let bytes = numbers.and_then(|n| n.checked_mul(info.dtype.bitsize())).map(|bits| bits / 8);
        if last.checked_sub(first) != bytes || bytes.is_none() {
            return Err(broken(format!(
                "{:?} of {:?} in bytes {first} to {last}",
                one_line(name),
                info.shape
            )));
        }
        end = end.max(last as u64);
    }
    match data.checked_add(end) == Some(size) {
        true => Ok((data, header)),
        false => Err(broken(format!("{size} bytes, of which the header describes {end} after {data}"))),
    }
}

/// A JSON fault without serde's own line number, which counts within the text it was given.
pub(crate) fn json_fault(e: &serde_json::Error) -> String {
    let text = e.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(fault, _)| fault.into())
}

/// Writes indented JSON, complete or not at all.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_atomic(path, format!("{value:#}\n").as_bytes())
}
