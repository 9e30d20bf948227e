//! A decoder's parameters in flat memory: bf16 numbers that products read, the rest of each master number, sums
//! of gradients and AdamW's moments.

use super::state::Kept;
use crate::config::{MomentsKept, Precision};
use crate::machine::device::kernels::{
    Moments, MomentsFormat, Step, THREADS, adamw, draw_parameter, join_master, split_master, square_blocks,
    square_sum,
};
use crate::machine::device::{Device, Memory, Numbers, View};
use crate::model::config::DecoderConfig;
use crate::{Error, Result};
use half::bf16;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// In what formats training keeps what belongs to a weight, beside its 4 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    pub moments: MomentsFormat,
    /// 4 bytes a number or 2.
    pub exact_gradients: bool,
}

impl Formats {
    /// Those of a recipe.
    pub fn of(moments: MomentsKept, gradients: Precision) -> Self {
        let moments = match moments {
            MomentsKept::F32 => MomentsFormat::F32,
            MomentsKept::F32OnHost => MomentsFormat::F32OnHost,
            MomentsKept::Bf16 => MomentsFormat::Bf16,
            MomentsKept::EightBit => MomentsFormat::EightBit,
        };
        Self { moments, exact_gradients: gradients == Precision::F32 }
    }

    /// As a recipe names them.
    pub fn named(self) -> (MomentsKept, Precision) {
        let moments = match self.moments {
            MomentsFormat::F32 => MomentsKept::F32,
            MomentsFormat::F32OnHost => MomentsKept::F32OnHost,
            MomentsFormat::Bf16 => MomentsKept::Bf16,
            MomentsFormat::EightBit => MomentsKept::EightBit,
        };
        (moments, if self.exact_gradients { Precision::F32 } else { Precision::Bf16 })
    }
}

/// Where the parameters lie. Those that one product reads lie side by side.
pub(super) struct Layout {
    pub places: BTreeMap<String, Range<usize>>,
    /// Columns of matrices; 1 of norms.
    pub inputs: BTreeMap<String, usize>,
    /// Stretches that one update moves, and whether they are matrices.
    pub stretches: Vec<(Range<usize>, bool)>,
    pub len: usize,
}

/// One block's weights, or their gradients.
#[derive(Debug, Clone)]
pub(super) struct BlockPlaces {
    pub attention_norm: Range<usize>,
    pub qkv: Range<usize>,
    pub o: Range<usize>,
    pub mlp_norm: Range<usize>,
    pub gate_up: Range<usize>,
    pub down: Range<usize>,
}

impl Layout {
    pub fn of(config: &DecoderConfig) -> Self {
        let mut layout = Self { places: BTreeMap::new(), inputs: BTreeMap::new(), stretches: vec![], len: 0 };
        for (name, shape) in config.parameter_shapes() {
            let n: usize = shape.iter().product();
            let joins = ["k_proj", "v_proj", "up_proj"].iter().any(|part| name.contains(part));
            let start = if joins { layout.len } else { layout.len.next_multiple_of(THREADS) };
            layout.len = start + n;
            match layout.stretches.last_mut() {
                Some((last, _)) if joins => last.end = layout.len,
                _ => layout.stretches.push((start..layout.len, shape.len() > 1)),
            }
            layout.inputs.insert(name.clone(), if shape.len() > 1 { shape[1] } else { 1 });
            layout.places.insert(name, start..layout.len);
        }
        layout
    }

    pub fn place(&self, name: &str) -> Range<usize> {
        self.places[name].clone()
    }

    pub fn block(&self, layer: usize) -> BlockPlaces {
        let place = |name: &str| self.place(&format!("model.layers.{layer}.{name}.weight"));
        let (q, v) = (place("self_attn.q_proj"), place("self_attn.v_proj"));
        let (gate, up) = (place("mlp.gate_proj"), place("mlp.up_proj"));
        BlockPlaces {
            attention_norm: place("input_layernorm"),
            qkv: q.start..v.end,
            o: place("self_attn.o_proj"),
            mlp_norm: place("post_attention_layernorm"),
            gate_up: gate.start..up.end,
            down: place("mlp.down_proj"),
        }
    }

    /// The head's, which may be the embeddings'.
    pub fn head(&self) -> Range<usize> {
        self.place(if self.places.contains_key("lm_head.weight") {
            "lm_head.weight"
        } else {
            "model.embed_tokens.weight"
        })
    }
}

enum Sums {
    F32(Memory<f32>),
    Bf16(Memory<bf16>),
}

impl Sums {
    fn at(&self, range: &Range<usize>) -> Numbers<'_> {
        match self {
            Self::F32(sums) => Numbers::F32(sums.at(range.clone())),
            Self::Bf16(sums) => Numbers::Bf16(sums.at(range.clone())),
        }
    }
}

/// All numbers of a decoder that is trained.
pub struct Weights {
    pub(super) config: DecoderConfig,
    pub(super) layout: Layout,
    halves: Memory<bf16>,
    rests: Memory<u16>,
    sums: Sums,
    moments: Moments,
    squares: Memory<f32>,
    /// What f32 numbers pass through, a piece at a time.
    door: Memory<f32>,
}

/// Numbers that pass between f32 and the two halves at a time.
const DOOR: usize = 1 << 22;

impl Weights {
    /// All 0.
    pub fn new(device: &Arc<Device>, config: &DecoderConfig, formats: Formats) -> Result<Self> {
        let layout = Layout::of(config);
        let n = layout.len;
        let most = layout.stretches.iter().map(|(range, _)| range.len()).max().unwrap_or(0);
        let sums = match formats.exact_gradients {
            true => Sums::F32(Memory::zeros(device, "gradients", n)?),
            false => Sums::Bf16(Memory::zeros(device, "gradients", n)?),
        };
        Ok(Self {
            halves: Memory::zeros(device, "weights", n)?,
            rests: Memory::zeros(device, "weights", n)?,
            sums,
            moments: Moments::zeros(device, formats.moments, n)?,
            squares: Memory::zeros(device, "workspace", square_blocks(most))?,
            door: Memory::zeros(device, "workspace", DOOR.min(most))?,
            layout,
            config: config.clone(),
        })
    }

    /// What a file keeps, by name. Another order would be another file.
    pub(super) fn flats(&self) -> Vec<(&'static str, Kept<'_>)> {
        let device = Kept::Device;
        let mut flats =
            vec![("weights", device(self.halves.all().bytes())), ("rests", device(self.rests.all().bytes()))];
        let (first, second) = ("moments.first", "moments.second");
        flats.extend(match &self.moments {
            Moments::F32 { first: m, second: v } => {
                vec![(first, device(m.all().bytes())), (second, device(v.all().bytes()))]
            }
            Moments::OnHost { first: m, second: v, .. } => {
                vec![(first, Kept::Host(m)), (second, Kept::Host(v))]
            }
            Moments::Bf16 { first: m, second: v } => {
                vec![(first, device(m.all().bytes())), (second, device(v.all().bytes()))]
            }
            Moments::EightBit { first: m, second: v, first_largest, second_largest } => vec![
                (first, device(m.all())),
                (second, device(v.all())),
                ("moments.first.largest", device(first_largest.all().bytes())),
                ("moments.second.largest", device(second_largest.all().bytes())),
            ],
        });
        flats
    }

    /// Replaces some bytes of what a file keeps.
    pub(super) fn replace(&mut self, name: &str, range: Range<usize>, bytes: &[u8]) -> Result<()> {
        let on_host = match (&mut self.moments, name) {
            (Moments::OnHost { first, .. }, "moments.first") => Some(first),
            (Moments::OnHost { second, .. }, "moments.second") => Some(second),
            _ => None,
        };
        if let Some(memory) = on_host {
            memory.replace(range, bytes);
            return Ok(());
        }
        match self.flats().into_iter().find(|(other, _)| *other == name) {
            Some((_, Kept::Device(view))) => view.at(range).write(bytes),
            _ => unreachable!("names come from `flats`"),
        }
    }

    /// States of f32 moments are the same wherever they lie.
    pub(super) fn formats_name(&self) -> String {
        let moments = match &self.moments {
            Moments::F32 { .. } | Moments::OnHost { .. } => "f32",
            Moments::Bf16 { .. } => "bf16",
            Moments::EightBit { .. } => "8-bit",
        };
        format!("{moments} moments")
    }

    /// bf16 numbers of a stretch.
    pub(super) fn at(&self, range: &Range<usize>) -> View<'_, bf16> {
        self.halves.at(range.clone())
    }

    pub(super) fn gradient(&self, range: &Range<usize>) -> Numbers<'_> {
        self.sums.at(range)
    }

    fn named(&self, name: &str) -> Result<Range<usize>> {
        let none = || Error::argument("weights", name, "no such parameter", "one of the decoder");
        self.layout.places.get(name).cloned().ok_or_else(none)
    }

    /// Replaces a parameter's numbers from `first` on, exactly.
    ///
    /// Errors: a name or numbers that the decoder does not have.
    pub fn set(&self, name: &str, first: usize, numbers: &[f32]) -> Result<()> {
        let range = self.named(name)?;
        if first > range.len() || numbers.len() > range.len() - first {
            let (got, expected) = (first.saturating_add(numbers.len()), format!("{} numbers", range.len()));
            return Err(Error::argument("weights", name, got, expected));
        }
        for (i, piece) in numbers.chunks(self.door.len()).enumerate() {
            let at = range.start + first + i * self.door.len();
            let (door, at) = (self.door.at(..piece.len()), at..at + piece.len());
            door.write(piece)?;
            split_master(door, self.halves.at(at.clone()), self.rests.at(at))?;
        }
        Ok(())
    }

    /// Random numbers for measurements: matrices N(0, 1/inputs), norms 1.
    pub fn draw(&self, seed: u32) -> Result<()> {
        for (i, (name, range)) in self.layout.places.iter().enumerate() {
            let weights = (self.halves.at(range.clone()), self.rests.at(range.clone()));
            draw_parameter(weights, self.layout.inputs[name], seed, i as u32)?;
        }
        Ok(())
    }

    /// A parameter's f32 numbers. Errors: a name that the decoder does not have.
    pub fn get(&self, name: &str) -> Result<Vec<f32>> {
        let range = self.named(name)?;
        let mut numbers = Vec::with_capacity(range.len());
        while numbers.len() < range.len() {
            let at = range.start + numbers.len();
            let at = at..(at + self.door.len()).min(range.end);
            let door = self.door.at(..at.len());
            join_master(self.halves.at(at.clone()), self.rests.at(at), door)?;
            numbers.extend(door.read()?);
        }
        Ok(numbers)
    }

    /// A parameter's sum of gradients. Errors: a name that the decoder does not have.
    pub fn gradient_of(&self, name: &str) -> Result<Vec<f32>> {
        match self.gradient(&self.named(name)?) {
            Numbers::F32(sum) => sum.read(),
            Numbers::Bf16(sum) => Ok(sum.read()?.into_iter().map(bf16::to_f32).collect()),
        }
    }

    /// Σ g² of all gradients. Waits for the device.
    pub fn square_sum(&self) -> Result<f64> {
        let of = |(range, _): &(Range<usize>, bool)| square_sum(self.gradient(range), &self.squares);
        self.layout.stretches.iter().map(of).sum()
    }

    /// Moves every weight by AdamW and begins new sums. `step.keep` is for matrices; `seed` for random roundings.
    pub fn update(&mut self, step: &Step, seed: u32) -> Result<()> {
        for (range, is_matrix) in &self.layout.stretches {
            let step = Step { keep: if *is_matrix { step.keep } else { 1.0 }, ..*step };
            let weights = (self.halves.at(range.clone()), self.rests.at(range.clone()));
            let gradient = self.sums.at(range);
            adamw(weights, gradient, &mut self.moments, range.start, &step, seed)?;
        }
        self.clear_gradients()
    }

    /// Begins new sums.
    pub fn clear_gradients(&self) -> Result<()> {
        match &self.sums {
            Sums::F32(sums) => sums.all().clear(),
            Sums::Bf16(sums) => sums.all().clear(),
        }
    }
}
