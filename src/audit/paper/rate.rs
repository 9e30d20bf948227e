//! What one learning rate leaves to codebook, prior and posterior: how far any of their weights can move in the run
//! that §4.1 describes, beside where it begins.

use crate::Result;
use crate::config::{Codes, Training};
use crate::plan::Scale;
use crate::plan::matrix::Matrix;
use crate::train::optim::{furthest, linear_schedule};

/// Pairs of §4.1: 63,967 without 1,000 for validation and 1,000 for testing.
pub const TRAINING_PAIRS: usize = 61_967;

/// Width of the paper's models, and so of the networks' inputs.
const WIDTH: usize = 4096;

/// The paper's run as our recipe has it, its choices included.
pub struct Reach {
    pub rate: f64,
    pub steps: usize,
    /// Σ_t rate_t.
    pub rates: f64,
    /// The furthest that any weight can move; see [`furthest`].
    pub weight: f64,
    /// Name of a part, and the typical size of its weights as training begins.
    pub parts: Vec<(&'static str, f64)>,
}

/// Errors: the recipe of the paper's scale does not parse.
pub fn reach() -> Result<Reach> {
    let Matrix { training, latent, .. } = Matrix::built_in(Scale::Paper)?;
    let Training { learning_rate: rate, batch_size, warmup_ratio, .. } = training;
    let steps = TRAINING_PAIRS.div_ceil(batch_size);
    let schedule = (0..steps).map(|step| linear_schedule(step, steps, warmup_ratio));
    // Uniform within ±1/√inputs.
    let uniform = |inputs: usize| (3.0 * inputs as f64).sqrt().recip();
    let codebook = latent.codes().map(|Codes { codebook_std, .. }| ("codebook", codebook_std));
    let networks = [
        ("prior, both layers", uniform(WIDTH)),
        ("posterior, first layer", uniform(2 * WIDTH)),
        ("posterior, second layer", uniform(WIDTH)),
    ];
    Ok(Reach {
        rate,
        steps,
        rates: rate * schedule.sum::<f64>(),
        weight: furthest(&training, rate, steps),
        parts: codebook.into_iter().chain(networks).collect(),
    })
}
