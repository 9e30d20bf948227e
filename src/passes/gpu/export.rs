//! A decoder's weights for others: f32 tensors that are read off the device when they are written.

use super::Flat;
use crate::model::config::DecoderConfig;
use crate::{Error, Result};
use safetensors::{Dtype, View};
use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

/// Reads f32 tensors, and keeps the first fault.
#[derive(Debug)]
pub struct Export {
    decoder: Flat,
    failed: Mutex<Option<Error>>,
}

/// One tensor of an [`Export`].
pub struct Exported<'a> {
    export: &'a Export,
    name: String,
    shape: Vec<usize>,
}

impl Export {
    pub fn of(decoder: &Flat) -> Self {
        Self { decoder: decoder.clone(), failed: Mutex::new(None) }
    }

    /// All tensors of the decoder, by name.
    pub fn tensors(&self, config: &DecoderConfig) -> Vec<(String, Exported<'_>)> {
        let tensor =
            |(name, shape): (String, Vec<usize>)| (name.clone(), Exported { export: self, name, shape });
        config.parameter_shapes().map(tensor).collect()
    }

    /// Whether all could be read so far.
    pub fn read(&self) -> Result<()> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl View for Exported<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The library asks where no error can be returned: [`Export::read`] tells it.
    fn data(&self) -> Cow<'_, [u8]> {
        let numbers = self.export.decoder.lock().weights.get(&self.name);
        let numbers = numbers.unwrap_or_else(|e| {
            *self.export.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            vec![f32::NAN; self.shape.iter().product()]
        });
        numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
    }

    fn data_len(&self) -> usize {
        size_of::<f32>() * self.shape.iter().product::<usize>()
    }
}
