//! Parquet files of preference data, row by row.

use crate::data::columns::READ;
use crate::error::{Error, Place, Result};
use crate::text::panics::caught;
use crate::visible::one_line;
use parquet::basic::Type as BasicType;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// The rows of a Parquet file.
pub struct ParquetRows {
    rows: RowIter<'static>,
    left: i64,
    /// Columns with text that are not read, and the number of rows in which they hold text.
    unread: Vec<(String, usize)>,
}

impl ParquetRows {
    /// Errors: the file is not Parquet, is damaged, or does not have the columns of a preference data set.
    pub fn open(file: File, path: &Path) -> Result<Self> {
        let (reader, schema, left) = opened(file, path)?;
        let names: Vec<&str> = schema.get_fields().iter().map(|f| f.name()).collect();
        let has = |name: &&str| names.contains(name);
        if !(["chosen", "rejected"].iter().all(has) || ["instruction", "completions"].iter().all(has)) {
            let expected =
                "columns prompt, chosen and rejected, or UltraFeedback's instruction and completions";
            return Err(Error::input(Place::file(path), expected, one_line(names.join(", "))));
        }
        let wanted = schema.get_fields().iter().filter(|f| READ.contains(&f.name())).cloned().collect();
        let unread = unread_text(reader.metadata());
        let rows = guarded(|| {
            let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build()?;
            RowIter::from_file_into(Box::new(reader)).project(Some(projection))
        });
        Ok(Self { rows: rows.map_err(broken(path))?, left, unread })
    }

    /// As [`Self::open`], for any columns.
    ///
    /// Errors: the file is not Parquet, or is damaged.
    pub fn open_any(file: File, path: &Path) -> Result<Self> {
        let (reader, _, left) = opened(file, path)?;
        let rows = guarded(|| Ok(RowIter::from_file_into(Box::new(reader))));
        Ok(Self { rows: rows.map_err(broken(path))?, left, unread: vec![] })
    }

    /// Columns with text that are not read, and the number of rows in which they hold text, by the file's statistics.
    pub fn unread(&self) -> &[(String, usize)] {
        &self.unread
    }

    /// Errors: a damaged page, or a value that JSON does not have, at `place`.
    pub fn next_row(&mut self, place: Place) -> Result<Option<Map<String, Value>>> {
        let broken = |e: ParquetError| Error::input(place.clone(), "a whole Parquet file", one_line(e));
        match guarded(|| self.rows.next().transpose()).map_err(broken)? {
            Some(row) => {
                self.left -= 1;
                object(&row, &place).map(Some)
            }
            None if self.left != 0 => {
                let got = format!("{} rows more or less than it states", self.left.unsigned_abs());
                Err(Error::input(place, "a whole Parquet file", got))
            }
            None => Ok(None),
        }
    }
}

/// A file's reader, its schema, and how many rows it states.
fn opened(file: File, path: &Path) -> Result<(SerializedFileReader<File>, TypePtr, i64)> {
    let opened = guarded(|| {
        let reader = SerializedFileReader::new(file)?;
        let metadata = reader.metadata().file_metadata();
        let (schema, rows) = (metadata.schema_descr().root_schema_ptr(), metadata.num_rows());
        Ok((reader, schema, rows))
    });
    opened.map_err(broken(path))
}

/// For every column that [`READ`] does not name and that holds text, directly or in lists and structs: its number
/// of rows without those that are null by the statistics. None if every text is empty.
fn unread_text(metadata: &ParquetMetaData) -> Vec<(String, usize)> {
    let mut found: Vec<(String, usize)> = vec![];
    for group in metadata.row_groups() {
        for column in group.columns().iter().filter(|column| column.column_type() == BasicType::BYTE_ARRAY) {
            let path = column.column_path().parts();
            let Some(name) = path.first().filter(|name| !READ.contains(&name.as_str())) else { continue };
            let rows = usize::try_from(group.num_rows()).unwrap_or_default();
            let (mut nulls, mut empty) = (0, false);
            if let Some(statistics) = column.statistics() {
                // Of a list the nulls are its items'.
                nulls = statistics.null_count_opt().filter(|_| path.len() == 1).unwrap_or_default();
                empty = statistics.max_bytes_opt().is_some_and(<[u8]>::is_empty)
                    || statistics.null_count_opt() == u64::try_from(column.num_values()).ok();
            }
            let rows = if empty { 0 } else { rows.saturating_sub(nulls as usize) };
            match found.iter_mut().find(|(known, _)| known == name) {
                // The parts of a struct are one column.
                Some((_, known)) if path.len() > 1 => *known = rows.max(*known),
                Some((_, known)) => *known += rows,
                None => found.push((name.clone(), rows)),
            }
        }
    }
    found.retain(|(_, rows)| *rows > 0);
    found
}

fn broken(path: &Path) -> impl Fn(ParquetError) -> Error {
    let place = Place::file(path);
    move |e| Error::input(place.clone(), "a whole Parquet file", one_line(e))
}

/// The Parquet reader panics on some damaged files. Such a panic becomes an error about the file.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    caught(read).unwrap_or_else(|_panic| Err(ParquetError::General("damaged content".into())))
}

fn object(row: &Row, place: &Place) -> Result<Map<String, Value>> {
    row.get_column_iter()
        .map(|(name, field)| Ok((name.clone(), json(field, &place.clone().field(name))?)))
        .collect()
}

fn json(field: &Field, place: &Place) -> Result<Value> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(v) => (*v).into(),
        Field::Byte(v) => (*v).into(),
        Field::Short(v) => (*v).into(),
        Field::Int(v) => (*v).into(),
        Field::Long(v) => (*v).into(),
        Field::UByte(v) => (*v).into(),
        Field::UShort(v) => (*v).into(),
        Field::UInt(v) => (*v).into(),
        Field::ULong(v) => (*v).into(),
        Field::Float16(v) => f64::from(v.to_f32()).into(),
        Field::Float(v) => f64::from(*v).into(),
        Field::Double(v) => (*v).into(),
        Field::Str(v) => v.as_str().into(),
        // Text whose writer did not say so.
        Field::Bytes(v) => match std::str::from_utf8(v.data()) {
            Ok(text) => text.into(),
            Err(e) => return Err(Error::input(place.clone(), "UTF-8", e)),
        },
        // A key that one message has is null in all the others of the column.
        Field::Group(row) => {
            let mut keys = object(row, place)?;
            keys.retain(|key, value| key == "content" || !value.is_null());
            Value::Object(keys)
        }
        Field::ListInternal(list) => {
            list.elements().iter().map(|item| json(item, place)).collect::<Result<Vec<_>>>()?.into()
        }
        other => return Err(Error::input(place.clone(), "text, numbers or lists", one_line(other))),
    })
}
