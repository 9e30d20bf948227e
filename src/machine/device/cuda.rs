//! A GPU of NVIDIA's: kernels that its own compiler makes at start, products by cuBLAS, all on one stream.

use super::kernels::{Kernel, THREADS, source};
use super::{Element, Product};
use crate::Result;
use candle_core::cuda_backend::cudarc::cublas::sys::{
    cublasComputeType_t, cublasGemmAlgo_t, cublasMath_t, cublasOperation_t, cublasSetMathMode, cudaDataType,
};
use candle_core::cuda_backend::cudarc::cublas::{CudaBlas, result::gemm_strided_batched_ex};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaStream, result, sys};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use std::ffi::{CString, c_void};
use std::sync::Arc;

pub(super) struct Cuda {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    blas: CudaBlas,
    /// In the order of [`Kernel::ALL`].
    functions: Vec<Function>,
}

struct Function(sys::CUfunction);

// SAFETY: a handle that the driver takes from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

fn int(n: usize) -> i32 {
    i32::try_from(n).expect("a 32-bit number for cuBLAS")
}

fn told(e: impl std::error::Error + Send + Sync + 'static) -> crate::Error {
    candle_core::Error::wrap(e).into()
}

/// Bytes of the GPU's memory.
pub(super) fn total_memory(context: &Arc<CudaContext>) -> Result<usize> {
    context.bind_to_thread().map_err(told)?;
    Ok(result::mem_get_info().map_err(told)?.1)
}

impl Cuda {
    /// Errors: no such GPU, or none of the generations that the kernels are for.
    pub fn new(ordinal: usize) -> Result<Self> {
        let context = CudaContext::new(ordinal).map_err(told)?;
        let (major, minor) = context.compute_capability().map_err(told)?;
        let options = vec![format!("--gpu-architecture=compute_{major}{minor}")];
        // Products and sums are not fused: kernels wait for memory, and the host's numbers are the same.
        let options = CompileOptions { options, fmad: Some(false), ..CompileOptions::default() };
        let ptx = compile_ptx_with_opts(source(), options).map_err(told)?;
        let image = CString::new(ptx.to_src()).map_err(told)?;
        let stream = context.new_stream().map_err(told)?;
        let blas = CudaBlas::new(stream.clone()).map_err(told)?;
        // Sums stay f32 also where cuBLAS splits them.
        let exact = cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle was just made.
        unsafe { cublasSetMathMode(*blas.handle(), exact) }.result().map_err(told)?;
        // SAFETY: the image is a module's text, which ends with a zero; the module is never unloaded.
        let module = unsafe { result::module::load_data(image.as_ptr().cast()) }.map_err(told)?;
        let function = |kernel: &Kernel| {
            let name = CString::new(kernel.name()).map_err(told)?;
            // SAFETY: the module was loaded.
            Ok(Function(unsafe { result::module::get_function(module, name) }.map_err(told)?))
        };
        let functions = Kernel::ALL.iter().map(function).collect::<Result<_>>()?;
        let cuda = Self { context, stream, blas, functions };
        cuda.keep_freed_memory()?;
        Ok(cuda)
    }

    /// Memory that is given back stays with the process: otherwise each wait returns it to the driver.
    fn keep_freed_memory(&self) -> Result<()> {
        let (mut pool, mut all) = (std::ptr::null_mut(), u64::MAX);
        let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        // SAFETY: the device's own pool; the attribute is a u64.
        unsafe {
            sys::cuDeviceGetDefaultMemPool(&mut pool, self.context.cu_device()).result().map_err(told)?;
            sys::cuMemPoolSetAttribute(pool, threshold, (&raw mut all).cast()).result().map_err(told)
        }
    }

    pub fn name(&self) -> Result<String> {
        self.context.name().map_err(told)
    }

    pub fn free_and_total(&self) -> Result<(usize, usize)> {
        self.bind()?;
        result::mem_get_info().map_err(told)
    }

    pub fn wait(&self) -> Result<()> {
        self.stream.synchronize().map_err(told)
    }

    fn bind(&self) -> Result<sys::CUstream> {
        self.context.bind_to_thread().map_err(told)?;
        Ok(self.stream.cu_stream())
    }

    pub fn allocate(&self, bytes: usize) -> Result<u64> {
        let stream = self.bind()?;
        // SAFETY: cleared before anything reads it, in the order of the stream.
        unsafe {
            let address = result::malloc_async(stream, bytes.max(1)).map_err(told)?;
            result::memset_d8_async(address, 0, bytes.max(1), stream).map_err(told)?;
            Ok(address)
        }
    }

    pub fn give_back(&self, address: u64) {
        let Ok(stream) = self.bind() else { return };
        // SAFETY: called once, by the owner's drop, after what the stream still has to do with it.
        _ = unsafe { result::free_async(address, stream) };
    }

    pub fn upload<T: Element>(&self, to: u64, numbers: &[T]) -> Result<()> {
        let stream = self.bind()?;
        if numbers.is_empty() {
            return Ok(());
        }
        // SAFETY: a view's address and length. The driver reads pageable memory before it returns: it copies it
        // to memory of its own, or waits.
        unsafe { result::memcpy_htod_async(to, numbers, stream) }.map_err(told)
    }

    pub fn download<T: Element>(&self, from: u64, to: &mut [T]) -> Result<()> {
        let stream = self.bind()?;
        if to.is_empty() {
            return Ok(());
        }
        // SAFETY: a view's address and length; the numbers are there after the wait.
        unsafe { result::memcpy_dtoh_async(to, from, stream) }.map_err(told)?;
        self.stream.synchronize().map_err(told)
    }

    pub fn clear(&self, address: u64, bytes: usize) -> Result<()> {
        let stream = self.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: a view's address and length.
        unsafe { result::memset_d8_async(address, 0, bytes, stream) }.map_err(told)
    }

    pub fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        let stream = self.bind()?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: two views of one length that lie apart.
        unsafe { result::memcpy_dtod_async(to, from, bytes, stream) }.map_err(told)
    }

    /// # Safety
    /// The arguments are the kernel's, and what it reads and writes lies in this GPU's memory.
    pub unsafe fn launch<A>(&self, kernel: Kernel, grid: [usize; 2], arguments: &A) -> Result<()> {
        let [width, height] = grid.map(|blocks| u32::try_from(blocks).expect("a grid of 32-bit numbers"));
        if width == 0 || height == 0 {
            return Ok(());
        }
        let stream = self.bind()?;
        let Function(function) = self.functions[kernel as usize];
        let mut parameters = [std::ptr::from_ref(arguments).cast_mut().cast::<c_void>()];
        let (grid, block) = ((width, height, 1), (THREADS as u32, 1, 1));
        // SAFETY: the caller's; the driver copies the arguments before it returns.
        unsafe { result::launch_kernel(function, grid, block, 0, stream, &mut parameters) }.map_err(told)
    }

    /// # Safety
    /// Every matrix of the product lies in this GPU's memory.
    pub unsafe fn multiply(&self, p: &Product) -> Result<()> {
        self.bind()?;
        // cuBLAS reads matrices by columns: what is a row-major product to us is that of the transposes to it.
        let operation = |transposed: bool| match transposed {
            true => cublasOperation_t::CUBLAS_OP_T,
            false => cublasOperation_t::CUBLAS_OP_N,
        };
        let (one, beta) = (1f32, if p.accumulate { 1f32 } else { 0f32 });
        let out = if p.out.is_bf16 { cudaDataType::CUDA_R_16BF } else { cudaDataType::CUDA_R_32F };
        let [m, n, k, batch] = [p.columns, p.rows, p.summed, p.batch].map(int);
        // SAFETY: the caller's.
        unsafe {
            gemm_strided_batched_ex(
                *self.blas.handle(),
                operation(p.right.transposed),
                operation(p.left.transposed),
                m,
                n,
                k,
                (&raw const one).cast(),
                p.right.address as *const c_void,
                cudaDataType::CUDA_R_16BF,
                int(p.right.stride),
                p.right.step as i64,
                p.left.address as *const c_void,
                cudaDataType::CUDA_R_16BF,
                int(p.left.stride),
                p.left.step as i64,
                (&raw const beta).cast(),
                p.out.address as *mut c_void,
                out,
                int(p.out.stride),
                p.out.step as i64,
                batch,
                cublasComputeType_t::CUBLAS_COMPUTE_32F,
                cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(told)
    }
}
