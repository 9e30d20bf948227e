//! Random numbers in a device's memory, and how far a result is from f64's.

use half::bf16;
use lpc::machine::device::{Device, Element, Memory};
use lpc::seed;
use std::sync::{Arc, OnceLock};

/// Of bf16: half a step between neighbours, as a share of a number.
pub const ROUNDING: f64 = 1.0 / 256.0;

/// The host; or, built for GPUs and with `LPC_GPU` set, the GPU of that number.
pub fn device() -> Arc<Device> {
    // A GPU's kernels are compiled when it is opened.
    static DEVICE: OnceLock<Arc<Device>> = OnceLock::new();
    let open = || {
        #[cfg(feature = "cuda")]
        if let Ok(number) = std::env::var("LPC_GPU") {
            return Device::cuda(number.parse().expect("LPC_GPU is a number")).unwrap();
        }
        Device::host()
    };
    DEVICE.get_or_init(open).clone()
}

pub struct Draws {
    pub device: Arc<Device>,
    seed: u64,
    drawn: u64,
}

impl Draws {
    pub fn new(seed: u64) -> Self {
        Self { device: device(), seed, drawn: 0 }
    }

    pub fn normal(&mut self, n: usize, scale: f64) -> Vec<f32> {
        self.drawn += 1;
        let mut rng = seed::stream(self.seed, &format!("draw {}", self.drawn));
        seed::normal(&mut rng, n).into_iter().map(|x| (x * scale) as f32).collect()
    }

    /// Numbers that bf16 has.
    pub fn rounded(&mut self, n: usize, scale: f64) -> Vec<bf16> {
        self.normal(n, scale).into_iter().map(bf16::from_f32).collect()
    }

    pub fn below(&mut self, n: usize, limit: usize) -> Vec<u32> {
        self.drawn += 1;
        let mut rng = seed::stream(self.seed, &format!("draw {}", self.drawn));
        (0..n).map(|_| seed::below(&mut rng, limit) as u32).collect()
    }

    pub fn held<T: Element>(&self, numbers: &[T]) -> Memory<T> {
        Memory::of(&self.device, "test", numbers).unwrap()
    }

    pub fn room<T: Element>(&self, n: usize) -> Memory<T> {
        Memory::zeros(&self.device, "test", n).unwrap()
    }
}

pub fn f64s<T: Copy + Into<f64>>(numbers: &[T]) -> Vec<f64> {
    numbers.iter().map(|x| (*x).into()).collect()
}

pub fn read<T: Element + Into<f64>>(memory: &Memory<T>) -> Vec<f64> {
    f64s(&memory.all().read().unwrap())
}

/// Panics where a number is further from the expected one than a share of it and a share of the largest.
#[track_caller]
pub fn assert_close(got: &[f64], expected: &[f64], share: f64, of_largest: f64) {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0f64, |a, b| a.max(b.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let allowed = share * e.abs() + of_largest * largest;
        assert!((g - e).abs() <= allowed, "number {i}: {g}, expected {e} within {allowed}");
    }
}

pub fn length(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    length(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}
