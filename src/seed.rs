//! Named random streams. Every source of randomness is a ChaCha stream derived from one seed
//! and a name, so that adding a consumer never moves the draws of another.

use rand::Rng;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// The stream called `name` under `seed`. Same seed and name, same draws, on any machine and
/// with any number of threads.
///
/// ```
/// use rand::Rng;
/// let (mut a, mut b) = (lpc::seed::stream(1, "data"), lpc::seed::stream(1, "gumbel"));
/// assert_ne!(a.next_u64(), b.next_u64());
/// ```
pub fn stream(seed: u64, name: &str) -> ChaCha12Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(name.as_bytes());
    ChaCha12Rng::from_seed(hash.finalize().into())
}

/// One draw from the open interval (0, 1), so that its logarithm is finite on both sides.
pub fn open_unit(rng: &mut impl Rng) -> f64 {
    // 53 random bits, shifted by half a step away from both ends.
    ((rng.next_u64() >> 11) as f64 + 0.5) * (1.0 / (1u64 << 53) as f64)
}

/// `n` standard Gumbel draws, −ln(−ln u).
pub fn gumbel(rng: &mut impl Rng, n: usize) -> Vec<f64> {
    (0..n).map(|_| -(-open_unit(rng).ln()).ln()).collect()
}

/// `n` standard normal draws by Box–Muller, which uses a fixed number of uniforms a draw.
pub fn normal(rng: &mut impl Rng, n: usize) -> Vec<f64> {
    (0..n)
        .map(|_| {
            let (u, v) = (open_unit(rng), open_unit(rng));
            (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        })
        .collect()
}

/// A permutation of 0..n by Fisher–Yates.
pub fn permutation(rng: &mut impl Rng, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, below(rng, i + 1));
    }
    order
}

/// A uniform index below `n`, without modulo bias (Lemire's multiply-and-reject).
pub fn below(rng: &mut impl Rng, n: usize) -> usize {
    let n = n as u64;
    loop {
        let wide = u128::from(rng.next_u64()) * u128::from(n);
        if (wide as u64) >= n.wrapping_neg() % n {
            return (wide >> 64) as usize;
        }
    }
}
