//! Scalars as a TensorBoard event file: length-prefixed records with masked CRC-32C checksums, each
//! an `Event` message of TensorFlow's `event.proto`. TensorBoard reads the folder of a run, or of all.

use crate::error::{Error, Result};
use jiff::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// TensorBoard takes any file whose name holds `tfevents` for one.
const NAME: &str = "events.out.tfevents.0.lpc";
/// Length, its checksum, and the checksum behind the data.
const FRAME: usize = 8 + 4 + 4;

/// A run's event file, a record a step behind the first, which states the version.
pub struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// Opens the file with the records of its first `steps` steps kept, so that a resumed run repeats
    /// no point of its curves.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn resume(run: &Path, steps: usize) -> Result<Self> {
        let path = run.join(NAME);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(Error::io(&path))?;
        let mut bytes = vec![];
        file.read_to_end(&mut bytes).map_err(Error::io(&path))?;
        let mut end = 0;
        for _ in 0..=steps {
            match record_length(&bytes[end..]) {
                Some(length) => end += length,
                None => break,
            }
        }
        let cut = file.set_len(end as u64).and_then(|()| file.seek(SeekFrom::Start(end as u64)));
        cut.map_err(Error::io(&path))?;
        let mut events = Self { path, file };
        if end == 0 {
            events.write(&string(3, b"brain.Event:2"))?;
        }
        Ok(events)
    }

    /// Appends one step's scalars.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push<'a>(&mut self, step: usize, scalars: impl IntoIterator<Item = (&'a str, f64)>) -> Result<()> {
        let summary: Vec<u8> = scalars
            .into_iter()
            .flat_map(|(tag, value)| {
                let mut scalar = string(1, tag.as_bytes());
                scalar.push(key(2, 5));
                scalar.extend((value as f32).to_le_bytes());
                string(1, &scalar)
            })
            .collect();
        let mut event = vec![key(2, 0)];
        event.extend(varint(step as u64));
        event.extend(string(5, &summary));
        self.write(&event)
    }

    /// Writes an event, its time added.
    fn write(&mut self, event: &[u8]) -> Result<()> {
        let mut data = vec![key(1, 1)];
        data.extend(Timestamp::now().as_duration().as_secs_f64().to_le_bytes());
        data.extend(event);
        let length = (data.len() as u64).to_le_bytes();
        let record =
            [&length[..], &masked_crc32c(&length).to_le_bytes(), &data, &masked_crc32c(&data).to_le_bytes()]
                .concat();
        self.file.write_all(&record).map_err(Error::io(&self.path))
    }
}

/// Bytes of the record that begins here, if it is whole.
fn record_length(bytes: &[u8]) -> Option<usize> {
    let length = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let length = usize::try_from(length).ok()?.checked_add(FRAME)?;
    (length <= bytes.len()).then_some(length)
}

/// Field number and wire type: 0 varint, 1 eight bytes, 2 length-prefixed, 5 four bytes.
fn key(field: u8, wire: u8) -> u8 {
    field << 3 | wire
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn string(field: u8, content: &[u8]) -> Vec<u8> {
    [&[key(field, 2)][..], &varint(content.len() as u64), content].concat()
}

/// As the record format wants it: a checksum of data that holds its own checksum would be weak.
fn masked_crc32c(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: a few hundred bytes a step.
fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(!0, |crc, &byte| {
        (0..8)
            .fold(crc ^ u32::from(byte), |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, B.4.
    #[test]
    fn checksums_of_the_standard() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>()), 0x46dd_794e);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
