//! A decoder in flat memory as training and scoring ask it, with candle's tensors at the boundary: a pair's three
//! states, shifts, and log-probabilities pass it. All other numbers stay on the device.

use super::{Asked, CodesScored, Gpu, Run, Scored, Shifts};
use crate::latent::Heads;
use crate::model::batch::PairBatch;
use crate::model::gradients::Gradients;
use crate::passes::Pending;
use crate::passes::policy::{PairPolicy, PairStates, Predictors};
use crate::{Error, Result};
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var};
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A decoder that a device trains, for all who ask it.
#[derive(Clone)]
pub struct Flat(Arc<Mutex<Gpu>>);

impl Debug for Flat {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "a decoder in flat memory")
    }
}

impl Flat {
    pub fn new(gpu: Gpu) -> Self {
        Self(Arc::new(Mutex::new(gpu)))
    }

    /// To itself.
    pub fn lock(&self) -> MutexGuard<'_, Gpu> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The policy of a [`Flat`] decoder.
#[derive(Debug)]
pub struct FlatPolicy {
    decoder: Flat,
    heads: Option<Arc<dyn Heads>>,
    device: Device,
}

impl FlatPolicy {
    /// `device` is that of the heads' parameters.
    pub fn new(decoder: &Flat, heads: Option<Arc<dyn Heads>>, device: &Device) -> Self {
        Self { decoder: decoder.clone(), heads, device: device.clone() }
    }

    /// The pack's run, its rows whose states a pair shows of itself, and those states: [3, B, d].
    fn run(&self, batch: &PairBatch) -> Result<(Run, Vec<u32>, Tensor)> {
        let mut gpu = self.decoder.lock();
        let run = gpu.forward(&batch.rows)?;
        let mut rows: Vec<u32> = vec![];
        for index in [&batch.prompt_last, &batch.chosen_last, &batch.rejected_last] {
            rows.extend(index.to_vec1::<u32>()?);
        }
        let states = gpu.states(run, &rows)?;
        let states = Tensor::from_vec(states, (3, batch.pairs, gpu.config().hidden_size), &self.device)?;
        Ok((run, rows, states))
    }

    fn asked(&self, batch: &PairBatch, latent: Option<&Tensor>) -> Result<Asked> {
        let shifts = |latent: &Tensor| -> Result<Shifts> {
            let numbers = latent.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            Ok(Shifts { of: batch.token_pair.to_vec1()?, numbers })
        };
        let shifts = latent.map(shifts).transpose()?;
        Ok(Asked { rows: batch.predictors.to_vec1()?, tokens: batch.targets.clone(), shifts })
    }

    /// `numbers` as what autograd follows from `from`: a latent, or where there is none a number of its own.
    fn followed(&self, from: Option<&Tensor>, numbers: Vec<f32>, shape: Shape, of: Of) -> Result<Tensor> {
        let op = OnDevice { decoder: self.decoder.clone(), numbers, shape, of };
        let from = match from {
            Some(latent) => latent.contiguous()?,
            None => Var::zeros(1, DType::F32, &self.device)?.as_tensor().clone(),
        };
        Ok(from.apply_op1(op)?)
    }
}

fn run_of(states: &PairStates) -> Result<Run> {
    match states.predictors {
        Predictors::OnDevice(run) => Ok(run),
        Predictors::Hidden(_) => {
            Err(Error::argument("policy", "states", "those of another policy", "its own"))
        }
    }
}

impl PairPolicy for FlatPolicy {
    fn heads(&self) -> Option<&dyn Heads> {
        self.heads.as_deref()
    }

    fn pads(&self) -> bool {
        false
    }

    fn device(&self) -> &Device {
        &self.device
    }

    fn dtype(&self) -> DType {
        DType::F32
    }

    fn states(&self, batch: &PairBatch) -> Result<PairStates> {
        let (run, _, states) = self.run(batch)?;
        Ok(PairStates {
            prompt_hidden: states.get(0)?,
            chosen_hidden: states.get(1)?,
            rejected_hidden: states.get(2)?,
            predictors: Predictors::OnDevice(run),
        })
    }

    /// Blocks are always computed again.
    fn forward<'a>(
        &'a self,
        batch: &'a PairBatch,
        _recompute: bool,
    ) -> Result<(PairStates, Box<dyn Pending + 'a>)> {
        let (run, rows, states) = self.run(batch)?;
        let leaves = [0, 1, 2].map(|i| Var::from_tensor(&states.get(i)?));
        let [prompt, chosen, rejected] = leaves;
        let leaves = [prompt?, chosen?, rejected?];
        let [prompt_hidden, chosen_hidden, rejected_hidden] =
            leaves.each_ref().map(|leaf| leaf.as_tensor().clone());
        let predictors = Predictors::OnDevice(run);
        let states = PairStates { prompt_hidden, chosen_hidden, rejected_hidden, predictors };
        Ok((states, Box::new(OfPairs { decoder: &self.decoder, run, rows, leaves })))
    }

    fn token_logps(&self, states: &PairStates, batch: &PairBatch, latent: Option<&Tensor>) -> Result<Tensor> {
        let (asked, n) = (self.asked(batch, latent)?, batch.targets.len());
        let (logps, scored) = self.decoder.lock().token_logps(run_of(states)?, asked)?;
        self.followed(latent, logps, Shape::from(n), Of::Tokens(scored))
    }

    fn code_logps(&self, states: &PairStates, batch: &PairBatch, codebook: &Tensor) -> Result<Tensor> {
        let (asked, shape) = (self.asked(batch, None)?, (batch.targets.len(), codebook.dim(0)?));
        let numbers: Vec<f32> = codebook.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (logps, scored) = self.decoder.lock().code_logps(run_of(states)?, asked, &numbers)?;
        self.followed(Some(codebook), logps, Shape::from(shape), Of::Codes(scored))
    }
}

/// Log-probabilities that the device has computed, whose gradient goes back there.
struct OnDevice {
    decoder: Flat,
    numbers: Vec<f32>,
    shape: Shape,
    of: Of,
}

enum Of {
    Tokens(Scored),
    Codes(CodesScored),
}

impl CustomOp1 for OnDevice {
    fn name(&self) -> &'static str {
        "log-probabilities of a device"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.numbers.clone()), self.shape.clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        from: &candle_core::CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(candle_core::CudaStorage, Shape)> {
        let numbers = from.device.clone_htod(&self.numbers)?;
        let storage = candle_core::CudaStorage::wrap_cuda_slice(numbers, from.device.clone());
        Ok((storage, self.shape.clone()))
    }

    fn bwd(&self, from: &Tensor, _: &Tensor, d_logps: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let d_logps: Vec<f32> = d_logps.flatten_all()?.to_vec1()?;
        let mut gpu = self.decoder.lock();
        let d_from = match &self.of {
            Of::Tokens(scored) => gpu.token_logps_backward(scored, &d_logps),
            Of::Codes(scored) => gpu.code_logps_backward(scored, &d_logps),
        };
        let d_from = d_from.map_err(candle_core::Error::wrap)?;
        match d_from.is_empty() {
            true => Ok(None),
            false => Ok(Some(Tensor::from_vec(d_from, from.shape(), from.device())?)),
        }
    }
}

struct OfPairs<'a> {
    decoder: &'a Flat,
    run: Run,
    rows: Vec<u32>,
    leaves: [Var; 3],
}

impl Pending for OfPairs<'_> {
    /// The decoder's own sums get its gradients.
    fn backward(self: Box<Self>, store: &mut GradStore, _: &mut Gradients) -> Result<()> {
        let mut d_states: Vec<f32> = vec![];
        for leaf in &self.leaves {
            match store.remove(leaf) {
                Some(gradient) => d_states.extend(gradient.flatten_all()?.to_vec1::<f32>()?),
                None => d_states.resize(d_states.len() + leaf.elem_count(), 0.0),
            }
        }
        self.decoder.lock().backward(self.run, &self.rows, &d_states)
    }
}
