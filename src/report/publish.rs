//! A folder of reports as it is published: whatever its evidence makes, the page over all of it, and
//! the sums of every file.

use super::exhibit::{Exhibit, exhibit};
use super::site;
use crate::error::{Error, Place, Result};
use crate::files::{sha256_file, write_atomic};
use crate::plan::Table;
use crate::run::evidence::Evidence;
use std::path::{Path, PathBuf};

/// Lists every other file of the folder with its SHA-256, as `sha256sum` reads it.
pub const SUMS: &str = "SHA256SUMS";

/// Names within the folder, and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// The evidence of every table in `folder`, with the bytes of its file.
///
/// Errors: a file that cannot be read or is no evidence.
pub fn read(folder: &Path) -> Result<Vec<(Evidence, Vec<u8>)>> {
    let mut tables = vec![];
    for table in Table::ALL {
        let path = folder.join(table.evidence_file());
        if !path.try_exists().map_err(Error::io(&path))? {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let evidence = Evidence::parse(&bytes, &path)?;
        if evidence.header.table != table {
            let place = Place::file(path).line(1);
            return Err(Error::input(place, table.name(), evidence.header.table.name()));
        }
        tables.push((evidence, bytes));
    }
    Ok(tables)
}

/// Every file that the evidence makes: tables, figures, pages.
///
/// Errors: evidence that makes no table.
pub fn render(tables: &[(Evidence, Vec<u8>)]) -> Result<(Vec<Exhibit>, Files)> {
    let exhibits = tables.iter().map(|(evidence, _)| exhibit(evidence)).collect::<Result<Vec<_>>>()?;
    let mut files: Files = exhibits.iter().flat_map(|e| e.files.clone()).collect();
    let mut pages: Vec<String> = exhibits.iter().map(|e| e.table.page()).collect();
    pages.dedup();
    for page in &pages {
        files.push((page.clone(), site::page(tables, &exhibits, page)?.into_bytes()));
    }
    Ok((exhibits, files))
}

/// Writes what [`render`] makes of the folder's evidence, then the sums.
///
/// Errors: no evidence in the folder; see [`render`].
pub fn publish(folder: &Path) -> Result<Vec<Exhibit>> {
    let tables = read(folder)?;
    if tables.is_empty() {
        return Err(Error::input(Place::file(folder), "evidence of a table (*.evidence.jsonl.gz)", "none"));
    }
    let (exhibits, files) = render(&tables)?;
    for (name, bytes) in files {
        write_atomic(&folder.join(name), &bytes)?;
    }
    write_sums(folder)?;
    Ok(exhibits)
}

/// Brings [`SUMS`] up to date, after any file of the folder was written.
pub fn write_sums(folder: &Path) -> Result<()> {
    write_atomic(&folder.join(SUMS), sums(folder)?.as_bytes())
}

/// What [`SUMS`] should say.
pub fn sums(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for path in files_in(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if name != SUMS {
            text += &format!("{}  {name}\n", sha256_file(&path)?);
        }
    }
    Ok(text)
}

/// Every file below `folder`, in order; hidden ones are somebody else's.
fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        match path.is_dir() {
            true => files.extend(files_in(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}
