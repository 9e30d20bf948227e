//! Tensors in safetensors files: found first, read a piece at a time.

use super::super::PICKLED;
use super::{Files, INDEX, WEIGHTS, read_index};
use crate::error::{Error, Place, Result};
use crate::files::safetensors_header;
use crate::model::config::DecoderConfig;
use crate::visible::one_line;
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Numbers that are read at a time.
const PIECE: usize = 1 << 22;

/// A decoder's tensors in files, by their Hugging Face names. None of them is in memory.
#[derive(Debug, Clone)]
pub struct WeightFiles(BTreeMap<String, Stored>);

#[derive(Debug, Clone)]
struct Stored {
    path: PathBuf,
    /// Of its bytes in the file.
    start: u64,
    dtype: Dtype,
    shape: Vec<usize>,
    /// When the file was written, as it was when its content was hashed.
    written: Option<SystemTime>,
}

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

impl WeightFiles {
    /// Finds a folder's tensors, and whether the head is the embedding.
    ///
    /// Errors: a file that is missing or damaged, a tensor that the decoder does not have or lacks, by name.
    pub(super) fn find(files: &mut Files<'_>, config: &mut DecoderConfig) -> Result<Self> {
        let mut found = Self(BTreeMap::new());
        // A file may hold a head whatever the configuration says.
        let untied = DecoderConfig { tie_word_embeddings: false, ..config.clone() };
        let expected: HashMap<String, Vec<usize>> = untied.parameter_shapes().collect();
        for shard in shards(files)? {
            let path = files.folder.join(&shard);
            let written = written(&path).ok().flatten();
            files.pass(&shard)?;
            found.add(path, written, &expected)?;
        }
        config.tie_word_embeddings = found.tie(config)?;
        match config.parameter_shapes().find(|(name, _)| !found.0.contains_key(name)) {
            Some((name, _)) => {
                Err(Error::input(Place::file(files.folder).field(name), "a tensor", "nothing"))
            }
            None => Ok(found),
        }
    }

    fn add(
        &mut self,
        path: PathBuf,
        written: Option<SystemTime>,
        expected: &HashMap<String, Vec<usize>>,
    ) -> Result<()> {
        let (data, header) = safetensors_header(&path)?;
        // In the order of their names: of several faults always the same is told.
        for (name, info) in header.tensors().into_iter().collect::<BTreeMap<_, _>>() {
            let place = Place::file(&path).field(one_line(&name));
            let Some(shape) = expected.get(&name) else {
                if name.ends_with("rotary_emb.inv_freq") {
                    continue;
                }
                let expected = "the tensors of a Llama or Mistral decoder without biases";
                return Err(Error::input(place, expected, "another tensor"));
            };
            if info.shape != *shape {
                return Err(Error::input(place, format!("shape {shape:?}"), format!("{:?}", info.shape)));
            }
            if !matches!(info.dtype, Dtype::F32 | Dtype::BF16 | Dtype::F16) {
                return Err(Error::input(place, "f32, bf16 or f16", format!("{:?}", info.dtype)));
            }
            let start = data + info.data_offsets.0 as u64;
            let stored =
                Stored { path: path.clone(), start, dtype: info.dtype, shape: shape.clone(), written };
            if self.0.insert(name, stored).is_some() {
                return Err(Error::input(place, "each tensor once", "it a second time"));
            }
        }
        Ok(())
    }

    /// Whether the head is the embedding, as `transformers` decides it: where the configuration says so
    /// and the file does not hold two different ones. If it holds one alone, that is both.
    fn tie(&mut self, config: &DecoderConfig) -> Result<bool> {
        if !config.tie_word_embeddings {
            return Ok(false);
        }
        match (self.0.contains_key(EMBEDDING), self.0.get(HEAD)) {
            (true, Some(_)) if !self.equal(EMBEDDING, HEAD)? => return Ok(false),
            (false, Some(head)) => drop(self.0.insert(EMBEDDING.into(), head.clone())),
            _ => {}
        }
        self.0.remove(HEAD);
        Ok(true)
    }

    /// Of tensors of the same shape. A NaN, which equals nothing, makes them differ.
    fn equal(&self, a: &str, b: &str) -> Result<bool> {
        let (mut a, mut b) = (Pieces::of(self.stored(a)?)?, Pieces::of(self.stored(b)?)?);
        loop {
            match (a.next()?, b.next()?) {
                (Some(a), Some(b)) if a == b => {}
                (None, None) => return Ok(true),
                _ => return Ok(false),
            }
        }
    }

    fn stored(&self, name: &str) -> Result<&Stored> {
        self.0.get(name).ok_or_else(|| Error::argument("weights", name, "nothing", "a tensor"))
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }

    /// Gives a tensor's numbers in order, a piece at a time, each with the index of its first.
    ///
    /// Errors: no such tensor, a file that cannot be read, or what `take` refuses.
    pub fn read(&self, name: &str, mut take: impl FnMut(usize, &[f32]) -> Result<()>) -> Result<()> {
        let (mut pieces, mut start) = (Pieces::of(self.stored(name)?)?, 0);
        while let Some(piece) = pieces.next()? {
            take(start, piece)?;
            start += piece.len();
        }
        Ok(())
    }

    /// All tensors in f32.
    ///
    /// Errors: a file that cannot be read.
    pub fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        self.names().map(|name| Ok((name.clone(), self.tensor(name)?))).collect()
    }

    fn tensor(&self, name: &str) -> Result<Tensor> {
        let stored = self.stored(name)?;
        let mut numbers: Vec<f32> = Vec::with_capacity(stored.shape.iter().product());
        self.read(name, |_, piece| {
            numbers.extend(piece);
            Ok(())
        })?;
        Ok(Tensor::from_vec(numbers, stored.shape.as_slice(), &Device::Cpu)?)
    }
}

/// When a file was written, where the system says it.
fn written(path: &Path) -> Result<Option<SystemTime>> {
    Ok(fs::metadata(path).map_err(Error::io(path))?.modified().ok())
}

/// The files of weights that a folder has.
fn shards(files: &mut Files<'_>) -> Result<Vec<String>> {
    if files.has(WEIGHTS) {
        return Ok(vec![WEIGHTS.to_string()]);
    }
    if files.has(INDEX) {
        files.need(INDEX)?;
        return read_index(&files.folder.join(INDEX));
    }
    if files.has("pytorch_model.bin") || files.has("pytorch_model.bin.index.json") {
        return Err(Error::input(Place::file(files.folder), WEIGHTS, PICKLED));
    }
    files.need(WEIGHTS).map(|_| vec![])
}

struct Pieces<'a> {
    stored: &'a Stored,
    file: File,
    left: usize,
    bytes: Vec<u8>,
    numbers: Vec<f32>,
}

impl<'a> Pieces<'a> {
    fn of(stored: &'a Stored) -> Result<Self> {
        if written(&stored.path)? != stored.written {
            let expected = "the file as it was when its content was hashed (start again)";
            return Err(Error::input(Place::file(&stored.path), expected, "one that was written since"));
        }
        let mut file = File::open(&stored.path).map_err(Error::io(&stored.path))?;
        file.seek(SeekFrom::Start(stored.start)).map_err(Error::io(&stored.path))?;
        let left = stored.shape.iter().product();
        Ok(Self { stored, file, left, bytes: vec![], numbers: vec![] })
    }

    fn next(&mut self) -> Result<Option<&[f32]>> {
        let n = self.left.min(PIECE);
        if n == 0 {
            return Ok(None);
        }
        self.left -= n;
        let wide = self.stored.dtype == Dtype::F32;
        self.bytes.resize(if wide { 4 * n } else { 2 * n }, 0);
        self.file.read_exact(&mut self.bytes).map_err(Error::io(&self.stored.path))?;
        let (halves, _) = self.bytes.as_chunks::<2>();
        self.numbers.clear();
        match self.stored.dtype {
            Dtype::BF16 => self.numbers.extend(halves.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
            Dtype::F16 => self.numbers.extend(halves.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
            _ => self.numbers.extend(self.bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
        }
        Ok(Some(&self.numbers))
    }
}
