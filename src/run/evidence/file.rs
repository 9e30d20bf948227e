//! Evidence as a file.

use super::{Column, Evidence, Header, Run};
use crate::error::{Error, Place, Result};
use crate::files::{json_fault, write_atomic};
use flate2::read::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};
use std::io::{Read, Write};
use std::path::Path;

/// Most bytes that are read. It is far more than any evidence, but a damaged file cannot fill the memory.
const LARGEST: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Header(Box<Header>),
    Column(Column),
    Run(Box<Run>),
}

impl Evidence {
    /// The file's bytes: the same evidence gives the same bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let lines = std::iter::once(Line::Header(Box::new(self.header.clone())))
            .chain(self.columns.iter().cloned().map(Line::Column))
            .chain(self.runs.iter().cloned().map(|run| Line::Run(Box::new(run))));
        let mut writer =
            GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
        for line in lines {
            let text = serde_json::to_string(&line);
            let text = text.map_err(|e| Error::argument("evidence", "line", e, "plain data"))?;
            writeln!(writer, "{text}").map_err(Error::io("evidence"))?;
        }
        writer.finish().map_err(Error::io("evidence"))
    }

    /// Reads what [`Evidence::to_bytes`] wrote. `path` is for messages.
    ///
    /// Errors: the bytes are not gzip or damaged, or a line is not one of evidence.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut text = String::new();
        let mut reader = GzDecoder::new(bytes).take(LARGEST);
        reader.read_to_string(&mut text).map_err(|e| {
            Error::input(Place::file(path), "evidence, compressed by gzip", e.to_string().replace('\n', " "))
        })?;
        let mut evidence: Option<Self> = None;
        for (number, json) in text.lines().enumerate() {
            let place = || Place::file(path).line(number + 1);
            let line: Line = serde_json::from_str(json)
                .map_err(|e| Error::input(place(), "a line of evidence", json_fault(&e)))?;
            match (line, &mut evidence) {
                (Line::Header(header), None) if header.format == 1 => evidence = Some(Self::new(*header)),
                (Line::Column(column), Some(evidence)) => evidence.columns.push(column),
                (Line::Run(run), Some(evidence)) => evidence.runs.push(*run),
                _ => return Err(Error::input(place(), "one header of format 1, first", "another line")),
            }
        }
        evidence.ok_or_else(|| Error::input(Place::file(path), "a header", "an empty file"))
    }

    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&std::fs::read(path).map_err(Error::io(path))?, path)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, &self.to_bytes()?)
    }
}
