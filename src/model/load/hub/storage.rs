//! The storage of large files: where the hub wants them, and bringing them there. It lies elsewhere and gets no
//! token.

use super::environment::on_endpoint;
use super::push::{LFS, Pusher, Upload};
use crate::error::{Error, Result};
use crate::progress::Task;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

/// What to do for an object of the storage of large files; nothing where it is there already.
#[derive(Deserialize)]
struct Order {
    oid: String,
    actions: Option<Actions>,
    error: Option<OrderError>,
}

#[derive(Deserialize)]
struct OrderError {
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    /// Of an upload in pieces: their size, and an address for each by its number.
    header: Option<Map<String, Value>>,
}

impl Pusher<'_> {
    /// Brings large files where the hub wants them, as far as it lacks them.
    pub fn store(&self, files: &[&Upload]) -> Result<()> {
        #[derive(Deserialize)]
        struct Orders {
            objects: Vec<Order>,
        }
        let objects: Vec<Value> = files.iter().map(|f| json!({ "oid": f.sha256, "size": f.size })).collect();
        let body = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": objects,
            "hash_algo": "sha256",
            "ref": { "name": self.revision },
        });
        let url = format!("{}.git/info/lfs/objects/batch", self.repository.page());
        let orders = self.client.post(&url, LFS, body.to_string().as_bytes(), true);
        let orders = orders.map_err(self.failed("a place for large files"))?;
        let orders = self.unreadable::<Orders>("a place for large files", orders)?.objects;
        for file in files {
            let order = orders.iter().find(|order| Some(&order.oid) == file.sha256.as_ref());
            let expected = format!("a place for {} from the hub", file.name);
            let Some(order) = order else {
                return Err(Error::input(self.place.clone(), expected, "none"));
            };
            if let Some(error) = &order.error {
                return Err(Error::input(
                    self.place.clone(),
                    expected,
                    crate::visible::one_line(&error.message),
                ));
            }
            let Some(actions) = &order.actions else { continue };
            if let Some(upload) = &actions.upload {
                self.upload(file, upload)?;
            }
            if let Some(verify) = &actions.verify {
                let body = json!({ "oid": order.oid, "size": file.size }).to_string();
                let url = on_endpoint(&verify.href, self.repository.endpoint);
                let done = self.client.confirm(&url, "application/json", body.as_bytes());
                done.map_err(self.failed(&format!("a receipt for {}", file.name)))?;
            }
        }
        Ok(())
    }

    /// In one piece, or in as many as the hub has addresses for.
    fn upload(&self, file: &Upload, action: &Action) -> Result<()> {
        let receipt = format!("a receipt for {}", file.name);
        let failed = self.failed(&receipt);
        let url = on_endpoint(&action.href, self.repository.endpoint);
        let task = Rc::new(self.progress.task(file.name.clone(), in_bar(file.size)));
        let piece = |from: u64, length: u64, url: &str| {
            self.client.put(url, length, || {
                let mut open = File::open(&file.path)?;
                open.seek(SeekFrom::Start(from))?;
                Ok(Box::new(Shown { file: open.take(length), task: task.clone() }))
            })
        };
        let empty = Map::new();
        let header = action.header.as_ref().unwrap_or(&empty);
        let Some(size) = header.get("chunk_size") else {
            return piece(0, file.size, &url).map(|_| ()).map_err(failed);
        };
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let mut addresses: Vec<(u64, &str)> = header
            .iter()
            .filter(|(key, _)| !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()))
            .filter_map(|(key, address)| Some((key.parse().ok()?, address.as_str()?)))
            .collect();
        addresses.sort_unstable();
        let pieces = number(size).filter(|&size| size > 0).map(|size| (size, file.size.div_ceil(size)));
        let Some((size, _)) = pieces.filter(|&(_, pieces)| pieces == addresses.len() as u64) else {
            let expected = format!("addresses for {} bytes of {} from the hub", file.size, file.name);
            let got = format!("{} for pieces of {}", addresses.len(), crate::visible::one_line(size));
            return Err(Error::input(self.place.clone(), expected, got));
        };
        let mut parts = vec![];
        for (n, (_, address)) in addresses.iter().enumerate() {
            let from = n as u64 * size;
            let headers = piece(from, size.min(file.size - from), address).map_err(&failed)?;
            let etag =
                headers.get("etag").and_then(|etag| etag.to_str().ok()).filter(|etag| !etag.is_empty());
            let etag = etag.ok_or_else(|| {
                let expected = format!("a receipt (ETag) for piece {} of {}", n + 1, file.name);
                Error::input(self.place.clone(), expected, "none")
            })?;
            parts.push(json!({ "partNumber": n + 1, "etag": etag }));
        }
        let body = json!({ "oid": file.sha256, "parts": parts }).to_string();
        self.client.complete(&url, LFS, body.as_bytes()).map_err(failed)
    }
}

pub fn in_bar(size: u64) -> usize {
    size.try_into().unwrap_or(usize::MAX)
}

/// A part of a file that shows how far it has been read.
pub struct Shown {
    pub file: io::Take<File>,
    pub task: Rc<Task>,
}

impl Read for Shown {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        self.task.advance(n, || "sent".into());
        Ok(n)
    }
}
