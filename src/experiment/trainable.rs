//! A base model as training wants it: in candle's tensors, or in flat memory of the formats that the recipe names or
//! that the device has room for.

use crate::config::{HeadsInput, Latent, Memory, Recipe, Training};
use crate::data::tokenize::TokenizedPair;
use crate::experiment::dataset::PairData;
use crate::experiment::prepared::{Prepared, reference_policy};
use crate::latent::{init_heads, insert_statistics};
use crate::machine::device::Device;
use crate::model::config::DecoderConfig;
use crate::model::load::{Loaded, Weights};
use crate::model::parameters::Parameters;
use crate::passes::gpu::{self, Flat, Formats, Gpu, Room};
use crate::passes::policy::PairPolicy;
use crate::passes::trainable::Trainable;
use crate::train::budget::{FORMATS, GIB, choose, needed};
use crate::{Error, Result, seed};

/// The base model's weights in candle's tensors and, with a latent, heads drawn from the run's seed.
pub fn tensors(recipe: &Recipe, prepared: &Prepared) -> Result<Parameters> {
    let mut parameters = Parameters::from_tensors(&*prepared.base.tensors()?)?;
    for (name, head) in heads(recipe, prepared)?.tensors() {
        parameters.insert(&name, head)?;
    }
    Ok(parameters)
}

/// What a run of the recipe begins with.
pub fn initial(recipe: &Recipe, prepared: &Prepared) -> Result<Trainable> {
    let (base, device) = (&prepared.base, &prepared.device);
    let Some(room) = room(&recipe.training, &prepared.data)? else {
        return Ok(tensors(recipe, prepared)?.on(device)?.into());
    };
    let heads = heads(recipe, prepared)?;
    let formats = formats(&recipe.training, &recipe.latent, &base.config, room, device)?;
    let decoder = flat(base, formats, room, device)?;
    Ok(Trainable::Flat { decoder, heads: heads.on(device)?, device: device.clone() })
}

/// The base model as a policy without a latent that computes as training does: π_ref.
pub fn reference(
    base: &Loaded,
    training: &Training,
    data: &PairData,
    device: &candle_core::Device,
) -> Result<Box<dyn PairPolicy>> {
    let (none, Some(room)) = (Latent::None {}, room(training, data)?) else {
        return Ok(Box::new(reference_policy(base, training.dtype, device)?));
    };
    let formats = formats(training, &none, &base.config, room, device)?;
    let (decoder, heads) = (flat(base, formats, room, device)?, Parameters::default());
    let model = Trainable::Flat { decoder, heads, device: device.clone() };
    model.policy(&base.config, &none, training.dtype)
}

/// The recipe's training with the formats that an `auto` means on this device.
pub fn fixed(recipe: &Recipe, prepared: &Prepared) -> Result<Training> {
    let training = &recipe.training;
    let (Memory::Auto { pack }, Some(room)) = (training.memory, room(training, &prepared.data)?) else {
        return Ok(training.clone());
    };
    let (config, device) = (&prepared.base.config, &prepared.device);
    let (moments, gradients) = formats(training, &recipe.latent, config, room, device)?.named();
    Ok(Training { memory: Memory::Flat { moments, gradients, pack }, ..training.clone() })
}

/// The latent's heads: networks and codes drawn from the run's seed, and the statistics that they read by.
pub fn heads(recipe: &Recipe, prepared: &Prepared) -> Result<Parameters> {
    let mut heads = drawn_heads(recipe, &prepared.base.config)?;
    if recipe.latent.heads_input() != HeadsInput::Raw {
        insert_statistics(&mut heads, &recipe.latent, prepared.states(&recipe.training)?)?;
    }
    Ok(heads)
}

/// Without statistics, which need the base model's states of the training pairs.
pub fn drawn_heads(recipe: &Recipe, config: &DecoderConfig) -> Result<Parameters> {
    let (mut heads, mut rng) = (Parameters::default(), seed::stream(recipe.seed, "heads/init"));
    init_heads(&mut heads, config.hidden_size, &recipe.latent, &mut rng)?;
    Ok(heads)
}

/// Room for the data's packs; none where training is in candle's tensors.
fn room(training: &Training, data: &PairData) -> Result<Option<Room>> {
    let Some(tokens) = training.memory.pack() else { return Ok(None) };
    let row = data.train.iter().chain(&data.test).map(TokenizedPair::row_tokens).max().unwrap_or(1);
    match row <= tokens {
        true => Ok(Some(Room { tokens, row, scores: Room::SCORES })),
        false => {
            let expected =
                format!("at least {row}, the tokens of the longest pair (or a smaller max_length)");
            Err(Error::argument("recipe", "training.memory.pack", tokens, expected))
        }
    }
}

fn formats(
    training: &Training,
    latent: &Latent,
    config: &DecoderConfig,
    room: Room,
    device: &candle_core::Device,
) -> Result<Formats> {
    if let Memory::Flat { moments, gradients, .. } = training.memory {
        return Ok(Formats::of(moments, gradients));
    }
    let memory = Device::memory_beside(device)?;
    if memory == 0 {
        // The host's memory may be anyone's: what fits is found out.
        return Ok(FORMATS[0]);
    }
    let gib = memory as f64 / GIB;
    if let Some((formats, _)) = choose(config, latent, room, gib)? {
        return Ok(formats);
    }
    let least = FORMATS.into_iter().map(|formats| needed(config, latent, formats, room));
    let least = least.collect::<Result<Vec<_>>>()?.into_iter().fold(f64::INFINITY, f64::min);
    let expected = format!("at least {least:.1} GiB (or a smaller training.memory.pack)");
    Err(Error::argument("device", "memory", format!("{gib:.1} GiB"), expected))
}

fn flat(base: &Loaded, formats: Formats, room: Room, device: &candle_core::Device) -> Result<Flat> {
    let gpu = Gpu::new(&Device::beside(device)?, &base.config, formats, room)?;
    fill(&gpu.weights, base)?;
    Ok(Flat::new(gpu))
}

/// Gives flat memory the base model's weights, from files without a copy of them on the host.
pub fn fill(to: &gpu::Weights, base: &Loaded) -> Result<()> {
    match &base.weights {
        Weights::Drawn { seed } => to.draw(*seed),
        Weights::Files(files) => {
            files.names().try_for_each(|name| files.read(name, |start, numbers| to.set(name, start, numbers)))
        }
        Weights::Tensors(tensors) => tensors
            .iter()
            .try_for_each(|(name, tensor)| to.set(name, 0, &tensor.flatten_all()?.to_vec1::<f32>()?)),
    }
}
