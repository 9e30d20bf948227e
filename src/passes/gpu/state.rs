//! Weights and moments in a file, bit for bit: flat memory in pieces, one of which is in the host's memory at a
//! time.

use super::Weights;
use crate::error::Place;
use crate::files::{replace, safetensors_header, sha256, write_tensors};
use crate::machine::device::{HostMemory, View};
use crate::{Error, Result};
use rayon::prelude::*;
use safetensors::Dtype;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Bytes of a piece, and of a part that is hashed alone.
const PIECE: usize = 1 << 24;
const PART: usize = 1 << 20;

/// Kept memory that a file keeps.
pub(super) enum Kept<'a> {
    Device(View<'a, u8>),
    /// f32 numbers.
    Host(&'a HostMemory),
}

impl Kept<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Device(view) => view.len(),
            Self::Host(memory) => memory.len() * size_of::<f32>(),
        }
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<u8>> {
        match self {
            Self::Device(view) => view.at(range).read(),
            Self::Host(memory) => Ok(memory.bytes(range)),
        }
    }
}

/// SHA-256 of each piece.
#[derive(Default)]
struct Hashes(BTreeMap<String, [u8; 32]>);

impl Hashes {
    /// By parts, so that all of the host's cores hash: one alone is slower than a disk.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let parts: Vec<_> = bytes.par_chunks(PART).map(Sha256::digest).collect();
        self.0.insert(name.into(), Sha256::digest(parts.concat()).into());
    }

    /// That of all, in the order of their names.
    fn whole(&self) -> String {
        sha256(self.0.values().flatten().copied().collect::<Vec<u8>>().as_slice())
    }
}

/// A piece of a file. The library asks for its bytes where no error can be returned: it is told afterwards.
struct Piece<'a> {
    name: String,
    flat: &'a Kept<'a>,
    range: Range<usize>,
    shape: [usize; 1],
    failed: &'a Mutex<Option<Error>>,
    hashes: &'a Mutex<Hashes>,
}

impl safetensors::View for Piece<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::U8
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.flat.read(self.range.clone()).unwrap_or_else(|e| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            vec![0; self.shape[0]]
        });
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).add(&self.name, &bytes);
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.shape[0]
    }
}

fn pieces(name: &str, len: usize) -> impl Iterator<Item = (String, Range<usize>)> {
    let pieces = (0..len).step_by(PIECE).enumerate();
    pieces.map(move |(i, start)| (format!("{name}.{i:05}"), start..(start + PIECE).min(len)))
}

impl Weights {
    /// Writes weights and moments, not the sums of gradients: between two updates they are 0. Returns a hash of
    /// the numbers.
    ///
    /// Errors: the file cannot be written, or the device does not answer; a file that was there is kept.
    pub fn save(&self, path: &Path) -> Result<String> {
        let (failed, hashes, flats) = (Mutex::new(None), Mutex::new(Hashes::default()), self.flats());
        let mut tensors = vec![];
        for (name, flat) in &flats {
            for (name, range) in pieces(name, flat.len()) {
                let shape = [range.len()];
                let piece =
                    Piece { name: name.clone(), flat, range, shape, failed: &failed, hashes: &hashes };
                tensors.push((name, piece));
            }
        }
        // What was there stays until all of this one is right.
        let part = path.with_extension("part");
        write_tensors(&part, tensors, Some(self.metadata()?))?;
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            None => {
                replace(path, &part)?;
                Ok(hashes.into_inner().unwrap_or_else(PoisonError::into_inner).whole())
            }
            Some(e) => {
                _ = fs::remove_file(&part);
                Err(e)
            }
        }
    }

    /// What a file says of itself: the formats, and the decoder's shape.
    fn metadata(&self) -> Result<HashMap<String, String>> {
        let decoder = serde_json::to_string(&self.config).map_err(|e| Error::io("a state")(e.into()))?;
        Ok(HashMap::from([("formats".into(), self.formats_name()), ("decoder".into(), decoder)]))
    }

    /// Goes on from what [`Self::save`] wrote. Returns the hash of the numbers.
    ///
    /// Errors: a file that cannot be read, or that is of another decoder or of other formats; then some numbers
    /// may have been replaced.
    pub fn restore(&mut self, path: &Path) -> Result<String> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let other = |got: String, expected: String| Error::input(Place::file(path), expected, got);
        let (data, metadata) = safetensors_header(path)?;
        let said = metadata.metadata().clone().unwrap_or_default();
        for (key, expected) in self.metadata()? {
            let got = said.get(&key).cloned().unwrap_or_else(|| "nothing".into());
            if got != expected {
                return Err(other(got, format!("a state of {expected}")));
            }
        }
        let mut next = |name: &str, range: &Range<usize>| -> Result<Vec<u8>> {
            let info = metadata.info(name).filter(|info| info.shape == [range.len()]);
            let none = || other("none of that size".into(), format!("{name}, {} bytes", range.len()));
            let start = data + info.ok_or_else(none)?.data_offsets.0 as u64;
            let mut bytes = vec![0; range.len()];
            file.seek(SeekFrom::Start(start))
                .and_then(|_| file.read_exact(&mut bytes))
                .map_err(Error::io(path))?;
            Ok(bytes)
        };
        let lengths: Vec<(&str, usize)> =
            self.flats().iter().map(|(name, flat)| (*name, flat.len())).collect();
        let mut hashes = Hashes::default();
        for (name, len) in lengths {
            for (piece, range) in pieces(name, len) {
                let bytes = next(&piece, &range)?;
                hashes.add(&piece, &bytes);
                self.replace(name, range, &bytes)?;
            }
        }
        Ok(hashes.whole())
    }
}
