//! A device that runs our kernels and matrix products on memory of its own. The same kernel sources run on a
//! GPU and, one thread after the other, on the host: there they are tested. A third kind only counts what is
//! asked for, which is how a plan knows what training needs.

#[cfg(feature = "cuda")]
mod cuda;
mod host;
pub mod kernels;
mod memory;
mod product;

pub use memory::{Element, HostMemory, Memory, Numbers, View};
pub use product::{Operand, Out};

use crate::{Error, Result};
use kernels::Kernel;
use product::Product;
use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub struct Device {
    engine: Engine,
    trace: Mutex<Trace>,
}

enum Engine {
    /// The host's memory and its CPU.
    Host,
    #[cfg(feature = "cuda")]
    Cuda(cuda::Cuda),
    /// Addresses without memory; nothing is computed.
    Plan,
}

/// What a device was asked for.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    held: usize,
    /// The most held at a time.
    pub peak: usize,
    /// The most held at a time, by what it is for.
    pub by_name: BTreeMap<&'static str, usize>,
    /// Bytes that the host holds for it.
    pub host: usize,
    /// Floating-point operations of products: 2·m·k·n each.
    pub operations: u128,
    held_by_name: BTreeMap<&'static str, usize>,
    names: BTreeMap<u64, &'static str>,
}

impl Debug for Device {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "device ({} bytes held)", self.held())
    }
}

impl Device {
    /// The CPU, as a device: for tests, and where there is no GPU.
    pub fn host() -> Arc<Self> {
        Self::of(Engine::Host)
    }

    /// A GPU, by its number.
    ///
    /// Errors: no such GPU, or no driver.
    #[cfg(feature = "cuda")]
    pub fn cuda(ordinal: usize) -> Result<Arc<Self>> {
        Ok(Self::of(Engine::Cuda(cuda::Cuda::new(ordinal)?)))
    }

    /// Where candle's tensors of that device are.
    ///
    /// Errors: a device that our kernels are not for.
    pub fn beside(device: &candle_core::Device) -> Result<Arc<Self>> {
        match device {
            candle_core::Device::Cpu => Ok(Self::host()),
            #[cfg(feature = "cuda")]
            candle_core::Device::Cuda(gpu) => Self::cuda(gpu.cuda_stream().context().ordinal()),
            other => {
                let got = format!("{:?}", other.location());
                Err(Error::argument("device", "training.memory", got, "the CPU or a GPU of NVIDIA's"))
            }
        }
    }

    /// Bytes of the memory that candle's device has; 0 of the CPU's.
    ///
    /// Errors: as [`Self::beside`].
    pub fn memory_beside(device: &candle_core::Device) -> Result<usize> {
        match device {
            #[cfg(feature = "cuda")]
            candle_core::Device::Cuda(gpu) => cuda::total_memory(gpu.cuda_stream().context()),
            candle_core::Device::Cpu => Ok(0),
            other => Self::beside(other).map(|_| 0),
        }
    }

    /// Computes nothing and holds nothing; its [`Self::trace`] says what would be held.
    pub fn plan() -> Arc<Self> {
        Self::of(Engine::Plan)
    }

    fn of(engine: Engine) -> Arc<Self> {
        Arc::new(Self { engine, trace: Mutex::default() })
    }

    /// What it is called.
    pub fn name(&self) -> Result<String> {
        match &self.engine {
            Engine::Host => Ok("the host's CPU".into()),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.name(),
            Engine::Plan => Ok("a plan".into()),
        }
    }

    /// Bytes of its own memory; 0 where it has none.
    pub fn memory(&self) -> Result<usize> {
        match &self.engine {
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => Ok(cuda.free_and_total()?.1),
            Engine::Host | Engine::Plan => Ok(0),
        }
    }

    /// Bytes in use, of other programs and of the driver too; on the host those that were asked for.
    pub fn used(&self) -> Result<usize> {
        match &self.engine {
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.free_and_total().map(|(free, total)| total - free),
            Engine::Host | Engine::Plan => Ok(self.held()),
        }
    }

    /// Until everything that was asked for is done.
    pub fn wait(&self) -> Result<()> {
        match &self.engine {
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.wait(),
            Engine::Host | Engine::Plan => Ok(()),
        }
    }

    pub fn trace(&self) -> Trace {
        self.counted().clone()
    }

    fn held(&self) -> usize {
        self.counted().held
    }

    fn is_plan(&self) -> bool {
        matches!(self.engine, Engine::Plan)
    }

    fn host_holds(&self, bytes: usize, more: bool) {
        let host = &mut self.counted().host;
        *host = if more { *host + bytes } else { *host - bytes };
    }

    fn counted(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never the address 0, and never the same twice at a time.
    fn allocate(&self, what: &'static str, bytes: usize) -> Result<u64> {
        let address = match &self.engine {
            Engine::Host => host::allocate(bytes).ok_or_else(|| self.full(what, bytes))?,
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => {
                cuda.allocate(bytes).map_err(|e| match e.to_string().contains("OUT_OF_MEMORY") {
                    true => self.full(what, bytes),
                    false => e,
                })?
            }
            Engine::Plan => {
                let last = self.counted().names.last_key_value().map_or(0, |(address, _)| *address);
                last + (1 << 40)
            }
        };
        let trace = &mut *self.counted();
        trace.held += bytes;
        trace.peak = trace.peak.max(trace.held);
        let held = trace.held_by_name.entry(what).or_default();
        *held += bytes;
        let most = trace.by_name.entry(what).or_default();
        *most = (*most).max(*held);
        trace.names.insert(address, what);
        Ok(address)
    }

    fn give_back(&self, address: u64, bytes: usize) {
        let trace = &mut *self.counted();
        trace.held -= bytes;
        if let Some(what) = trace.names.remove(&address) {
            *trace.held_by_name.entry(what).or_default() -= bytes;
        }
        match &self.engine {
            Engine::Host => host::give_back(address, bytes),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.give_back(address),
            Engine::Plan => {}
        }
    }

    fn upload<T: Element>(&self, to: u64, numbers: &[T]) -> Result<()> {
        match &self.engine {
            Engine::Host => host::upload(to, numbers),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.upload(to, numbers)?,
            Engine::Plan => {}
        }
        Ok(())
    }

    /// Of a plan's device: nothing changes.
    fn download<T: Element>(&self, from: u64, to: &mut [T]) -> Result<()> {
        match &self.engine {
            Engine::Host => host::download(from, to),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.download(from, to)?,
            Engine::Plan => {}
        }
        Ok(())
    }

    fn clear(&self, address: u64, bytes: usize) -> Result<()> {
        match &self.engine {
            Engine::Host => host::clear(address, bytes),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.clear(address, bytes)?,
            Engine::Plan => {}
        }
        Ok(())
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        match &self.engine {
            Engine::Host => host::copy(from, to, bytes),
            #[cfg(feature = "cuda")]
            Engine::Cuda(cuda) => cuda.copy(from, to, bytes)?,
            Engine::Plan => {}
        }
        Ok(())
    }

    /// Runs a kernel on a grid of blocks.
    ///
    /// # Safety
    /// The arguments are the kernel's, and what it reads and writes lies in memory of this device.
    unsafe fn launch<A: Sync>(&self, kernel: Kernel, grid: [usize; 2], arguments: &A) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        match &self.engine {
            // SAFETY: the caller's.
            Engine::Host => unsafe { host::launch(kernel, grid, arguments) },
            #[cfg(feature = "cuda")]
            // SAFETY: the caller's.
            Engine::Cuda(cuda) => unsafe { cuda.launch(kernel, grid, arguments)? },
            Engine::Plan => {}
        }
        Ok(())
    }
}
