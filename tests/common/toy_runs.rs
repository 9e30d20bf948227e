//! Toy runs that take seconds.

use crate::program::Lpc;
use std::path::Path;

impl Lpc {
    /// The pre-trained base model is kept between tests: it is the same for all of them.
    pub fn with_base() -> Self {
        let lpc = Self::new();
        let shared = Path::new(env!("CARGO_TARGET_TMPDIR")).join("base");
        std::fs::create_dir_all(&shared).unwrap();
        std::fs::create_dir_all(lpc.path("runs")).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&shared, lpc.path("runs/base")).unwrap();
        lpc
    }
}

pub struct Settings {
    pub train: usize,
    pub checkpoint_every: usize,
    pub learning_rate: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        Self { train: 96, checkpoint_every: 1000, learning_rate: "1e-3" }
    }
}

impl Settings {
    /// What a recipe and a matrix both have: all but models, objectives and seeds.
    pub fn data_and_training(&self) -> String {
        let Self { train, checkpoint_every, learning_rate } = self;
        format!(
            r#"
[truncation]
max_length = 60
max_prompt_length = 30
[evaluation]
latent = "mean"
[data]
kind = "world"
seed = 3
train = {train}
test = 40
sharpness = 1.5
flip_rate = 0.0
flip_marked = false
[latent]
mode = "gumbel"
codes = 4
gumbel_tau = 1.0
kl_weight = 0.05
codebook_std = 0.02
prior_weight = {{ kind = "linear" }}
[training]
dtype = "f32"
epochs = 1
batch_size = 8
micro_batch_size = 4
learning_rate = {learning_rate}
warmup_ratio = 0.1
weight_decay = 0.01
adam_beta1 = 0.9
adam_beta2 = 0.95
adam_epsilon = 1e-8
max_grad_norm = 1.0
recompute = false
checkpoint_every = {checkpoint_every}
"#
        )
    }
}
